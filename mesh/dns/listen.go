package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/netutil"
	"golang.org/x/sys/unix"
)

const (
	// bindRetry and bindRetryMax are the pauses before another attempt to bind,
	// doubling from the first to the last.
	bindRetry    = 20 * time.Millisecond
	bindRetryMax = time.Second
	// maxConnections bounds the TCP connections of one listener. Idle ones end
	// after 8 s (the library's).
	maxConnections = 128
	// shutdownLimit bounds the wait for queries that are being answered.
	shutdownLimit = 2 * time.Second
)

// keep serves one address until ctx ends, and tries again when it cannot.
func (s *Server) keep(ctx context.Context, address netip.Addr) {
	pause := bindRetry
	for {
		err := s.serve(ctx, address, func() {
			pause = bindRetry
			s.note(address, ListenerStatus{Serving: true})
		})
		if ctx.Err() != nil {
			s.forget(address)
			return
		}
		s.note(address, ListenerStatus{Problem: err.Error()})
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			s.forget(address)
			return
		}
		pause = min(2*pause, bindRetryMax)
	}
}

// note remembers how a listener is, and says so in the log when that is news.
func (s *Server) note(address netip.Addr, l ListenerStatus) {
	s.mu.Lock()
	news := s.status[address] != l
	s.status[address] = l
	s.mu.Unlock()
	switch {
	case !news:
	case l.Serving:
		s.options.Logger.Info("listening", "address", address)
	default:
		s.options.Logger.Warn("not listening", "address", address, "reason", l.Problem)
	}
}

func (s *Server) forget(address netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.status, address)
}

// serve listens on both protocols, calls started once it does, and returns when
// one fails or ctx ends.
func (s *Server) serve(ctx context.Context, address netip.Addr, started func()) error {
	packets, stream, err := s.bind(ctx, address)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	h := dns.HandlerFunc(func(w dns.ResponseWriter, request *dns.Msg) { s.respond(ctx, w, request, address) })
	up, ended := make(chan struct{}, 2), make(chan error, 2)
	servers := []*dns.Server{
		{PacketConn: packets, Handler: h, UDPSize: maxUDP},
		{Listener: netutil.LimitListener(stream, maxConnections), Handler: h},
	}
	for _, server := range servers {
		server.NotifyStartedFunc = func() { up <- struct{}{} }
		go func() { ended <- server.ActivateAndServe() }()
	}
	running := len(servers)
	err = nil
	for range servers {
		select {
		case <-up:
		case err = <-ended:
			running--
		}
	}
	if err == nil && running == len(servers) {
		started()
		select {
		case err = <-ended:
			running--
		case <-ctx.Done():
		}
	}
	cancel()
	limit, done := context.WithTimeout(context.WithoutCancel(ctx), shutdownLimit)
	defer done()
	for _, server := range servers {
		// One that has ended says that it was not started.
		_ = server.ShutdownContext(limit)
	}
	// Those that ended have closed their sockets themselves.
	_, _ = packets.Close(), stream.Close()
	for range running {
		err = cmp.Or(err, <-ended)
	}
	err = cmp.Or(err, net.ErrClosed)
	return fmt.Errorf("serve %s: %w", address, err)
}

// bind opens both sockets. IP_FREEBIND lets it happen before the bridge has the
// address (ip(7)), and lets them stay while it is made anew.
func (s *Server) bind(ctx context.Context, address netip.Addr) (net.PacketConn, net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var set error
		if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_FREEBIND, 1) }); err != nil {
			return fmt.Errorf("reach the socket: %w", err)
		}
		if set != nil {
			return fmt.Errorf("set IP_FREEBIND: %w", set)
		}
		return nil
	}}
	at := netip.AddrPortFrom(address, s.options.Port)
	packets, err := config.ListenPacket(ctx, "udp", at.String())
	if err != nil {
		return nil, nil, bindProblem("udp", at, err)
	}
	stream, err := config.Listen(ctx, "tcp", at.String())
	if err != nil {
		return nil, nil, errors.Join(bindProblem("tcp", at, err), packets.Close())
	}
	return packets, stream, nil
}

// bindProblem names who has the address, where that can be seen.
func bindProblem(protocol string, at netip.AddrPort, err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%s %s: address in use by %s: %w", protocol, at, holder("/proc", protocol, at), err)
	}
	return fmt.Errorf("listen on %s %s: %w", protocol, at, err)
}
