package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// attacksDir holds the corpus: a folder for each case, made by its make.sh.
const attacksDir = "../../signing/testdata/attacks"

// attackCase is a case.yaml. Commits and tags are named by the labels that the
// case's make.sh gave them.
type attackCase struct {
	Title  string       `yaml:"title"`
	Attack string       `yaml:"attack"`
	Why    string       `yaml:"why"`
	Steps  []attackStep `yaml:"steps"`
}

// attackStep is one state of the remote repository and what must come of it.
// What is left out of Runs, Pending and Refused must not be there: a unit that is
// not in Runs runs nothing.
type attackStep struct {
	// Push is where the branch points, Tags are the refs below refs/tags/.
	Push string            `yaml:"push"`
	Tags map[string]string `yaml:"tags"`
	// At is the time of the log's entries; default: attackTime.
	At       time.Time         `yaml:"at"`
	Accepted string            `yaml:"accepted"`
	Refused  *attackRefusal    `yaml:"refused"`
	Pending  map[string]string `yaml:"pending"` // unit to the commit that waits
	Runs     map[string]string `yaml:"runs"`    // unit to its approved revision
	// Invalid is what was approved and cannot be run, so that what ran before
	// runs on: unit to a part of the reason.
	Invalid map[string]string `yaml:"invalid"`
}

// attackRefusal is the bad commit, the commit of the chain that brings it in
// (default: the same), why, and a part of what is said of it.
type attackRefusal struct {
	Commit string         `yaml:"commit"`
	Chain  string         `yaml:"chain"`
	Reason signing.Reason `yaml:"reason"`
	Says   string         `yaml:"says"`
}

// attackTime is a day behind the first date in the corpus.
var attackTime = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// attackCases lists the folders of the corpus.
func attackCases(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(attacksDir, "[0-9]*"))
	check(t, err)
	names := make([]string, len(found))
	for i, path := range found {
		names[i] = filepath.Base(path)
	}
	return names
}

func readAttack(t *testing.T, name string) *attackCase {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(attacksDir, name, "case.yaml"))
	check(t, err)
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	c := &attackCase{}
	if err := decoder.Decode(c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if c.Title == "" || c.Attack == "" || c.Why == "" || len(c.Steps) == 0 {
		t.Fatalf("%s: a case has title, attack, why and steps", name)
	}
	return c
}

// TestAttacks plays every case of the corpus on the way that a push takes, from
// the sync to the verifiers of a leader, of a node that follows at once, of one
// that was away for all of it, and of one that joins by a token that is older
// than the attack. Then a leader that lies claims the attack all the same.
func TestAttacks(t *testing.T) {
	names := attackCases(t)
	if len(names) < 60 {
		t.Errorf("%d cases: want 60 at least", len(names))
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := readAttack(t, name)
			field := newAttackField(t, name)
			field.begin()
			for i, step := range c.Steps {
				field.play(fmt.Sprintf("step %d", i+1), step)
			}
			last := c.Steps[len(c.Steps)-1]
			field.late(last)
			field.lie(last)
		})
	}
}

// TestAttacksAreReproducible makes cases anew and compares every id: the
// committed histories are what their scripts say.
func TestAttacksAreReproducible(t *testing.T) {
	for _, tool := range []string{"git", "ssh-keygen", "bash"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	// Not made anew are those that take hundreds of signatures, and those by gpg,
	// whose signatures differ by its version.
	var cheap []string
	for _, name := range attackCases(t) {
		script, err := os.ReadFile(filepath.Join(attacksDir, name, "make.sh"))
		check(t, err)
		if !bytes.Contains(script, []byte("$(seq 5")) && !bytes.Contains(script, []byte("use_gpg")) {
			cheap = append(cheap, name)
		}
	}
	make := exec.CommandContext(t.Context(), filepath.Join(attacksDir, "make.sh"), append([]string{"-o", dir}, cheap...)...)
	if out, err := make.CombinedOutput(); err != nil {
		t.Fatalf("make.sh: %v\n%s", err, out)
	}
	for _, name := range cheap {
		committed := bundleRefs(t, filepath.Join(attacksDir, name, "history.bundle"))
		if made := bundleRefs(t, filepath.Join(dir, name+".bundle")); !maps.Equal(committed, made) {
			t.Errorf("%s: make.sh makes\n%v\ncommitted is\n%v\nrun %s/make.sh %s", name, made, committed, attacksDir, name)
		}
	}
}

// bundleRefs are the labels of a bundle.
func bundleRefs(t *testing.T, path string) map[string]string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "bundle", "list-heads", path).Output()
	check(t, err)
	refs := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		id, ref, _ := strings.Cut(strings.TrimSpace(line), " ")
		refs[strings.TrimPrefix(ref, "refs/labels/")] = id
	}
	return refs
}

// play shows the sync a state of the repository and compares what comes of it.
func (f *attackField) play(name string, step attackStep) {
	f.t.Helper()
	at := attackTime
	if !step.At.IsZero() {
		at = step.At
	}
	f.clock.set(at)
	f.publish(step)
	head, err := f.syncer.Refresh(f.t.Context())
	if err != nil {
		f.t.Fatalf("%s: the sync says %v", name, err)
	}
	if head != f.labels[step.Push] {
		f.t.Fatalf("%s: the sync sees %s", name, f.nameOf(head))
	}
	f.want(name+", leader", f.leader, step)
	f.wantRefused(name, step)
	f.follow(f.current)
	f.want(name+", node that is up to date", f.current, step)
}

// late brings the nodes that were away and the one that joins to the end of the
// log.
func (f *attackField) late(last attackStep) {
	f.t.Helper()
	f.follow(f.behind)
	f.want("node that was behind", f.behind, last)
	f.follow(f.joining)
	f.want("node that joins", f.joining, last)
	for _, n := range []*attackNode{f.current, f.behind, f.joining} {
		if refused, err := n.verifier.Refused(); err != nil || len(refused) > 0 {
			f.t.Errorf("%s refused what an honest leader claimed: %+v, %v", n.name, refused, err)
		}
	}
}

// lie has a leader claim the head as if it were good, with all there is in the
// repository as evidence, tags included. Nobody takes it.
func (f *attackField) lie(last attackStep) {
	f.t.Helper()
	f.claimAnyway(last)
	for _, n := range []*attackNode{f.current, f.behind, f.joining} {
		f.follow(n)
		f.want(n.name+", lied to", n, last)
		refusal := n.verifier.Record().Refusal
		switch {
		case refusal == nil:
			f.t.Errorf("%s takes a claim of a digest that is made up", n.name)
		case last.Pending[signing.TrustUnit] != "" && refusal.Reason != signing.ReasonTrustPending:
			f.t.Errorf("%s refuses the claim for %s (%s), want %s", n.name, refusal.Reason, refusal.Detail, signing.ReasonTrustPending)
		case last.Refused != nil && refusal.Reason != last.Refused.Reason:
			f.t.Errorf("%s refuses the claim for %s (%s), want %s", n.name, refusal.Reason, refusal.Detail, last.Refused.Reason)
		}
	}
}

// want compares what a node accepted.
func (f *attackField) want(where string, n *attackNode, step attackStep) {
	f.t.Helper()
	record := n.verifier.Record()
	if got := f.nameOf(record.Position.Commit); got != step.Accepted {
		f.t.Errorf("%s: accepted is %s, want %s", where, got, step.Accepted)
	}
	runs := make(map[string]string)
	for name, unit := range record.Position.Units {
		if !unit.Tree.IsZero() {
			runs[name] = f.nameOf(unit.Revision)
		}
	}
	if !maps.Equal(runs, step.Runs) {
		f.t.Errorf("%s: approved is %v, want %v", where, runs, step.Runs)
	}
	pending := make(map[string]string)
	for _, p := range record.Pending {
		pending[p.Unit] = f.nameOf(p.Revision)
		if len(p.Eligible) > 0 && (p.Command == "" || p.Need == 0) {
			f.t.Errorf("%s: %s waits and nobody is told for what: %+v", where, p.Unit, p)
		}
	}
	// A trust change that waits is no part of what a node accepted.
	wanted := maps.Clone(step.Pending)
	maps.DeleteFunc(wanted, func(unit, _ string) bool { return unit == signing.TrustUnit || unit == signing.ReanchorUnit })
	if !maps.Equal(pending, wanted) && len(pending)+len(wanted) > 0 {
		f.t.Errorf("%s: pending is %v, want %v", where, pending, wanted)
	}
	for name, unit := range record.Units {
		says, invalid := step.Invalid[name]
		if invalid != (unit.Invalid != nil) {
			f.t.Errorf("%s: %s is invalid: %+v, want %v", where, name, unit.Invalid, invalid)
		} else if invalid && !strings.Contains(unit.Invalid.Reason, says) {
			f.t.Errorf("%s: %s is invalid: %s, want %q in it", where, name, unit.Invalid.Reason, says)
		}
	}
	f.wantNothingEvil(where, n)
}

// wantNothingEvil looks at all that a node would start: no image of an attacker.
func (f *attackField) wantNothingEvil(where string, n *attackNode) {
	f.t.Helper()
	view := n.verifier.View()
	if view == nil {
		f.t.Fatalf("%s: no view: %v", where, n.verifier.Problem())
	}
	for name, accepted := range view.Deployments {
		if accepted.Desired == nil {
			continue
		}
		for _, service := range accepted.Desired.Services {
			if strings.HasPrefix(service.Container.Image, "evil") {
				f.t.Errorf("%s: %s would run %s", where, name, service.Container.Image)
			}
		}
	}
}

// wantRefused compares what the sync recorded of the head.
func (f *attackField) wantRefused(name string, step attackStep) {
	f.t.Helper()
	f.wantRootWaits(name, step)
	got := f.log.refused(f.id(step.Push))
	switch {
	case step.Refused == nil && got == nil:
		return
	case step.Refused == nil:
		f.t.Errorf("%s: refused for %s: %s", name, got.Reason, got.Detail)
		return
	case got == nil:
		f.t.Errorf("%s: not refused, want %s", name, step.Refused.Reason)
		return
	}
	chain := step.Refused.Chain
	if chain == "" {
		chain = step.Refused.Commit
	}
	if got.Reason != step.Refused.Reason || f.nameOf(got.Commit) != step.Refused.Commit || f.nameOf(got.Chain) != chain {
		f.t.Errorf("%s: refused %s, brought in by %s, for %s (%s); want %s, %s, %s", name, f.nameOf(got.Commit), f.nameOf(got.Chain),
			got.Reason, got.Detail, step.Refused.Commit, chain, step.Refused.Reason)
	}
	if !strings.Contains(got.Detail, step.Refused.Says) {
		f.t.Errorf("%s: the refusal says %q, want it to contain %q", name, got.Detail, step.Refused.Says)
	}
	if got.Advice == "" || got.Detail == "" {
		f.t.Errorf("%s: a refusal without detail or advice: %+v", name, got)
	}
}

// wantRootWaits expects that the sync says for whom a trust change, or an order
// to go to another history, waits.
func (f *attackField) wantRootWaits(name string, step attackStep) {
	f.t.Helper()
	want := ""
	for _, unit := range []string{signing.TrustUnit, signing.ReanchorUnit} {
		if label, waits := step.Pending[unit]; waits {
			want = unit + " " + label
		}
	}
	recorded, got := f.leader.state.Read().Sync(), ""
	if p := recorded.Awaits; p != nil {
		got = p.Unit + " " + f.nameOf(p.Revision)
		if len(p.Eligible) == 0 || p.Command == "" || recorded.State != cluster.SyncStalled {
			f.t.Errorf("%s: it waits, and nobody is told: %+v", name, recorded)
		}
	}
	if got != want {
		f.t.Errorf("%s: the sync waits for %q, want %q", name, got, want)
	}
}
