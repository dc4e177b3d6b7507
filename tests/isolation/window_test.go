package isolation

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/packet"
	"github.com/jaco-sh/jaco/tests/stage"
)

const (
	flushRuns = 20
	// maxWindow is how long packets may pass after somebody took all rules away.
	maxWindow = 250 * time.Millisecond
	// quiet is how long nothing must have arrived for a window to be over.
	quiet = 500 * time.Millisecond
	// pace of the packets that find the window.
	pace = time.Millisecond
)

// flushes takes all rules of a node away, 20 times, while containers that are
// beside each other and must not talk do all they can to: one side asks and the
// other answers, so that what began in the window looks like an open connection
// after it.
func flushes(f *trial) {
	w := f.world()
	var longest time.Duration
	for run := range flushRuns {
		node := f.Rig.Nodes[run%len(f.Rig.Nodes)]
		window := w.flush(node)
		longest = max(longest, window)
		if window > maxWindow {
			f.t.Errorf("run %d, on %s: packets passed for %s, want %s at most", run+1, node.Name, window, maxWindow)
		}
	}
	f.t.Logf("%d flushes, the longest window was %s", flushRuns, longest.Round(time.Millisecond))
	w.close()
	for _, node := range f.Rig.Nodes { // their own rules went too
		f.Check(node.Engine.Restart(f.t.Context()))
	}
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	f.isolated()
}

// flush returns for how long packets passed, by the receivers' clock.
func (w *world) flush(node *rig.Node) time.Duration {
	w.t.Helper()
	ctx := w.t.Context()
	stop := w.intrude(node)
	stage.Pass(w.t, 200*time.Millisecond)
	w.judge() // nothing outside the window
	before := time.Now()
	if _, err := node.Run(ctx, "nft", "flush", "ruleset"); err != nil {
		w.t.Fatal(err)
	}
	after := time.Now()
	// A flow that never stops passing is told below, not waited for.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	waited := rig.WaitFor(ctx, "the window to close", func(ctx context.Context) (bool, string) {
		last := w.lastViolation()
		out, err := node.Run(ctx, "nft", "list", "table", "inet", "jaco")
		return err == nil && time.Since(last) > quiet && time.Since(after) > quiet, fmt.Sprintf("last packet at %s; table: %d bytes, %v", last.Format("15:04:05.000"), len(out), err)
	})
	stop()
	if waited != nil {
		w.t.Errorf("%s: %v", node.Name, waited)
	}
	first, last := time.Time{}, time.Time{}
	for _, v := range w.allTaken() {
		if v.at.Before(before) {
			w.t.Errorf("before the flush %s was reached: %s", v.where, v.what)
			continue
		}
		if first.IsZero() || v.at.Before(first) {
			first = v.at
		}
		if v.at.After(last) {
			last = v.at
		}
	}
	if first.IsZero() {
		return 0
	}
	// nft is a process that has to start: the rules went between before and after.
	return min(last.Sub(first), max(last.Sub(after), 0)+after.Sub(before))
}

// intrude has a container of the node, and one of another node, send without a
// pause to one of the node that they share no network with, until stop.
func (w *world) intrude(node *rig.Node) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var to *stage.Endpoint
	var from []*stage.Endpoint
	for _, e := range w.endpoints {
		switch {
		case to == nil && e.Node == node:
			to = e
		case to != nil && len(e.Shared(to)) == 0 && !slices.ContainsFunc(from, func(o *stage.Endpoint) bool { return (o.Node == node) == (e.Node == node) }):
			from = append(from, e)
		}
	}
	done := make(chan struct{})
	for _, e := range from {
		conn, err := e.NetNS.DialContext(ctx, "udp4", netip.AddrPortFrom(addressOf(to), stage.EchoPort).String())
		w.check(err)
		go func() {
			defer func() { _ = conn.Close(); done <- struct{}{} }()
			tick := time.NewTicker(pace)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					_, _ = conn.Write(packet.Marker(w.attemptOf(e.String()+" to "+to.String(), addressOf(e), false)))
				}
			}
		}()
	}
	return func() {
		cancel()
		for range from {
			<-done
		}
	}
}

func (w *world) lastViolation() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := time.Time{}
	for _, v := range w.violations {
		if v.at.After(last) {
			last = v.at
		}
	}
	return last
}

func (w *world) allTaken() []violation {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.violations
	w.violations = nil
	return all
}

// unloadable holds the table of a node, so that the kernel lets nobody else
// change it: no container starts there, status says why, and what runs goes on.
func unloadable(f *trial) {
	ctx := f.t.Context()
	m := f.Follower()
	held, err := m.Node.HoldTable(ctx, "jaco")
	f.Check(err)
	released := false
	defer func() {
		if !released {
			_ = held.Release()
		}
	}()
	f.Eventually(30*time.Second, m.Name()+" to say that its firewall is not ready", func(status *cluster.Status) (bool, string) {
		node := stage.Node(status, m.Name())
		if node == nil || node.Firewall == nil {
			return false, stage.Summary(status)
		}
		return !node.Firewall.Ready && node.Firewall.Reason != "", fmt.Sprintf("%+v", *node.Firewall)
	})
	before := runningOn(f, m)
	var gone *stage.Endpoint
	for _, e := range f.Endpoints() {
		if e.Node == m.Node {
			gone = e
			break
		}
	}
	f.Check(m.Node.Engine.Remove(ctx, gone.ID))
	delete(before, gone.ID)
	more := stage.PeerCompose(stage.Peers{Name: "late", Replicas: 3, Networks: []string{"one"}})
	f.Commit(map[string]string{stage.Path("late"): more})
	f.Push()
	f.Eventually(30*time.Second, "a reason why "+gone.String()+" does not start", func(status *cluster.Status) (bool, string) {
		return strings.Contains(reasons(status, gone, m.Name()), "firewall"), reasons(status, gone, m.Name()) + "\n" + stage.Summary(status)
	})
	deadline := time.Now().Add(6 * time.Second)
	rig.Eventually(f.t, 10*time.Second, "time to pass without a start", func(context.Context) (bool, string) {
		now := runningOn(f, m)
		if !maps.Equal(now, before) {
			f.t.Fatalf("without a firewall %s runs %v, before %v", m.Name(), now, before)
		}
		return time.Now().After(deadline), ""
	})
	f.Check(held.Release())
	released = true
	f.Settle(settleTime)
	f.MeshReady(settleTime)
	for id := range before {
		if runningOn(f, m)[id] != before[id] {
			f.t.Errorf("container %.12s was stopped or started again", id)
		}
	}
	f.removeLate()
	f.isolated()
}

// removeLate takes the deployment away that the matrix has no place for.
func (f *trial) removeLate() {
	f.t.Helper()
	f.Check(f.Repo.Remove("deployments/late"))
	rig.Must[string](f.t)(f.Repo.Commit(f.t.Context(), rig.CommitOptions{Message: "late goes", Key: f.Alice}))
	f.Push()
	f.Converge()
	f.Settle(settleTime)
}

// runningOn maps the containers that run on a node to when they were started.
func runningOn(f *trial, m stage.Member) map[string]string {
	f.t.Helper()
	running := map[string]string{}
	for _, container := range m.Containers() {
		details, err := m.Node.Engine.Inspect(f.t.Context(), container.ID)
		if rig.NotFound(err) {
			continue
		}
		f.Check(err)
		if details.State.Running {
			running[container.ID] = details.State.StartedAt
		}
	}
	return running
}

// reasons are all that status says of a replica, of its service and of its node.
func reasons(status *cluster.Status, e *stage.Endpoint, node string) string {
	var all []string
	if s := stage.FindService(status, e.Deployment, e.Service); s != nil {
		all = append(all, s.Reason)
		for _, r := range s.Replicas {
			if r.Node == node {
				all = append(all, r.Reason)
			}
		}
	}
	return strings.Join(all, "\n")
}
