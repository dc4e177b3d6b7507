package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// fakeLogs has the lines of each replica, by its id, as seconds.
type fakeLogs struct {
	lines   map[string][]int
	errors  map[string]error // after the lines
	mu      sync.Mutex       // guards the field below
	options agent.LogOptions
}

// Logs implements logReader.
func (f *fakeLogs) Logs(ctx context.Context, r cluster.Replica, o agent.LogOptions, line func(agent.LogLine) error) error {
	f.mu.Lock()
	f.options = o
	f.mu.Unlock()
	for _, second := range f.lines[r.ID] {
		if err := line(agent.LogLine{Time: time.Unix(int64(second), 0), Stderr: second%2 == 0, Text: fmt.Sprint(r.ID, second)}); err != nil {
			return err
		}
	}
	if err := f.errors[r.ID]; err != nil {
		return err
	}
	if o.Follow {
		<-ctx.Done()
		return ctx.Err()
	}
	return nil
}

// mergeLogs merges the logs of replicas of one node.
func mergeLogs(ctx context.Context, reader logReader, replicas []cluster.Replica, request rpc.LogsRequest, each func(rpc.LogLine) error) error {
	return mergeStreams(ctx, request.Follow, replicaStreams(reader, replicas, request), each)
}

func replicas(ids ...string) []cluster.Replica {
	var all []cluster.Replica
	for i, id := range ids {
		all = append(all, cluster.Replica{ID: id, Service: "web", Slot: i + 1})
	}
	return all
}

func TestMergeLogsByTime(t *testing.T) {
	logs := &fakeLogs{
		lines:  map[string][]int{"a": {1, 4, 9}, "b": {2, 3, 10, 11}, "c": nil, "gone": {5}},
		errors: map[string]error{"gone": fmt.Errorf("container: %w", agent.ErrNotFound)},
	}
	var got []string
	request := rpc.LogsRequest{Tail: 7, Since: time.Unix(1, 0)}
	err := mergeLogs(t.Context(), logs, replicas("a", "b", "c", "gone"), request, func(l rpc.LogLine) error {
		if l.Service != "web" || l.Slot == 0 || l.Stderr != (l.Time.Unix()%2 == 0) {
			t.Errorf("line %+v", l)
		}
		got = append(got, string(l.Text))
		return nil
	})
	check(t, err)
	if want := []string{"a1", "b2", "b3", "a4", "gone5", "a9", "b10", "b11"}; !slices.Equal(got, want) {
		t.Errorf("lines %q, want %q", got, want)
	}
	if diff := cmp.Diff(agent.LogOptions{Tail: 7, Since: time.Unix(1, 0)}, logs.options); diff != "" {
		t.Errorf("options (-want +got):\n%s", diff)
	}
}

// TestMergeByTimeKeepsAll draws streams in order of time: the result is in
// order, and nothing is lost or doubled.
func TestMergeByTimeKeepsAll(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		logs, ids, want := &fakeLogs{lines: map[string][]int{}}, []string{}, []int{}
		for i := range rapid.IntRange(0, 5).Draw(rt, "streams") {
			id := fmt.Sprint("r", i)
			lines := rapid.SliceOfN(rapid.IntRange(0, 20), 0, 10).Draw(rt, id)
			slices.Sort(lines)
			ids, logs.lines[id], want = append(ids, id), lines, append(want, lines...)
		}
		slices.Sort(want)
		got := []int{}
		err := mergeLogs(t.Context(), logs, replicas(ids...), rpc.LogsRequest{Tail: -1}, func(l rpc.LogLine) error {
			got = append(got, int(l.Time.Unix()))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			rt.Fatalf("%v, %v, want %v", got, err, want)
		}
	})
}

func TestMergeLogsTail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{lines: map[string][]int{"a": {1}}}
		none := func(rpc.LogLine) error { t.Error("a line came"); return nil }
		check(t, mergeLogs(t.Context(), logs, replicas("a"), rpc.LogsRequest{Tail: 0}, none))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_ = mergeLogs(ctx, logs, replicas("a"), rpc.LogsRequest{Tail: 0, Follow: true}, func(rpc.LogLine) error { return nil })
		if want := (agent.LogOptions{Follow: true, Since: time.Now()}); logs.options != want {
			t.Errorf("only new lines are asked for by %+v, want %+v", logs.options, want)
		}
	})
}

// TestMergeLogsEnds ends the merge from each side: no reader may be left.
func TestMergeLogsEnds(t *testing.T) {
	enough, broken := errors.New("enough"), errors.New("broken")
	for _, follow := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) { // fails when a goroutine is left
			logs := &fakeLogs{lines: map[string][]int{"a": {1, 2, 3}, "b": {1, 2, 3}}}
			seen := 0
			err := mergeLogs(t.Context(), logs, replicas("a", "b"), rpc.LogsRequest{Tail: -1, Follow: follow}, func(rpc.LogLine) error {
				if seen++; seen == 3 {
					return enough
				}
				return nil
			})
			if !errors.Is(err, enough) || seen != 3 {
				t.Errorf("follow %v: after %d lines %v", follow, seen, err)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			logs := &fakeLogs{lines: map[string][]int{"a": {1}, "b": {1}}, errors: map[string]error{"b": broken}}
			err := mergeLogs(t.Context(), logs, replicas("a", "b"), rpc.LogsRequest{Tail: -1, Follow: follow}, func(rpc.LogLine) error { return nil })
			if !errors.Is(err, broken) {
				t.Errorf("follow %v: a reader's error became %v", follow, err)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		logs := &fakeLogs{lines: map[string][]int{"a": {1}, "b": {1}}}
		ctx, cancel := context.WithCancel(t.Context())
		seen := 0
		err := mergeLogs(ctx, logs, replicas("a", "b"), rpc.LogsRequest{Tail: -1, Follow: true}, func(rpc.LogLine) error {
			if seen++; seen == 2 {
				cancel()
			}
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the end of the context became %v", err)
		}
	})
}
