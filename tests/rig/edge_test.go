package rig

import (
	"strings"
	"testing"
)

// TestWireGuardName wants names that fit, differ by node, and are found by the
// id of their run alone.
func TestWireGuardName(t *testing.T) {
	names := map[string]bool{}
	for _, id := range []string{"jaco-a1b2c3-d4e5f6", "jaco-a1b2c3-000000", "jaco-d4e5f6"} {
		for _, number := range []int{0, 1, 9, 10, maxNodes} {
			name := wireGuardName(id, number)
			if len(name) > maxInterface || names[name] {
				t.Errorf("node %d of %s: %s", number, id, name)
			}
			names[name] = true
			run := strings.TrimPrefix(id, idPrefix)[:6]
			if !strings.HasPrefix(name, wireGuardPrefix(idPrefix+run)) {
				t.Errorf("%s is not found by run %s", name, run)
			}
		}
	}
}

func TestDemultiplex(t *testing.T) {
	frame := func(stream byte, text string) string {
		return string([]byte{stream, 0, 0, 0, 0, 0, 0, byte(len(text))}) + text
	}
	for name, test := range map[string]struct{ data, stdout, stderr string }{
		"nothing":           {"", "", ""},
		"both":              {frame(1, "out ") + frame(2, "err") + frame(1, "more\n"), "out more", "err"},
		"cut off":           {frame(1, "whole")[:10], "wh", ""},
		"half a header":     {frame(1, "a") + "\x01\x00", "a", ""},
		"an unknown stream": {frame(9, "?") + frame(2, "e"), "", "e"},
	} {
		stdout, stderr := demultiplex([]byte(test.data))
		if stdout != test.stdout || stderr != test.stderr {
			t.Errorf("%s: %q and %q, want %q and %q", name, stdout, stderr, test.stdout, test.stderr)
		}
	}
}

// TestBlockedRules has a pair that UDP is blocked between beside a partition.
func TestBlockedRules(t *testing.T) {
	a, b := &Node{number: 1}, &Node{number: 2}
	rules := split{deaf: [][2]*Node{{a, b}}}.rules([]*Node{a, b})
	if want := `meta l4proto udp iifname . oifname { "p1" . "p2", "p2" . "p1" } drop`; !strings.Contains(rules, want) {
		t.Errorf("want %q in\n%s", want, rules)
	}
	if rules := (split{}).rules([]*Node{a, b}); strings.Contains(rules, "drop") {
		t.Errorf("a whole LAN drops:\n%s", rules)
	}
}
