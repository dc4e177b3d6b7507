package dns

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// probeLimit is how long an upstream has for the one question that every
	// resolver can answer from memory.
	probeLimit = time.Second
	// probeInterval is the time between two probes of one that is down.
	probeInterval = time.Second
	// probeFor ends the probing of an upstream that nobody asked for so long.
	probeFor = time.Minute
)

// health knows the upstreams that answer nothing, so that nobody waits for them.
// Whether one is down is never concluded from the names that clients ask for: a
// client must not be able to take a resolver from the others by asking for a
// name whose servers do not answer.
type health struct {
	exchange exchange
	clock    func() time.Time
	logger   *slog.Logger

	suspects chan netip.AddrPort // to run

	mu        sync.Mutex // guards suspected
	suspected map[netip.AddrPort]*suspicion
}

func newHealth(ask exchange, o Options) *health {
	return &health{
		exchange: ask, clock: o.Clock, logger: o.Logger,
		suspects: make(chan netip.AddrPort), suspected: map[netip.AddrPort]*suspicion{},
	}
}

// suspicion is an upstream that left a question without an answer.
type suspicion struct {
	down  bool
	asked time.Time // last
}

// run probes what is suspected until ctx ends.
func (h *health) run(ctx context.Context) {
	var probing sync.WaitGroup
	defer probing.Wait()
	for {
		select {
		case upstream := <-h.suspects:
			probing.Go(func() { h.probe(ctx, upstream) })
		case <-ctx.Done():
			return
		}
	}
}

// up are those that are not down, in their order.
func (h *health) up(upstreams []netip.AddrPort) []netip.AddrPort {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.suspected) == 0 {
		return upstreams
	}
	out := make([]netip.AddrPort, 0, len(upstreams))
	for _, u := range upstreams {
		s := h.suspected[u]
		if s != nil {
			s.asked = h.clock()
		}
		if s == nil || !s.down {
			out = append(out, u)
		}
	}
	return out
}

// suspect has an upstream that did not answer in time probed, until it does.
func (h *health) suspect(ctx context.Context, upstream netip.AddrPort) {
	h.mu.Lock()
	if h.suspected[upstream] != nil {
		h.mu.Unlock()
		return
	}
	h.suspected[upstream] = &suspicion{asked: h.clock()}
	h.mu.Unlock()
	select {
	case h.suspects <- upstream:
	case <-ctx.Done():
		h.mu.Lock()
		delete(h.suspected, upstream)
		h.mu.Unlock()
	}
}

func (h *health) probe(ctx context.Context, upstream netip.AddrPort) {
	for {
		attempt, cancel := context.WithTimeout(ctx, probeLimit)
		_, err := h.exchange(attempt, "udp", question{name: ".", qtype: dns.TypeNS}.message(true), upstream)
		cancel()
		// One that refuses at once makes nobody wait.
		if done := h.conclude(upstream, err != nil && isTimeout(err)); done || ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(probeInterval)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// conclude notes what a probe found and says whether there is nothing more to
// find out.
func (h *health) conclude(upstream netip.AddrPort, silent bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.suspected[upstream]
	switch {
	case !silent:
		if s.down {
			h.logger.Info("upstream answers again", "upstream", upstream)
		}
	case h.clock().Sub(s.asked) > probeFor:
	default:
		if !s.down {
			h.logger.Warn("upstream does not answer", "upstream", upstream)
		}
		s.down = true
		return false
	}
	delete(h.suspected, upstream)
	return true
}

// status are the suspected upstreams, by address.
func (h *health) status() []UpstreamStatus {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []UpstreamStatus
	for upstream, s := range h.suspected {
		out = append(out, UpstreamStatus{upstream, s.down})
	}
	slices.SortFunc(out, func(a, b UpstreamStatus) int {
		return cmp.Or(a.Address.Addr().Compare(b.Address.Addr()), cmp.Compare(a.Address.Port(), b.Address.Port()))
	})
	return out
}
