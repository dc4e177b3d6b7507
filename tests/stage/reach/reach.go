// Package reach has endpoints of a cluster talk to each other as their programs
// would: over real connections, from inside the containers' own networks.
//
// Rules of the package:
//
//   - Nothing here decides whether a packet may pass; it says whether an
//     exchange was whole, and why not.
//   - Every call has a deadline of its own: what is lost is lost.
package reach

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// patience is how long one exchange may take on a busy machine.
const patience = 2 * time.Second

// exchanges makes payloads differ, so that an answer to one is not taken for
// that to another.
var exchanges atomic.Uint64

// Plaintext is in every payload that has room for it: who finds it has read what
// a container said.
const Plaintext = "said by one container to another;"

func payload(size int) []byte {
	data := make([]byte, size)
	binary.BigEndian.PutUint64(data, exchanges.Add(1))
	for i := 8; i < size; i++ {
		data[i] = Plaintext[i%len(Plaintext)]
	}
	return data
}

// TCP sends so many bytes over a connection and wants them back.
func TCP(ctx context.Context, from rig.NetNS, to netip.AddrPort, size int) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := from.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return fmt.Errorf("tcp: %w", err)
	}
	sent := payload(size)
	written := make(chan error, 1)
	go func() { // ended by the deadline
		_, err := conn.Write(sent)
		written <- err
	}()
	got := make([]byte, size)
	_, err = io.ReadFull(conn, got)
	if err := errors.Join(err, <-written); err != nil {
		return fmt.Errorf("tcp, %d bytes: %w", size, err)
	}
	if !bytes.Equal(sent, got) {
		return fmt.Errorf("tcp, %d bytes: another answer than what was sent", size)
	}
	return nil
}

// attempts of an exchange by UDP, which may lose a datagram on a busy machine.
const attempts = 3

// UDP sends one datagram and wants it back. With whole it must not be fragmented.
func UDP(ctx context.Context, from rig.NetNS, to netip.AddrPort, size int, whole bool) error {
	conn, err := from.DialContext(ctx, "udp4", to.String())
	if err != nil {
		return fmt.Errorf("udp: %w", err)
	}
	defer conn.Close()
	if whole {
		if err := neverFragment(conn); err != nil {
			return err
		}
	}
	for range attempts {
		if err = echo(conn, size); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("udp, %d bytes, %d times: %w", size, attempts, err)
}

func echo(conn net.Conn, size int) error {
	sent, got := payload(size), make([]byte, 1<<16)
	if err := conn.SetDeadline(time.Now().Add(patience / 2)); err != nil {
		return err
	}
	if _, err := conn.Write(sent); err != nil {
		return err
	}
	for {
		n, err := conn.Read(got)
		if err != nil {
			return err
		}
		if bytes.Equal(got[:n], sent) {
			return nil // others are late answers
		}
	}
}

func neverFragment(conn net.Conn) error {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("udp: %T", conn)
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
	})
	return errors.Join(err, set)
}

// Ping wants an echo by ICMP.
func Ping(ctx context.Context, from rig.NetNS, to netip.Addr) error {
	conn, err := from.DialContext(ctx, "ip4:icmp", to.String())
	if err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	defer conn.Close()
	for range attempts {
		if err = pingOnce(conn); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return fmt.Errorf("ping, %d times: %w", attempts, err)
}

// pingOnce sends an echo request (RFC 792) with an identifier of its own.
func pingOnce(conn net.Conn) error {
	request := append([]byte{8, 0, 0, 0}, payload(32)...)
	var sum uint32
	for i := 0; i < len(request); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(request[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(request[2:], ^uint16(sum+sum>>16))
	if err := conn.SetDeadline(time.Now().Add(patience / 2)); err != nil {
		return err
	}
	if _, err := conn.Write(request); err != nil {
		return err
	}
	got := make([]byte, 1<<12)
	for {
		n, err := conn.Read(got)
		if err != nil {
			return err
		}
		// The IP header comes with it; type 0 is the reply.
		if n >= 20+len(request) && got[20] == 0 && bytes.Equal(got[24:n], request[4:]) {
			return nil
		}
	}
}

// MTU is that of the link in the namespace that has the address.
func MTU(ns rig.NetNS, address netip.Addr) (mtu int, err error) {
	err = ns.Do(func() error {
		links, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, link := range links {
			addresses, err := link.Addrs()
			if err != nil {
				return err
			}
			if slices.ContainsFunc(addresses, func(a net.Addr) bool {
				prefix, err := netip.ParsePrefix(a.String())
				return err == nil && prefix.Addr() == address
			}) {
				mtu = link.MTU
				return nil
			}
		}
		return fmt.Errorf("no link has %s", address)
	})
	return mtu, err
}

// Embedded is the resolver that an engine gives its containers.
var Embedded = netip.MustParseAddrPort("127.0.0.11:53")

// Ask asks a resolver once, over "udp" or "tcp".
func Ask(ctx context.Context, from rig.NetNS, network string, server netip.AddrPort, name string, kind uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := from.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", server, name, err)
	}
	defer conn.Close()
	question := new(dns.Msg).SetQuestion(dns.Fqdn(name), kind)
	answer, _, err := (&dns.Client{Net: network, Timeout: patience}).ExchangeWithConnContext(ctx, question, &dns.Conn{Conn: conn})
	if err != nil {
		return nil, fmt.Errorf("ask %s for %s: %w", server, name, err)
	}
	return answer, nil
}

// Resolve asks for IPv4 addresses and returns them sorted.
func Resolve(ctx context.Context, from rig.NetNS, server netip.AddrPort, name string) ([]netip.Addr, error) {
	answer, err := Ask(ctx, from, "udp", server, name, dns.TypeA)
	if err != nil {
		return nil, err
	}
	if answer.Rcode != dns.RcodeSuccess {
		return nil, fmt.Errorf("ask %s for %s: %s", server, name, dns.RcodeToString[answer.Rcode])
	}
	return Addresses(answer), nil
}

// Addresses are those of an answer, sorted.
func Addresses(answer *dns.Msg) []netip.Addr {
	var found []netip.Addr
	for _, record := range answer.Answer {
		if a, ok := record.(*dns.A); ok {
			if address, ok := netip.AddrFromSlice(a.A.To4()); ok {
				found = append(found, address)
			}
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return found
}

// Pair checks everything that one endpoint must be able to do with another over
// a network that both are on: by address, every protocol, packets as large as
// the network takes, and datagrams that are larger.
func Pair(ctx context.Context, from, to *stage.Endpoint, network string) error {
	address := to.Addresses[network]
	echo := netip.AddrPortFrom(address, stage.EchoPort)
	mtu, err := MTU(from.NetNS, from.Addresses[network])
	if err != nil {
		return fmt.Errorf("%s > %s: %w", from, to, err)
	}
	for _, exchange := range []func() error{
		func() error { return Ping(ctx, from.NetNS, address) },
		func() error { return TCP(ctx, from.NetNS, echo, 1<<17) },
		func() error { return UDP(ctx, from.NetNS, echo, 64, false) },
		// IPv4's header and UDP's take 28 bytes.
		func() error { return UDP(ctx, from.NetNS, echo, mtu-28, true) },
		func() error { return UDP(ctx, from.NetNS, echo, 65000, false) },
	} {
		if err := exchange(); err != nil {
			return fmt.Errorf("%s > %s at %s (%s, mtu %d): %w", from, to, address, network, mtu, err)
		}
	}
	return nil
}

// workers talk at once: two cores have no use for more.
const workers = 6

// All checks every pair that shares a network, and every name: each endpoint
// must find all endpoints of every service on its networks. The error tells all
// that failed.
func All(ctx context.Context, endpoints []*stage.Endpoint) error {
	var work []func() error
	for _, from := range endpoints {
		for _, to := range endpoints {
			for _, network := range from.Shared(to) {
				if from != to {
					work = append(work, func() error { return Pair(ctx, from, to, network) })
				}
			}
		}
		work = append(work, func() error { return Names(ctx, from, endpoints) })
	}
	return together(work)
}

func together(work []func() error) error {
	todo, done := make(chan func() error), make(chan error)
	for range workers {
		go func() { // ends with the work
			var errs error
			for do := range todo {
				errs = errors.Join(errs, do())
			}
			done <- errs
		}()
	}
	for _, do := range work {
		todo <- do
	}
	close(todo)
	var errs error
	for range workers {
		errs = errors.Join(errs, <-done)
	}
	return errs
}

// maxAnswers is how many endpoints of a service one answer has at most.
const maxAnswers = 8

// Names asks as an endpoint's program does, by the engine's resolver, for every
// service that it shares a network with.
func Names(ctx context.Context, from *stage.Endpoint, endpoints []*stage.Endpoint) error {
	want := map[string][]netip.Addr{}
	for _, to := range endpoints {
		shared := from.Shared(to)
		if len(shared) == 0 {
			continue
		}
		names := []string{to.Service + "." + to.Deployment}
		if to.Deployment == from.Deployment {
			names = append(names, to.Service)
		}
		for _, name := range names {
			for _, network := range shared {
				want[name] = append(want[name], to.Addresses[network])
			}
		}
	}
	for name, addresses := range want {
		got, err := Resolve(ctx, from.NetNS, Embedded, name)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		for _, address := range got {
			if !slices.Contains(addresses, address) {
				return fmt.Errorf("%s: %s is %v, of which %s is none of %v", from, name, got, address, addresses)
			}
		}
		if len(got) == 0 || len(addresses) <= maxAnswers && !sameService(got, addresses, from, endpoints) {
			return fmt.Errorf("%s: %s is %v, want one address of each of %v", from, name, got, addresses)
		}
	}
	return nil
}

// sameService says whether an answer names every endpoint that has one of the
// addresses, on some network.
func sameService(got, addresses []netip.Addr, from *stage.Endpoint, endpoints []*stage.Endpoint) bool {
	for _, to := range endpoints {
		wanted, named := false, false
		for _, network := range from.Shared(to) {
			wanted = wanted || slices.Contains(addresses, to.Addresses[network])
			named = named || slices.Contains(got, to.Addresses[network])
		}
		if wanted && !named {
			return false
		}
	}
	return true
}
