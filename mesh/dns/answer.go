package dns

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	// ttl is how long a client may keep an answer, in seconds. The scheduler
	// waits as long before it stops a replica.
	ttl = 2
	// maxAnswers bounds the endpoints in an answer: eight fit into 512 bytes.
	maxAnswers = 8
	// maxUDP bounds an answer over UDP, bytes: what passes every path unfragmented
	// (dnsflagday.net/2020).
	maxUDP = 1232
	// unknownWait is how long a name waits for a client to become known: a
	// container asks before its address has been through the cluster's state.
	unknownWait = time.Second
)

// asked is a query with where it came from.
type asked struct {
	request  *dns.Msg
	source   netip.Addr
	listener netip.Addr
}

// respond answers one message. Those that cannot be parsed do not come here:
// the library has answered them with FORMERR. What is forwarded ends with ctx.
func (s *Server) respond(ctx context.Context, w dns.ResponseWriter, request *dns.Msg, listener netip.Addr) {
	reply := s.answer(ctx, asked{request, sourceOf(w.RemoteAddr()), listener})
	limit := dns.MaxMsgSize
	if _, ok := w.RemoteAddr().(*net.UDPAddr); ok {
		limit = udpLimit(request)
	}
	finish(reply, request, limit)
	// An error is the client's that has gone.
	_ = w.WriteMsg(reply)
}

// answer is the reply to a query, without EDNS and of any size.
func (s *Server) answer(ctx context.Context, a asked) *dns.Msg {
	reply := new(dns.Msg)
	reply.SetReply(a.request)
	reply.RecursionAvailable = true
	if rcode := refusal(a.request); rcode != dns.RcodeSuccess {
		reply.Rcode = rcode
		return reply
	}
	name := strings.ToLower(strings.TrimSuffix(a.request.Question[0].Name, "."))
	t := s.table.Load()
	c := t.client(a.source, a.listener)
	answered := s.own(reply, c, name)
	if !answered && a.source != a.listener && c.mayBecomeKnown(name) {
		t, c = s.known(ctx, t, c, a)
		answered = s.own(reply, c, name)
	}
	if !answered {
		s.forward(ctx, reply, t, c, a)
	}
	return reply
}

// refusal is the code for what is not answered at all.
func refusal(request *dns.Msg) int {
	switch {
	case request.Opcode != dns.OpcodeQuery:
		return dns.RcodeNotImplemented
	case len(request.Question) != 1:
		return dns.RcodeFormatError
	case request.Question[0].Qclass != dns.ClassINET:
		return dns.RcodeRefused
	}
	switch request.Question[0].Qtype {
	case dns.TypeAXFR, dns.TypeIXFR:
		return dns.RcodeRefused
	}
	if opt := request.IsEdns0(); opt != nil && opt.Version() != 0 {
		return dns.RcodeBadVers
	}
	return dns.RcodeSuccess
}

// own answers a name of the mesh and says whether it is one.
func (s *Server) own(reply *dns.Msg, c *client, name string) bool {
	q := reply.Question[0]
	if address, ok := cutReverse(name); ok {
		full, ok := c.owner(address)
		if !ok {
			return false
		}
		reply.Authoritative = true
		if q.Qtype == dns.TypePTR {
			reply.Answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: full}}
		}
		return true
	}
	f := c.lookup(name)
	port, service, isPort := cutPort(name)
	if isPort = isPort && !f.known && !f.unsure; isPort {
		f = c.lookup(service)
	}
	switch {
	case f.unsure:
		reply.Rcode = dns.RcodeServerFailure // to be asked again
	case !f.known:
		return false
	case f.group == nil:
	case isPort && q.Qtype == dns.TypeSRV:
		s.addServices(reply, f.group, port)
	case !isPort && q.Qtype == dns.TypeA:
		s.addAddresses(reply, f.group)
	}
	reply.Authoritative = !f.unsure
	return true
}

// choose takes at most maxAnswers endpoints, local ones first, each part from a
// random place on.
func (s *Server) choose(g *group) []endpoint {
	out := make([]endpoint, 0, maxAnswers)
	for _, part := range [2][]endpoint{g.local, g.remote} {
		if len(part) == 0 {
			continue
		}
		start := 0
		if len(part) > 1 {
			start = s.options.Random(len(part))
		}
		for i := 0; i < len(part) && len(out) < maxAnswers; i++ {
			out = append(out, part[(start+i)%len(part)])
		}
	}
	return out
}

func (s *Server) addAddresses(reply *dns.Msg, g *group) {
	name := reply.Question[0].Name
	chosen := s.choose(g)
	records := make([]dns.A, len(chosen)) // one allocation for all
	reply.Answer = make([]dns.RR, len(chosen))
	for i, e := range chosen {
		records[i] = dns.A{Hdr: header(name, dns.TypeA), A: e.address.AsSlice()}
		reply.Answer[i] = &records[i]
	}
}

// addServices adds one SRV record for each slot, and the addresses beside them.
// All have one priority: clients spread over them.
func (s *Server) addServices(reply *dns.Msg, g *group, port uint16) {
	name := reply.Question[0].Name
	seen := map[string]bool{}
	for _, e := range s.choose(g) {
		reply.Extra = append(reply.Extra, &dns.A{Hdr: header(e.name, dns.TypeA), A: e.address.AsSlice()})
		if !seen[e.name] {
			seen[e.name] = true
			reply.Answer = append(reply.Answer, &dns.SRV{Hdr: header(name, dns.TypeSRV), Port: port, Target: e.name})
		}
	}
}

func header(name string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: rrtype, Class: dns.ClassINET, Ttl: ttl}
}

// known waits until the client is known, for unknownWait at most, and returns
// the newest table with what it says of the client.
func (s *Server) known(ctx context.Context, t *table, c *client, a asked) (*table, *client) {
	release, ok := s.waiting.take(a.source)
	if !ok {
		return t, c
	}
	defer release()
	timer := time.NewTimer(unknownWait)
	defer timer.Stop()
	for !c.known {
		select {
		case <-t.replaced:
			t = s.table.Load()
			c = t.client(a.source, a.listener)
		case <-timer.C:
			return t, c
		case <-ctx.Done():
			return t, c
		}
	}
	return t, c
}

// forward fills the reply with what an upstream says.
func (s *Server) forward(ctx context.Context, reply *dns.Msg, t *table, c *client, a asked) {
	if c.confined {
		reply.Rcode = dns.RcodeRefused
		return
	}
	reply.Rcode = dns.RcodeServerFailure
	upstreams := c.upstreams
	if upstreams == nil {
		upstreams = t.upstreams
	}
	if len(upstreams) == 0 && c.upstreams == nil {
		upstreams = s.resolvConf.upstreams()
	}
	upstreams = s.withoutCircles(t, upstreams, a.source)
	if len(upstreams) == 0 {
		return
	}
	answer := s.forwarder.ask(ctx, a.request, upstreams, a.source)
	if answer == nil {
		return
	}
	reply.Rcode, reply.AuthenticatedData, reply.Truncated = answer.Rcode, answer.AuthenticatedData, answer.Truncated
	reply.Answer, reply.Ns, reply.Extra = answer.Answer, answer.Ns, answer.Extra
}

// udpLimit is what the client takes over UDP, in bytes.
func udpLimit(request *dns.Msg) int {
	if opt := request.IsEdns0(); opt != nil {
		return min(max(int(opt.UDPSize()), dns.MinMsgSize), maxUDP)
	}
	return dns.MinMsgSize
}

// finish adds EDNS where the client has it, and cuts the reply to size: what
// does not fit is asked for over TCP.
func finish(reply, request *dns.Msg, limit int) {
	if opt := request.IsEdns0(); opt != nil {
		own := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		own.SetUDPSize(maxUDP)
		if opt.Do() {
			own.SetDo()
		}
		reply.Extra = append(reply.Extra[:len(reply.Extra):len(reply.Extra)], own)
	}
	reply.Truncate(limit)
}

func sourceOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
