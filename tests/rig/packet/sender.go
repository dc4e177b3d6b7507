package packet

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/tests/rig"
)

// Sender sends packets from one namespace. It is safe for concurrent use.
type Sender struct {
	raw int // routed by the namespace, IPPROTO_RAW
	// frames is a packet socket on one link, -1 where there is none.
	frames, link int
}

// Open makes a sender whose packets go the way that the namespace routes them,
// whatever their source.
func Open(ns rig.NetNS) (*Sender, error) {
	s := &Sender{raw: -1, frames: -1}
	err := ns.Do(func() (err error) {
		s.raw, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open raw socket in %s: %w", ns, err)
	}
	return s, nil
}

// OpenLink makes a sender whose packets leave by a link, to a hardware address,
// whatever the namespace's routes say.
func OpenLink(ns rig.NetNS, name string) (*Sender, error) {
	s := &Sender{raw: -1, frames: -1}
	err := ns.Do(func() error {
		link, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		s.link = link.Index
		s.frames, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open packet socket on %s in %s: %w", name, ns, err)
	}
	return s, nil
}

// Close ends the sender.
func (s *Sender) Close() error {
	var errs error
	for _, fd := range []int{s.raw, s.frames} {
		if fd >= 0 {
			errs = errors.Join(errs, unix.Close(fd))
		}
	}
	return errs
}

// Send sends one packet. The kernel's refusal to send, by a rule or for want of
// a route, is an error; no error says nothing.
func (s *Sender) Send(p Packet) error {
	if err := unix.Sendto(s.raw, p.Bytes(), 0, &unix.SockaddrInet4{Addr: p.Destination.As4()}); err != nil {
		return fmt.Errorf("send %s to %s: %w", p.Protocol, p.Destination, err)
	}
	return nil
}

// SendTo sends one packet over the link to a hardware address.
func (s *Sender) SendTo(hardware net.HardwareAddr, p Packet) error {
	to := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: s.link, Halen: uint8(len(hardware))}
	copy(to.Addr[:], hardware)
	if err := unix.Sendto(s.frames, p.Bytes(), 0, to); err != nil {
		return fmt.Errorf("send %s to %s by %s: %w", p.Protocol, p.Destination, hardware, err)
	}
	return nil
}

// bigEndian puts a number into the order of the network, as these sockets want.
func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }
