package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

const (
	// buildGap is the least time between two looks at the state for the edge. The
	// first change is told at once; of those that follow closely the last one is.
	buildGap = 5 * time.Millisecond
	// buildShare bounds what a large cluster's busy log costs: the pause after a
	// look is so many times as long as the look was.
	buildShare = 3
	// redialFirst and redialLast bound the pause before an edge is called again.
	redialFirst = 50 * time.Millisecond
	redialLast  = time.Second
	// edgeGrace is how long the edge may be away or without a firewall before the
	// node counts as one that cannot run replicas: longer than a restart of it.
	edgeGrace = 5 * time.Second
)

// feedDeps is what the feed needs of its node.
type feedDeps struct {
	Node   string
	Socket string // the edge's
	// Current is closed once the state is: until then the edge is told nothing
	// and works on with what it kept.
	Current <-chan struct{}
	// Changed returns channels that are closed at the next change of the state
	// and of what the node accepted.
	Changed func() (state, view <-chan struct{})
	// Index is that of the state at this moment.
	Index func() uint64
	// Build is what the edge must know, with the node's own reports that the
	// state does not hold yet; false while that is not known.
	Build func(overlay []cluster.ReplicaReport) (cluster.EdgeState, bool)
	// MeshNode is what the state says of this node.
	MeshNode func() (cluster.MeshNode, bool)
	// ReportMesh writes what the edge says of itself into the log, and Record
	// events. Both return once this node has applied it.
	ReportMesh func(ctx context.Context, key [32]byte, port uint16, mode string) error
	Record     func(ctx context.Context, events []cluster.Event) error
	// Recorded reports whether the log holds the event already.
	Recorded func(event cluster.Event) bool
	// Beat has the leader told at once.
	Beat func()
	// Launcher starts the edge where jacod does that itself; nil: somebody else
	// does.
	Launcher *launcher
	Clock    func() time.Time
	Logger   *slog.Logger
}

// feed tells the node's edge what it must know, and the rest of the node what
// the edge says. It decides nothing.
type feed struct {
	deps    feedDeps
	overlay *overlay

	mu sync.Mutex // guards the fields below
	// changed is closed, and made anew, with every change of the fields below.
	changed chan struct{}
	// wanted is what the edge must know, of the state at builtIndex; nil before
	// it is known. It is not changed once it is here.
	wanted     *cluster.EdgeState
	builtIndex uint64
	// networksIndex is the index of the first state that had the networks of
	// wanted: a report of an earlier one says nothing of them.
	networksIndex uint64
	// report is the last one of the present connection; nil when there is none,
	// and away then says why.
	report *cluster.EdgeReport
	away   string
	// trouble is why containers cannot be isolated now, "" when they can, and
	// since says since when.
	trouble string
	since   time.Time
	// seen is the number of the newest event in the log, of those of the present
	// connection.
	seen uint64
	// repairs counts the repairs that were recorded since this process began.
	repairs uint64
}

func newFeed(deps feedDeps) *feed {
	f := &feed{deps: deps, overlay: newOverlay(), changed: make(chan struct{})}
	f.away = "the edge was not asked yet"
	f.trouble, f.since = f.away, deps.Clock()
	return f
}

// run works until ctx ends.
func (f *feed) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context) error{f.follow, f.connect, f.reportMesh, f.recordEvents} {
		group.Go(func() error { return part(ctx) })
	}
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}

// update changes what is guarded, and tells whoever waits.
func (f *feed) update(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
	f.judge()
	close(f.changed)
	f.changed = make(chan struct{})
}

// judge settles what is wrong. The caller holds mu.
func (f *feed) judge() {
	trouble := f.away
	switch r := f.report; {
	case r == nil:
	case r.Problem != "":
		trouble = "the edge cannot work: " + r.Problem
	case !r.Firewall.Ready:
		trouble = "the firewall is not ready"
		if r.Firewall.Reason != "" {
			trouble += ": " + r.Firewall.Reason
		}
	default:
		trouble = ""
	}
	if trouble != "" && f.trouble == "" {
		f.since = f.deps.Clock()
	}
	f.trouble = trouble
}

// follow keeps what the edge must know up to date.
func (f *feed) follow(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-f.deps.Current:
	}
	for {
		state, view := f.deps.Changed()
		said := f.overlay.changed()
		begun := time.Now()
		f.build()
		if !pause(ctx, max(buildGap, buildShare*time.Since(begun))) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-state:
		case <-view:
		case <-said:
		}
	}
}

// build looks at the state once.
func (f *feed) build() {
	index := f.deps.Index() // before the look: what is seen is at least as new
	next, known := f.deps.Build(f.overlay.reports())
	if !known {
		return
	}
	f.mu.Lock()
	old := f.wanted
	same := old != nil && sameState(old, &next)
	if same {
		// The gate waits for a look at the state as it was when somebody came.
		f.builtIndex = index
		close(f.changed)
		f.changed = make(chan struct{})
	}
	f.mu.Unlock()
	if same {
		return
	}
	f.update(func() {
		if old == nil || !reflect.DeepEqual(old.Networks, next.Networks) {
			f.networksIndex = next.Index
		}
		f.wanted, f.builtIndex = &next, index
	})
}

// sameState reports whether the edge would do the same for both.
func sameState(a, b *cluster.EdgeState) bool {
	x, y := *a, *b
	x.Index, y.Index, x.EventsSeen, y.EventsSeen = 0, 0, 0, 0
	return reflect.DeepEqual(&x, &y)
}

// connect holds a connection to the edge.
func (f *feed) connect(ctx context.Context) error {
	wait := redialFirst
	for ctx.Err() == nil {
		heard, err := f.session(ctx)
		if ctx.Err() != nil {
			break
		}
		if heard {
			wait = redialFirst
		}
		f.lose(err)
		if l := f.deps.Launcher; l != nil && errors.Is(err, rpc.ErrUnreachable) {
			l.ensure(ctx)
		}
		if !pause(ctx, wait) {
			break
		}
		wait = min(2*wait, redialLast)
	}
	return nil
}

// lose notes that there is no connection, and why.
func (f *feed) lose(err error) {
	away := fmt.Sprintf("the edge does not answer: %v", err)
	news := false
	f.update(func() {
		news = f.report != nil || f.away != away
		f.report, f.away, f.seen = nil, away, 0
	})
	if news {
		f.deps.Logger.Warn("the edge does not answer: nothing is started on this node until it does", "error", err)
		f.deps.Beat()
	}
}

// session is one connection, from its beginning to its end. It reports whether
// the edge said anything.
func (f *feed) session(ctx context.Context) (heard bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := rpc.DialEdge(ctx, f.deps.Socket)
	if err != nil {
		return false, err
	}
	group, sending := errgroup.WithContext(ctx)
	group.Go(func() error { return f.send(sending, stream) })
	for {
		report, recvErr := stream.Recv()
		if recvErr != nil {
			err = recvErr
			break
		}
		if l := f.deps.Launcher; l != nil && report.Version != version && !heard {
			if err = l.replace(ctx, report.PID, report.Version); err != nil {
				f.deps.Logger.Warn("an edge of another version stays", "version", report.Version, "pid", report.PID, "error", err)
			}
		}
		heard = true
		f.take(report)
	}
	cancel()
	closeErr := stream.Close()
	if sendErr := group.Wait(); err == nil {
		err = sendErr
	}
	return heard, errors.Join(err, closeErr)
}

// take takes in what the edge says.
func (f *feed) take(report *cluster.EdgeReport) {
	var came, news bool
	f.update(func() {
		old := f.report
		came = old == nil
		news = came || old.Firewall != report.Firewall || old.Problem != report.Problem || old.Mode != report.Mode
		f.report, f.away = report, ""
	})
	if came {
		f.deps.Logger.Info("the edge answers", "version", report.Version, "pid", report.PID, "wireguard", report.Mode)
	}
	if came && report.Version != version && f.deps.Launcher == nil {
		f.deps.Logger.Warn("the edge is of another version: restart it", "version", report.Version, "own", version)
	}
	if news {
		f.deps.Beat()
	}
}

// send tells the edge what it must know, whenever that changes.
func (f *feed) send(ctx context.Context, stream *rpc.EdgeStream) error {
	var last *cluster.EdgeState
	var seen uint64
	for {
		f.mu.Lock()
		wanted, now, changed := f.wanted, f.seen, f.changed
		f.mu.Unlock()
		if wanted != nil && (wanted != last || now != seen) {
			next := *wanted
			next.EventsSeen = now
			if err := stream.Send(&next); err != nil {
				return err
			}
			last, seen = wanted, now
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// problem is why this node cannot take replicas for want of its edge, "" when it
// can. What passes by itself within a moment is none.
func (f *feed) problem() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.trouble == "" || f.deps.Clock().Sub(f.since) < edgeGrace {
		return ""
	}
	return f.trouble
}

// mesh is what the node says of its edge.
func (f *feed) mesh() *cluster.MeshBeat {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.report == nil {
		return &cluster.MeshBeat{Firewall: cluster.FirewallStatus{Reason: f.away}}
	}
	r := f.report
	beat := &cluster.MeshBeat{Mode: r.Mode, Firewall: r.Firewall, Peers: r.Peers, PeersAt: r.PeersAt}
	if r.Problem != "" {
		beat.Firewall.Ready, beat.Firewall.Reason = false, f.trouble
	}
	return beat
}

// repaired is how many repairs were recorded since this process began.
func (f *feed) repaired() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.repairs
}
