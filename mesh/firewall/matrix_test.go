package firewall

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// arrivalTime is for what must come.
const arrivalTime = 5 * time.Second

// probe is one attempt to reach somebody.
type probe struct {
	proto        string // udp, tcp, ping, forge (udp with a source that is not the sender's)
	from, source string // a host, and its address, "" for what it chooses
	to           string
	port         int
	at           string // the host that would receive it
}

func (p probe) name() string {
	return fmt.Sprintf("%s %s[%s] to %s:%d at %s", p.proto, p.from, p.source, p.to, p.port, p.at)
}

// send makes the attempt with a payload that is its own.
func (p probe) send(w *world, mark string) {
	payload := p.name() + "|" + mark
	switch p.proto {
	case "tcp":
		w.connect(p.from, p.source, p.to, p.port, payload)
	case "ping":
		// The kernel refuses some of these itself; what counts is what arrives.
		_ = w.ping(p.from, p.source, p.to, payload)
	case "forge":
		_ = w.forge(p.from, p.source, p.to, p.port, payload)
	case "udp":
		if f, err := w.dial(p.from, p.source, p.to, p.port, p.name()); err == nil {
			f.send(mark)
		}
	}
}

// all makes probes of several protocols.
func all(protos, from, source, to string, port int, at string) []probe {
	var out []probe
	for proto := range strings.FieldsSeq(protos) {
		out = append(out, probe{proto, from, source, to, port, at})
	}
	return out
}

// allowed are the ways that must be open on the sample's node.
func allowed() (out []probe) {
	const every = "udp tcp ping"
	add := func(protos, from, source, to string, port int, at string) {
		out = append(out, all(protos, from, source, to, port, at)...)
	}
	// Within a network: one bridge, two, and the other node, both ways.
	add(every, "a1", "", "10.64.0.19", 9000, "a2")
	add(every, "a1", "", "10.64.0.34", 9000, "a3")
	add(every, "a3", "", "10.64.0.18", 9000, "a1")
	add(every, "a1", "", "10.64.16.18", 9000, "far")
	add(every, "i1", "", "10.64.16.50", 9000, "far")
	add(every, "far", "10.64.16.18", "10.64.0.18", 9000, "a1")
	add(every, "far", "10.64.16.18", "10.64.0.34", 9000, "a3")
	add(every, "far", "10.64.16.50", "10.64.0.66", 9000, "i1")
	// From an ingress node to every network, an internal one too.
	add(every, "far", "10.64.32.1", "10.64.0.50", 9000, "b1")
	add(every, "far", "10.64.32.1", "10.64.0.66", 9000, "i1")
	// Out, and in by published ports.
	add(every, "a1", "", "192.168.77.2", 9000, "lan")
	add("udp tcp", "lan", "", "192.168.77.1", 8080, "b1")
	add("udp tcp", "f1", "", "192.168.77.1", 8080, "b1")
	// What the node gives to its containers.
	add("udp tcp ping", "a1", "", "10.64.0.17", 53, "node")
	add("udp tcp ping", "i1", "", "10.64.0.65", 53, "node")
	// The node's own processes.
	add(every, "node", "", "10.64.0.18", 9000, "a1")
	add(every, "node", "10.64.0.17", "10.64.0.18", 9000, "a1")
	add(every, "node", "10.64.0.33", "10.64.0.18", 9000, "a1") // of the same network
	add(every, "node", "192.168.77.1", "10.64.0.18", 9000, "a1")
	add(every, "node", "", "10.64.0.66", 9000, "i1")
	add(every, "node", "", "192.168.77.2", 9000, "lan")
	add(every, "node", "10.64.0.17", "192.168.77.2", 9000, "lan")
	add(every, "node", "", "10.64.0.1", 7000, "node")
	add(every, "node", "", "10.64.0.17", 7000, "node")
	add("ping", "node", "", "10.64.16.1", 0, "far")
	add("ping", "far", "10.64.16.1", "10.64.0.1", 0, "node")
	add("ping", "far", "10.64.32.1", "10.64.0.1", 0, "node")
	// What is not ours.
	add(every, "f1", "", "192.168.77.2", 9000, "lan")
	add(every, "lan", "", "172.18.0.2", 9000, "f1")
	add(every, "lan", "", "192.168.77.1", 7000, "node")
	add(every, "f1", "", "172.18.0.1", 7000, "node")
	add(every, "f1", "", "192.168.77.1", 53, "node")
	return out
}

// forbidden are those that must be shut. Without the table all of them are open,
// so that it is the table that shuts them.
func forbidden() (out []probe) {
	const every = "udp tcp ping"
	add := func(protos, from, source, to string, port int, at string) {
		out = append(out, all(protos, from, source, to, port, at)...)
	}
	// Between networks of this node, and an interface that no rule knows.
	add(every, "a1", "", "10.64.0.50", 9000, "b1")
	add(every, "b1", "", "10.64.0.18", 9000, "a1")
	add(every, "a3", "", "10.64.0.50", 9000, "b1")
	add(every, "a1", "", "10.64.0.66", 9000, "i1")
	add(every, "i1", "", "10.64.0.18", 9000, "a1")
	add(every, "a1", "", "10.64.0.82", 9000, "x1")
	add(every, "x1", "", "10.64.0.18", 9000, "a1")
	add(every, "x1", "", "192.168.77.2", 9000, "lan")
	add(every, "x1", "", "10.64.16.18", 9000, "far")
	add(every, "x1", "", "10.64.0.81", 7000, "node")
	// To other networks elsewhere, and other nodes' processes.
	add(every, "a1", "", "10.64.16.34", 9000, "far")
	add(every, "a1", "", "10.64.16.50", 9000, "far")
	add(every, "a1", "", "10.64.16.1", 9000, "far")
	add(every, "b1", "", "10.64.32.1", 9000, "far")
	// From there.
	add(every, "far", "10.64.16.34", "10.64.0.18", 9000, "a1")
	add(every, "far", "10.64.16.18", "10.64.0.50", 9000, "b1")
	add(every, "far", "10.64.16.1", "10.64.0.18", 9000, "a1")
	add(every, "far", "10.64.16.50", "10.64.0.18", 9000, "a1")
	add(every, "far", "10.64.16.18", "10.64.0.82", 9000, "x1")
	add(every, "far", "10.64.32.1", "10.64.0.82", 9000, "x1")
	add("udp tcp", "far", "10.64.32.1", "10.64.0.1", 7000, "node")
	add("udp tcp", "far", "10.64.16.1", "10.64.0.1", 53, "node")
	add(every, "far", "10.64.16.18", "10.64.0.1", 7000, "node")
	add(every, "far", "10.64.16.18", "10.64.0.17", 53, "node")
	add(every, "far", "10.64.32.1", "10.64.0.17", 53, "node")
	add(every, "far", "10.64.16.1", "192.168.77.1", 7000, "node")
	add(every, "far", "10.64.16.18", "192.168.77.2", 9000, "lan")
	add(every, "far", "10.64.32.1", "192.168.77.2", 9000, "lan")
	add(every, "far", "10.64.16.18", "172.18.0.2", 9000, "f1")
	add("udp tcp", "far", "10.64.16.18", "192.168.77.1", 8080, "b1")
	// The node's own services, and other bridges' addresses.
	add("udp tcp", "a1", "", "10.64.0.17", 7000, "node")
	add(every, "a1", "", "10.64.0.33", 53, "node")
	add(every, "a1", "", "10.64.0.49", 53, "node")
	add(every, "a1", "", "10.64.0.1", 7000, "node")
	add(every, "a1", "", "192.168.77.1", 7000, "node")
	add(every, "a1", "", "192.168.77.1", 53, "node")
	add(every, "a1", "", "172.18.0.1", 7000, "node")
	// Internal, and published ports from within.
	add(every, "i1", "", "192.168.77.2", 9000, "lan")
	add(every, "i1", "", "172.18.0.2", 9000, "f1")
	add("udp tcp", "lan", "", "192.168.77.1", 8081, "i1")
	add("udp tcp", "f1", "", "192.168.77.1", 8081, "i1")
	add("udp tcp", "lan", "", "192.168.77.1", 8082, "x1")
	add("udp tcp", "a1", "", "192.168.77.1", 8080, "b1")
	add("udp tcp", "i1", "", "192.168.77.1", 8080, "b1")
	// From outside without a published port.
	add(every, "lan", "", "10.64.0.18", 9000, "a1")
	add(every, "lan", "", "10.64.0.82", 9000, "x1")
	add(every, "lan", "", "10.64.0.17", 53, "node")
	add(every, "lan", "", "10.64.0.1", 7000, "node")
	add(every, "lan", "", "10.64.16.18", 9000, "far")
	add(every, "f1", "", "10.64.0.18", 9000, "a1")
	// The node's processes with an address that is not theirs there, without one
	// of the mesh, and to what no interface is for.
	add(every, "node", "10.64.0.49", "10.64.0.18", 9000, "a1")
	add(every, "node", "10.64.0.1", "10.64.0.18", 9000, "a1")
	add(every, "node", "10.64.0.17", "10.64.0.66", 9000, "i1")
	add("udp tcp", "node", "", "10.64.16.18", 9000, "far")
	add("udp tcp", "node", "", "10.64.16.1", 7000, "far")
	add(every, "node", "10.64.0.17", "10.64.16.18", 9000, "far")
	add(every, "node", "192.168.77.1", "10.64.16.18", 9000, "far")
	add(every, "node", "", "10.64.0.82", 9000, "x1")
	add("udp ping", "node", "", "10.64.99.1", 9000, "lan")
	return append(out, forged()...)
}

// forged have a source that is somebody else's.
func forged() []probe {
	return []probe{
		{"forge", "a1", "10.64.16.18", "10.64.0.34", 9000, "a3"},
		{"forge", "a1", "10.64.0.51", "10.64.0.50", 9000, "b1"},
		{"forge", "a1", "10.64.16.34", "10.64.0.50", 9000, "b1"},
		{"forge", "a1", "10.64.32.1", "10.64.0.50", 9000, "b1"},
		{"forge", "a1", "10.64.0.34", "10.64.16.18", 9000, "far"},
		{"forge", "a1", "10.64.0.51", "10.64.16.34", 9000, "far"},
		{"forge", "a1", "192.168.77.9", "192.168.77.2", 9000, "lan"},
		{"forge", "a1", "192.0.2.8", "10.64.0.50", 9000, "b1"},
		{"forge", "a1", "192.0.2.8", "10.64.0.17", 53, "node"},
		{"forge", "a1", "10.64.0.50", "10.64.0.49", 53, "node"},
		{"forge", "x1", "10.64.0.19", "10.64.0.18", 9000, "a1"},
		{"forge", "far", "10.64.0.34", "10.64.0.18", 9000, "a1"},
		{"forge", "far", "192.168.77.2", "10.64.0.18", 9000, "a1"},
		{"forge", "far", "192.0.2.8", "10.64.0.1", 7000, "node"},
		{"forge", "lan", "10.64.16.18", "10.64.0.18", 9000, "a1"},
		{"forge", "lan", "10.64.32.1", "10.64.0.18", 9000, "a1"},
		{"forge", "lan", "10.64.16.99", "192.168.77.1", 7000, "node"},
		{"forge", "lan", "10.64.16.18", "192.168.77.1", 8080, "b1"},
		{"forge", "f1", "10.64.0.19", "10.64.0.18", 9000, "a1"},
		{"forge", "f1", "10.64.16.18", "192.168.77.2", 9000, "lan"},
	}
}

// sendAll makes all attempts at once.
func sendAll(w *world, probes []probe, mark string) {
	var group sync.WaitGroup
	for _, p := range probes {
		group.Go(func() { p.send(w, mark) })
	}
	group.Wait()
}

// TestMatrix tries every way that is open and every one that must be shut, with
// real packets, counted where they arrive: without the table, where all arrive;
// with it; and once more after somebody took it away for a while.
func TestMatrix(t *testing.T) {
	w := newWorld(t)
	w.hosts["lan"].run(t, "ip addr add 10.64.99.1/32 dev lo")
	open, shut := allowed(), forbidden()
	t.Logf("%d ways are open, %d shut", len(open), len(shut))
	f := newFirewall(t)

	sendAll(w, open, "bare")
	sendAll(w, shut, "bare")
	for _, p := range append(open, shut...) {
		if w.await(p.at, p.name()+"|bare", arrivalTime) == "" {
			t.Errorf("without the table it does not arrive, so that nothing is tested: %s", p.name())
		}
	}
	if t.Failed() {
		t.FailNow()
	}
	mustSet(t, f, sample())
	checkMatrix(t, w, open, shut, "set")

	nft(t, "delete table inet jaco")
	sendAll(w, shut, "gone")
	for _, p := range shut {
		if w.await(p.at, p.name()+"|gone", arrivalTime) == "" {
			t.Errorf("with the table gone it does not arrive: %s", p.name())
		}
	}
	if result := mustSet(t, f, sample()); len(result.Drift) == 0 {
		t.Error("nothing is said of the table that was gone")
	}
	checkMatrix(t, w, open, shut, "again")
}

// checkMatrix wants what is open to arrive, and be answered, and nothing else.
func checkMatrix(t *testing.T, w *world, open, shut []probe, mark string) {
	t.Helper()
	sendAll(w, shut, mark)
	sendAll(w, open, mark) // after the others, so that whoever waits for these has given those time
	for _, p := range open {
		payload := p.name() + "|" + mark
		if w.await(p.at, payload, arrivalTime) == "" {
			t.Errorf("%s: it must arrive: %s", mark, p.name())
		}
		if p.proto != "udp" && p.proto != "ping" {
			continue // a connection of TCP had to be answered to carry anything
		}
		if w.await(p.from, "re:"+payload, arrivalTime) == "" {
			t.Errorf("%s: it must be answered: %s", mark, p.name())
		}
	}
	for _, p := range shut {
		if from := w.came(p.at, p.name()+"|"+mark); from != "" {
			t.Errorf("%s: it must not arrive, and came from %s: %s", mark, from, p.name())
		}
	}
}

// TestFlowsOfTheWindow has connections begin while the table is away. What is
// forbidden ends with its return, in both directions, although the kernel takes
// it for established.
func TestFlowsOfTheWindow(t *testing.T) {
	w := newWorld(t)
	f := newFirewall(t)
	mustSet(t, f, sample())
	type lane struct {
		probe
		*flow
	}
	var shut []lane
	nft(t, "delete table inet jaco")
	outside := probe{"udp", "a1", "", "192.168.77.2", 9000, "lan"} // it leaves with the container's own address
	for _, p := range append(forbidden(), outside) {
		if p.proto != "udp" || p.to == "10.64.99.1" {
			continue
		}
		flow, err := w.dial(p.from, p.source, p.to, p.port, p.name())
		if err != nil {
			t.Fatal(p.name(), err)
		}
		for _, mark := range []string{"first", "second"} { // the second is of an established one
			flow.send(mark)
			if w.await(p.from, "re:"+p.name()+"|"+mark, arrivalTime) == "" {
				t.Errorf("with the table gone there is no answer: %s", p.name())
			}
		}
		shut = append(shut, lane{p, flow})
	}
	mustSet(t, f, sample())
	for _, l := range shut {
		l.flow.send("after")
		l.flow.push("pushed")
	}
	// The node's processes may send to its containers with these addresses, and
	// those of an ingress node to all.
	may := map[string]bool{"10.64.0.17": true, "10.64.0.33": true, "192.168.77.1": true, "172.18.0.1": true, "10.64.32.1": true}
	fence := allowed()
	sendAll(w, fence, "fence")
	for _, p := range fence {
		if w.await(p.at, p.name()+"|fence", arrivalTime) == "" {
			t.Errorf("it must arrive: %s", p.name())
		}
	}
	for _, l := range shut {
		if w.came(l.at, l.probe.name()+"|after") != "" {
			t.Errorf("what began in the window still arrives: %s", l.probe.name())
		}
		if w.came(l.from, l.probe.name()+"|pushed") != "" && !(l.from[1] == '1' && may[l.to]) {
			t.Errorf("what began in the window is still answered: %s", l.probe.name())
		}
	}
}

// TestIngressNode has a node whose own processes may reach all networks.
func TestIngressNode(t *testing.T) {
	w := newWorld(t)
	c := sample()
	c.Ingress = append(c.Ingress, c.MeshAddress)
	mustSet(t, newFirewall(t), c)
	open := append(all("udp tcp ping", "node", "", "10.64.16.18", 9000, "far"), all("udp tcp ping", "node", "", "10.64.16.34", 9000, "far")...)
	shut := append(all("udp tcp ping", "node", "10.64.0.17", "10.64.16.18", 9000, "far"), all("udp tcp ping", "a1", "", "10.64.0.1", 7000, "node")...)
	checkMatrix(t, w, open, shut, "ingress")
}

// TestAddressOutside has containers appear outside with an address of the node,
// and inside with their own.
func TestAddressOutside(t *testing.T) {
	w := newWorld(t)
	mustSet(t, newFirewall(t), sample())
	for _, test := range []struct {
		probe
		want string
	}{
		{probe{"udp", "a1", "", "192.168.77.2", 9000, "lan"}, "192.168.77.1"},
		{probe{"udp", "a1", "", "172.18.0.2", 9000, "f1"}, "172.18.0.1"},
		{probe{"udp", "a1", "", "10.64.16.18", 9000, "far"}, "10.64.0.18"},
		{probe{"udp", "a1", "", "10.64.0.34", 9000, "a3"}, "10.64.0.18"},
		{probe{"udp", "far", "10.64.32.1", "10.64.0.50", 9000, "b1"}, "10.64.32.1"},
		{probe{"udp", "lan", "", "192.168.77.1", 8080, "b1"}, "192.168.77.2"},
		{probe{"udp", "f1", "", "192.168.77.2", 9000, "lan"}, "172.18.0.2"},
	} {
		test.send(w, "mark")
		if from := w.await(test.at, test.name()+"|mark", arrivalTime); !strings.HasPrefix(from, test.want+":") {
			t.Errorf("%s came from %q, want %s", test.name(), from, test.want)
		}
	}
}
