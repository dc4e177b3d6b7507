package reach

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/tests/stage"
)

// Flow is an exchange that goes on while something happens: small datagrams at a
// steady pace, each of which is answered.
type Flow struct {
	name string
	conn net.Conn
	stop context.CancelFunc
	done chan struct{} // closed when both goroutines have ended

	mu       sync.Mutex // guards the fields below
	sent     []time.Time
	answered map[uint64]time.Time
}

// Start begins a flow from one endpoint to another over a network. Stop ends it.
func Start(ctx context.Context, from, to *stage.Endpoint, network string, every time.Duration) (*Flow, error) {
	address := netip.AddrPortFrom(to.Addresses[network], stage.EchoPort)
	conn, err := from.NetNS.DialContext(ctx, "udp4", address.String())
	if err != nil {
		return nil, fmt.Errorf("start flow: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	f := &Flow{name: fmt.Sprintf("%s > %s", from, to), conn: conn, stop: stop, done: make(chan struct{}), answered: map[uint64]time.Time{}}
	received := make(chan struct{})
	go func() { f.receive(); close(received) }()
	go func() {
		defer close(f.done)
		f.send(ctx, every)
		<-received
	}()
	return f, nil
}

// lastAnswers is how long answers to the last datagrams are waited for.
const lastAnswers = time.Second

func (f *Flow) send(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	data := make([]byte, 64)
	for {
		select {
		case <-ctx.Done():
			_ = f.conn.SetReadDeadline(time.Now().Add(lastAnswers))
			return
		case <-tick.C:
		}
		f.mu.Lock()
		binary.BigEndian.PutUint64(data, uint64(len(f.sent)))
		f.sent = append(f.sent, time.Now())
		f.mu.Unlock()
		// A refusal by ICMP is told here; the datagram counts as lost.
		_, _ = f.conn.Write(data)
	}
}

func (f *Flow) receive() {
	data := make([]byte, 128)
	for {
		n, err := f.conn.Read(data)
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, net.ErrClosed) {
			return
		}
		// Other errors are refusals by ICMP, of one datagram.
		if err == nil && n >= 8 {
			f.mu.Lock()
			f.answered[binary.BigEndian.Uint64(data)] = time.Now()
			f.mu.Unlock()
		}
	}
}

// Result is what became of a flow.
type Result struct {
	Name       string
	Sent, Lost int
	// Gap is the longest time in which no datagram was sent that was answered.
	Gap time.Duration
}

// String prints it for failures.
func (r Result) String() string {
	return fmt.Sprintf("%s: %d of %d datagrams lost, longest gap %s", r.Name, r.Lost, r.Sent, r.Gap.Round(time.Millisecond))
}

// Stop ends the flow and says what was lost.
func (f *Flow) Stop() Result {
	f.stop()
	<-f.done
	_ = f.conn.Close()
	f.mu.Lock()
	defer f.mu.Unlock()
	r := Result{Name: f.name, Sent: len(f.sent)}
	if r.Sent == 0 {
		return r
	}
	last := f.sent[0]
	for i, at := range f.sent {
		if _, ok := f.answered[uint64(i)]; !ok {
			r.Lost++
			r.Gap = max(r.Gap, at.Sub(last))
			continue
		}
		last = at
	}
	return r
}

// Answered says how many datagrams were answered so far, and when the last of
// them was.
func (f *Flow) Answered() (n int, last time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, at := range f.answered {
		if at.After(last) {
			last = at
		}
	}
	return len(f.answered), last
}
