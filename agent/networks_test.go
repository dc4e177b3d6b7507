package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// twoNetworks is a view of shop with a second service on a network of its own.
func twoNetworks() *cluster.View {
	d := shop("1", 3)
	d.Networks = append(d.Networks, desired.Network{Name: "back"})
	db := d.Services[0]
	db.Name, db.SpecHash = "db", "hash-db"
	db.Container.Networks = []desired.Attachment{{Network: "back"}}
	d.Services = append(d.Services, db)
	return accepted(rev1, d, nil)
}

func dbReplica(id string) cluster.Replica {
	r := replica(id, cluster.Assigned)
	r.Service, r.SpecHash = "db", "hash-db"
	return r
}

// TestLoopGate: nothing is created while the mesh holds a network closed, the
// reason is told, other networks are not held up, and what runs or ends neither
// (guarantee G6).
func TestLoopGate(t *testing.T) {
	shut := func(w *world, why string) {
		w.gate.set("closed: "+why, func() { w.gate.closed["jaco_shop_default"] = why })
	}
	open := func(w *world) { w.gate.set("open", func() { clear(w.gate.closed) }) }
	none := func(w *world, what string) {
		w.t.Helper()
		if n := w.log.count("engine  " + what); n > 0 {
			w.t.Errorf("%s: %d times while the gate was closed", what, n)
		}
	}
	play(t, []scenario{
		{"gate-opens", func(w *world) {
			shut(w, "the firewall cannot be loaded")
			w.state.assign(assigned("a")...)
			w.pass(17 * time.Second)
			none(w, "create")
			w.expect("a=Preparing")
			if r := w.state.get("a"); !strings.Contains(r.Reason, "the firewall cannot be loaded") {
				w.t.Errorf("reason %q", r.Reason)
			}
			if n := w.log.count(`cannot be loaded"`); n != 1 {
				w.t.Errorf("%d reports of one reason, want 1", n)
			}
			open(w)
			w.pass(300 * time.Millisecond)
			w.expect("a=Running")
		}},
		{"gate-closed-for-one-network", func(w *world) {
			w.engine.set("the mesh makes a network", func() { w.engine.networks["jaco_shop_back"] = true })
			w.state.accept(twoNetworks())
			shut(w, "not isolated yet")
			w.state.assign(assigned("a", "b", "c", "d", "e", "f")...)
			w.state.assign(dbReplica("z"))
			w.pass(300 * time.Millisecond)
			if r := w.state.get("z"); r.Phase != cluster.Running {
				w.t.Errorf("the replica on the open network is %s", r.Phase)
			}
			if n := w.log.count("engine  create"); n != 1 {
				w.t.Errorf("%d containers created, want that on the open network", n)
			}
		}},
		{"gate-closes-under-what-runs", func(w *world) {
			w.state.assign(assigned("a", "b")...)
			w.pass(time.Second)
			shut(w, "the edge does not answer")
			w.pass(10 * time.Second)
			w.state.stop("b")
			w.pass(time.Second)
			w.expect("a=Running b=Stopped")
		}},
		{"told-to-stop-before-the-gate", func(w *world) {
			shut(w, "not made yet")
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.state.stop("a")
			w.pass(50 * time.Millisecond)
			w.expect("a=Stopped")
			none(w, "create")
		}},
		{"gate-closes-between-create-and-start", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(10 * time.Millisecond)
			shut(w, "somebody removed the rules")
			w.pass(6 * time.Second)
			none(w, "start")
			if r := w.state.get("a"); !strings.Contains(r.Reason, "somebody removed the rules") {
				w.t.Errorf("reason %q", r.Reason)
			}
			open(w)
			w.pass(time.Second)
			w.expect("a=Running")
		}},
	})
}

// TestGateUnasked: what has no network of the mesh does not ask it.
func TestGateUnasked(t *testing.T) {
	for name, change := range map[string]func(*desired.Deployment){
		"the node's network": func(d *desired.Deployment) {
			d.Services[0].Container.Networks = nil
			d.Services[0].Container.Isolation.Network = desired.HostNetwork
		},
		"no network": func(d *desired.Deployment) {
			d.Services[0].Container.Networks = nil
			d.Services[0].Container.Isolation.Network = desired.NoNetwork
		},
		"an external network": func(d *desired.Deployment) {
			d.Networks[0] = desired.Network{Name: "default", Engine: "lan", External: true}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, "", func(w *world) {
				w.engine.set("a network of the node", func() { w.engine.networks["lan"] = true })
				d := shop("1", 1)
				change(d)
				w.state.accept(accepted(rev1, d, nil))
				w.gate.set("closed", func() { w.gate.closed["lan"], w.gate.closed["jaco_shop_default"] = "no", "no" })
				w.state.assign(assigned("a")...)
				w.pass(time.Second)
				w.expect("a=Running")
				if w.gate.asked > 0 {
					w.t.Errorf("the mesh was asked %d times", w.gate.asked)
				}
				if spec := w.engine.created[ContainerName(assigned("a")[0])]; len(spec.DNS) > 0 {
					w.t.Errorf("resolvers %v", spec.DNS)
				}
			})
		})
	}
}

// TestExternalMissing: a network that nobody makes is waited for.
func TestExternalMissing(t *testing.T) {
	inWorld(t, "", func(w *world) {
		d := shop("1", 1)
		d.Networks[0] = desired.Network{Name: "default", Engine: "lan", External: true}
		w.state.accept(accepted(rev1, d, nil))
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.expect("a=Preparing")
		if r := w.state.get("a"); !strings.Contains(r.Reason, "network lan, which is external") {
			w.t.Errorf("reason %q", r.Reason)
		}
		w.engine.set("somebody makes it", func() { w.engine.networks["lan"] = true })
		w.pass(2 * time.Second)
		w.expect("a=Running")
	})
}

// TestBridgesFill: a container goes to the first bridge with room, and waits when
// there is none, until one ends.
func TestBridgesFill(t *testing.T) {
	inWorld(t, "", func(w *world) {
		second := cluster.SliceNetwork("jaco_shop_default", 2)
		w.engine.set("two bridges of one network", func() { w.engine.networks[second] = true })
		w.gate.set("two bridges", func() {
			w.gate.bridges["jaco_shop_default"] = []Bridge{
				{Network: "jaco_shop_default", Gateway: netip.MustParseAddr("10.64.0.17"), Capacity: 2},
				{Network: second, Gateway: netip.MustParseAddr("10.64.0.33"), Capacity: 1},
			}
		})
		w.state.accept(accepted(rev1, shop("1", 8), nil))
		w.state.assign(assigned("a", "b", "c", "d")...)
		w.pass(2 * time.Second)
		running, on := 0, map[string]int{}
		for _, id := range []string{"a", "b", "c", "d"} {
			switch r := w.state.get(id); r.Phase {
			case cluster.Running:
				running++
				if r.Addresses.All()["jaco_shop_default"] != netip.MustParseAddr(r.Address) {
					t.Errorf("%s has %q, and is at %s", id, r.Addresses, r.Address)
				}
			default:
				if !strings.Contains(r.Reason, errFull.Error()) {
					t.Errorf("%s is %s: %q", id, r.Phase, r.Reason)
				}
			}
		}
		w.engine.mu.Lock()
		for _, spec := range w.engine.created {
			name := spec.Networks[0].Network
			on[name]++
			if want := map[string]string{"jaco_shop_default": "[10.64.0.17]", second: "[10.64.0.33]"}[name]; fmt.Sprint(spec.DNS) != want {
				t.Errorf("on %s the resolvers are %v", name, spec.DNS)
			}
			if len(spec.Networks[0].Aliases) > 0 {
				t.Errorf("the engine is told the names %v", spec.Networks[0].Aliases)
			}
		}
		w.engine.mu.Unlock()
		if running != 3 || on["jaco_shop_default"] != 2 || on[second] != 1 {
			t.Fatalf("%d run, on %v", running, on)
		}
		w.engine.by("docker stop", "a", func(c *fakeContainer) { w.engine.stopLocked(c.ID) })
		w.engine.by("docker stop", "b", func(c *fakeContainer) { w.engine.stopLocked(c.ID) })
		w.pass(5 * time.Second)
		if !strings.Contains(w.phases(), "d=Running") {
			t.Errorf("with room again: %s", w.phases())
		}
	})
}

// TestAttachments: which networks are the mesh's.
func TestAttachments(t *testing.T) {
	owner := &desired.Deployment{Name: "owner", Networks: []desired.Network{{Name: "shared", Engine: "common"}, {Name: "lan", Engine: "lan", External: true}}}
	d := &desired.Deployment{Name: "shop", Networks: []desired.Network{
		{Name: "default"}, {Name: "named", Engine: "mine"}, {Name: "theirs", Engine: "common", External: true},
		{Name: "outside", Engine: "lan", External: true},
	}}
	s := &desired.Service{Container: desired.Container{}}
	for _, n := range d.Networks {
		s.Container.Networks = append(s.Container.Networks, desired.Attachment{Network: n.Name, Aliases: []string{"x"}})
	}
	view := accepted(rev1, d, nil)
	owner.Services = []desired.Service{{Name: "web", Container: desired.Container{Networks: []desired.Attachment{{Network: "shared"}, {Network: "lan"}}}}}
	view.Deployments["owner"] = &cluster.Accepted{Name: "owner", Desired: owner}
	view.Deployments["broken"] = &cluster.Accepted{Name: "broken"}
	want := []attachment{
		{network: "jaco_shop_default", managed: true}, {network: "mine", managed: true},
		{network: "common", managed: true}, {network: "lan", aliases: []string{"x"}},
	}
	if diff := cmp.Diff(want, attachmentsOf(view.Networks(), d, s), cmp.AllowUnexported(attachment{})); diff != "" {
		t.Errorf("attachments (-want +got):\n%s", diff)
	}
	got := addresses(want, map[string]netip.Addr{
		"jaco_shop_default.jaco-3": netip.MustParseAddr("10.64.0.50"), "mine": {}, "common": netip.MustParseAddr("10.64.0.18"),
		"lan": netip.MustParseAddr("192.168.0.9"),
	})
	if got != "common=10.64.0.18 jaco_shop_default=10.64.0.50" {
		t.Errorf("addresses %q", got)
	}
}

// TestDiffSlices: a container may be on any one bridge of a network, and on no
// other.
func TestDiffSlices(t *testing.T) {
	at := func(names ...string) func(*Container) {
		return func(c *Container) {
			c.Networks = map[string]netip.Addr{}
			for i, n := range names {
				c.Networks[n] = netip.AddrFrom4([4]byte{10, 0, 0, byte(2 + i)})
			}
		}
	}
	drifted := func(what string) string {
		return fmt.Sprintf(`
			outcome a Failed %[1]q event=drift-corrected
			report a Failed container=c-a %[1]q`, what)
	}
	checkPlans(t, []diffCase{
		{"the second bridge", func(s *scene) {
			s.assign(recorded())
			s.runs(altered(at("jaco_shop_default.jaco-2")))
		}, ``},
		{"two bridges", func(s *scene) {
			s.assign(recorded())
			s.runs(altered(at("jaco_shop_default", "jaco_shop_default.jaco-2")))
		}, drifted("the container was connected to network jaco_shop_default.jaco-2 by hand")},
		{"a bridge of another network", func(s *scene) {
			s.assign(recorded())
			s.runs(altered(at("jaco_shop_other.jaco-2")))
		}, drifted("the container was disconnected from network jaco_shop_default by hand")},
		{"an external network has no bridges", func(s *scene) {
			s.view.Deployments["shop"].Desired.Networks[0] = desired.Network{Name: "default", Engine: "lan", External: true}
			s.assign(recorded())
			s.runs(altered(at("lan.jaco-2")))
		}, drifted("the container was disconnected from network lan by hand")},
		{"another address is news", func(s *scene) {
			r := recorded()
			r.Addresses = "jaco_shop_default=10.0.0.9"
			s.assign(r)
			s.runs(altered(func(*Container) {}))
		}, `
			report a Running container=c-a address=10.0.0.2 addresses="jaco_shop_default=10.0.0.2"`},
	})
}

// TestWaitIsNoAttempt: a replica that waited for the mesh is not slower to try
// again when something else fails.
func TestWaitIsNoAttempt(t *testing.T) {
	l := idleLoop(t)
	start := action{kind: actStart, key: "a"}
	for range 9 {
		l.receive(done{action: start, trouble: &laterError{at: noon, err: &closedError{errors.New("not made yet")}}, retryAt: noon})
	}
	if m := l.memory["a"]; m.tries != 0 || m.trouble != "not made yet" || !m.retryAt.Equal(noon) {
		t.Errorf("after waits: %d tries, %q, next at %v", m.tries, m.trouble, m.retryAt)
	}
	l.receive(done{action: start, trouble: errors.New("no such image")})
	if m := l.memory["a"]; m.tries != 1 {
		t.Errorf("after a failure: %d tries", m.tries)
	}
}

// TestRooms: what was chosen counts until its start is over, what was seen until
// it ends, and a replica never counts against itself.
func TestRooms(t *testing.T) {
	r := newRooms()
	at := []attachment{{network: "n", managed: true}}
	one := map[string][]Bridge{"n": {{Network: "n", Capacity: 1}}}
	if _, err := r.choose("a", at, one); err != nil {
		t.Fatal(err)
	}
	if _, err := r.choose("a", at, one); err != nil {
		t.Errorf("its own place: %v", err)
	}
	if _, err := r.choose("b", at, one); !errors.Is(err, errFull) {
		t.Errorf("a second one: %v", err)
	}
	c := Container{Status: StatusRunning, Labels: map[string]string{LabelReplica: "a"}, Networks: map[string]netip.Addr{"n": {}}}
	r.look(map[string]Container{"c": c}, func(string) bool { return false })
	if _, err := r.choose("b", at, one); !errors.Is(err, errFull) {
		t.Errorf("beside a container: %v", err)
	}
	if _, err := r.choose("a", at, one); err != nil {
		t.Errorf("the place of its own container: %v", err)
	}
	c.Status = StatusExited
	r.look(map[string]Container{"c": c}, func(string) bool { return false })
	if _, err := r.choose("b", at, one); err != nil {
		t.Errorf("when it has ended: %v", err)
	}
	r.look(nil, func(replica string) bool { return replica == "b" })
	if _, err := r.choose("c", at, one); !errors.Is(err, errFull) {
		t.Errorf("beside a start: %v", err)
	}
}
