package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// stagger is the head start of an upstream over the next.
	stagger = 100 * time.Millisecond
	// firstTry and secondTry are how long one upstream is waited for: a lost
	// packet costs one second. Together they are less than what the engine's own
	// resolver waits for us, 4 s.
	firstTry  = time.Second
	secondTry = 2 * time.Second
)

// errMismatch is an answer to something else.
var errMismatch = errors.New("the answer is to another question")

// exchange asks one upstream once, over "udp" or "tcp". It ends with ctx.
type exchange func(ctx context.Context, protocol string, m *dns.Msg, upstream netip.AddrPort) (*dns.Msg, error)

// forwarder asks upstreams. A question that is being asked already is not asked
// again, which also ends a circle that withoutCircles did not see.
type forwarder struct {
	exchange exchange
	cache    *cache
	health   *health
	waiting  *limiter

	mu      sync.Mutex // guards flights
	flights map[question]*flight
}

// question is what answers are shared by.
type question struct {
	name      string // lower case, with the last dot
	qtype     uint16
	dnssec    bool   // the client wants signatures
	unchecked bool   // the client checks them itself
	upstreams string // in their order
}

// flight is a question that is being asked.
type flight struct {
	done   chan struct{} // closed when the fields below are set
	answer *dns.Msg
	// abandoned says that it ended with the listener of who asked first, which
	// says nothing to those that wait on others.
	abandoned bool
}

// ask returns the answer of the first upstream that has one; the last refusal
// when none has; nil without any. Answers are shared: they are not changed.
func (f *forwarder) ask(ctx context.Context, request *dns.Msg, upstreams []netip.AddrPort, source netip.Addr) *dns.Msg {
	q := questionOf(request, upstreams)
	if answer := f.cache.get(q); answer != nil {
		return answer
	}
	release, ok := f.waiting.take(source)
	if !ok {
		return nil
	}
	defer release()
	for ctx.Err() == nil {
		own, running := f.join(q)
		if own {
			return f.fly(ctx, q, running, upstreams)
		}
		select {
		case <-running.done:
			if !running.abandoned {
				return running.answer
			}
		case <-ctx.Done():
		}
	}
	return nil
}

// join finds the flight of a question, or begins one that is the caller's own.
func (f *forwarder) join(q question) (own bool, running *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if running := f.flights[q]; running != nil {
		return false, running
	}
	running = &flight{done: make(chan struct{})}
	f.flights[q] = running
	return true, running
}

// fly asks for all that joined.
func (f *forwarder) fly(ctx context.Context, q question, own *flight, upstreams []netip.AddrPort) *dns.Msg {
	own.answer = f.race(ctx, q, upstreams)
	own.abandoned = own.answer == nil && ctx.Err() != nil
	if own.answer != nil {
		f.cache.put(q, own.answer)
	}
	f.mu.Lock()
	delete(f.flights, q)
	f.mu.Unlock()
	close(own.done)
	return own.answer
}

func questionOf(request *dns.Msg, upstreams []netip.AddrPort) question {
	q := question{
		name: strings.ToLower(request.Question[0].Name), qtype: request.Question[0].Qtype,
		unchecked: request.CheckingDisabled,
	}
	if opt := request.IsEdns0(); opt != nil {
		q.dnssec = opt.Do()
	}
	if len(upstreams) == 1 {
		q.upstreams = upstreams[0].String()
	} else {
		q.upstreams = fmt.Sprint(upstreams)
	}
	return q
}

// message is the question as upstreams get it, whatever else the client sent.
func (q question) message(edns bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(q.name, q.qtype)
	m.CheckingDisabled = q.unchecked
	if edns {
		m.SetEdns0(maxUDP, q.dnssec)
	}
	return m
}

// race asks one upstream after the other, each with a head start of stagger,
// the next at once when one fails.
func (f *forwarder) race(ctx context.Context, q question, upstreams []netip.AddrPort) *dns.Msg {
	upstreams = f.health.up(upstreams)
	if len(upstreams) == 0 {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan *dns.Msg, len(upstreams))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	next, running := 0, 0
	start := func() {
		upstream := upstreams[next]
		next++
		running++
		asking.Go(func() { results <- f.try(ctx, q, upstream) })
	}
	start()
	head := time.NewTimer(stagger)
	defer head.Stop()
	var refusal *dns.Msg
	for running > 0 {
		select {
		case answer := <-results:
			running--
			if answer != nil && isAnswer(answer) {
				return answer
			}
			if answer != nil {
				refusal = answer
			}
			if next < len(upstreams) {
				start()
			}
		case <-head.C:
			if next < len(upstreams) {
				start()
				head.Reset(stagger)
			}
		}
	}
	return refusal
}

// isAnswer says whether the upstream knows: another may where it does not.
func isAnswer(m *dns.Msg) bool {
	return m.Rcode == dns.RcodeSuccess || m.Rcode == dns.RcodeNameError
}

// try asks one upstream, again when nothing comes back, over TCP when the
// answer is too long for UDP, and without EDNS when it does not know that.
func (f *forwarder) try(ctx context.Context, q question, upstream netip.AddrPort) *dns.Msg {
	edns := true
	for _, limit := range []time.Duration{firstTry, secondTry} {
		answer, err := f.once(ctx, "udp", q.message(edns), upstream, limit)
		if err == nil && edns && (answer.Rcode == dns.RcodeFormatError || answer.Rcode == dns.RcodeNotImplemented) {
			edns = false
			answer, err = f.once(ctx, "udp", q.message(edns), upstream, limit)
		}
		switch {
		case err == nil && answer.Truncated:
			if whole, err := f.once(ctx, "tcp", q.message(edns), upstream, secondTry); err == nil {
				return whole
			}
			return answer
		case err == nil:
			return answer
		case ctx.Err() != nil || !isTimeout(err):
			return nil
		}
		f.health.suspect(ctx, upstream)
	}
	return nil
}

func (f *forwarder) once(ctx context.Context, protocol string, m *dns.Msg, upstream netip.AddrPort, limit time.Duration) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	answer, err := f.exchange(ctx, protocol, m, upstream)
	if err != nil {
		return nil, err
	}
	// What EDNS said is between us and the upstream.
	answer.Extra = slices.DeleteFunc(answer.Extra, func(rr dns.RR) bool { return rr.Header().Rrtype == dns.TypeOPT })
	return answer, nil
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout()
}

// exchangeSockets is the exchange over real sockets, a new one for each
// question, so that its port cannot be foretold.
func exchangeSockets(ctx context.Context, protocol string, m *dns.Msg, upstream netip.AddrPort) (*dns.Msg, error) {
	raw, err := new(net.Dialer).DialContext(ctx, protocol, upstream.String())
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", upstream, err)
	}
	conn := &dns.Conn{Conn: raw, UDPSize: maxUDP}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.WriteMsg(m); err != nil {
		return nil, fmt.Errorf("ask %s: %w", upstream, err)
	}
	for {
		answer, err := conn.ReadMsg()
		if err == nil && answers(answer, m) {
			return answer, nil
		}
		var network net.Error
		switch {
		case err == nil && protocol == "tcp":
			return nil, fmt.Errorf("ask %s: %w", upstream, errMismatch)
		case err != nil && (protocol == "tcp" || errors.As(err, &network)):
			return nil, fmt.Errorf("ask %s: %w", upstream, err)
		}
		// A stray or forged packet: the answer may still come.
	}
}

// answers says whether a is an answer to m.
func answers(a, m *dns.Msg) bool {
	if !a.Response || a.Id != m.Id {
		return false
	}
	if len(a.Question) == 0 {
		return a.Rcode == dns.RcodeFormatError || a.Rcode == dns.RcodeNotImplemented
	}
	q, want := a.Question[0], m.Question[0]
	return strings.EqualFold(q.Name, want.Name) && q.Qtype == want.Qtype && q.Qclass == want.Qclass
}
