package wireguard

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// sink takes connections and answers each with a byte when its sender is done.
func sink(address string) error {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				io.CopyBuffer(onlyWriter{}, c, make([]byte, 1<<20))
				c.Write([]byte{1})
			}()
		}
	}()
	return nil
}

// onlyWriter throws away without the shortcuts of io.Discard.
type onlyWriter struct{}

func (onlyWriter) Write(p []byte) (int, error) { return len(p), nil }

// pump sends so many MiB and waits until they were taken.
func pump(address string, mib int) error {
	c, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), "tcp", address)
	if err != nil {
		return err
	}
	defer c.Close()
	chunk := make([]byte, 1<<20)
	for range mib {
		if _, err := c.Write(chunk); err != nil {
			return err
		}
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return errors.New("no TCP")
	}
	if err := tcp.CloseWrite(); err != nil {
		return err
	}
	_, err = io.ReadFull(c, chunk[:1])
	return err
}

// TestMemoryComesBack: after traffic, wireguard-go's packet buffers go back to
// the kernel.
func TestMemoryComesBack(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	m.nodes[1].must(order{Do: "tick", Duration: 500 * time.Millisecond})
	m.set(0)
	m.set(1)
	m.reach(0, 1, 10*time.Second)
	to := m.hosts[1].start()
	address := net.JoinHostPort(m.configs[1].Address.String(), "9000")
	to.must(order{Do: "sink", Address: address})
	var done sync.WaitGroup
	for range 3 {
		from := m.hosts[0].start()
		done.Go(func() {
			if a := from.tell(order{Do: "pump", Address: address, Count: burst / 4}); a.Error != "" {
				t.Error(a.Error)
			}
		})
	}
	done.Wait()
	const limit = 40 << 10 // KiB; about 12 MiB without traffic
	peak, now := m.nodes[1].must(order{Do: "heap"}).Count, 0
	if err := until(20*time.Second, func() bool {
		now = m.nodes[1].must(order{Do: "heap"}).Count
		return now < limit
	}); err != nil {
		t.Errorf("the receiver had %d KiB after the traffic, and still %d: %v", peak, now, err)
	}
	t.Logf("%d KiB after the traffic, then %d", peak, now)
}

// BenchmarkThroughput and BenchmarkThroughputPlain are the two sides of the
// figure mesh-throughput: TCP from one namespace to another through a Device at
// either end, and through wireguard-go alone.
func BenchmarkThroughput(b *testing.B) {
	m := newMesh(b, 2, Userspace)
	m.set(0)
	m.set(1)
	m.pump(b)
}

func BenchmarkThroughputPlain(b *testing.B) {
	m := newMesh(b, 2, Userspace)
	for i := range m.nodes {
		c := m.configs[i]
		c.MTU = defaultMTU
		m.nodes[i].must(order{Do: "plain", Config: c})
		m.hosts[i].run(fmt.Sprintf("ip addr add %s/32 dev %s", c.Address, c.Interface))
		m.hosts[i].run(fmt.Sprintf("ip link set %s up", c.Interface))
		m.hosts[i].run(fmt.Sprintf("ip route add %s dev %s", c.Peers[0].Allowed[0], c.Interface))
	}
	m.pump(b)
}

// burst is what goes through in one turn, MiB.
const burst = 256

func (m *mesh) pump(b *testing.B) {
	b.Helper()
	m.reach(0, 1, 10*time.Second)
	from, to := m.hosts[0].start(), m.hosts[1].start()
	address := net.JoinHostPort(m.configs[1].Address.String(), "9000")
	to.must(order{Do: "sink", Address: address})
	from.must(order{Do: "pump", Address: address, Count: burst / 4})
	turns := 0
	for b.Loop() {
		from.must(order{Do: "pump", Address: address, Count: burst})
		turns++
	}
	b.ReportMetric(b.Elapsed().Seconds()*1000/float64(turns*burst), "ms/MiB")
	b.ReportMetric(float64(turns*burst)*8*(1<<20)/1e6/b.Elapsed().Seconds(), "Mbit/s")
	b.Logf("heap of the sending WireGuard: %d KiB", m.nodes[0].must(order{Do: "heap"}).Count)
}
