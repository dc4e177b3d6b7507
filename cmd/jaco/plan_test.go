package main

import (
	"context"
	"encoding/json"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/signing"
)

// planFor does what a node does, over a cluster in memory: two nodes, and
// whatever stands below accepted/ in the files is what was accepted.
func planFor(ctx context.Context, files []rpc.PlanFile) ([]byte, error) {
	var tree []preview.File
	for _, f := range files {
		tree = append(tree, preview.File{Path: f.Path, Mode: preview.Mode(f.Mode), Data: f.Data})
	}
	in := preview.Input{ClusterName: "test", Now: noon}
	var err error
	if in.Tree, err = preview.NewTree(tree); err != nil {
		return nil, err
	}
	accepted, err := preview.NewTree(acceptedFiles)
	if err != nil {
		return nil, err
	}
	commit := signing.Object{Type: signing.CommitObject, Data: []byte("tree " + accepted.Root.String() +
		"\nauthor a <a@example.com> 0 +0000\ncommitter a <a@example.com> 0 +0000\n\nfirst\n")}
	if in.Against, err = signing.HashObject(commit); err != nil {
		return nil, err
	}
	in.Accepted, in.Base = acceptedObjects{accepted, in.Against, commit}, accepted.Root
	if in.Trust, err = signing.LoadTreeTrust(accepted, accepted.Root); err != nil {
		return nil, err
	}
	if in.Units, err = signing.UnitsOfTree(accepted, accepted.Root); err != nil {
		return nil, err
	}
	view := &cluster.View{Claim: 1, Deployments: map[string]*cluster.Accepted{}}
	for name, unit := range in.Units {
		d, err := desired.Compile(signing.NewTreeFS(accepted, unit.Tree), name, "deployments/"+name)
		if err != nil {
			return nil, err
		}
		view.Deployments[name] = &cluster.Accepted{Name: name, Revision: accepted.Root, Claim: 1, Desired: d}
	}
	in.State = &scheduler.Input{ClusterID: "0123456789abcdef", Now: noon, View: view, Nodes: []cluster.Node{
		{Name: "node-1", State: cluster.NodeReady, CPU: 4e9, Memory: 8 << 30},
		{Name: "node-2", State: cluster.NodeReady, CPU: 4e9, Memory: 8 << 30},
	}}
	plan, err := preview.Compute(ctx, in)
	if err != nil {
		return nil, err
	}
	return json.Marshal(plan)
}

// acceptedObjects is a tree and the commit that holds it.
type acceptedObjects struct {
	*preview.Tree
	id     signing.Hash
	commit signing.Object
}

// Object implements signing.Source.
func (a acceptedObjects) Object(id signing.Hash) (signing.Object, error) {
	if id == a.id {
		return a.commit, nil
	}
	return a.Tree.Object(id)
}

// acceptedFiles is what the fake cluster runs.
var acceptedFiles = []preview.File{
	{Path: "trust.yaml", Mode: preview.Plain, Data: []byte(planTrust)},
	{Path: "deployments/web/compose.yaml", Mode: preview.Plain, Data: []byte("services:\n  web:\n    image: web:1\n    deploy: {replicas: 3}\n" +
		"    volumes: [\"data:/data\"]\n  old:\n    image: old:1\nvolumes:\n  data: {x-jaco-prune: true}\n")},
	{Path: "deployments/misc/compose.yaml", Mode: preview.Plain, Data: []byte("services: {misc: {image: \"misc:1\"}}\n")},
}

// planTrust lets two people sign.
const planTrust = `version: 4
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILnD073/LaAZGfGollySDp+0KxgKGpTLRmdpbBSpb/Q6 alice"]}
  bob: {keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2+y8y5f5h4spoSBE8erAi5xNSH+Ut+EWHsETMn6HrE bob"]}
rules:
  - {paths: ["deployments/**"], approvals: 2}
`
