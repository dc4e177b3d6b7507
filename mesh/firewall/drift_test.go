package firewall

import (
	"context"
	"errors"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// handle finds the handle of the rule of a chain whose text has the words.
func handle(t testing.TB, chain, words string) string {
	t.Helper()
	out, err := exec.Command("nft", "-a", "-s", "list", "chain", "inet", tableName, chain).Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if m := regexp.MustCompile(`# handle (\d+)$`).FindStringSubmatch(strings.TrimSpace(line)); m != nil && strings.Contains(line, words) && !strings.Contains(line, "chain ") {
			return m[1]
		}
	}
	t.Fatalf("no rule of %s has %q:\n%s", chain, words, out)
	return ""
}

// byHand are changes that somebody makes with nft, and words that the difference
// must say. In a script CHAIN/words/ is replaced by the handle of that rule.
var byHand = []struct {
	name, script string
	told         []string
}{
	{"table deleted", "delete table inet jaco", []string{"the table inet jaco is missing"}},
	{"table flushed", "flush table inet jaco", []string{"chain forward: all 8 rules are missing", "chain leave"}},
	{"everything flushed", "flush ruleset", []string{"the table inet jaco is missing"}},
	{"table dormant", "add table inet jaco { flags dormant; }", []string{"has flags 0x1"}},
	{"first rule deleted", "delete rule inet jaco prerouting handle prerouting/iifname \"lo\"/", []string{`chain prerouting: rule 1 is missing: iifname "lo" accept`}},
	{"middle rule deleted", "delete rule inet jaco forward_bridge handle forward_bridge/@ingress/", []string{"chain forward_bridge: rule 3 is missing", "@ingress"}},
	{"last rule deleted", "delete rule inet jaco input_bridge handle input_bridge/counter drop/", []string{"chain input_bridge: rule 6 is missing: counter drop"}},
	{"only rule deleted", "flush chain inet jaco postrouting", []string{"chain postrouting: all 1 rules are missing"}},
	{"chain flushed", "flush chain inet jaco forward_mesh", []string{"chain forward_mesh: all 4 rules are missing"}},
	{"accept inserted", "insert rule inet jaco forward accept", []string{"chain forward: rule 1 was added: accept"}},
	{"accept added", "add rule inet jaco input accept", []string{"chain input: rule 3 was added: accept"}},
	{"rule in the middle", "insert rule inet jaco forward_bridge position forward_bridge/@ingress/ tcp dport 22 accept", []string{"chain forward_bridge: rule 3 was added"}},
	{"rule doubled", "add rule inet jaco output_mesh counter drop", []string{"chain output_mesh: rule 5 was added: counter drop"}},
	{"rule that only counts", "insert rule inet jaco forward counter", []string{"chain forward: rule 1 was added: counter"}},
	{"rule with a limit", "insert rule inet jaco input_mesh limit rate 5/second accept", []string{"chain input_mesh: rule 1 was added"}},
	{"rule with a set of its own", "insert rule inet jaco input tcp dport { 22, 80 } accept", []string{"chain input: rule 1 was added", "set __set"}},
	{"rules swapped", "delete rule inet jaco prerouting handle prerouting/iifname \"lo\"/\nadd rule inet jaco prerouting iifname \"lo\" accept", []string{"chain prerouting: the rules are in another order"}},
	{"rule replaced", "replace rule inet jaco forward_mesh handle forward_mesh/counter drop/ counter accept", []string{"chain forward_mesh: rule 4 is missing: counter drop", "rule 4 was added: counter accept"}},
	{"set of a rule replaced", "replace rule inet jaco forward_mesh handle forward_mesh/@members accept/ oifname . ip saddr @own accept", []string{"@members accept", "was added"}},
	{"match inverted", "replace rule inet jaco forward_outside handle forward_outside/@internal/ oifname != @internal counter drop", []string{"rule 2 is missing: oifname @internal"}},
	{"prefix narrowed", "replace rule inet jaco output handle output/ip daddr/ oifname != \"lo\" ip daddr 10.64.0.0/11 counter drop", []string{"chain output: rule 3"}},
	{"policy changed", "add chain inet jaco forward { policy drop; }", []string{"chain forward is declared otherwise", "policy=drop"}},
	{"policy of nat changed", "add chain inet jaco postrouting { policy drop; }", []string{"chain postrouting is declared otherwise"}},
	{"chain added", "add chain inet jaco extra\nadd rule inet jaco extra accept", []string{"chain extra was added, with 1 rules"}},
	{"hooked chain added", "add chain inet jaco early { type filter hook forward priority -400; policy accept; }", []string{"chain early was added"}},
	{"chain removed", "delete chain inet jaco leave", []string{"chain leave is missing"}},
	{"priority changed", "delete chain inet jaco prerouting\nadd chain inet jaco prerouting { type filter hook prerouting priority -299; policy accept; }\nadd rule inet jaco prerouting iifname \"lo\" accept", []string{"chain prerouting is declared otherwise", "hook.2="}},
	{"hook changed", "delete chain inet jaco leave\nadd chain inet jaco leave { type filter hook input priority 110; policy accept; }", []string{"chain leave is declared otherwise"}},
	{"element removed", "delete element inet jaco members { \"jbA\" . 10.64.16.16/28 }", []string{`set members: "jbA" . 10.64.16.16/28 is missing`}},
	{"element added", "add element inet jaco members { \"jbA\" . 10.64.0.48/28 }", []string{`set members: "jbA" . 10.64.0.48/28 was added`}},
	{"element narrowed", "delete element inet jaco local { \"jbB\" . 10.64.0.48/28 }\nadd element inet jaco local { \"jbB\" . 10.64.0.48/29 }", []string{`"jbB" . 10.64.0.48/28 is missing`, `"jbB" . 10.64.0.48/29 was added`}},
	{"one address added", "add element inet jaco own { \"jaco0\" . 192.0.2.7 }", []string{`set own: "jaco0" . 192.0.2.7 was added`}},
	{"range added", "add element inet jaco own { \"jaco0\" . 192.0.2.7-192.0.2.9 }", []string{"192.0.2.7-192.0.2.9 was added"}},
	{"bridge removed", "delete element inet jaco bridges { \"jbB\" }", []string{`set bridges: "jbB" is missing`}},
	{"bridge added", "add element inet jaco bridges { \"docker0\" }", []string{`set bridges: "docker0" was added`}},
	{"ingress added", "add element inet jaco ingress { 10.64.48.1 }", []string{"set ingress: 10.64.48.1 was added"}},
	{"gateway moved", "delete element inet jaco gateways { \"jbA\" . 10.64.0.17 }\nadd element inet jaco gateways { \"jbA\" . 10.64.0.18 }", []string{"10.64.0.17 is missing", "10.64.0.18 was added"}},
	{"set flushed", "flush set inet jaco members", []string{"set members: all 10 elements are missing"}},
	{"set of one flushed", "flush set inet jaco internal", []string{`set internal: "jbI" is missing`}},
	{"set added", "add set inet jaco spare { type ipv4_addr; }", []string{"set spare was added"}},
	{"map added", "add map inet jaco spare { type ipv4_addr : verdict; elements = { 192.0.2.1 : accept } }", []string{"set spare was added, with 1 elements"}},
	{"counter object added", "add counter inet jaco hits", []string{"object hits was added"}},
}

const foreign = `table ip other {
	set people {
		type ipv4_addr
		elements = { 192.0.2.1 }
	}

	chain in {
		type filter hook input priority filter; policy accept;
		ip saddr @people tcp dport 1 accept
	}
}
`

// TestByHand makes each change, and has it found, told, and put right by one
// transaction, with nothing else touched.
func TestByHand(t *testing.T) {
	if len(byHand) < 30 {
		t.Errorf("only %d changes", len(byHand))
	}
	newNamespace(t)
	f := newFirewall(t)
	mustSet(t, f, sample())
	want := listing(t)
	for _, test := range byHand {
		t.Log(test.name)
		nft(t, "add table ip other\ndelete table ip other\n"+foreign)
		nft(t, withHandles(t, test.script))
		drift, err := f.Check(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		before := f.Generation()
		result := mustSet(t, f, sample())
		if !result.Changed || result.Generation != before+1 || f.Generation() != result.Generation {
			t.Errorf("%s: %+v after generation %d", test.name, result, before)
		}
		if diff := cmp.Diff(drift, result.Drift); diff != "" {
			t.Errorf("%s: Check and Set differ:\n%s", test.name, diff)
		}
		for _, words := range test.told {
			if !strings.Contains(strings.Join(drift, "\n"), words) {
				t.Errorf("%s: %q is not said of it:\n%s", test.name, words, strings.Join(drift, "\n"))
			}
		}
		if diff := cmp.Diff(plain(want), plain(listing(t))); diff != "" {
			t.Errorf("%s: is not put right:\n%s", test.name, diff)
		}
		if other, err := exec.Command("nft", "list", "table", "ip", "other").Output(); test.name != "everything flushed" && (err != nil || string(other) != foreign) {
			t.Errorf("%s: another table is now\n%s%v", test.name, other, err)
		}
		if again := mustSet(t, f, sample()); again.Changed || len(again.Drift) > 0 {
			t.Errorf("%s: the next Set: %+v", test.name, again)
		}
	}
}

func withHandles(t testing.TB, script string) string {
	t.Helper()
	return regexp.MustCompile(`(handle|position) (\w+)/([^/]+)/`).ReplaceAllStringFunc(script, func(s string) string {
		m := regexp.MustCompile(`^(\w+) (\w+)/([^/]+)/$`).FindStringSubmatch(s)
		return m[1] + " " + handle(t, m[2], m[3])
	})
}

// TestHarmless are changes that make no difference: counts and comments.
func TestHarmless(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	if _, err := f.Check(t.Context()); !errors.Is(err, ErrNothingSet) {
		t.Error(err)
	}
	if first := mustSet(t, f, sample()); !first.Changed || first.Generation != 1 || first.Drift != nil {
		t.Errorf("first: %+v", first)
	}
	nft(t, `reset counters
delete element inet jaco bridges { "jbA" }
add element inet jaco bridges { "jbA" comment "the first" }
`)
	if second := mustSet(t, f, sample()); second.Changed || second.Generation != 1 || second.Drift != nil {
		t.Errorf("second: %+v", second)
	}
	// Another process finds all as it should be.
	if other := mustSet(t, newFirewall(t), sample()); other.Changed || other.Generation != 0 || other.Drift != nil {
		t.Errorf("another one: %+v", other)
	}
}

// TestNewConfigIsNoDrift has drift only what others did, even when both come
// together.
func TestNewConfigIsNoDrift(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	mustSet(t, f, sample())
	grown := sample()
	grown.Bridges[2].Members = append(grown.Bridges[2].Members, prefix("10.64.48.16/28"))
	grown.Bridges = grown.Bridges[:3]
	result := mustSet(t, f, grown)
	if !result.Changed || result.Generation != 2 || result.Drift != nil {
		t.Errorf("%+v", result)
	}
	nft(t, `delete element inet jaco members { "jbA" . 10.64.16.16/28 }`)
	want := []string{`set members: "jbA" . 10.64.16.16/28 is missing`}
	if result := mustSet(t, f, sample()); !slices.Equal(result.Drift, want) {
		t.Errorf("%+v", result)
	}
	if drift, err := f.Check(t.Context()); err != nil || len(drift) > 0 {
		t.Error(drift, err)
	}
}

// TestElementsAlone has a change of members leave the rules where they are.
func TestElementsAlone(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	mustSet(t, f, sample())
	before := handle(t, chainForward, "@bridges")
	c := sample()
	c.Bridges = c.Bridges[:2]
	mustSet(t, f, c)
	mustSet(t, f, sample())
	if after := handle(t, chainForward, "@bridges"); after != before {
		t.Errorf("the rule had handle %s and has %s: the table was replaced", before, after)
	}
	c.Mesh = "jaco1"
	mustSet(t, f, c)
	if drift, err := f.Check(t.Context()); err != nil || len(drift) > 0 {
		t.Error(drift, err)
	}
}

// TestOwnedTable has another program own a table of our name: that is an error
// that says so, and over when the program ends.
func TestOwnedTable(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	owner := exec.Command("nft", "-i")
	input, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Wait()
	defer input.Close()
	if _, err := input.Write([]byte("add table inet jaco { flags owner; }\n")); err != nil {
		t.Fatal(err)
	}
	await(t, "the owned table", func() bool { return listing(t) != "" })
	result, err := f.Set(t.Context(), sample())
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "belongs to another program") || result.Changed {
		t.Fatalf("%+v, %v", result, err)
	}
	if err := f.CleanUp(t.Context()); !errors.Is(err, unix.EPERM) {
		t.Errorf("CleanUp: %v", err)
	}
	input.Close()
	await(t, "the owner's end", func() bool { return listing(t) == "" })
	mustSet(t, f, sample())
}

func await(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.NewTimer(10 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

func TestInvalidConfig(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	mustSet(t, f, sample())
	before := listing(t)
	c := sample()
	c.Bridges[0].Members = nil
	if _, err := f.Set(t.Context(), c); err == nil || !strings.Contains(err.Error(), "bridge jbA") {
		t.Error(err)
	}
	if after := listing(t); after != before {
		t.Errorf("it has changed the table:\n%s", after)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Set(ended, sample()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	mustSet(t, f, sample())
}

// TestCleanUp leaves everything as it was.
func TestCleanUp(t *testing.T) {
	newNamespace(t)
	nft(t, foreign)
	before := run(t, "nft list ruleset")
	f := newFirewall(t)
	for range 2 {
		if err := f.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustSet(t, f, manyNetworks(50))
		if err := f.CleanUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		if after := run(t, "nft list ruleset"); after != before {
			t.Errorf("it leaves\n%s", after)
		}
	}
}
