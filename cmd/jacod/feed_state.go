package main

import (
	"errors"
	"net/netip"

	"github.com/jaco-sh/jaco/cluster"
)

// What of the mesh is in the state: the one place of this package that knows.

func buildEdge(*cluster.Snapshot, *cluster.View, string, []cluster.ReplicaReport) (cluster.EdgeState, bool) {
	return cluster.EdgeState{}, false
}

func meshNode(*cluster.Snapshot, string) (cluster.MeshNode, bool) {
	return cluster.MeshNode{}, false
}

func meshReport(string, [32]byte, uint16, string) (cluster.Command, error) {
	return nil, errors.New("the state has no mesh")
}

func poolOf(*cluster.Meta) netip.Prefix { return netip.Prefix{} }

func setPool(*cluster.Meta, netip.Prefix) {}
