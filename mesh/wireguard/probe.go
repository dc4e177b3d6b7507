package wireguard

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Target is a peer to probe.
type Target struct {
	Name    string
	Address netip.Addr // in the mesh
}

// Finding is what a round of probes found of one peer.
type Finding struct {
	Name    string
	Address netip.Addr
	// Lost says that not even small packets were answered; the rest is zero then.
	Lost bool
	// RTT is the round trip of a small packet.
	RTT time.Duration
	// MTU is the largest size, bytes with the IP header, that came back unbroken.
	MTU int
}

// Problem is for people: what is wrong with a peer that should take packets of
// mtu bytes, "" when nothing is.
func (f *Finding) Problem(mtu int) string {
	switch {
	case f.Lost:
		return f.Name + ": no packet comes back over the mesh (is WireGuard's UDP port let through both ways?)"
	case f.MTU < mtu:
		return fmt.Sprintf("%s: packets of %d bytes are lost, those of %d pass; set wireguard.mtu to %d on all nodes", f.Name, mtu, f.MTU, f.MTU)
	}
	return ""
}

// Prober asks peers for echoes over the mesh interface. It needs the right
// CAP_NET_RAW.
type Prober struct {
	// Interface is the mesh interface: no probe leaves by another.
	Interface string
}

// Times of a round.
const (
	// probeTimeout is how long an answer may take, probeRetry after what time
	// without one a probe is repeated: one lost packet is no broken pair.
	probeTimeout = time.Second
	probeRetry   = 300 * time.Millisecond
	// So many probes go at once, then none for probePause: the queue of a tun
	// holds 500 packets.
	probeBurst = 64
	probePause = 2 * time.Millisecond
)

const (
	smallProbe  = 64          // bytes, with the IP header
	echoHeaders = 20 + 8      // of IPv4 without options and of ICMP
	cookieSize  = 8 + 4 + 1   // what tells our probes apart: cookie, index, attempt
	icmpFilter  = 1           // ICMP_FILTER of linux/icmp.h
	onlyReplies = ^int32(1)   // as its bits say what is kept out: all but type 0
	echoBuffer  = 4 << 20     // bytes of answers that may wait
	largestEcho = 1<<16 - 1   // an IPv4 packet
	attempts    = 3           // of each probe
	noDelay     = time.Second // of a deadline in the past
)

// ladder are the sizes tried with a peer that loses full ones: what remains of
// 1500 after one more PPPoE, GRE, VXLAN, IPsec or WireGuard, the least of IPv6,
// and coarser below. They rise, as UDP offload could send a packet and smaller
// ones after it as one, which takes ways that the packet alone does not.
func ladder(mtu int) []int {
	var sizes []int
	for _, size := range []int{minMTU, 1000, 1200, 1280, 1340, 1370, 1380, 1396, 1412} {
		if size < mtu {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// echo is one probe.
type echo struct {
	target *Target
	size   int
	sent   [attempts]time.Time
	rtt    time.Duration // of the answer that came first
	passed bool
}

// Round probes all targets at once with small and with full-size packets that
// must not be broken up. It takes one probeTimeout at most, two when a peer
// loses full-size ones and smaller sizes are tried. Findings are in the order of
// targets. mtu is that of the interface.
func (p *Prober) Round(ctx context.Context, targets []Target, mtu int) (findings []Finding, err error) {
	if len(targets) == 0 {
		return nil, nil
	}
	socket, err := p.listen(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, socket.Close()) }()
	echoes := make([]*echo, 0, 2*len(targets))
	for i := range targets {
		echoes = append(echoes, &echo{target: &targets[i], size: min(smallProbe, mtu)}, &echo{target: &targets[i], size: mtu})
	}
	if err := exchange(ctx, socket, echoes); err != nil {
		return nil, err
	}
	findings = make([]Finding, len(targets))
	var more []*echo
	var of []int // index of the finding of each of more
	for i := range targets {
		small, full := echoes[2*i], echoes[2*i+1]
		f := &findings[i]
		*f = Finding{Name: targets[i].Name, Address: targets[i].Address, Lost: !small.passed && !full.passed}
		switch {
		case full.passed:
			f.RTT, f.MTU = full.rtt, mtu
			if small.passed {
				f.RTT = small.rtt
			}
		case small.passed:
			f.RTT, f.MTU = small.rtt, small.size
			for _, size := range ladder(mtu) {
				more, of = append(more, &echo{target: &targets[i], size: size}), append(of, i)
			}
		}
	}
	if err := exchange(ctx, socket, more); err != nil {
		return nil, err
	}
	for j, e := range more {
		if f := &findings[of[j]]; e.passed {
			f.MTU = max(f.MTU, e.size)
		}
	}
	return findings, nil
}

// listen opens a raw socket that sends by the interface only and sets the
// don't-fragment bit, whatever the kernel believes of the path
// (IP_PMTUDISC_PROBE, ip(7)).
func (p *Prober) listen(ctx context.Context) (net.PacketConn, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var errs error
		err := c.Control(func(fd uintptr) {
			s := int(fd)
			errs = errors.Join(
				unix.BindToDevice(s, p.Interface),
				unix.SetsockoptInt(s, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE),
				unix.SetsockoptInt(s, unix.SOL_RAW, icmpFilter, int(onlyReplies)),
				unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, echoBuffer),
			)
		})
		return errors.Join(err, errs)
	}}
	socket, err := config.ListenPacket(ctx, "ip4:icmp", "0.0.0.0")
	if err != nil {
		return nil, fmt.Errorf("open socket for probes on %s: %w", p.Interface, err)
	}
	return socket, nil
}

// exchange sends echoes, repeats those without an answer, and returns when all
// are answered or the time is up.
func exchange(ctx context.Context, socket net.PacketConn, echoes []*echo) error {
	if len(echoes) == 0 {
		return nil
	}
	x := &exchanged{echoes: echoes, missing: len(echoes), all: make(chan struct{})}
	if _, err := rand.Read(x.cookie[:]); err != nil {
		return fmt.Errorf("make probes: %w", err)
	}
	if err := socket.SetReadDeadline(time.Time{}); err != nil {
		return fmt.Errorf("wait for probes: %w", err)
	}
	var tasks sync.WaitGroup
	defer tasks.Wait()
	defer socket.SetReadDeadline(time.Now().Add(-noDelay)) //nolint:errcheck // it fails only on a closed socket, which ends the reader, too
	tasks.Go(func() { x.receive(socket) })
	end := time.NewTimer(probeTimeout)
	defer end.Stop()
	again := time.NewTicker(probeRetry)
	defer again.Stop()
	for attempt := range attempts {
		if err := x.send(ctx, socket, attempt); err != nil {
			return err
		}
		next := again.C
		if attempt == attempts-1 {
			next = nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-x.all:
			return nil
		case <-end.C:
			return nil
		case <-next:
		}
	}
	return nil
}

// exchanged is an exchange at work.
type exchanged struct {
	cookie [8]byte
	all    chan struct{} // closed when every echo was answered

	mu      sync.Mutex // guards the fields below and those of the echoes
	echoes  []*echo
	missing int
}

// send sends what is not answered yet. A packet that the interface does not
// take counts as lost.
func (x *exchanged) send(ctx context.Context, socket net.PacketConn, attempt int) error {
	pause := time.NewTicker(probePause)
	defer pause.Stop()
	count := 0
	for i, e := range x.echoes {
		x.mu.Lock()
		passed := e.passed
		e.sent[attempt] = time.Now()
		x.mu.Unlock()
		if passed {
			continue
		}
		packet, err := x.packet(i, attempt, e.size)
		if err != nil {
			return err
		}
		_, err = socket.WriteTo(packet, &net.IPAddr{IP: e.target.Address.AsSlice()})
		if errors.Is(err, net.ErrClosed) || errors.Is(err, unix.EPERM) {
			return fmt.Errorf("send probe: %w", err)
		}
		if count++; count%probeBurst == 0 {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-pause.C:
			}
		}
	}
	return nil
}

func (x *exchanged) packet(index, attempt, size int) ([]byte, error) {
	data := make([]byte, max(size-echoHeaders, cookieSize))
	copy(data, x.cookie[:])
	binary.BigEndian.PutUint32(data[8:], uint32(index))
	data[12] = byte(attempt)
	message := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{
		ID: int(binary.BigEndian.Uint16(x.cookie[:2])), Seq: index & 0xffff, Data: data,
	}}
	packet, err := message.Marshal(nil)
	if err != nil {
		return nil, fmt.Errorf("make probe: %w", err)
	}
	return packet, nil
}

// receive takes answers until the socket's deadline.
func (x *exchanged) receive(socket net.PacketConn) {
	buffer := make([]byte, largestEcho)
	for {
		n, from, err := socket.ReadFrom(buffer)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an error message about a packet sent earlier
		}
		now := time.Now()
		message, err := icmp.ParseMessage(unix.IPPROTO_ICMP, buffer[:n])
		if err != nil || message.Type != ipv4.ICMPTypeEchoReply {
			continue
		}
		body, ok := message.Body.(*icmp.Echo)
		if address, isIP := from.(*net.IPAddr); ok && isIP {
			x.take(body.Data, n+echoHeaders-8, address.IP, now)
		}
	}
}

// take notes an answer of so many bytes. A raw socket hears those to all
// programs; ours come from where they were sent to, as long as they were.
func (x *exchanged) take(data []byte, size int, from net.IP, now time.Time) {
	if len(data) < cookieSize || [8]byte(data) != x.cookie {
		return
	}
	index, attempt := int(binary.BigEndian.Uint32(data[8:])), int(data[12])
	x.mu.Lock()
	defer x.mu.Unlock()
	if index >= len(x.echoes) || attempt >= attempts {
		return
	}
	e := x.echoes[index]
	address, _ := netip.AddrFromSlice(from)
	if e.passed || size != e.size || address.Unmap() != e.target.Address || e.sent[attempt].IsZero() {
		return
	}
	e.passed, e.rtt = true, now.Sub(e.sent[attempt])
	if x.missing--; x.missing == 0 {
		close(x.all)
	}
}
