package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/jaco-sh/jaco/mesh"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/firewall"
)

// The one place of this package that knows which facilities this build has.

// errNotBuilt is returned by facilities that this build does not have. They fail
// rather than pretend: no container starts.
var errNotBuilt = errors.New("this build cannot do that")

type absent struct{}

func newEdgeFirewall(*slog.Logger) edgeFirewall { return absentFirewall{} }

func newEdgeBridges(string, *slog.Logger) (edgeBridges, error) { return absentBridges{}, nil }

func (absent) Watch(ctx context.Context, _ func()) error {
	<-ctx.Done()
	return nil
}

type absentFirewall struct{ absent }

func (absentFirewall) Set(context.Context, firewall.Config) (mesh.FirewallResult, error) {
	return mesh.FirewallResult{}, errNotBuilt
}

func (absentFirewall) CleanUp(context.Context) error { return errNotBuilt }

type absentBridges struct{ absent }

func (absentBridges) Set(context.Context, bridge.Config) (mesh.BridgesResult, error) {
	return mesh.BridgesResult{}, errNotBuilt
}

func (absentBridges) CleanUp(context.Context, string) error { return errNotBuilt }

func (absentBridges) Close() error { return nil }
