package mesh

import (
	"errors"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// TestOrder writes down in what order a node's network is made, changed and
// taken away: a bridge has its rules before it is there and until it is gone.
func TestOrder(t *testing.T) {
	inBubble(t, "order", Memory{}, func(tr *trial) {
		tr.step("nothing is known yet")
		tr.tell()
		tr.step("the first state")
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("a replica is not ready any more: names alone follow")
		s := at(41, shop())
		s.Services[1].Endpoints[0].Ready = false
		tr.mesh.Update(s)
		tr.tell()
		tr.step("nothing but the index")
		s = at(42, shop())
		s.Services[1].Endpoints[0].Ready = false
		tr.mesh.Update(s)
		tr.tell()
		tr.step("another node's slice")
		s = withNetwork(at(43, shop()), 0, func(n *cluster.EdgeNetwork) { n.Members = append(n.Members, prefix("10.64.32.32/28")) })
		tr.mesh.Update(s)
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("a network goes")
		tr.mesh.Update(only(at(44, shop()), "front"))
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("its subnet is given to another one at once, and front moves")
		s = shop()
		back := s.Networks[0]
		back.Name, back.Network, back.Internal = "jaco_shop_new", "new", false
		back.Slices = []cluster.EdgeSlice{{Serial: 1, Prefix: prefix("10.64.16.16/28")}}
		back.Members = []netip.Prefix{prefix("10.64.16.16/28")}
		s.Networks = []cluster.EdgeNetwork{back}
		tr.mesh.Update(at(45, s))
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("a look at everything after 30 s")
		tr.pass(30 * time.Second)
	})
}

// TestNoBlock is a node that has joined and has no addresses yet, and gets them.
func TestNoBlock(t *testing.T) {
	inBubble(t, "no-block", Memory{}, func(tr *trial) {
		s := shop()
		s.Nodes, s.Networks, s.Services = s.Nodes[1:], nil, nil
		tr.mesh.Update(s)
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.mesh.Update(at(41, shop()))
		tr.pass(900 * time.Millisecond)
		tr.tell()
	})
}

// TestFirewallFails has a firewall that cannot be loaded: no bridge is made and
// nothing is ready, names and WireGuard go on; it is tried again, ever less
// often, and at once when somebody touched it.
func TestFirewallFails(t *testing.T) {
	inBubble(t, "firewall-fails", Memory{}, func(tr *trial) {
		tr.set(func(h *fakeHost) { h.firewallErr = errFake })
		tr.mesh.Update(shop())
		tr.pass(4 * time.Second)
		tr.tell()
		tr.step("names follow")
		s := at(41, shop())
		s.Services[1].Endpoints[0].Ready = false
		tr.mesh.Update(s)
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("whoever was in the way is gone")
		tr.byHand("firewall", func(h *fakeHost) { h.firewallErr = nil })
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("it fails again, with everything running")
		tr.byHand("firewall", func(h *fakeHost) { h.firewallErr, h.drift = errFake, []string{"table is gone"} })
		tr.pass(100 * time.Millisecond)
		tr.tell()
		tr.step("and comes back, with nobody telling")
		tr.set(func(h *fakeHost) { h.firewallErr = nil })
		tr.pass(30 * time.Second)
		tr.tell()
	})
}

// TestEngineFails has an engine that is away for a while.
func TestEngineFails(t *testing.T) {
	inBubble(t, "engine-fails", Memory{}, func(tr *trial) {
		tr.set(func(h *fakeHost) { h.bridgesErr = errors.New("the engine does not answer") })
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("it is back")
		tr.byHand("bridges", func(h *fakeHost) { h.bridgesErr = nil })
		tr.pass(100 * time.Millisecond)
		tr.tell()
		tr.step("one network cannot be made")
		tr.byHand("bridges", func(h *fakeHost) {
			h.refuse["jaco_shop_back"] = "10.64.16.32/28 is network lan's"
			h.bridgeDrift = []string{"network jaco_shop_back was gone"}
		})
		tr.pass(100 * time.Millisecond)
		tr.tell()
	})
}

// TestWireGuardFails has a host without WireGuard: there is no MTU, so that no
// bridge is made.
func TestWireGuardFails(t *testing.T) {
	inBubble(t, "wireguard-fails", Memory{}, func(tr *trial) {
		tr.set(func(h *fakeHost) { h.wireguardErr = errFake })
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.set(func(h *fakeHost) { h.wireguardErr = nil })
		tr.pass(2 * time.Second)
		tr.tell()
		tr.step("the interface goes and does not come back")
		tr.byHand("wireguard", func(h *fakeHost) { h.wireguardErr = errFake })
		tr.pass(20 * time.Millisecond)
		tr.tell()
	})
}

// TestDrift has somebody else change things: each is put right at once, and
// told.
func TestDrift(t *testing.T) {
	inBubble(t, "drift", Memory{Next: 7, Generation: 100}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.set(func(h *fakeHost) { h.lines = nil })
		tr.step("the table is flushed")
		tr.byHand("firewall", func(h *fakeHost) { h.drift = []string{"chain forward has no rules", "set members is empty"} })
		tr.pass(20 * time.Millisecond)
		tr.tell()
		tr.step("the interface is deleted")
		tr.byHand("wireguard", func(h *fakeHost) { h.meshDrift = []string{"interface jaco0 was gone"} })
		tr.pass(20 * time.Millisecond)
		tr.step("a bridge is deleted: made anew, it counts once the rules were read back")
		tr.byHand("bridges", func(h *fakeHost) { h.bridgeDrift = []string{"bridge of jaco_shop_back was gone"} })
		tr.pass(20 * time.Millisecond)
		tr.tell()
		tr.step("jacod has the first two")
		s := shop()
		s.EventsSeen = 8
		tr.mesh.Update(s)
		tr.tell()
		tr.step("what nobody told of is found by the next look")
		tr.set(func(h *fakeHost) { h.drift = []string{"rule 3 of chain input differs"} })
		tr.pass(30 * time.Second)
		tr.tell()
	})
}

// TestDriftWhileBusy wants the firewall repaired and names told while the engine
// takes its time.
func TestDriftWhileBusy(t *testing.T) {
	inBubble(t, "", Memory{}, func(tr *trial) {
		block := make(chan struct{})
		tr.set(func(h *fakeHost) { h.block = block })
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.byHand("firewall", func(h *fakeHost) { h.drift = []string{"the table is gone"} })
		tr.pass(2 * gather)
		if tr.drifted() != nil {
			t.Error("the firewall is not repaired while the engine is busy")
		}
		s := at(41, shop())
		s.Services[1].Endpoints = nil
		tr.mesh.Update(s)
		synctest.Wait()
		if len(tr.names().Services[1].Endpoints) != 0 {
			t.Error("names do not follow at once while the engine is busy")
		}
		if r := tr.mesh.Report(); r.Applied != 0 {
			t.Errorf("state %d is said to be applied, with no bridge there", r.Applied)
		}
		close(block)
		tr.set(func(h *fakeHost) { h.block = nil })
		tr.pass(900 * time.Millisecond)
		if r := tr.mesh.Report(); r.Applied != 41 || !r.Networks[0].Ready {
			t.Errorf("once the engine has answered the report is %+v", r)
		}
	})
}

// TestWordsAboutNothing wants a facility that rings all the time looked at with
// measure, and at once again after a second of calm.
func TestWordsAboutNothing(t *testing.T) {
	inBubble(t, "", Memory{}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		before := tr.looks()
		for range 10_000 {
			tr.byHand("firewall", func(*fakeHost) {})
			tr.pass(time.Millisecond)
		}
		if looks := tr.looks() - before; looks < 90 || looks > 130 {
			t.Errorf("10 s of noise made it look %d times, want about 100", looks)
		}
		tr.pass(2 * calm)
		tr.byHand("firewall", func(h *fakeHost) { h.drift = []string{"x"} })
		tr.pass(2 * gather)
		if tr.drifted() != nil {
			t.Error("after the noise a change is not repaired at once")
		}
	})
}

// TestSettle wants many states in a row carried out as one, and none to wait
// longer than the ceiling.
func TestSettle(t *testing.T) {
	inBubble(t, "settle", Memory{}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.set(func(h *fakeHost) { h.lines = nil })
		for i := range 60 {
			s := at(uint64(50+i), shop())
			s.Networks[1].Members = append(s.Networks[1].Members, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 64, 33, byte(16 * (i % 16))}), 28))
			tr.mesh.Update(s)
			tr.pass(4 * time.Millisecond)
		}
		tr.pass(900 * time.Millisecond)
		tr.tell()
	})
}

// TestRefused has a state that contradicts itself: nothing is touched, nothing
// new may start, and what is in force is still kept so.
func TestRefused(t *testing.T) {
	inBubble(t, "refused", Memory{}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		bad := at(41, shop())
		bad.Networks[0].Members = append(bad.Networks[0].Members, prefix("10.64.32.16/28"))
		tr.step("one address for two")
		tr.mesh.Update(bad)
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.step("drift is put right")
		tr.byHand("firewall", func(h *fakeHost) { h.drift = []string{"the table is gone"} })
		tr.pass(20 * time.Millisecond)
		tr.step("and looked for")
		tr.pass(30 * time.Second)
		tr.step("the state is right again")
		tr.mesh.Update(at(42, shop()))
		tr.pass(900 * time.Millisecond)
		tr.tell()
	})
}

// TestListenersCount wants no container on a network whose names nobody answers.
func TestListenersCount(t *testing.T) {
	inBubble(t, "listeners", Memory{}, func(tr *trial) {
		gateway := netip.MustParseAddr("10.64.16.33")
		tr.set(func(h *fakeHost) { h.deaf[gateway] = "address in use by dnsmasq (12)" })
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		tr.tell()
		tr.set(func(h *fakeHost) { delete(h.deaf, gateway) })
		tr.pass(2 * time.Second)
		tr.tell()
	})
}

// TestMovedSlice wants a slice that has another subnet not ready before the
// bridge has it.
func TestMovedSlice(t *testing.T) {
	inBubble(t, "moved-slice", Memory{}, func(tr *trial) {
		tr.mesh.Update(only(shop(), "back"))
		tr.pass(900 * time.Millisecond)
		tr.tell()
		block := make(chan struct{})
		tr.set(func(h *fakeHost) { h.block = block })
		s := only(at(41, shop()), "back")
		s.Networks[0].Slices[0].Prefix = prefix("10.64.16.48/28")
		s.Networks[0].Members[0] = prefix("10.64.16.48/28")
		tr.mesh.Update(s)
		tr.pass(900 * time.Millisecond)
		tr.tell()
		close(block)
		tr.pass(900 * time.Millisecond)
		tr.tell()
	})
}

// TestReadBackAfterBridges wants a network that is there already, as after a
// restart of the edge, ready only once its rules were read back after the look
// at its bridge.
func TestReadBackAfterBridges(t *testing.T) {
	inBubble(t, "", Memory{}, func(tr *trial) {
		hold := make(chan struct{})
		tr.set(func(h *fakeHost) {
			h.bridges = []string{"back=10.64.16.32/28"}
			h.hold = map[uint64]chan struct{}{2: hold}
		})
		tr.mesh.Update(only(shop(), "back"))
		tr.pass(900 * time.Millisecond)
		if r := tr.mesh.Report(); r.Networks[0].Ready || r.Networks[0].Reason != "its firewall was not read back yet" || r.Applied != 0 {
			t.Errorf("before the firewall is read back the report is %+v", r)
		}
		close(hold)
		synctest.Wait()
		if r := tr.mesh.Report(); !r.Networks[0].Ready || r.Applied != 40 {
			t.Errorf("after it the report is %+v", r)
		}
	})
}

// TestWatchFails wants a watch that fails begun anew, and a look at what was
// missed.
func TestWatchFails(t *testing.T) {
	inBubble(t, "", Memory{}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		before := tr.looks()
		tr.failWatch("firewall", errors.New("no buffer space available"))
		tr.set(func(h *fakeHost) { h.drift = []string{"changed while nobody looked"} })
		tr.pass(watchAgain + 2*gather)
		if tr.drifted() != nil || tr.looks() != before+1 {
			t.Errorf("%d looks after a watch that failed, drift %q; want one, and it repaired", tr.looks()-before, tr.drifted())
		}
		tr.byHand("firewall", func(h *fakeHost) { h.drift = []string{"x"} })
		tr.pass(2 * gather)
		if tr.drifted() != nil {
			t.Error("nobody watches any more")
		}
	})
}

// TestDoctor writes down what is said of peers.
func TestDoctor(t *testing.T) {
	inBubble(t, "doctor", Memory{}, func(tr *trial) {
		tr.set(func(h *fakeHost) {
			h.handshakes = map[string]time.Time{"n2": time.Now()}
			h.probes = map[string]Probe{"n2": {Answered: true, RTT: 620 * time.Microsecond, MTU: 1420}}
		})
		tr.mesh.Update(shop())
		tr.pass(5 * time.Second)
		tr.tell()
		tr.step("another member")
		s := at(41, shop())
		s.Nodes = append(s.Nodes, node(4))
		tr.mesh.Update(s)
		tr.pass(5 * time.Second)
		tr.step("30 s later")
		tr.pass(30 * time.Second)
		tr.set(func(h *fakeHost) {
			h.probes["n2"] = Probe{Answered: true, RTT: time.Millisecond, MTU: 548, Reason: "packets of 1420 bytes are lost; set wireguard.mtu"}
		})
		tr.pass(30 * time.Second)
		tr.tell()
	})
}

// TestChanged wants whoever waits told of each change, and of nothing else.
func TestChanged(t *testing.T) {
	inBubble(t, "", Memory{}, func(tr *trial) {
		tr.mesh.Update(shop())
		tr.pass(900 * time.Millisecond)
		changed := tr.mesh.Changed()
		tr.mesh.Update(shop())
		tr.pass(45 * time.Second)
		select {
		case <-changed:
			// The doctor's round is news, and the firewall's generation, in the fake.
		default:
			t.Error("nobody is told of a round of probes")
		}
		changed = tr.mesh.Changed()
		tr.mesh.Update(at(41, shop()))
		synctest.Wait()
		select {
		case <-changed:
		default:
			t.Error("nobody is told that a newer state is in force")
		}
		changed = tr.mesh.Changed()
		tr.mesh.Update(at(41, shop()))
		tr.pass(10 * time.Millisecond)
		select {
		case <-changed:
			t.Error("the same state again is said to be news")
		default:
		}
	})
}
