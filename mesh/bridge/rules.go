package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// Engine rules that the rules of this file go ahead of (iptables, table filter):
//   - All versions that write iptables: FORWARD gets the policy DROP when the
//     engine itself switches forwarding on, which it does on most hosts.
//   - 17.06 to 27: DOCKER-ISOLATION-STAGE-1 and -2, called by FORWARD, drop what
//     goes from one of the engine's bridges to another; 28.0 has the same in
//     DOCKER-ISOLATION-STAGE-1, called by DOCKER-FORWARD.
//   - From 28.0, DOCKER drops what comes from outside for a bridge's containers
//     and is not published (not in the gateway mode "nat-unprotected").
//   - 17.06 and later: FORWARD calls DOCKER-USER first of all, and the engine never
//     changes what is in it. It is made at every start of the engine, when it is
//     not there.
//   - 29.0 with --firewall-backend=nftables has a table ip docker-bridges and
//     no DOCKER-USER. No accept elsewhere can go ahead of it, and none is needed:
//     it sets no policy, and lets pass what is for a bridge in the gateway mode
//     "nat-unprotected" (see hardOptions).
//
// So the rules stand in DOCKER-USER; where that is not called, in FORWARD itself,
// when that holds anything back; and nowhere when it does not, as after "nft
// flush ruleset". They accept only what goes between the mesh and our bridges;
// what of that really may pass, mesh/firewall decides: an accept in one table
// does not outdo a drop in another.

const (
	chainUser    = "DOCKER-USER"
	chainForward = "FORWARD"
)

// rule is a rule without its chain, as iptables takes and prints it.
type rule []string

func comment(cluster string) string { return "jaco " + cluster }

// wantedRules accept what goes between the mesh and bridges of JACO, and between
// those: two slices of one network are two bridges.
func wantedRules(cluster, mesh string) []rule {
	const bridges = interfacePrefix + "+"
	var rules []rule
	for _, way := range [][2]string{{mesh, bridges}, {bridges, mesh}, {bridges, bridges}} {
		rules = append(rules, rule{"-i", way[0], "-o", way[1], "-m", "comment", "--comment", comment(cluster), "-j", "ACCEPT"})
	}
	return rules
}

// listedRule is a rule of a listing.
type listedRule struct {
	chain string
	spec  rule
}

// listing is what "iptables -S" printed of a table.
type listing struct {
	policies map[string]string // by built-in chain
	rules    []listedRule
}

func parseListing(text string) listing {
	l := listing{policies: map[string]string{}}
	for line := range strings.Lines(text) {
		words := splitWords(line)
		switch {
		case len(words) == 3 && words[0] == "-P":
			l.policies[words[1]] = words[2]
		case len(words) > 2 && words[0] == "-A":
			l.rules = append(l.rules, listedRule{chain: words[1], spec: words[2:]})
		}
	}
	return l
}

// splitWords takes quotes off as iptables puts them: around words with anything
// but letters, digits and a few signs, with a backslash before quotes in them.
func splitWords(line string) (words []string) {
	var word strings.Builder
	began, quoted, escaped := false, false, false
	for _, r := range strings.TrimSpace(line) {
		switch {
		case escaped:
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quoted:
			escaped = true
		case r == '"':
			quoted, began = !quoted, true
		case r == ' ' && !quoted:
			if began {
				words = append(words, word.String())
				word.Reset()
				began = false
			}
		default:
			word.WriteRune(r)
			began = true
		}
	}
	if began {
		words = append(words, word.String())
	}
	return words
}

// is reports whether a rule carries a cluster's comment.
func (r rule) is(cluster string) bool {
	i := slices.Index(r, "--comment")
	return i >= 0 && i+1 < len(r) && r[i+1] == comment(cluster)
}

// place is the chain for the rules; "": nothing holds the mesh's traffic back.
func (l *listing) place(cluster string) string {
	held := l.policies[chainForward] == "DROP"
	for _, r := range l.rules {
		if r.chain != chainForward || r.spec.is(cluster) {
			continue
		}
		if slices.Equal(r.spec, rule{"-j", chainUser}) {
			return chainUser
		}
		held = true
	}
	if held {
		return chainForward
	}
	return ""
}

// change is what makes the rules right: deletions first, then insertions at the
// chain's front. missing says that a wanted rule did not stand where it should.
type change struct {
	commands [][]string
	missing  []string
}

// changes compares a listing with the rules that are wanted. A rule of ours
// behind one that leaves the chain in any case does nothing, and is made anew.
func (l *listing) changes(cluster string, wanted []rule) change {
	var c change
	chain := l.place(cluster)
	if chain == "" {
		wanted = nil
	}
	stands := map[string]bool{}
	passable := true
	for _, r := range l.rules {
		if r.chain == chain && len(r.spec) == 2 && r.spec[0] == "-j" && (r.spec[1] == "RETURN" || r.spec[1] == "ACCEPT" || r.spec[1] == "DROP") {
			passable = false
		}
		if !r.spec.is(cluster) {
			continue
		}
		key := strings.Join(r.spec, "\x00")
		isWanted := slices.ContainsFunc(wanted, func(w rule) bool { return slices.Equal(w, r.spec) })
		if r.chain == chain && isWanted && passable && !stands[key] {
			stands[key] = true
			continue
		}
		c.commands = append(c.commands, append([]string{"-D", r.chain}, r.spec...))
	}
	for _, w := range slices.Backward(wanted) {
		if !stands[strings.Join(w, "\x00")] {
			c.commands = append(c.commands, append([]string{"-I", chain, "1"}, w...))
			c.missing = append(c.missing, fmt.Sprintf("rule %q of chain %s was gone", strings.Join(w[:4], " "), chain))
		}
	}
	slices.Reverse(c.missing)
	return c
}

// tables runs a program of the iptables family and returns what it printed.
type tables func(ctx context.Context, program string, args ...string) (string, error)

// The programs. The engine runs the one that PATH names first, and so must we:
// iptables-nft and iptables-legacy keep different rules.
const (
	programTables = "iptables"
	programLegacy = "iptables-legacy"
)

// errNoTables is returned when the program is not there, or cannot read the rules
// that are: then the engine has none in it either.
var errNoTables = errors.New("no packet filter of the iptables kind")

// tablesWait is how long to wait for the lock of the tables, seconds; the engine
// takes it for each of its own changes.
const tablesWait = "5"

func runTables(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, append([]string{"-w", tablesWait}, args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%w: %w", errNoTables, err)
	case bytes.Contains(stderr.Bytes(), []byte("incompatible, use 'nft' tool")):
		// Somebody has written a table "filter" with means that iptables has not.
		return "", fmt.Errorf("%w: %s", errNoTables, bytes.TrimSpace(stderr.Bytes()))
	}
	return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, bytes.TrimSpace(stderr.Bytes()))
}

// legacyNames lists the legacy tables that are in use in this network namespace;
// to ask iptables-legacy itself would bring them about.
const legacyNames = "/proc/self/net/ip_tables_names"

// programs are those to look with: the engine's, and the legacy one when there
// are tables of it, whose policy holds traffic back whoever set it.
func programs() []string {
	names, err := os.ReadFile(legacyNames)
	if err != nil || !slices.Contains(strings.Fields(string(names)), "filter") {
		return []string{programTables}
	}
	if _, err := exec.LookPath(programLegacy); err != nil {
		return []string{programTables}
	}
	return []string{programTables, programLegacy}
}

// letPass keeps the rules.
func (p *pass) letPass(ctx context.Context) error {
	wanted := wantedRules(p.config.Cluster, p.config.Mesh)
	var missing []string
	for _, program := range p.programs() {
		lost, err := p.keepRules(ctx, program, p.config.Cluster, wanted)
		switch {
		case errors.Is(err, errNoTables):
			if !p.mute {
				p.mute = true
				p.logger.Warn("the engine's packet filter is not looked at", "error", err)
			}
		case err != nil:
			return fmt.Errorf("the node's packet filter is not known to let the mesh's traffic pass: %w", err)
		default:
			missing = append(missing, lost...)
		}
	}
	if p.last.ruled {
		for _, line := range missing {
			p.repaired(line)
		}
	}
	p.next.ruled = true
	return nil
}

// keepRules makes one program's rules right and says which were missing.
func (b *Bridges) keepRules(ctx context.Context, program, cluster string, wanted []rule) (missing []string, err error) {
	text, err := b.tables(ctx, program, "-S")
	if err != nil {
		return nil, err
	}
	l := parseListing(text)
	c := l.changes(cluster, wanted)
	for _, command := range c.commands {
		if _, err := b.tables(ctx, program, command...); err != nil {
			return nil, err
		}
	}
	return c.missing, nil
}

// removeRules takes a cluster's rules away.
func (b *Bridges) removeRules(ctx context.Context, cluster string) error {
	for _, program := range b.programs() {
		text, err := b.tables(ctx, program, "-S")
		if errors.Is(err, errNoTables) {
			continue
		}
		if err != nil {
			return fmt.Errorf("remove the rules of the mesh: %w", err)
		}
		l := parseListing(text)
		for _, r := range l.rules {
			if !r.spec.is(cluster) {
				continue
			}
			if _, err := b.tables(ctx, program, append([]string{"-D", r.chain}, r.spec...)...); err != nil {
				return fmt.Errorf("remove the rules of the mesh: %w", err)
			}
		}
	}
	return nil
}
