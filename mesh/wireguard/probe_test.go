package wireguard

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestProbe has a path that loses large packets and tells nobody, a peer that
// is not there, and one that is fine.
func TestProbe(t *testing.T) {
	m := newMesh(t, 3, Userspace)
	for i := range m.nodes {
		m.configs[i].Peers = append(m.configs[i].Peers, Peer{
			Name: "n4", PublicKey: testKey(44).Public(), Allowed: []netip.Prefix{block(3)}, Endpoint: netip.MustParseAddrPort("10.99.0.44:51820"),
		})
		m.set(i)
	}
	m.reach(0, 1, 5*time.Second)
	m.reach(0, 2, 5*time.Second)
	// A bridge drops what is longer than the MTU of the port, without a word.
	m.lan.run("ip link set p2 mtu 1360")
	targets := append(m.targets(1, 2), Target{Name: "n4", Address: block(3).Addr().Next()})
	a := m.nodes[0].must(order{Do: "probe", Name: m.configs[0].Interface, Count: 1420, Targets: targets})
	if len(a.Findings) != 3 {
		t.Fatalf("%+v", a.Findings)
	}
	// 1360 less IPv4 20, UDP 8, WireGuard 32 is 1300; 1280 is the step below.
	n2, n3, n4 := a.Findings[0], a.Findings[1], a.Findings[2]
	if n2.Lost || n2.MTU != 1280 || n2.RTT <= 0 {
		t.Errorf("%+v", n2)
	}
	if want := "n2: packets of 1420 bytes are lost, those of 1280 pass; set wireguard.mtu to 1280 on all nodes"; n2.Problem(1420) != want {
		t.Errorf("%q", n2.Problem(1420))
	}
	if n3.Lost || n3.MTU != 1420 || n3.RTT <= 0 || n3.Problem(1420) != "" {
		t.Errorf("%+v", n3)
	}
	if !n4.Lost || n4.MTU != 0 || n4.RTT != 0 || !strings.HasPrefix(n4.Problem(1420), "n4: no packet comes back") {
		t.Errorf("%+v, %q", n4, n4.Problem(1420))
	}
	if a.Took < 2*probeTimeout || a.Took > 3*probeTimeout {
		t.Errorf("the round took %s", a.Took)
	}
	// Larger than the interface takes: never sent, so lost.
	a = m.nodes[0].must(order{Do: "probe", Name: m.configs[0].Interface, Count: 1500, Targets: m.targets(2)})
	if f := a.Findings[0]; f.MTU != 1412 {
		t.Errorf("%+v", f)
	}
}

// TestProbeMany asks a thousand peers of which none is there.
func TestProbeMany(t *testing.T) {
	m := newMesh(t, 2, Userspace)
	m.set(0)
	m.set(1)
	m.reach(0, 1, 5*time.Second)
	targets := m.targets(1)
	for i := range 999 {
		targets = append(targets, Target{Name: fmt.Sprintf("n%d", i), Address: netip.AddrFrom4([4]byte{10, 64, 17 + byte(i/250), byte(i % 250)})})
	}
	a := m.nodes[0].must(order{Do: "probe", Name: m.configs[0].Interface, Count: 1420, Targets: targets})
	lost := 0
	for _, f := range a.Findings {
		if f.Lost {
			lost++
		}
	}
	if lost != 999 || a.Findings[0].Lost || a.Took > 4*probeTimeout {
		t.Errorf("%d lost in %s; the one that is there: %+v", lost, a.Took, a.Findings[0])
	}
}

// TestTake: only the answer to a probe of this exchange counts, and only once.
func TestTake(t *testing.T) {
	start := time.Now()
	target := Target{Address: netip.MustParseAddr("10.64.16.1")}
	x := &exchanged{cookie: [8]byte{1, 2, 3}, all: make(chan struct{}), missing: 2, echoes: []*echo{{target: &target, size: 64}, {target: &target, size: 1420}}}
	x.echoes[0].sent[0], x.echoes[0].sent[1] = start, start.Add(300*time.Millisecond)
	answer := func(cookie byte, index uint32, attempt byte) []byte {
		data := append([]byte{cookie, 2, 3, 0, 0, 0, 0, 0}, byte(index>>24), byte(index>>16), byte(index>>8), byte(index))
		return append(data, attempt, 0)
	}
	from, now := net.IPv4(10, 64, 16, 1), start.Add(320*time.Millisecond)
	x.take(answer(9, 0, 1), 64, from, now)                    // of another exchange
	x.take(answer(1, 0, 1)[:12], 64, from, now)               // too short
	x.take(answer(1, 2, 1), 64, from, now)                    // of no probe
	x.take(answer(1, 1<<31, 1), 64, from, now)                // likewise
	x.take(answer(1, 0, attempts), 64, from, now)             // of no attempt
	x.take(answer(1, 0, 2), 64, from, now)                    // of an attempt not made yet
	x.take(answer(1, 0, 1), 63, from, now)                    // cut off
	x.take(answer(1, 0, 1), 64, net.IPv4(10, 64, 32, 1), now) // by another node
	if x.missing != 2 || x.echoes[0].passed {
		t.Fatalf("%+v", x.echoes[0])
	}
	x.take(answer(1, 0, 1), 64, from, now)
	x.take(answer(1, 0, 0), 64, from, now)
	if x.missing != 1 || !x.echoes[0].passed || x.echoes[0].rtt != 20*time.Millisecond {
		t.Errorf("%d missing, %+v", x.missing, x.echoes[0])
	}
	select {
	case <-x.all:
		t.Error("done with one missing")
	default:
	}
	x.echoes[1].sent[0] = start
	x.take(answer(1, 1, 0), 1420, from, now)
	select {
	case <-x.all:
	default:
		t.Error("not done with none missing")
	}
}

func TestLadder(t *testing.T) {
	for _, mtu := range []int{minMTU, 1280, 1420, 9000} {
		sizes := ladder(mtu)
		if !slices.IsSorted(sizes) || len(sizes) > 0 && sizes[len(sizes)-1] >= mtu {
			t.Errorf("for %d: %v", mtu, sizes)
		}
	}
	if got := ladder(1420); got[len(got)-1] != 1412 {
		t.Errorf("%v", got)
	}
}

func TestRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		start := time.Now()
		var mu sync.Mutex // guards what follows
		var begun []time.Duration
		mtu, found := 0, 0
		var fail error
		locked := func(do func()) {
			mu.Lock()
			defer mu.Unlock()
			do()
		}
		r := NewRounds(Rounds{
			Round: func(_ context.Context, targets []Target, mtu int) ([]Finding, error) {
				mu.Lock()
				defer mu.Unlock()
				begun = append(begun, time.Since(start))
				return []Finding{{Name: targets[0].Name, MTU: mtu}}, fail
			},
			Targets: func() ([]Target, int) {
				mu.Lock()
				defer mu.Unlock()
				return []Target{{Name: "n2"}}, mtu
			},
			Found: func(findings []Finding, mtu int) {
				locked(func() { found++ })
				if len(findings) != 1 || findings[0].MTU != mtu {
					t.Errorf("%+v", findings)
				}
			},
		})
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		expect := func(rounds, founds int, last time.Duration) {
			t.Helper()
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(begun) != rounds || found != founds || rounds > 0 && begun[rounds-1] != last {
				t.Errorf("rounds at %v, found %d times", begun, found)
			}
		}
		expect(0, 0, 0) // there is no interface yet
		locked(func() { mtu = 1420 })
		<-time.After(RoundInterval)
		expect(1, 1, RoundInterval)
		<-time.After(time.Second)
		r.Ask()
		expect(2, 2, RoundInterval+time.Second)
		locked(func() { fail = errors.New("no") })
		<-time.After(RoundInterval)
		expect(3, 2, 2*RoundInterval)
		locked(func() { fail = nil })
		// One is taken at once, all others are one more.
		for range 5 {
			r.Ask()
		}
		expect(5, 4, 2*RoundInterval+time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
