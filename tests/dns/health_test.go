package dns

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
	"github.com/jaco-sh/jaco/tests/stage/reach"
)

const (
	// ownTime and allTime are how long after its engine told of it a replica that
	// is not healthy may be answered, on its own node and on all.
	ownTime = 50 * time.Millisecond
	allTime = 250 * time.Millisecond
	// healthRuns is how often it is measured.
	healthRuns = 5
	// askEvery is how often each node is asked meanwhile.
	askEvery = 2 * time.Millisecond
)

// unhealthy makes a replica unhealthy, and well again, and measures when each
// node stops to answer with it.
func unhealthy(f *trial) {
	clients := f.clients()
	for run := range healthRuns {
		web := stage.PeersOf(f.Endpoints(), "shop", "web")
		sick := web[run%len(web)]
		gone := f.timeGone(clients, sick)
		for node, took := range gone {
			limit := allTime
			if node == sick.Node.Name {
				limit = ownTime
			}
			f.t.Logf("run %d: %s is gone on %s after %s", run+1, sick, node, took.Round(time.Millisecond))
			if took > limit {
				f.t.Errorf("run %d: %s was answered on %s for %s, want %s at most", run+1, sick, node, took.Round(time.Millisecond), limit)
			}
		}
		f.back(clients, sick)
	}
}

// tell changes the health of a peer, from inside its own network.
func (f *trial) tell(e *stage.Endpoint, ok bool) {
	f.t.Helper()
	request, err := http.NewRequestWithContext(f.t.Context(), http.MethodPost, fmt.Sprintf("http://127.0.0.1:8080/health?ok=%t", ok), nil)
	f.Check(err)
	response, err := e.NetNS.HTTPClient().Do(request)
	f.Check(err)
	f.Check(response.Body.Close())
}

// timeGone makes a replica sick and returns, by node, how long after the engine's
// word it was answered last.
func (f *trial) timeGone(clients map[string]*stage.Endpoint, sick *stage.Endpoint) map[string]time.Duration {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer cancel()
	told, listening := make(chan time.Time, 1), make(chan struct{})
	ended := make(chan error, 1)
	events, stopEvents := context.WithCancel(ctx)
	go func() {
		ended <- sick.Node.Engine.Events(events, func() { close(listening) }, func(e rig.Event) {
			if e.Actor.ID == sick.ID && e.Action == "health_status: unhealthy" {
				select {
				case told <- e.At():
				default:
				}
			}
		})
	}()
	select {
	case <-listening:
	case err := <-ended:
		f.t.Fatal(err)
	}
	type last struct {
		node string
		at   time.Time
		err  error
	}
	lasts := make(chan last)
	for node, client := range clients {
		go func() {
			at, err := lastAnswer(ctx, client, address(sick))
			lasts <- last{node, at, err}
		}()
	}
	f.tell(sick, false)
	gone := map[string]last{}
	for range clients {
		l := <-lasts
		f.Check(l.err)
		gone[l.node] = l
	}
	var at time.Time
	select {
	case at = <-told:
	case <-ctx.Done():
		f.t.Fatal("the engine says nothing of a replica that is not healthy")
	}
	stopEvents()
	f.Check(<-ended)
	took := map[string]time.Duration{}
	for node, l := range gone {
		took[node] = max(l.at.Sub(at), 0)
	}
	return took
}

// lastAnswer asks until an address is not answered any more, and returns when it
// was last.
func lastAnswer(ctx context.Context, client *stage.Endpoint, of netip.Addr) (time.Time, error) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	var last time.Time
	for {
		got, err := reach.Resolve(ctx, client.NetNS, gateway(client), "web")
		if err != nil {
			return last, err
		}
		if !slices.Contains(got, of) {
			if last.IsZero() {
				return last, fmt.Errorf("%s was not answered on %s before", of, client.Node.Name)
			}
			return last, nil
		}
		last = time.Now()
		select {
		case <-ctx.Done():
			return last, fmt.Errorf("%s is answered on %s for ever: %w", of, client.Node.Name, ctx.Err())
		case <-tick.C:
		}
	}
}

// back makes a replica well again, or has the scheduler replace it, and waits
// until every node answers with three.
func (f *trial) back(clients map[string]*stage.Endpoint, sick *stage.Endpoint) {
	f.t.Helper()
	if e := f.find(sick.ID); e != nil {
		f.tell(e, true)
	}
	f.Settle(settleTime)
	want := f.addresses("web")
	for node, client := range clients {
		rig.Eventually(f.t, answerTime, "all replicas to be answered on "+node, func(ctx context.Context) (bool, string) {
			got, err := reach.Resolve(ctx, client.NetNS, gateway(client), "web")
			return err == nil && slices.Equal(got, want), fmt.Sprintf("%v, want %v, %v", got, want, err)
		}, f.Cluster)
	}
}

// find is a container that still runs; nil when it does not.
func (f *trial) find(id string) *stage.Endpoint {
	f.t.Helper()
	for _, e := range f.Endpoints() {
		if e.ID == id {
			return e
		}
	}
	return nil
}
