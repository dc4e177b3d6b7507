package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rules of cluster c0ffee with the mesh interface jaco0, as iptables prints
// them.
const (
	ruleIn      = `-i jaco0 -o jb+ -m comment --comment "jaco c0ffee" -j ACCEPT`
	ruleOut     = `-i jb+ -o jaco0 -m comment --comment "jaco c0ffee" -j ACCEPT`
	ruleBetween = `-i jb+ -o jb+ -m comment --comment "jaco c0ffee" -j ACCEPT`
)

// engineRules are what Engine 20.10 leaves in FORWARD and DOCKER-USER.
const engineRules = `-P INPUT ACCEPT
-P FORWARD DROP
-P OUTPUT ACCEPT
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
%s-A DOCKER-USER -j RETURN
`

func user(rules ...string) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "-A DOCKER-USER %s\n", r)
	}
	return fmt.Sprintf(engineRules, b.String())
}

func TestRuleChanges(t *testing.T) {
	insert := func(chain string, rules ...string) (out []string) {
		for _, r := range rules {
			out = append(out, "-I "+chain+" 1 "+r)
		}
		return out
	}
	all := func(chain string) []string { return insert(chain, ruleBetween, ruleOut, ruleIn) }
	for name, c := range map[string]struct {
		listing string
		want    []string
		missing int
	}{
		"an engine's":          {user(), all("DOCKER-USER"), 3},
		"right":                {user(ruleIn, ruleOut, ruleBetween), nil, 0},
		"one is gone":          {user(ruleIn, ruleBetween), insert("DOCKER-USER", ruleOut), 1},
		"one is twice":         {user(ruleIn, ruleOut, ruleOut, ruleBetween), []string{"-D DOCKER-USER " + ruleOut}, 0},
		"behind others' rules": {user(`-s 192.0.2.0/24 -j DROP`, ruleIn, ruleOut, ruleBetween), nil, 0},
		"behind one that ends the chain": {user("-j RETURN", ruleIn, ruleOut, ruleBetween),
			append([]string{"-D DOCKER-USER " + ruleIn, "-D DOCKER-USER " + ruleOut, "-D DOCKER-USER " + ruleBetween}, all("DOCKER-USER")...), 3},
		"another cluster's": {user(strings.ReplaceAll(ruleIn, "c0ffee", "beef")), all("DOCKER-USER"), 3},
		"of another mesh interface": {user(strings.ReplaceAll(ruleIn, "jaco0", "jaco1"), ruleIn, ruleOut, ruleBetween),
			[]string{"-D DOCKER-USER " + strings.ReplaceAll(ruleIn, "jaco0", "jaco1")}, 0},
		"nothing":                   {"", nil, 0},
		"flushed":                   {"-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n", nil, 0},
		"a policy, and no engine":   {"-P FORWARD DROP\n", all("FORWARD"), 3},
		"rules, and no engine":      {"-P FORWARD ACCEPT\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n", all("FORWARD"), 3},
		"a chain that nobody calls": {"-P FORWARD DROP\n-N DOCKER-USER\n-A DOCKER-USER -j RETURN\n", all("FORWARD"), 3},
		"an engine has come": {user() + "-A FORWARD " + ruleIn + "\n",
			append([]string{"-D FORWARD " + ruleIn}, all("DOCKER-USER")...), 3},
		"no longer needed": {"-P FORWARD ACCEPT\n-A FORWARD " + ruleIn + "\n-A FORWARD " + ruleOut + "\n",
			[]string{"-D FORWARD " + ruleIn, "-D FORWARD " + ruleOut}, 0},
		"needed and there": {"-P FORWARD DROP\n-A FORWARD " + ruleIn + "\n-A FORWARD " + ruleOut + "\n-A FORWARD " + ruleBetween + "\n", nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := parseListing(c.listing)
			got := l.changes("c0ffee", wantedRules("c0ffee", "jaco0"))
			var commands []string
			for _, command := range got.commands {
				at := slices.Index(command, "--comment") + 1
				command = slices.Clone(command)
				command[at] = `"` + command[at] + `"`
				commands = append(commands, strings.Join(command, " "))
			}
			if diff := cmp.Diff(c.want, commands); diff != "" {
				t.Errorf("commands (-want +got):\n%s", diff)
			}
			if len(got.missing) != c.missing {
				t.Errorf("missing %q, want %d", got.missing, c.missing)
			}
		})
	}
}

func TestSplitWords(t *testing.T) {
	for line, want := range map[string][]string{
		"":                                     nil,
		"-A F -j X\n":                          {"-A", "F", "-j", "X"},
		`-A F --comment "a b" -j X`:            {"-A", "F", "--comment", "a b", "-j", "X"},
		`-A F --comment "say \"x\" \\ y" -j X`: {"-A", "F", "--comment", `say "x" \ y`, "-j", "X"},
		`-A F --comment "" -j X`:               {"-A", "F", "--comment", "", "-j", "X"},
		`-A F  --comment plain`:                {"-A", "F", "--comment", "plain"},
		`-A F --comment "open`:                 {"-A", "F", "--comment", "open"},
	} {
		if diff := cmp.Diff(want, splitWords(line)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", line, diff)
		}
	}
}

// fakeTables is a packet filter in memory: it takes the commands that are given.
type fakeTables struct {
	lines []string // of a listing
	err   error
	calls int
}

func (f *fakeTables) run(_ context.Context, _ string, args ...string) (string, error) {
	f.calls++
	if f.err != nil {
		return "", f.err
	}
	line := func(args []string) string {
		at := slices.Index(args, "--comment") + 1
		args = slices.Clone(args)
		args[at] = `"` + args[at] + `"`
		return "-A " + strings.Join(args, " ")
	}
	switch args[0] {
	case "-S":
		return strings.Join(f.lines, "\n") + "\n", nil
	case "-I":
		at := slices.IndexFunc(f.lines, func(l string) bool { return strings.HasPrefix(l, "-A "+args[1]+" ") })
		if at < 0 {
			at = len(f.lines)
		}
		f.lines = slices.Insert(f.lines, at, line(slices.Concat(args[1:2], args[3:])))
	case "-D":
		at := slices.Index(f.lines, line(args[1:]))
		if at < 0 {
			return "", errors.New("no such rule")
		}
		f.lines = slices.Delete(f.lines, at, at+1)
	}
	return "", nil
}

// TestLetPass: the second pass finds what the first has made, what is lost is
// told, and all of it goes again.
func TestLetPass(t *testing.T) {
	f := &fakeTables{lines: strings.Split(strings.TrimSpace(user()), "\n")}
	before := slices.Clone(f.lines)
	b := &Bridges{tables: f.run, programs: func() []string { return []string{programTables} }, logger: slog.New(slog.DiscardHandler)}
	pass := func() *pass {
		t.Helper()
		p := newPass(b)
		if err := p.letPass(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.last = p.next
		return p
	}
	if p := pass(); len(p.result.Repaired) > 0 {
		t.Errorf("repaired at first: %q", p.result.Repaired)
	}
	want := []string{"-A DOCKER-USER " + ruleIn, "-A DOCKER-USER " + ruleOut, "-A DOCKER-USER " + ruleBetween, "-A DOCKER-USER -j RETURN"}
	if got := f.lines[len(f.lines)-4:]; !slices.Equal(got, want) {
		t.Errorf("rules:\n%s", strings.Join(got, "\n"))
	}
	calls := f.calls
	if p := pass(); p.result.Changed || f.calls != calls+1 {
		t.Errorf("the second pass: %+v in %d calls", p.result, f.calls-calls)
	}
	f.lines = slices.DeleteFunc(f.lines, func(l string) bool { return strings.Contains(l, "-i jaco0") })
	if p := pass(); len(p.result.Repaired) != 1 || p.result.Repaired[0] != `rule "-i jaco0 -o jb+" of chain DOCKER-USER was gone` {
		t.Errorf("repaired %q", p.result.Repaired)
	}
	if err := b.removeRules(t.Context(), "c0ffee"); err != nil || !slices.Equal(f.lines, before) {
		t.Errorf("left, with %v:\n%s", err, strings.Join(f.lines, "\n"))
	}
	f.err = fmt.Errorf("%w: not installed", errNoTables)
	pass()
	if err := b.removeRules(t.Context(), "c0ffee"); err != nil {
		t.Error(err)
	}
	f.err = errors.New("another app is currently holding the lock")
	p := newPass(b)
	if err := p.letPass(t.Context()); err == nil || !strings.Contains(err.Error(), "holding the lock") {
		t.Errorf("an error of the tables: %v", err)
	}
}

// newPass is a Set of cluster c0ffee that has come to the rules.
func newPass(b *Bridges) *pass {
	return &pass{Bridges: b, config: &Config{Cluster: "c0ffee", Mesh: "jaco0"}}
}

// TestRunTables: a program that is not there, or that cannot read what others have
// written, is told apart from one that fails.
func TestRunTables(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := runTables(t.Context(), programTables, "-S"); !errors.Is(err, errNoTables) {
		t.Errorf("not installed: %v", err)
	}
	for name, c := range map[string]struct {
		script string
		none   bool
		want   string
	}{
		"foreign": {"echo \"iptables: table \\`filter' is incompatible, use 'nft' tool.\" >&2; exit 1", true, "use 'nft' tool"},
		"locked":  {"echo 'Another app is currently holding the xtables lock' >&2; exit 4", false, "holding the xtables lock"},
		"right":   {"echo \"$@\"", false, "-w 5 -S"},
	} {
		if err := os.WriteFile(dir+"/"+programTables, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		out, err := runTables(t.Context(), programTables, "-S")
		if errors.Is(err, errNoTables) != c.none || !strings.Contains(fmt.Sprint(out, err), c.want) {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
