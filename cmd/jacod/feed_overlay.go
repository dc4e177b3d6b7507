package main

import (
	"slices"
	"strings"
	"sync"

	"github.com/jaco-sh/jaco/cluster"
)

// overlay holds what this node has said of its replicas and the state does not
// hold yet: names must follow what a node knows of itself at once.
type overlay struct {
	mu    sync.Mutex // guards the fields below
	next  uint64     // the number of the next report
	known map[string]said
	bell  chan struct{}
}

// said is what was said of one replica, with the number of the report that said
// it last.
type said struct {
	report cluster.ReplicaReport
	number uint64
}

func newOverlay() *overlay {
	return &overlay{known: map[string]said{}, bell: make(chan struct{})}
}

// add notes what is about to be proposed and returns a function that takes it
// away again, unless more has been said since.
func (o *overlay) add(reports []cluster.ReplicaReport) (forget func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	number := o.next
	o.next++
	for _, r := range reports {
		o.known[r.ID] = said{report: overReport(o.known[r.ID].report, r), number: number}
	}
	o.ring()
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, r := range reports {
			if o.known[r.ID].number == number {
				delete(o.known, r.ID)
			}
		}
		o.ring()
	}
}

// reports are those in force, by replica.
func (o *overlay) reports() []cluster.ReplicaReport {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := make([]cluster.ReplicaReport, 0, len(o.known))
	for _, s := range o.known {
		out = append(out, s.report)
	}
	slices.SortFunc(out, func(a, b cluster.ReplicaReport) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// changed is closed with the next change.
func (o *overlay) changed() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bell
}

func (o *overlay) ring() {
	close(o.bell)
	o.bell = make(chan struct{})
}

// overReport is a report with a later one over it: what that leaves out stands.
func overReport(old, r cluster.ReplicaReport) cluster.ReplicaReport {
	if r.Phase == "" {
		r.Phase, r.Reason = old.Phase, old.Reason
	}
	if r.ContainerID == "" {
		r.ContainerID = old.ContainerID
	}
	if r.ImageDigest == "" {
		r.ImageDigest = old.ImageDigest
	}
	if r.Address == "" {
		r.Address = old.Address
	}
	if r.Addresses == "" {
		r.Addresses = old.Addresses
	}
	if r.StartedAt.IsZero() {
		r.StartedAt = old.StartedAt
	}
	r.NoHealthcheck = r.NoHealthcheck || old.NoHealthcheck
	r.Drift = r.Drift || old.Drift
	return r
}
