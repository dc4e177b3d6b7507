package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/tests/rig"
)

// Arrival is one packet that came in.
type Arrival struct {
	At   time.Time // the kernel's
	Link int       // the index of the interface
	// EtherType is the frame's; what follows is for IPv4 alone.
	EtherType           uint16
	Protocol            Protocol
	Source, Destination netip.Addr
	// Ports are 0 for what has none, and for all but the first fragment.
	SourcePort, Port uint16
	Number           uint64 // of its marker; 0: it has none
	Size             int    // bytes, of the IP packet
	Data             []byte // the IP packet; valid during the call only
}

// String prints it for failures.
func (a Arrival) String() string {
	return fmt.Sprintf("%s %s %s:%d > %s:%d, %d bytes, number %d", a.At.Format("15:04:05.000"), a.Protocol, a.Source, a.SourcePort, a.Destination, a.Port, a.Size, a.Number)
}

// Tap watches a namespace.
type Tap struct {
	file    *os.File
	done    chan struct{}
	closing atomic.Bool

	mu     sync.Mutex // guards the fields below
	missed uint32
	err    error
}

// The kernel keeps so much of what a tap has not read yet. A burst of the whole
// mesh fits.
const tapBuffer = 32 << 20

// Listen calls see, from one goroutine, for every packet that comes in over a
// link of the namespace; loopback is none, and what leaves is not told. Links
// that are added later are watched too.
func Listen(ns rig.NetNS, see func(Arrival)) (*Tap, error) {
	fd := -1
	err := ns.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(bigEndian(unix.ETH_P_ALL)))
		if err != nil {
			return err
		}
		return errors.Join(
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, tapBuffer),
			unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1),
		)
	})
	if err != nil {
		if fd >= 0 {
			err = errors.Join(err, unix.Close(fd))
		}
		return nil, fmt.Errorf("watch %s: %w", ns, err)
	}
	t := &Tap{file: os.NewFile(uintptr(fd), "tap of "+string(ns)), done: make(chan struct{})}
	go t.read(see) // ended by Close
	return t, nil
}

// Close ends the tap. It says what kept it from seeing everything.
func (t *Tap) Close() error {
	t.count()
	t.closing.Store(true)
	err := t.file.Close()
	<-t.done
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.missed > 0 {
		err = errors.Join(err, fmt.Errorf("%s missed %d packets", t.file.Name(), t.missed))
	}
	return errors.Join(err, t.err)
}

// count asks the kernel for what it had no room for.
func (t *Tap) count() {
	conn, err := t.file.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) {
		stats, err := unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET, unix.PACKET_STATISTICS)
		if err == nil {
			t.mu.Lock()
			t.missed += stats.Drops
			t.mu.Unlock()
		}
	})
}

func (t *Tap) read(see func(Arrival)) {
	defer close(t.done)
	conn, err := t.file.SyscallConn()
	if err != nil {
		t.fail(err)
		return
	}
	data, control := make([]byte, 1<<17), make([]byte, 128)
	for {
		var n, cn int
		var from unix.Sockaddr
		var failed error
		err := conn.Read(func(fd uintptr) bool {
			n, cn, _, from, failed = unix.Recvmsg(int(fd), data, control, 0)
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case t.closing.Load():
			return
		case err != nil:
			t.fail(err)
			return
		case errors.Is(failed, unix.ENETDOWN), errors.Is(failed, unix.EINTR):
			continue // a link went; the others are watched on
		case failed != nil:
			t.fail(failed)
			return
		}
		link, ok := from.(*unix.SockaddrLinklayer)
		if !ok || link.Pkttype == unix.PACKET_OUTGOING || link.Hatype == unix.ARPHRD_LOOPBACK {
			continue
		}
		arrival := parse(data[:n])
		arrival.At, arrival.Link, arrival.EtherType = stamp(control[:cn]), link.Ifindex, bigEndian(link.Protocol)
		see(arrival)
	}
}

func (t *Tap) fail(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, fmt.Errorf("%s: %w", t.file.Name(), err))
}

// stamp is when the kernel took the packet, or now.
func stamp(control []byte) time.Time {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return time.Now()
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS && len(m.Data) >= 16 {
			return time.Unix(int64(binary.NativeEndian.Uint64(m.Data)), int64(binary.NativeEndian.Uint64(m.Data[8:])))
		}
	}
	return time.Now()
}

// parse reads an IP packet as far as it is one.
func parse(data []byte) Arrival {
	a := Arrival{Size: len(data), Data: data}
	if len(data) < ipHeader || data[0]>>4 != 4 {
		return a
	}
	header := int(data[0]&15) * 4
	if header < ipHeader || header > len(data) {
		return a
	}
	a.Protocol = Protocol(data[9])
	a.Source, a.Destination = netip.AddrFrom4([4]byte(data[12:16])), netip.AddrFrom4([4]byte(data[16:20]))
	body := data[header:]
	a.Number = Number(body)
	first := binary.BigEndian.Uint16(data[6:])&0x1fff == 0
	if first && (a.Protocol == TCP || a.Protocol == UDP) && len(body) >= 4 {
		a.SourcePort, a.Port = binary.BigEndian.Uint16(body), binary.BigEndian.Uint16(body[2:])
	}
	return a
}
