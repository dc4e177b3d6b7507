package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// request is one line of the input.
type request struct {
	// Do is the forgery: lead, claim, assign, anchor or snapshot.
	Do string `json:"do"`
	// Repo is a git repository with Commit in it, and with what it leads from.
	Repo   string `json:"repo,omitempty"`
	Commit string `json:"commit,omitempty"`
	// Time is that of the entry; now when it is left out.
	Time time.Time `json:"time,omitzero"`
	// Of an assignment: Count replicas of a service on each node, from slot Slot
	// on; all in that slot when Pile is set. Their spec is that of Commit, which
	// the node need not have, or Spec.
	Deployment string   `json:"deployment,omitempty"`
	Service    string   `json:"service,omitempty"`
	Nodes      []string `json:"nodes,omitempty"`
	Slot       int      `json:"slot,omitempty"`
	Count      int      `json:"count,omitempty"`
	Pile       bool     `json:"pile,omitempty"`
	Spec       string   `json:"spec,omitempty"`
	// Of a snapshot: whether claims after number Claims are left out, whether the
	// anchor is Commit, and what is forged on top of it.
	Claims  uint64    `json:"claims,omitempty"`
	Cut     bool      `json:"cut,omitempty"`
	Replace bool      `json:"replace,omitempty"`
	With    []request `json:"with,omitempty"`
}

// forge carries out one request.
func (f *forger) forge(ctx context.Context, r request) (answer, error) {
	switch r.Do {
	case "lead":
		err := f.raft.seize(ctx)
		return answer{Index: f.state.Read().Index()}, err
	case "snapshot":
		return f.snapshot(ctx, r)
	}
	a, commands, err := f.commands(ctx, f.state, r)
	if err != nil {
		return a, err
	}
	for _, command := range commands {
		result, err := f.raft.put(ctx, f.entry(r, command))
		if err != nil {
			return a, err
		}
		a.Index = result.Index
		if result.Err != nil {
			a.Refused = result.Err.Error()
		}
	}
	return a, nil
}

func (f *forger) entry(r request, command cluster.Command) cluster.Entry {
	at := r.Time
	if at.IsZero() {
		at = time.Now()
	}
	return cluster.Entry{Time: at.UTC(), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: f.identity.Node()}, Command: command}
}

// commands are what a forgery puts into the log of a state.
func (f *forger) commands(ctx context.Context, state *cluster.State, r request) (answer, []cluster.Command, error) {
	switch r.Do {
	case "claim":
		return f.claim(ctx, state, r)
	case "assign":
		return f.assign(ctx, state, r)
	case "anchor":
		command, err := f.anchor(r)
		return answer{}, []cluster.Command{command}, err
	}
	return answer{}, nil, fmt.Errorf("unknown request %q", r.Do)
}

// claim brings a commit with all its objects, and claims it.
func (f *forger) claim(ctx context.Context, state *cluster.State, r request) (answer, []cluster.Command, error) {
	commit, err := signing.ParseHash(r.Commit)
	if err != nil {
		return answer{}, nil, err
	}
	objects, err := readObjects(ctx, r.Repo, r.Commit)
	if err != nil {
		return answer{}, nil, err
	}
	snapshot := state.Read()
	last, _ := snapshot.LastClaim()
	claim := cluster.Claim{Number: last.Number + 1, From: last.Commit, Commit: commit}
	if claim.From.IsZero() {
		claim.From = snapshot.Meta().Anchor
	}
	// Its digest is right where that can be: it shall not be what is refused.
	source := memory(objects)
	if at, _, err := signing.Anchor(source, commit); err == nil {
		at.Units = unitsOf(source, commit)
		if digest, err := cluster.ContentDigest(source, at); err == nil {
			claim.Digest = digest
		}
	}
	return answer{Claim: claim.Number}, []cluster.Command{
		&cluster.PutObjects{Objects: objects}, &cluster.AdvanceRevision{Claim: claim},
	}, nil
}

// unitsOf are the deployments of a commit, as if each had been approved there.
func unitsOf(source signing.Source, commit signing.Hash) map[string]signing.Unit {
	units := map[string]signing.Unit{}
	for _, entry := range folders(source, commit) {
		units[entry.Name] = signing.Unit{Revision: commit, Tree: entry.ID}
	}
	return units
}

// folders are the entries of a commit's deployments/.
func folders(source signing.Source, commit signing.Hash) []signing.TreeEntry {
	object, err := signing.ReadCommit(source, commit)
	if err != nil {
		return nil
	}
	root, err := signing.ReadTree(source, object.Tree)
	if err != nil {
		return nil
	}
	for _, entry := range root {
		if entry.Name == "deployments" {
			entries, err := signing.ReadTree(source, entry.ID)
			if err != nil {
				return nil
			}
			return entries
		}
	}
	return nil
}

// assign places replicas.
func (f *forger) assign(ctx context.Context, state *cluster.State, r request) (answer, []cluster.Command, error) {
	commit, err := signing.ParseHash(r.Commit)
	if err != nil {
		return answer{}, nil, err
	}
	spec := r.Spec
	if spec == "" {
		if spec, err = specOf(ctx, r, commit); err != nil {
			return answer{}, nil, err
		}
	}
	snapshot := state.Read()
	var a answer
	plan := &cluster.ApplyPlan{}
	for _, node := range r.Nodes {
		for i := range max(r.Count, 1) {
			slot := max(r.Slot, 1)
			if !r.Pile {
				slot += i
			}
			// Serials far above those of the scheduler's own.
			serial := uint64(1<<20 + len(snapshot.Replicas()) + len(plan.Create))
			id := cluster.ReplicaID(snapshot.Meta().ID, r.Deployment, r.Service, slot, serial)
			plan.Create = append(plan.Create, cluster.Replica{
				ID: id, Deployment: r.Deployment, Service: r.Service, Slot: slot, Serial: serial, Node: node,
				Revision: commit, SpecHash: spec, Phase: cluster.Assigned,
			})
			a.Replicas = append(a.Replicas, id)
		}
	}
	return a, []cluster.Command{plan}, nil
}

// specOf compiles a commit's deployment, whoever signed it.
func specOf(ctx context.Context, r request, commit signing.Hash) (string, error) {
	objects, err := readObjects(ctx, r.Repo, r.Commit)
	if err != nil {
		return "", err
	}
	source := memory(objects)
	for _, entry := range folders(source, commit) {
		if entry.Name != r.Deployment {
			continue
		}
		compiled, err := desired.Compile(signing.NewTreeFS(source, entry.ID), r.Deployment, "deployments/"+r.Deployment)
		if err != nil {
			return "", err
		}
		if service := compiled.Service(r.Service); service != nil {
			return service.SpecHash, nil
		}
	}
	return "", fmt.Errorf("commit %s has no service %s/%s", r.Commit, r.Deployment, r.Service)
}

// anchor is a second initialization, with another anchor.
func (f *forger) anchor(r request) (cluster.Command, error) {
	snapshot := f.state.Read()
	meta := *snapshot.Meta()
	var err error
	if meta.Anchor, err = signing.ParseHash(r.Commit); err != nil {
		return nil, err
	}
	node, _ := snapshot.Node(f.identity.Node())
	return &cluster.InitCluster{Meta: meta, Node: node}, nil
}

// readObjects reads a commit and everything that it leads to.
func readObjects(ctx context.Context, repo, commit string) ([]cluster.StoredObject, error) {
	list, err := git(ctx, repo, nil, "rev-list", "--objects", "--no-object-names", commit)
	if err != nil {
		return nil, err
	}
	all, err := git(ctx, repo, list, "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	var objects []cluster.StoredObject
	for len(all) > 0 {
		head, rest, _ := bytes.Cut(all, []byte("\n"))
		var id, kind string
		var size int
		if _, err := fmt.Sscanf(string(head), "%s %s %d", &id, &kind, &size); err != nil || size >= len(rest) {
			return nil, fmt.Errorf("read objects: %q", head)
		}
		hash, err := signing.ParseHash(id)
		if err != nil {
			return nil, err
		}
		objects = append(objects, cluster.StoredObject{ID: hash, Object: signing.Object{Type: kinds()[kind], Data: rest[:size]}})
		all = rest[size+1:]
	}
	return objects, nil
}

func kinds() map[string]signing.ObjectType {
	return map[string]signing.ObjectType{"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject, "tag": signing.TagObject}
}

func git(ctx context.Context, repo string, input []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", repo, "-c", "safe.directory=*"}, args...)...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("git %s: %w", strings.Join(args, " "), err)
	}
	return out, nil
}

// memory is a source of objects that holds what was read.
func memory(objects []cluster.StoredObject) *cluster.MemoryObjects {
	m := cluster.NewMemoryObjects()
	_ = m.Put(objects) // it never fails
	return m
}
