package bridge

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/vishvananda/netlink"
)

// TestLiveSet makes networks, twice, and looks at what passes: between networks,
// from and to another node, always under the sender's own address.
func TestLiveSet(t *testing.T) {
	h := live(t)
	a, b := h.network("a", 1), h.network("b", 2)
	first := h.set(h.config(a, b))
	if !first.Changed || len(first.Repaired) > 0 {
		t.Errorf("the first time: %+v", first)
	}
	if again := h.set(h.config(a, b)); again.Changed || len(again.Repaired) > 0 {
		t.Errorf("the second time: %+v", again)
	}
	process := h.another()
	if again, err := process.Set(t.Context(), h.config(a, b)); err != nil || again.Changed || len(again.Repaired) > 0 {
		t.Errorf("the next process: %+v, %v", again, err)
	}
	got := h.find(a.Name)
	hard, soft := differences(version{20, 10}, 1420, &a, got)
	if len(hard)+len(soft) > 0 || got.Labels["sh.jaco.network"] != "a" {
		t.Errorf("the engine has %v %v, labels %v", hard, soft, got.Labels)
	}
	one, other := h.run("one", a.Name), h.run("other", b.Name)
	if !a.Subnet.Contains(one.address) || one.address == a.Gateway {
		t.Errorf("the address %s of %s", one.address, a.Subnet)
	}
	h.reaches(one.space, one.address, other.space, other.address)
	h.reaches(h.remote, remoteAddress, one.space, one.address)
	h.reaches(one.space, one.address, h.remote, remoteAddress)
	h.must(in(one.space, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Type() == "veth" && l.Attrs().MTU != 1420 {
				t.Errorf("mtu %d in the container", l.Attrs().MTU)
			}
		}
		return err
	}))
	// The rules are what lets it pass.
	h.must(h.removeRules(t.Context(), h.id))
	h.cut(h.remote, remoteAddress, one.space, one.address)
	h.cut(one.space, one.address, other.space, other.address)
	back := h.set(h.config(a, b))
	if len(back.Repaired) != 3 || !strings.Contains(back.Repaired[0], h.mesh) {
		t.Errorf("repaired %q, want three rules", back.Repaired)
	}
	h.reaches(h.remote, remoteAddress, one.space, one.address)
}

// TestLiveDamage does to bridges under a running container what hands do. The
// container keeps its connection through each.
func TestLiveDamage(t *testing.T) {
	h := live(t)
	a := h.network("a", 1)
	config := h.config(a)
	h.set(config)
	changed := h.watch()
	one := h.run("one", a.Name)
	at, _ := h.serve(one.space, one.address)
	c, err := dial(h.remote, remoteAddress, at, 3*time.Second)
	h.must(err)
	defer c.Close()
	h.echo(c)
	hardware := func() string {
		link, err := netlink.LinkByName(a.Bridge)
		h.must(err)
		return link.Attrs().HardwareAddr.String()
	}
	before := hardware()
	for _, damage := range []struct {
		name string
		do   []string
		want string
	}{
		{"down", []string{"link", "set", a.Bridge, "down"}, "was down"},
		{"address", []string{"addr", "del", a.address().String(), "dev", a.Bridge}, "was without its address"},
		{"link", []string{"link", "del", a.Bridge}, "was gone"},
	} {
		for len(changed) > 0 {
			<-changed
		}
		h.set(config)
		h.ip(damage.do...)
		h.await(changed)
		began := time.Now()
		result := h.set(config)
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("%s: mended in %v", damage.name, took)
		}
		if !strings.Contains(strings.Join(result.Repaired, "\n"), damage.want) {
			t.Errorf("%s: repaired %q", damage.name, result.Repaired)
		}
		h.echo(c)
		if again := h.set(config); again.Changed {
			t.Errorf("%s: not mended at once: %+v", damage.name, again)
		}
	}
	if after := hardware(); after != before {
		t.Errorf("hardware address %s became %s: containers would look for the old one", before, after)
	}
	// A process that remembers nothing finds containers that are attached to none.
	h.ip("link", "del", a.Bridge)
	next := h.another()
	result, err := next.Set(t.Context(), config)
	if err != nil || result.Ready[a.Name] != "" || len(result.Repaired) != 2 || !strings.Contains(result.Repaired[1], "had lost 1 containers") {
		t.Errorf("the next process: %+v, %v", result, err)
	}
	h.reaches(h.remote, remoteAddress, one.space, one.address)
	// The engine does not know the link that was made in the place of its own.
	one.stop()
	h.set(h.config())
	if link, err := netlink.LinkByName(a.Bridge); err == nil {
		t.Errorf("the network is gone, and its bridge is not: %v", link.Attrs())
	}
}

// TestLiveNetworkRemoved: a network that somebody removed is made again, and told.
func TestLiveNetworkRemoved(t *testing.T) {
	h := live(t)
	a := h.network("a", 1)
	h.set(h.config(a))
	changed := h.watch()
	for len(changed) > 0 {
		<-changed
	}
	_, err := h.api.NetworkRemove(t.Context(), a.Name, client.NetworkRemoveOptions{})
	h.must(err)
	h.await(changed)
	if result := h.set(h.config(a)); len(result.Repaired) != 1 || !strings.Contains(result.Repaired[0], "was gone") {
		t.Errorf("repaired %q", result.Repaired)
	}
	if got := h.find(a.Name); got == nil {
		t.Error("it is not there")
	}
}

// TestLiveFlush: after everything of the packet filter is gone, the engine's
// tables too, the mesh's traffic passes and Set is content.
func TestLiveFlush(t *testing.T) {
	h := live(t)
	a := h.network("a", 1)
	h.set(h.config(a))
	one := h.run("one", a.Name)
	saved := h.tablesRun("-S")
	for _, args := range [][]string{{"-P", "FORWARD", "ACCEPT"}, {"-F"}, {"-X"}} {
		h.tablesRun(args...)
	}
	defer h.restore(saved)
	if result := h.set(h.config(a)); len(result.Repaired) > 0 {
		t.Errorf("repaired %q where nothing is to be gone ahead of", result.Repaired)
	}
	h.reaches(h.remote, remoteAddress, one.space, one.address)
	// With a policy that drops and no chain of the engine's, the rules go into
	// FORWARD itself.
	h.tablesRun("-P", "FORWARD", "DROP")
	h.cut(h.remote, remoteAddress, one.space, one.address)
	h.set(h.config(a))
	h.reaches(h.remote, remoteAddress, one.space, one.address)
	h.tablesRun("-N", "DOCKER-USER")
	h.tablesRun("-I", "FORWARD", "1", "-j", "DOCKER-USER")
	h.set(h.config(a))
	h.reaches(h.remote, remoteAddress, one.space, one.address)
	if left := h.tablesRun("-S", "FORWARD"); strings.Contains(left, h.id) {
		t.Errorf("left in FORWARD:\n%s", left)
	}
	// Behind a rule that leaves the chain ours are worth nothing.
	h.tablesRun("-I", "DOCKER-USER", "1", "-j", "RETURN")
	h.cut(h.remote, remoteAddress, one.space, one.address)
	h.set(h.config(a))
	h.reaches(h.remote, remoteAddress, one.space, one.address)
}

// restore puts chains and rules back as they were listed.
func (h *host) restore(listing string) {
	h.t.Helper()
	for _, args := range [][]string{{"-F"}, {"-X"}} {
		h.tablesRun(args...)
	}
	for line := range strings.Lines(listing) {
		if args := splitWords(line); len(args) > 0 && (args[0] != "-A" || !strings.Contains(line, h.id)) {
			h.tablesRun(args...)
		}
	}
}

// TestLiveReplace: what exists otherwise is made anew, when nobody uses it.
func TestLiveReplace(t *testing.T) {
	h := live(t)
	a := h.network("a", 1)
	wrong := h.network("a", 5)
	h.make(a.Name, client.NetworkCreateOptions{
		Driver: "bridge", Labels: a.Labels, IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: wrong.Subnet}}},
	})
	one := h.run("one", a.Name)
	stranger := h.make("stranger_"+h.id, client.NetworkCreateOptions{Driver: "bridge"})
	h.refused(h.config(a), a.Name, "subnet "+wrong.Subnet.String(), "in use by "+one.name)
	if got := h.find(a.Name); got == nil || subnetsText(got) != wrong.Subnet.String() {
		t.Error("it was replaced under a container")
	}
	changed := h.watch()
	for len(changed) > 0 {
		<-changed
	}
	one.stop()
	h.await(changed)
	h.set(h.config(a))
	// Another MTU harms nobody: it comes with the next time that nobody is there.
	two := h.run("two", a.Name)
	other := h.config(a)
	other.MTU = 1280
	h.set(other)
	if got := h.find(a.Name).Options[optionMTU]; got != "1420" {
		t.Errorf("mtu %s under a container", got)
	}
	two.stop()
	h.set(other)
	if got := h.find(a.Name).Options[optionMTU]; got != "1280" {
		t.Errorf("mtu %s when nobody is there", got)
	}
	if got := h.find("stranger_" + h.id); got == nil || got.ID != stranger {
		t.Errorf("somebody else's network was touched: %+v", got)
	}
}

// TestLiveForeign: what is somebody else's is named and left.
func TestLiveForeign(t *testing.T) {
	h := live(t)
	a, b, d, e := h.network("a", 1), h.network("b", 2), h.network("d", 3), h.network("e", 4)
	foreign := map[string]string{
		a.Name: h.make(a.Name, client.NetworkCreateOptions{Driver: "bridge", Labels: map[string]string{LabelCluster: "another"}}),
		"lan_" + h.id: h.make("lan_"+h.id, client.NetworkCreateOptions{Driver: "bridge", IPAM: &network.IPAM{
			Config: []network.IPAMConfig{{Subnet: netip.PrefixFrom(b.Subnet.Addr(), 29)}}}}),
	}
	h.ip("link", "add", d.Bridge, "type", "veth", "peer", "name", "jp"+h.id)
	h.ip("link", "add", e.Bridge, "type", "bridge") // left behind by an engine that died
	defer h.ip("link", "del", d.Bridge)
	config := h.config(a, b, d, e)
	h.refused(config, a.Name, "not this cluster's")
	h.refused(config, b.Name, "overlap", "lan_"+h.id)
	h.refused(config, d.Name, d.Bridge, "is a veth")
	result, err := h.Set(t.Context(), config)
	if h.must(err); result.Ready[e.Name] != "" {
		t.Errorf("over a link that was left behind: %s", result.Ready[e.Name])
	}
	for name, id := range foreign {
		if got := h.find(name); got == nil || got.ID != id {
			t.Errorf("%s was touched: %+v", name, got)
		}
	}
	h.must(h.CleanUp(t.Context(), h.id))
	for name, id := range foreign {
		if got := h.find(name); got == nil || got.ID != id {
			t.Errorf("%s was cleaned up: %+v", name, got)
		}
	}
}

// TestLiveRetire: what is no longer wanted goes when nobody uses it, and CleanUp
// leaves nothing.
func TestLiveRetire(t *testing.T) {
	h := live(t)
	rules := h.tablesRun("-S")
	a, b := h.network("a", 1), h.network("b", 2)
	h.set(h.config(a, b))
	one := h.run("one", b.Name)
	changed := h.watch()
	h.set(h.config())
	if h.find(a.Name) != nil || h.find(b.Name) == nil {
		t.Error("want the one without containers gone, and the other not")
	}
	if err := h.CleanUp(t.Context(), h.id); err == nil || !strings.Contains(err.Error(), b.Name) || !strings.Contains(err.Error(), one.name) {
		t.Errorf("clean up under a container: %v", err)
	}
	h.set(h.config())
	for len(changed) > 0 {
		<-changed
	}
	one.stop()
	h.await(changed)
	h.set(h.config(a))
	if h.find(b.Name) != nil {
		t.Error("it is still there when nobody uses it")
	}
	h.must(h.CleanUp(t.Context(), h.id))
	if h.find(a.Name) != nil {
		t.Error("a network is left")
	}
	for _, n := range []Network{a, b} {
		if link, err := netlink.LinkByName(n.Bridge); err == nil {
			t.Errorf("a bridge is left: %v", link.Attrs())
		}
	}
	if after := h.tablesRun("-S"); after != rules {
		t.Errorf("rules before:\n%s\nand after:\n%s", rules, after)
	}
	h.must(h.CleanUp(t.Context(), h.id)) // of nothing
}
