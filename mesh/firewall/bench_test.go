package firewall

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkReplace is a Set that replaces the whole table of 1,000 networks with
// three prefixes each: it reads what is there, writes, and reads back. It goes
// from one interface of the mesh to another one, which is in many rules.
func BenchmarkReplace(b *testing.B) {
	newNamespace(b)
	f := newFirewall(b)
	config := manyNetworks(1000)
	mustSet(b, f, config)
	for b.Loop() {
		config.Mesh = map[string]string{"jaco0": "jaco1", "jaco1": "jaco0"}[config.Mesh]
		if result := mustSet(b, f, config); !result.Changed {
			b.Fatal("nothing was replaced")
		}
	}
}

// BenchmarkElement is a Set that adds or removes a network, with as many others.
func BenchmarkElement(b *testing.B) {
	newNamespace(b)
	f := newFirewall(b)
	config := manyNetworks(1000)
	all := config.Bridges
	mustSet(b, f, config)
	for b.Loop() {
		config.Bridges = all[:len(all)-(len(config.Bridges)-len(all)+1)]
		if result := mustSet(b, f, config); !result.Changed {
			b.Fatal("nothing was changed")
		}
	}
}

// BenchmarkUnchanged is a Set that finds all as it should be.
func BenchmarkUnchanged(b *testing.B) {
	newNamespace(b)
	f := newFirewall(b)
	config := manyNetworks(1000)
	mustSet(b, f, config)
	for b.Loop() {
		if result := mustSet(b, f, config); result.Changed {
			b.Fatal("something was changed")
		}
	}
}

// path is a way from one container through a node to another one, on two bridges
// of one network.
type path struct {
	conn     net.Conn
	received atomic.Int64
}

// newPath makes a node in a namespace of its own, with a table of so many
// networks, the last of which the path is in. It leaves the thread there.
func newPath(b *testing.B, networks int) *path {
	newNamespace(b)
	c := manyNetworks(networks)
	last := c.Bridges[networks-1]
	other := last
	other.Name, other.Subnet, other.Gateway = "jbother", prefix("10.64.0.0/29"), addr("10.64.0.4")
	c.MeshAddress = addr("10.64.0.9")
	last.Members = append(last.Members, other.Subnet)
	other.Members = last.Members
	c.Bridges[networks-1] = last
	c.Bridges = append(c.Bridges, other)
	w := &world{t: b, hosts: map[string]*host{}}
	run(b, "sysctl -qw net.ipv4.ip_forward=1")
	client := last.Gateway.Next()
	for _, side := range []struct {
		bridge        Bridge
		name, address string
	}{{last, "client", client.String()}, {other, "server", "10.64.0.5"}} {
		run(b, fmt.Sprintf("ip link add %s type bridge\nip addr add %s/%d dev %[1]s\nip link set %[1]s up",
			side.bridge.Name, side.bridge.Gateway, side.bridge.Subnet.Bits()))
		h := w.join(side.name, "v"+side.name)
		run(b, "ip link set v"+side.name+" master "+side.bridge.Name)
		h.run(b, fmt.Sprintf("ip addr add %s/%d dev eth0", side.address, side.bridge.Subnet.Bits()), "ip route add default via "+side.bridge.Gateway.String())
	}
	mustSet(b, newFirewall(b), c)
	p := &path{}
	err := w.hosts["server"].within(func() error {
		conn, err := net.ListenPacket("udp4", "10.64.0.5:9000")
		if err != nil {
			return err
		}
		b.Cleanup(func() { conn.Close() })
		go func() {
			buffer := make([]byte, 64)
			for {
				if _, _, err := conn.ReadFrom(buffer); err != nil {
					return
				}
				p.received.Add(1)
			}
		}()
		return nil
	})
	if err == nil {
		err = w.hosts["client"].within(func() (err error) {
			p.conn, err = net.Dial("udp4", "10.64.0.5:9000")
			return err
		})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { p.conn.Close() })
	p.conn.Write([]byte("resolve the neighbours"))
	await(b, "the first packet", func() bool { return p.received.Load() > 0 })
	return p
}

// burst sends packets and returns how long that took. A pair of virtual
// interfaces carries each to its receiver before the call that sent it returns.
func (p *path) burst(b *testing.B, packets int) time.Duration {
	payload := []byte("packet")
	start := time.Now()
	for range packets {
		if _, err := p.conn.Write(payload); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

// BenchmarkFlat compares what a packet costs with 4,000 networks and with 10, in
// turns.
func BenchmarkFlat(b *testing.B) {
	few, many := newPath(b, 10), newPath(b, 4000)
	const packets = 1000
	var fewTime, manyTime time.Duration
	rounds := 0
	for b.Loop() {
		fewTime += few.burst(b, packets)
		manyTime += many.burst(b, packets)
		rounds++
	}
	sent := float64(rounds * packets)
	b.ReportMetric(float64(manyTime.Nanoseconds())/sent, "ns/packet")
	b.ReportMetric(float64(fewTime.Nanoseconds())/sent, "ns/packet-few")
	for name, p := range map[string]*path{"few": few, "many": many} {
		if received := float64(p.received.Load()); received < sent/2 {
			b.Errorf("of %v packets with %s networks %v arrived", sent, name, received)
		}
	}
}
