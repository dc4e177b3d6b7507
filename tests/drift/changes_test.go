package drift

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
)

// change is something that somebody does to the table by hand. What exactly is
// found out on the node: the suite knows no rule of the table.
type change struct {
	name string
	// script is for nft -f.
	script func(*testing.T, *rig.Node) (string, error)
	// told are words that the audit entry must have.
	told []string
	// everything says that other tables go too.
	everything bool
}

// contents are the table's chains and sets.
type contents struct {
	chains []chain
	sets   []set
}

type chain struct {
	name, hook, policy string
	rules              []rule
}

type rule struct {
	handle int
	text   string // without the handle
}

type set struct {
	name     string
	elements []string
}

func fixed(script string) func(*testing.T, *rig.Node) (string, error) {
	return func(*testing.T, *rig.Node) (string, error) { return script, nil }
}

// on has a change look at the table first.
func on(make func(contents) (string, error)) func(*testing.T, *rig.Node) (string, error) {
	return func(t *testing.T, node *rig.Node) (string, error) { return make(read(t, node)) }
}

// changes are all that a table like the node's offers. The one that takes
// everything comes last.
func changes(t *testing.T, node *rig.Node) []change {
	t.Helper()
	all := []change{
		{name: "table deleted", script: fixed("delete table inet jaco\n")},
		{name: "table flushed", script: fixed("flush table inet jaco\n")},
		{name: "chain added", script: fixed("add chain inet jaco extra\nadd rule inet jaco extra accept\n"), told: []string{"extra"}},
		{name: "hooked chain added", script: fixed("add chain inet jaco early { type filter hook forward priority -400; policy accept; }\nadd rule inet jaco early accept\n"), told: []string{"early"}},
		{name: "set added", script: fixed("add set inet jaco spare { type ipv4_addr; }\n"), told: []string{"spare"}},
		{name: "table dormant", script: fixed("add table inet jaco { flags dormant; }\n")},
	}
	c := read(t, node)
	for _, ch := range c.chains {
		if ch.hook != "" {
			other := map[string]string{"accept": "drop", "drop": "accept"}[ch.policy]
			if strings.Contains(ch.hook, "nat") {
				other = ""
			}
			if other != "" {
				all = append(all, change{
					name: "policy of " + ch.name, told: []string{ch.name},
					script: fixed(fmt.Sprintf("add chain inet jaco %s { policy %s; }\n", ch.name, other)),
				})
			}
		}
		if len(ch.rules) == 0 {
			continue
		}
		all = append(all,
			change{name: "first rule of " + ch.name + " deleted", told: []string{ch.name}, script: on(func(c contents) (string, error) {
				rules := c.chain(ch.name).rules
				return fmt.Sprintf("delete rule inet jaco %s handle %d\n", ch.name, rules[0].handle), nil
			})},
			change{name: "last rule of " + ch.name + " deleted", told: []string{ch.name}, script: on(func(c contents) (string, error) {
				rules := c.chain(ch.name).rules
				return fmt.Sprintf("delete rule inet jaco %s handle %d\n", ch.name, rules[len(rules)-1].handle), nil
			})},
			change{name: "accept put first in " + ch.name, told: []string{ch.name}, script: fixed(fmt.Sprintf("insert rule inet jaco %s accept\n", ch.name))},
			change{name: "drop put last in " + ch.name, told: []string{ch.name}, script: fixed(fmt.Sprintf("add rule inet jaco %s meta mark 77 drop\n", ch.name))},
			change{name: ch.name + " flushed", told: []string{ch.name}, script: fixed(fmt.Sprintf("flush chain inet jaco %s\n", ch.name))},
		)
		if len(ch.rules) > 1 && ch.rules[0].text != ch.rules[len(ch.rules)-1].text {
			all = append(all, change{name: "order of " + ch.name, told: []string{ch.name}, script: on(func(c contents) (string, error) {
				first := c.chain(ch.name).rules[0]
				return fmt.Sprintf("delete rule inet jaco %[1]s handle %[2]d\nadd rule inet jaco %[1]s %[3]s\n", ch.name, first.handle, first.text), nil
			})})
		}
	}
	for _, s := range c.sets {
		if len(s.elements) == 0 {
			continue
		}
		all = append(all,
			change{name: "element of " + s.name + " removed", told: []string{s.name}, script: on(func(c contents) (string, error) {
				return fmt.Sprintf("delete element inet jaco %s { %s }\n", s.name, c.set(s.name).elements[0]), nil
			})},
			change{name: "element of " + s.name + " added", told: []string{s.name}, script: on(func(c contents) (string, error) {
				return fmt.Sprintf("add element inet jaco %s { %s }\n", s.name, foreignElement(c.set(s.name).elements[0])), nil
			})},
			change{name: s.name + " emptied", told: []string{s.name}, script: fixed(fmt.Sprintf("flush set inet jaco %s\n", s.name))},
		)
	}
	return append(all, change{name: "everything flushed", script: fixed("flush ruleset\n"), everything: true})
}

func (c contents) chain(name string) chain {
	return c.chains[slices.IndexFunc(c.chains, func(ch chain) bool { return ch.name == name })]
}

func (c contents) set(name string) set {
	return c.sets[slices.IndexFunc(c.sets, func(s set) bool { return s.name == name })]
}

// address finds addresses in an element; elements of the suite are of a range
// for documentation (RFC 5737), which no mesh uses.
var address = regexp.MustCompile(`\d+\.\d+\.\d+\.\d+(/\d+|-\d+\.\d+\.\d+\.\d+)?`)

// foreignElement is an element like another one, with an address that is nobody's.
func foreignElement(like string) string {
	if at := address.FindStringIndex(like); at != nil {
		return like[:at[0]] + "192.0.2.77" + like[at[1]:]
	}
	return `"jb0"` // names of interfaces
}

// nft runs a script on a node.
func nft(t *testing.T, node *rig.Node, script string) {
	t.Helper()
	cmd := node.NetNS.Command(t.Context(), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft on %s: %v\n%s\n%s", node.Name, err, out, script)
	}
}

// list prints a table, "" when it is not there.
func list(t *testing.T, node *rig.Node, family, name string, flags ...string) string {
	t.Helper()
	out, err := node.Run(t.Context(), "nft", append(flags, "list", "table", family, name)...)
	if rig.ExitCode(err) == 1 {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// counters are what rules and elements have seen.
var counters = regexp.MustCompile(`counter packets \d+ bytes \d+`)

// table prints our table in a form that hangs on its contents alone.
func table(t *testing.T, node *rig.Node) string {
	t.Helper()
	return counters.ReplaceAllString(list(t, node, "inet", "jaco", "-s"), "counter")
}

var (
	chainLine = regexp.MustCompile(`^\tchain (\S+) \{`)
	setLine   = regexp.MustCompile(`^\t(?:set|map) (\S+) \{`)
	hookLine  = regexp.MustCompile(`^\t\ttype (.*hook \S+) priority .*; policy (\w+);`)
	ruleLine  = regexp.MustCompile(`^\t\t(.*) # handle (\d+)$`)
)

// read takes the listing apart: chains with the handles of their rules, and by
// nft's JSON the elements of sets.
func read(t *testing.T, node *rig.Node) contents {
	t.Helper()
	var c contents
	inChain := false
	for line := range strings.Lines(list(t, node, "inet", "jaco", "-a", "-s")) {
		line = strings.TrimRight(line, "\n")
		switch {
		case chainLine.MatchString(line):
			c.chains = append(c.chains, chain{name: chainLine.FindStringSubmatch(line)[1]})
			inChain = true
		case setLine.MatchString(line):
			name := setLine.FindStringSubmatch(line)[1]
			c.sets = append(c.sets, set{name: name, elements: elements(t, node, name)})
			inChain = false
		case !inChain:
		case hookLine.MatchString(line):
			m := hookLine.FindStringSubmatch(line)
			last := &c.chains[len(c.chains)-1]
			last.hook, last.policy = m[1], m[2]
		case ruleLine.MatchString(line):
			m := ruleLine.FindStringSubmatch(line)
			last := &c.chains[len(c.chains)-1]
			handle := 0
			if _, err := fmt.Sscan(m[2], &handle); err != nil {
				t.Fatal(err)
			}
			last.rules = append(last.rules, rule{handle: handle, text: m[1]})
		}
	}
	if len(c.chains) == 0 || len(c.sets) == 0 {
		t.Fatalf("%s: the table has %d chains and %d sets", node.Name, len(c.chains), len(c.sets))
	}
	return c
}

// elements are a set's, as nft takes them.
func elements(t *testing.T, node *rig.Node, name string) []string {
	t.Helper()
	out, err := node.Run(t.Context(), "nft", "list", "set", "inet", "jaco", name)
	if err != nil {
		out, err = node.Run(t.Context(), "nft", "list", "map", "inet", "jaco", name)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, body, found := strings.Cut(out, "elements = {")
	if !found {
		return nil
	}
	body, _, _ = strings.Cut(body, "}")
	var all []string
	for element := range strings.SplitSeq(body, ",") {
		if element = strings.Join(strings.Fields(element), " "); element != "" {
			all = append(all, element)
		}
	}
	return all
}
