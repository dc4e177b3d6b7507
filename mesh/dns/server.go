package dns

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Server answers as the last Config says. All methods are safe for concurrent
// use.
type Server struct {
	options    Options
	table      atomic.Pointer[table]
	resolvConf *resolvConf
	forwarder  *forwarder
	waiting    *limiter
	changed    chan struct{} // a table with other listeners, perhaps

	mu     sync.Mutex // guards status, and lets one Set at a time
	status map[netip.Addr]ListenerStatus
}

// New makes a server that knows nothing yet.
func New(o Options) *Server { return newServer(o, exchangeSockets) }

func newServer(o Options, ask exchange) *Server {
	o = o.withDefaults()
	s := &Server{
		options:    o,
		resolvConf: &resolvConf{path: o.ResolvConf, clock: o.Clock},
		waiting:    &limiter{by: map[netip.Addr]int{}},
		changed:    make(chan struct{}, 1),
		status:     map[netip.Addr]ListenerStatus{},
	}
	s.forwarder = &forwarder{
		exchange: ask, cache: newCache(o.Clock), waiting: s.waiting, flights: map[question]*flight{},
		health: newHealth(ask, o),
	}
	s.table.Store(newTable(Config{}))
	return s
}

// Set makes c what is answered, from the next query on. Listeners follow as
// soon as they can; those that stay are not disturbed. It keeps nothing of c.
func (s *Server) Set(c Config) {
	t := newTable(c)
	s.mu.Lock()
	old := s.table.Swap(t)
	s.mu.Unlock()
	close(old.replaced)
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// Run listens until ctx ends, which is no error. It is run once.
func (s *Server) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	running.Go(func() { s.forwarder.health.run(ctx) })
	stops := map[netip.Addr]context.CancelFunc{}
	for {
		wanted := s.table.Load().listeners
		for address, stop := range stops {
			if _, ok := wanted[address]; !ok {
				stop()
				delete(stops, address)
			}
		}
		for address := range wanted {
			if stops[address] == nil {
				own, stop := context.WithCancel(ctx)
				stops[address] = stop
				running.Go(func() { s.keep(own, address) })
			}
		}
		select {
		case <-s.changed:
		case <-ctx.Done():
			for _, stop := range stops {
				stop()
			}
			return nil
		}
	}
}

// Status is the state of every listener that the last Config names, and of the
// upstreams that were slow lately.
func (s *Server) Status() Status {
	var out Status
	s.mu.Lock()
	for address, network := range s.table.Load().listeners {
		l := s.status[address]
		if !l.Serving && l.Problem == "" {
			l.Problem = "not listening yet"
		}
		l.Address, l.Network = address, network
		out.Listeners = append(out.Listeners, l)
	}
	s.mu.Unlock()
	slices.SortFunc(out.Listeners, func(a, b ListenerStatus) int { return a.Address.Compare(b.Address) })
	out.Upstreams = s.forwarder.health.status()
	return out
}

// withoutCircles are the upstreams that may be asked for a client at source:
// never this server, and never on behalf of the upstream itself or of the node,
// whose resolver may have been told to ask here.
func (s *Server) withoutCircles(t *table, upstreams []netip.AddrPort, source netip.Addr) []netip.AddrPort {
	if _, ours := t.listeners[source]; ours {
		return nil
	}
	circular := func(u netip.AddrPort) bool {
		_, ours := t.listeners[u.Addr()]
		return ours && u.Port() == s.options.Port || u.Addr() == source
	}
	if !slices.ContainsFunc(upstreams, circular) {
		return upstreams
	}
	return slices.DeleteFunc(slices.Clone(upstreams), circular)
}
