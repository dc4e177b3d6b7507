package wireguard

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// modes runs a test with wireguard-go, and with the kernel's WireGuard where
// there is one: whether there is, is the kernel's decision.
func modes(t *testing.T, test func(t *testing.T, mode Mode)) {
	t.Run("userspace", func(t *testing.T) { test(t, Userspace) })
	t.Run("kernel", func(t *testing.T) {
		h := newHost(t, "try")
		if out, err := h.try("ip link add wgtry type wireguard"); err != nil {
			t.Skipf("on purpose: this kernel has no WireGuard of its own, so the kernel mode is NOT TESTED here: %s", strings.TrimSpace(out))
		}
		test(t, Kernel)
	})
}

func TestTwoNodes(t *testing.T) {
	modes(t, func(t *testing.T, mode Mode) {
		m := newMesh(t, 2, mode)
		if r := m.set(0); r.Mode != mode || r.MTU != 1420 || !r.Changed || len(r.Repaired) > 0 {
			t.Errorf("%+v", r)
		}
		m.set(1)
		m.reach(0, 1, 5*time.Second)
		if r := m.set(0); r.Changed || len(r.Repaired) > 0 || r.Mode != mode {
			t.Errorf("the second time: %+v", r)
		}
		f := m.nodes[0].must(order{Do: "probe", Name: m.configs[0].Interface, Count: 1420, Targets: m.targets(1)}).Findings
		if f[0].Lost || f[0].MTU != 1420 || f[0].RTT <= 0 || f[0].RTT > time.Second || f[0].Problem(1420) != "" {
			t.Errorf("%+v", f)
		}
		s := m.nodes[0].must(order{Do: "read"}).Status
		if len(s.Peers) != 1 || s.Mode != mode || s.MTU != 1420 || s.Port != 51820 || s.PublicKey != m.configs[0].PrivateKey.Public() || s.Interface != m.configs[0].Interface {
			t.Fatalf("%+v", s)
		}
		p := s.Peers[0]
		if p.Name != "n2" || p.Endpoint != m.configs[0].Peers[0].Endpoint || time.Since(p.Handshake) > time.Minute || p.ReceivedBytes < 1420 || p.SentBytes < 1420 {
			t.Errorf("%+v", p)
		}
		// What is nobody's is refused and does not leave by the default way.
		m.hosts[0].run("ip route add default via 10.99.0.2")
		if out, err := m.hosts[0].try("ip route get 10.65.1.1"); err == nil || !strings.Contains(out, "No route to host") {
			t.Errorf("an address that nobody has: %s, %v", out, err)
		}
		if out := m.hosts[0].run("ip route get 10.64.16.9"); !strings.Contains(out, "dev "+m.configs[0].Interface+" src 10.64.0.1") {
			t.Error(out)
		}
	})
}

// TestPeersChange has a TCP connection between two nodes while a third comes,
// grows and goes.
func TestPeersChange(t *testing.T) {
	modes(t, func(t *testing.T, mode Mode) {
		m := newMesh(t, 3, mode)
		all := m.configs[0]
		m.configs[0].Peers = all.Peers[:1]
		for i := range m.nodes {
			m.set(i)
		}
		m.reach(0, 1, 5*time.Second)
		from, to := m.hosts[0].start(), m.hosts[1].start()
		address := net.JoinHostPort(m.configs[1].Address.String(), "7000")
		to.must(order{Do: "listen", Address: address})
		from.must(order{Do: "flow", Address: address})
		handshake := m.nodes[0].must(order{Do: "read"}).Status.Peers[0].Handshake
		flows := func(when string) {
			t.Helper()
			before := from.must(order{Do: "flowed"}).Count
			if err := until(3*time.Second, func() bool { return from.must(order{Do: "flowed"}).Count > before+20 }); err != nil {
				t.Errorf("%s the connection stands still: %v", when, err)
			}
		}
		flows("at first")
		for _, step := range []struct {
			when  string
			peers func() []Peer
		}{
			{"with a third peer", func() []Peer { return all.Peers }},
			{"with another block of the third", func() []Peer {
				p := all.Peers[1]
				p.Allowed = []netip.Prefix{p.Allowed[0], block(9)}
				return []Peer{all.Peers[0], p}
			}},
			{"with a block less of the third, and one more of the second", func() []Peer {
				p, q := all.Peers[0], all.Peers[1]
				p.Allowed, q.Allowed = []netip.Prefix{p.Allowed[0], block(9)}, []netip.Prefix{block(10)}
				return []Peer{p, q}
			}},
			{"without the third", func() []Peer { return all.Peers[:1] }},
		} {
			c := all
			c.Peers = step.peers()
			if r := m.nodes[0].set(c); !r.Changed || len(r.Repaired) > 0 {
				t.Errorf("%s: %+v", step.when, r)
			}
			flows(step.when)
		}
		if again := m.nodes[0].must(order{Do: "read"}).Status.Peers[0].Handshake; !again.Equal(handshake) {
			t.Errorf("the session did not live on: handshakes at %s and %s", handshake, again)
		}
	})
}

// TestRepair changes things by hand: Watch notices what the kernel tells, and
// Set repairs and says it.
func TestRepair(t *testing.T) {
	modes(t, func(t *testing.T, mode Mode) {
		m := newMesh(t, 2, mode)
		m.set(0)
		m.set(1)
		m.reach(0, 1, 5*time.Second)
		h, n, name := m.hosts[0], m.nodes[0], m.configs[0].Interface
		n.must(order{Do: "watch"})
		// The watch stands once a change is heard of.
		if err := until(5*time.Second, func() bool {
			h.run("ip link set " + name + " mtu 1400")
			m.set(0)
			return n.must(order{Do: "changes"}).Count > 0
		}); err != nil {
			t.Fatal(err)
		}
		for _, change := range []struct {
			by     string
			meddle string
			want   string
		}{
			{by: "ip link del IF", want: "interface IF was gone"},
			{by: "ip link set IF down", want: "interface IF was down\nroute 10.64.16.0/20 was missing"},
			{by: "ip link set IF mtu 1300", want: "mtu of IF was 1300, not 1420"},
			{by: "ip addr del 10.64.0.1/32 dev IF", want: "address 10.64.0.1/32 of IF was missing\nroute 10.64.16.0/20 was missing"},
			{by: "ip addr add 10.64.0.77/24 dev IF", want: "address 10.64.0.77/24 of IF was there"},
			{by: "ip addr flush dev IF", want: "address 10.64.0.1/32 of IF was missing\nroute 10.64.16.0/20 was missing"},
			{by: "ip route del 10.64.16.0/20", want: "route 10.64.16.0/20 was missing"},
			{by: "ip route replace 10.64.16.0/20 dev eth0", want: "route 10.64.16.0/20 was missing"},
			{by: "ip route replace 10.64.16.0/20 dev eth0 proto 74", want: `route 10.64.16.0/20 was "another way", not "from 10.64.0.1"`},
			{by: "ip route del unreachable 10.64.0.0/10", want: "route 10.64.0.0/10 was missing"},
			{by: "ip route add 10.64.48.0/20 dev IF proto 74", want: "route 10.64.48.0/20 was there"},
			{by: "ip route add 10.64.64.0/20 dev eth0 proto 74", want: "route 10.64.64.0/20 was there"},
			{by: "ip route flush proto 74", want: "route 10.64.0.0/10 was missing\nroute 10.64.16.0/20 was missing"},
			{meddle: "remove peer", want: "peer n2 was missing"},
			{meddle: "add peer", want: "peer " + testKey(9).Public().String() + " was there"},
			{meddle: "allow more", want: "peer n2 had the addresses 10.64.16.0/20 10.64.224.0/20, not 10.64.16.0/20"},
			{meddle: "change port", want: "the port was 4711, not 51820"},
			{meddle: "change key", want: "the key was another"},
		} {
			t.Run(change.by+change.meddle, func(t *testing.T) {
				before := n.must(order{Do: "changes"}).Count
				if change.meddle != "" {
					key := m.configs[1].PrivateKey.Public()
					if change.meddle != "remove peer" && change.meddle != "allow more" {
						key = testKey(9).Public()
					}
					n.must(order{Do: "meddle", Name: name, Meddle: change.meddle, Peer: key})
				} else {
					h.run(strings.ReplaceAll(change.by, "IF", name))
					if a := n.tell(order{Do: "await", Count: before}); a.Error != "" {
						t.Errorf("the watch did not notice: %s", a.Error)
					}
				}
				r := m.set(0)
				if diff := cmp.Diff(strings.ReplaceAll(change.want, "IF", name), strings.Join(r.Repaired, "\n")); diff != "" || !r.Changed {
					t.Errorf("changed %t, repaired (-want +got):\n%s", r.Changed, diff)
				}
				if r := m.set(0); r.Changed || len(r.Repaired) > 0 {
					t.Errorf("the second time: %+v", r)
				}
				// A handshake that was sent too early is repeated after 5 s at the earliest
				// (REKEY-TIMEOUT of WireGuard's paper).
				m.reach(0, 1, 15*time.Second)
			})
		}
		settled := n.must(order{Do: "changes"}).Count
		c := m.configs[0]
		c.Peers = append(c.Peers[:1:1], Peer{Name: "n3", PublicKey: testKey(7).Public(), Allowed: []netip.Prefix{block(5), block(6)}})
		n.set(c)
		n.set(m.configs[0])
		if err := until(300*time.Millisecond, func() bool { return n.must(order{Do: "changes"}).Count != settled }); err == nil {
			t.Error("Set's own changes were reported")
		}
	})
}

func TestSettingsAreRepaired(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	m.set(0)
	name := m.configs[0].Interface
	for file, want := range map[string]string{
		forwardingFile(name): "forwarding of " + name + " was off",
		noIPv6File(name):     "ipv6 of " + name + " was on",
	} {
		m.nodes[0].must(order{Do: "switch off", Name: file})
		if r := m.set(0); strings.Join(r.Repaired, "\n") != want {
			t.Errorf("%s: %q", file, r.Repaired)
		}
		if out := m.hosts[0].run("cat " + file); strings.TrimSpace(out) != "1" {
			t.Errorf("%s is %s", file, out)
		}
	}
}

// TestRoaming changes the address of a node: the others follow it when they
// hear from it, and a Set of theirs with the old endpoint does not undo that.
func TestRoaming(t *testing.T) {
	modes(t, func(t *testing.T, mode Mode) {
		m := newMesh(t, 2, mode)
		m.set(0)
		m.set(1)
		m.reach(1, 0, 5*time.Second)
		m.hosts[1].run("ip addr add 10.99.0.102/24 dev eth0")
		m.hosts[1].run("ip addr del 10.99.0.2/24 dev eth0")
		// Removing the first address of a subnet takes the others along unless they
		// are promoted.
		if out := m.hosts[1].run("ip -o -4 addr show dev eth0"); !strings.Contains(out, "10.99.0.102") {
			m.hosts[1].run("ip addr add 10.99.0.102/24 dev eth0")
		}
		start := time.Now()
		m.reach(1, 0, 12*time.Second)
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("the node was heard from its new address only after %s", took)
		}
		endpoint := func() string { return m.nodes[0].must(order{Do: "read"}).Status.Peers[0].Endpoint.String() }
		if e := endpoint(); e != "10.99.0.102:51820" {
			t.Fatalf("the peer is taken to be at %s", e)
		}
		if r := m.set(0); r.Changed || len(r.Repaired) > 0 {
			t.Errorf("a peer that moved was held for a change: %+v", r)
		}
		if e := endpoint(); e != "10.99.0.102:51820" {
			t.Errorf("a Set moved the peer back to %s", e)
		}
		// A new endpoint in the configuration counts.
		m.configs[0].Peers[0].Endpoint = netip.MustParseAddrPort("10.99.0.103:51820")
		if r := m.set(0); !r.Changed {
			t.Errorf("%+v", r)
		}
		if e := endpoint(); e != "10.99.0.103:51820" {
			t.Errorf("the new endpoint was not taken: %s", e)
		}
	})
}

// TestRestart kills a node's process. The new one is in touch with the peer
// although only the peer sends, and thinks that it has a session.
func TestRestart(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	m.set(0)
	m.set(1)
	m.reach(0, 1, 5*time.Second)
	m.nodes[1].kill()
	// What the process leaves: nothing of the interface, but the mesh's addresses
	// do not leave in clear.
	m.hosts[1].run("ip route add default via 10.99.0.1")
	if out, err := m.hosts[1].try("ip route get 10.64.0.1"); err == nil {
		t.Errorf("while there is no interface, packets would go %s", out)
	}
	m.nodes[1] = m.hosts[1].start()
	if r := m.set(1); !r.Changed || len(r.Repaired) > 0 {
		t.Errorf("%+v", r)
	}
	start := time.Now()
	m.reach(0, 1, 10*time.Second)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("the peer noticed the restart only after %s", took)
	}
}

func TestCleanUp(t *testing.T) {
	modes(t, func(t *testing.T, mode Mode) {
		m := newMesh(t, 2, mode)
		m.hosts[0].run("ip route add 10.200.0.0/16 dev eth0 proto 75")
		before := m.hosts[0].picture()
		m.set(0)
		if m.hosts[0].picture() == before {
			t.Fatal("the picture does not show the interface")
		}
		m.nodes[0].must(order{Do: "cleanup"})
		if diff := lineDiff(before, m.hosts[0].picture()); diff != "" {
			t.Errorf("something stayed (-before +after):\n%s", diff)
		}
		// Cleaning up twice is no error, and another Set works.
		m.nodes[0].must(order{Do: "cleanup"})
		m.set(0)
		// A process that was killed is cleaned up after by another.
		m.nodes[0].kill()
		m.nodes[0] = m.hosts[0].start()
		m.nodes[0].must(order{Do: "cleanup", Name: m.configs[0].Interface})
		if diff := lineDiff(before, m.hosts[0].picture()); diff != "" {
			t.Errorf("after a kill, something stayed (-before +after):\n%s", diff)
		}
		// So is an interface without a process.
		m.hosts[0].run("ip tuntap add " + m.configs[0].Interface + " mode tun")
		m.nodes[0].must(order{Do: "cleanup", Name: m.configs[0].Interface})
		if diff := lineDiff(before, m.hosts[0].picture()); diff != "" {
			t.Errorf("after a kill, something stayed (-before +after):\n%s", diff)
		}
	})
}

func TestMTU(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	c := m.configs[0]
	c.Peers = nil
	if r := m.nodes[0].set(c); r.MTU != 1420 {
		t.Errorf("without peers and routes: %d", r.MTU)
	}
	m.hosts[0].run("ip link set eth0 mtu 1400")
	m.hosts[0].run("ip route add default via 10.99.0.2")
	if r := m.nodes[0].set(c); r.MTU != 1320 {
		t.Errorf("by the default route's link: %d", r.MTU)
	}
	if r := m.set(0); r.MTU != 1320 || r.Changed && len(r.Repaired) > 0 {
		t.Errorf("by the peer's link: %+v", r)
	}
	m.hosts[0].run("ip route add 10.99.0.2/32 dev eth0 mtu 1350")
	if r := m.set(0); r.MTU != 1270 {
		t.Errorf("by the peer's route: %d", r.MTU)
	}
	c = m.configs[0]
	c.MTU = 1390
	if r := m.nodes[0].set(c); r.MTU != 1390 || !strings.Contains(m.hosts[0].run("ip link show "+c.Interface), "mtu 1390") {
		t.Errorf("by the configuration: %+v", r)
	}
}

// TestInTheWay has others use what the interface needs; each error says who, or
// what to do.
func TestInTheWay(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	expect := func(t *testing.T, n *child, c Config, parts ...string) {
		t.Helper()
		a := n.tell(order{Do: "set", Config: c})
		for _, part := range parts {
			if !strings.Contains(a.Error, part) {
				t.Errorf("error %q does not say %q", a.Error, part)
			}
		}
	}
	t.Run("an interface of another kind", func(t *testing.T) {
		m.hosts[0].run("ip link add " + m.configs[0].Interface + " type bridge")
		expect(t, m.nodes[0], m.configs[0], `of kind "bridge"`, "ip link del "+m.configs[0].Interface, "wireguard.interface")
		m.hosts[0].run("ip link del " + m.configs[0].Interface)
	})
	t.Run("a port", func(t *testing.T) {
		other := m.hosts[0].start()
		c := m.configs[0]
		c.Interface = interfaceName()
		other.set(c)
		expect(t, m.nodes[0], m.configs[0], "UDP port 51820", "wireguard.port")
		other.end()
		if r := m.set(0); !r.Changed {
			t.Errorf("the next Set: %+v", r)
		}
		m.nodes[0].must(order{Do: "cleanup"})
	})
	t.Run("a socket of a live process", func(t *testing.T) {
		m.set(1) // in another namespace
		c := m.configs[0]
		c.Interface = m.configs[1].Interface
		expect(t, m.nodes[0], c, fmt.Sprintf("process %d (", m.nodes[1].cmd.Process.Pid), "wireguard.interface")
		a := m.hosts[0].start().tell(order{Do: "cleanup", Name: c.Interface})
		if !strings.Contains(a.Error, fmt.Sprintf("process %d (", m.nodes[1].cmd.Process.Pid)) {
			t.Errorf("cleaning up: %q", a.Error)
		}
		m.nodes[1].kill()
		// Now it is stale.
		if r := m.nodes[0].set(c); !r.Changed {
			t.Errorf("%+v", r)
		}
		m.nodes[0].must(order{Do: "cleanup"})
	})
	t.Run("an interface of a live process", func(t *testing.T) {
		other := m.hosts[0].start()
		other.set(m.configs[0])
		other.set(m.configs[0]) // waits until the first has greeted the peers, by that socket
		// Somebody removed its socket.
		m.hosts[0].run("rm " + socketPath(m.configs[0].Interface))
		expect(t, m.nodes[0], m.configs[0], "another process works", "wireguard.interface")
		if r := other.set(m.configs[0]); len(r.Repaired) > 0 || r.Mode != Userspace {
			t.Errorf("a removed socket: %+v", r)
		}
		other.end()
	})
	t.Run("a kernel without WireGuard", func(t *testing.T) {
		if _, err := m.hosts[0].try("ip link add wgtry type wireguard"); err == nil {
			m.hosts[0].run("ip link del wgtry")
			t.Skip("on purpose: this kernel has WireGuard, so that it cannot be missed")
		}
		c := m.configs[0]
		c.Mode = Kernel
		expect(t, m.nodes[0], c, "this kernel has no WireGuard", "modprobe wireguard", "wireguard.mode")
		c.Mode = Auto
		if r := m.nodes[0].set(c); r.Mode != Userspace {
			t.Errorf("auto chose %s", r.Mode)
		}
	})
}

// TestThousandPeers holds the cost of a large cluster.
func TestThousandPeers(t *testing.T) {
	m := newMesh(t, 1, Userspace)
	c := m.configs[0]
	for i := 1; i <= 1000; i++ {
		k, err := NewKey(strings.NewReader(fmt.Sprintf("%016d%016d", i, 0)))
		if err != nil {
			t.Fatal(err)
		}
		c.Peers = append(c.Peers, Peer{
			Name: fmt.Sprintf("n%d", i), PublicKey: k.Public(), Allowed: []netip.Prefix{block(i)},
			Endpoint: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, byte(1 + i/250), byte(1 + i%250)}), 51820),
		})
	}
	first := m.nodes[0].must(order{Do: "set", Config: c})
	again := m.nodes[0].must(order{Do: "set", Config: c})
	less := c
	less.Peers = c.Peers[:999]
	one := m.nodes[0].must(order{Do: "set", Config: less})
	read := m.nodes[0].must(order{Do: "read"})
	t.Logf("first %s, again %s, one less %s, read %s, heap %d KiB", first.Took, again.Took, one.Took, read.Took, m.nodes[0].must(order{Do: "heap"}).Count)
	if !first.Result.Changed || again.Result.Changed || !one.Result.Changed || len(read.Status.Peers) != 999 {
		t.Errorf("changed %t, %t, %t; repaired %d; %d peers", first.Result.Changed, again.Result.Changed, one.Result.Changed, len(again.Result.Repaired), len(read.Status.Peers))
	}
	// Ten times the budget, for a shared machine and the race detector.
	if limit := 3000 * time.Millisecond; first.Took > limit || again.Took > limit {
		t.Errorf("took %s and %s", first.Took, again.Took)
	}
}
