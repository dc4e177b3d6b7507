package agent

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

func assigned(ids ...string) (rs []cluster.Replica) {
	for i, id := range ids {
		r := replica(id, cluster.Assigned)
		r.Slot, r.CreateIndex = i+1, uint64(i+1)
		rs = append(rs, r)
	}
	return rs
}

// scenario is played in virtual time; its golden file is the whole conversation
// between the agent, the engine and the cluster.
type scenario struct {
	name string
	play func(w *world)
}

func play(t *testing.T, scenarios []scenario) {
	t.Helper()
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { inWorld(t, s.name, s.play) })
	}
}

// TestLoopLife takes replicas through their lives.
func TestLoopLife(t *testing.T) {
	play(t, []scenario{
		{"start-and-stop", func(w *world) {
			w.state.assign(assigned("a", "b", "c")...)
			w.pass(time.Second)
			w.expect("a=Running b=Running c=Running")
			w.state.stop("b")
			w.pass(time.Second)
			w.expect("a=Running b=Stopped c=Running")
			w.state.drop("b")
			w.pass(time.Second)
		}},
		{"health", func(w *world) {
			w.engine.set("containers have a healthcheck", func() { w.engine.unchecked = false })
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			for _, h := range []Health{HealthHealthy, HealthUnhealthy, HealthHealthy} {
				w.engine.by("becomes "+string(h), "a", func(c *fakeContainer) {
					c.Health = h
					if h == HealthUnhealthy {
						c.HealthOutput = "503"
					}
					w.engine.emitLocked(c, Event{Action: ActionHealth})
				})
				w.pass(time.Second)
			}
			w.expect("a=Healthy")
		}},
		{"restarted-agent-adopts", func(w *world) {
			w.state.assign(assigned("a", "b")...)
			w.pass(time.Second)
			w.kill()
			w.pass(time.Second)
			w.start()
			w.pass(time.Second)
			w.expect("a=Running b=Running")
		}},
		{"crash", func(w *world) {
			w.engine.set("a logs", func() {
				w.engine.logs["a"] = []LogLine{{Text: "listening"}, {Text: "panic: no database", Stderr: true}}
			})
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.engine.by("crash", "a", func(c *fakeContainer) { w.engine.dieLocked(c, 2) })
			w.pass(time.Second)
			w.expect("a=Failed")
		}},
		{"crash-at-once", func(w *world) {
			w.engine.set("web:1 exits at once", func() { w.engine.starting["web:1"] = "exit 1" })
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.expect("a=Failed")
		}},
		{"deployment-retired", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.state.accept(&cluster.View{})
			w.state.stop("a")
			w.pass(time.Second)
			w.state.drop("a")
			w.pass(time.Second)
		}},
		{"reports-refused", func(w *world) {
			w.state.mu.Lock()
			w.state.faults = []error{errors.New("no leader"), errors.New("no leader")}
			w.state.mu.Unlock()
			w.state.assign(assigned("a", "b")...)
			w.pass(5 * time.Second)
			w.expect("a=Running b=Running")
		}},
	})
}

// TestLoopImages is about images.
func TestLoopImages(t *testing.T) {
	play(t, []scenario{
		{"pull", func(w *world) {
			v := accepted(rev1, shop("2", 3), nil)
			w.state.accept(v)
			w.engine.set("the registry fails three times", func() {
				w.engine.faults["pull"] = []error{errors.New("no route"), errors.New("no route"), errors.New("manifest unknown")}
			})
			rs := assigned("a")
			rs[0].SpecHash = "hash-2"
			w.state.assign(rs...)
			w.pass(time.Minute)
			w.expect("a=Running")
		}},
		{"pull-never", func(w *world) {
			d := shop("2", 3)
			d.Services[0].Container.PullPolicy = desired.PullNever
			w.state.accept(accepted(rev1, d, nil))
			rs := assigned("a")
			rs[0].SpecHash = "hash-2"
			w.state.assign(rs...)
			w.pass(time.Minute)
			w.expect("a=Failed")
		}},
		{"pull-backoff-is-shared", func(w *world) {
			w.state.accept(accepted(rev1, shop("2", 3), nil))
			w.engine.set("the registry fails twice", func() {
				w.engine.faults["pull"] = []error{errors.New("no route"), errors.New("no route")}
			})
			rs := assigned("a", "b")
			rs[0].SpecHash, rs[1].SpecHash = "hash-2", "hash-2"
			w.state.assign(rs[0])
			w.pass(5500 * time.Millisecond) // the second attempt has just failed
			w.state.assign(rs[1])
			w.pass(time.Minute)
			w.expect("a=Running b=Running")
		}},
		{"image-changed-by-hand", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.engine.set("docker tag", func() { w.engine.images["web:1"] = Image{ID: "sha256:two", Digest: "web@sha256:d2"} })
			w.state.assign(assigned("a", "b")[1])
			w.pass(time.Second)
			w.engine.set("docker rmi", func() { delete(w.engine.images, "web:1") })
			w.state.assign(assigned("a", "b", "c")[2])
			w.pass(10 * time.Second)
			w.expect("a=Running b=Running c=Running")
		}},
		{"stopped-while-pulling", func(w *world) {
			d := shop("1", 3)
			d.Services[0].Container.PullPolicy = desired.PullAlways
			w.state.accept(accepted(rev1, d, nil))
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.state.stop("a")
			w.pass(10 * time.Second)
			w.expect("a=Stopped")
		}},
	})
}

// TestLoopHands does what people do by hand.
func TestLoopHands(t *testing.T) {
	play(t, []scenario{
		{"by-hand", func(w *world) {
			w.state.assign(assigned("a", "b", "c")...)
			w.pass(time.Second)
			w.engine.by("docker rm -f", "a", func(c *fakeContainer) { w.engine.removeLocked(c.ID) })
			w.pass(time.Second)
			w.engine.by("docker stop", "b", func(c *fakeContainer) { w.engine.stopLocked(c.ID) })
			w.pass(time.Second)
			w.engine.by("docker update", "c", func(c *fakeContainer) { w.engine.emitLocked(c, Event{Action: ActionUpdate}) })
			w.pass(time.Second)
			w.expect("a=Failed b=Failed c=Failed")
		}},
		{"name-taken-by-ours", func(w *world) {
			w.engine.set("an earlier create took effect unseen", func() {
				w.engine.networks["jaco_shop_default"] = Network{Name: "jaco_shop_default"}
				r := assigned("a")[0]
				s, a := specOf(w.state.view, r)
				w.engine.cutStreamsLocked()
				if _, err := w.engine.createLocked(containerSpec(testCluster, r, s, a)); err != nil {
					w.t.Error(err)
				}
			})
			w.state.assign(assigned("a")...)
			w.pass(5 * time.Second)
			w.expect("a=Running")
		}},
		{"name-taken-by-others", func(w *world) {
			w.engine.set("somebody else has the name", func() {
				c := &fakeContainer{Container: Container{ID: "foreign", Name: ContainerName(assigned("a")[0]), Status: StatusRunning}}
				w.engine.containers[c.ID], w.engine.names[c.Name] = c, c.ID
			})
			w.state.assign(assigned("a")...)
			w.pass(5 * time.Second)
			w.expect("a=Failed")
			if w.engine.containers["foreign"].Status != StatusRunning {
				w.t.Error("the other container was touched")
			}
		}},
		{"network-removed-by-hand", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.state.stop("a")
			w.pass(time.Second)
			w.engine.set("docker network rm", func() {
				delete(w.engine.networks, "jaco_shop_default")
				for s := range w.engine.streams {
					s.queue = append(s.queue, Event{Action: ActionNetworkEnd, Network: "jaco_shop_default", Time: time.Now()})
					poke(s.wake)
				}
			})
			w.pass(time.Second)
			w.state.assign(assigned("b")...)
			w.pass(time.Second)
			w.expect("a=Stopped b=Running")
		}},
	})
}

// TestLoopEngine lets the engine fail.
func TestLoopEngine(t *testing.T) {
	play(t, []scenario{
		{"engine-lost-in-the-middle", func(w *world) {
			w.state.assign(assigned("a", "b")...)
			w.pass(50 * time.Millisecond)
			w.engine.set("engine goes down", func() { w.engine.down = true; w.engine.cutStreamsLocked() })
			w.pass(5 * time.Second)
			w.engine.set("engine comes up", func() { w.engine.down = false })
			w.pass(5 * time.Second)
			w.expect("a=Running b=Running")
		}},
		{"engine-takes-its-containers-along", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(2 * time.Second)
			w.engine.set("engine goes down without live-restore", func() {
				w.engine.stopLocked("a-c")
				w.engine.down = true
				w.engine.cutStreamsLocked()
			})
			w.pass(2 * time.Second)
			w.engine.set("engine comes up", func() { w.engine.down = false })
			w.pass(5 * time.Second)
			w.expect("a=Failed")
			if r := w.state.get("a"); r.Reason != "exited with code 143" {
				w.t.Errorf("reason %q blames somebody", r.Reason)
			}
		}},
		{"network-trouble", func(w *world) {
			w.engine.set("no addresses left, for a moment", func() {
				w.engine.faults["ensure-network"] = []error{errors.New("no free address pool")}
			})
			w.state.assign(assigned("a")...)
			w.pass(5 * time.Second)
			w.expect("a=Running")
		}},
		{"event-stream-cut", func(w *world) {
			w.state.assign(assigned("a", "b")...)
			w.pass(2 * time.Second)
			w.engine.set("the stream ends, and a dies unseen", func() {
				w.engine.cutStreamsLocked()
				w.engine.dieLocked(w.engine.containers["a-c"], 1)
			})
			w.pass(5 * time.Second)
			w.expect("a=Failed b=Running")
		}},
		{"start-refused", func(w *world) {
			w.engine.set("the port is taken", func() { w.engine.faults["start"] = []error{errors.New("port is already allocated")} })
			w.state.assign(assigned("a")...)
			w.pass(5 * time.Second)
			w.expect("a=Failed")
		}},
		{"engine-hangs-on-one-container", func(w *world) {
			w.engine.set("every call for a's container hangs", func() {
				for _, op := range []string{"start", "inspect", "stop", "remove"} {
					w.engine.stuck[op+" a-c"] = true
				}
			})
			w.state.assign(assigned("a", "b")...)
			w.pass(20 * time.Second)
			w.engine.by("crash", "b", func(c *fakeContainer) { w.engine.dieLocked(c, 1) })
			w.pass(time.Second)
			w.expect("a=Starting b=Failed")
			w.pass(2 * time.Minute)
			w.expect("a=Failed b=Failed")
			r := assigned("c")[0]
			w.state.assign(r)
			w.pass(time.Second)
			w.expect("a=Failed b=Failed c=Running")
		}},
		{"engine-does-not-let-go", func(w *world) {
			w.state.assign(assigned("a")...)
			w.pass(time.Second)
			w.engine.set("removing a hangs", func() { w.engine.stuck["remove a-c"] = true })
			w.state.stop("a")
			w.pass(2 * time.Minute)
			w.expect("a=Stopped")
		}},
	})
}

// TestOldAnswersLose: a listing or an inspection that was under way while
// something newer became known changes nothing that was known later.
func TestOldAnswersLose(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.assign(assigned("ends")...)
		w.pass(2 * time.Second)
		w.engine.set("the stream ends; the listing after it travels slowly", func() {
			w.engine.lag["list"] = time.Second
			w.engine.cutStreamsLocked()
		})
		w.pass(5 * time.Millisecond) // listed: "ends" runs, "new" does not exist
		w.state.assign(assigned("new")...)
		w.state.stop("ends")
		w.pass(500 * time.Millisecond)
		w.expect("ends=Stopped new=Running")
		w.pass(5 * time.Second)
		w.expect("ends=Stopped new=Running")
		for _, trace := range []string{"remove new", "create jaco_shop_web_1_new"} {
			if n := w.log.count(trace); trace[:6] == "remove" && n != 0 || trace[:6] == "create" && n != 1 {
				t.Errorf("%s: %d times", trace, n)
			}
		}
		if n := w.log.count("remove ends-c"); n != 1 {
			t.Errorf("the container that had gone was removed %d times", n)
		}
		w.engine.set("an inspection travels slowly", func() {
			w.engine.lag["list"], w.engine.lag["inspect"] = 0, time.Second
		})
		w.engine.by("health changes", "new", func(c *fakeContainer) { w.engine.emitLocked(c, Event{Action: ActionHealth}) })
		w.pass(5 * time.Millisecond)
		w.engine.set("and a listing overtakes it", func() { w.engine.cutStreamsLocked() })
		w.engine.by("crash", "new", func(c *fakeContainer) { w.engine.dieLocked(c, 1) })
		w.pass(500 * time.Millisecond)
		w.expect("ends=Stopped new=Failed")
		w.pass(5 * time.Second)
		if n := len(w.engine.containers); n != 0 {
			t.Errorf("%d containers, want none", n)
		}
	})
}

// TestReportsOnce: what the cluster took is not reported again while this
// node's own state has yet to learn of it.
func TestReportsOnce(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.mu.Lock()
		w.state.lag = 5 * time.Second
		w.state.mu.Unlock()
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.state.assign(assigned("a", "b")[1]) // wakes the loop
		w.pass(10 * time.Second)
		w.expect("a=Running b=Running")
		for _, id := range []string{"a", "b"} {
			if n := w.log.count("report " + id + " Running"); n != 1 {
				t.Errorf("%s was reported %d times", id, n)
			}
		}
	})
}

// TestIdle: with nothing to do the engine is not asked anything and the
// cluster is not told anything (guarantee G8).
func TestIdle(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.assign(assigned("a", "b", "c")...)
		w.pass(time.Second)
		w.expect("a=Running b=Running c=Running")
		before := w.log.String()
		w.pass(24 * time.Hour)
		if after := w.log.String(); after != before {
			t.Errorf("an idle day was not silent:\n%s", after[len(before):])
		}
	})
}

// TestNotReady: before the state is current nothing is touched, whatever it
// says.
func TestNotReady(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.kill()
		w.ready = make(chan struct{})
		w.state.drop("a") // an old snapshot knew nothing of it
		w.start()
		w.pass(time.Minute)
		if n := len(w.engine.containers); n != 1 {
			t.Fatalf("%d containers, want the one that ran", n)
		}
		close(w.ready)
		w.pass(time.Second)
		if n := len(w.engine.containers); n != 0 {
			t.Errorf("%d containers, want none once the state is current", n)
		}
	})
}

// TestManyStartsAreBounded: not more containers are made and started at a time
// than there are workers, and shared things are prepared once.
func TestManyStartsAreBounded(t *testing.T) {
	inWorld(t, "", func(w *world) {
		w.state.accept(accepted(rev1, shop("1", 12), nil))
		var ids []string
		for i := range 12 {
			ids = append(ids, fmt.Sprintf("r%02d", i))
		}
		w.state.assign(assigned(ids...)...)
		w.pass(235 * time.Millisecond)
		if n := w.log.count("engine  start"); n != 4 {
			t.Errorf("%d containers started after one round, want 4", n)
		}
		w.pass(450 * time.Millisecond)
		if n := w.log.count("engine  start"); n != 12 {
			t.Errorf("%d containers started after three rounds, want 12", n)
		}
		w.pass(time.Second)
		for what, want := range map[string]int{
			"engine  image": 1, "engine  ensure-network": 1, "engine  create": 12, "engine  inspect": 12,
			// The third round waits long enough for that to be told.
			"Preparing": 8, "Starting": 4,
		} {
			if n := w.log.count(what); n > want {
				t.Errorf("%s: %d times, want at most %d", what, n, want)
			}
		}
	})
}

// TestLoopPrunesVolumes takes a volume from its first use to its end, which is
// audited.
func TestLoopPrunesVolumes(t *testing.T) {
	play(t, []scenario{{"prune", func(w *world) {
		w.state.mu.Lock()
		w.state.view.Deployments["shop"].Desired.Services[0].Container.Mounts = []desired.Mount{{Kind: desired.VolumeMount, Volume: "data", Target: "/data"}}
		w.state.mu.Unlock()
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.expect("a=Running")
		w.state.stop("a")
		w.pass(time.Second)
		w.state.drop("a")
		w.state.accept(&cluster.View{
			Claim: 2, Deployments: map[string]*cluster.Accepted{},
			Prune: []cluster.PrunedVolume{{Deployment: "shop", Volume: "data", Engine: "jaco_shop_data", Revision: rev2}},
		})
		w.pass(time.Second)
		if len(w.engine.volumes) != 0 {
			w.t.Errorf("left: %v", w.engine.volumes)
		}
	}}})
}
