package main

import (
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// TestMayLeave: what a removed node runs moves first, and it does not take as
// long as it likes.
func TestMayLeave(t *testing.T) {
	for _, test := range []struct {
		name   string
		state  cluster.NodeState
		runs   bool
		waited time.Duration
		want   bool
	}{
		{"runs something", cluster.NodeReady, true, 0, false},
		{"has moved it all", cluster.NodeReady, false, 0, true},
		{"had its time", cluster.NodeReady, true, moveTime, true},
		{"is down", cluster.NodeDown, true, 0, true},
		{"cannot run anything", cluster.NodeNotReady, true, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := mayLeave(&cluster.Node{State: test.state}, test.runs, test.waited); got != test.want {
				t.Errorf("may leave: %v", got)
			}
		})
	}
}
