package main

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// rootOfThree is a policy that takes all three to change.
func rootOfThree(version int) string {
	return fmt.Sprintf(`version: %d
root: {threshold: 3, signers: [alice, bob, carol]}
signers:
  alice: {keys: [keys/alice.pub]}
  bob: {keys: [keys/bob.pub]}
  carol: {keys: [keys/carol.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 2}
`, version)
}

// judged is a repository of three people, read in place, and a judge of it.
type judged struct {
	t      *testing.T
	repo   *rig.Repo
	keys   map[string]*rig.Key
	mirror *gitsync.Mirror
	judge  judge
}

func newJudged(t *testing.T) *judged {
	t.Helper()
	git, now := rig.StartGit(t), time.Now()
	bare := filepath.Join(t.TempDir(), "fleet.git")
	check(t, git.InitBare(t.Context(), bare))
	j := &judged{t: t, repo: rig.Must[*rig.Repo](t)(git.Clone(t.Context(), bare, "")), keys: map[string]*rig.Key{}}
	files := map[string]string{"trust.yaml": rootOfThree(1)}
	for _, name := range []string{"alice", "bob", "carol"} {
		j.keys[name] = rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), name, "ed25519"))
		files["keys/"+name+".pub"] = j.keys[name].Public
	}
	anchor := j.push("alice", files)
	settings := gitsync.DefaultConfig()
	settings.Repository.URL = bare
	j.mirror = rig.Must[*gitsync.Mirror](t)(gitsync.OpenMirror(settings))
	j.fetch()
	directory := filepath.Join(t.TempDir(), "trust")
	rig.Must[*signing.Trust](t)(verifier.PinAnchor(directory, "0123456789abcdef", j.mirror, anchor))
	objects := cluster.NewMemoryObjects()
	v := rig.Must[*verifier.Verifier](t)(verifier.Open(verifier.Config{
		Directory: directory, State: rig.Must[*cluster.State](t)(cluster.NewState(objects, cluster.NewMemoryAudit())), Objects: objects,
		Branch: "main", Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
	}))
	j.judge = judge{v}
	return j
}

func (j *judged) push(who string, files map[string]string) signing.Hash {
	j.t.Helper()
	text := rig.Must[string](j.t)(j.repo.CommitFiles(j.t.Context(), files, rig.CommitOptions{Message: "change", Key: j.keys[who]}))
	check(j.t, j.repo.Push(j.t.Context()))
	return rig.Must[signing.Hash](j.t)(signing.ParseHash(text))
}

func (j *judged) tag(who, name string, of signing.Hash) signing.Hash {
	j.t.Helper()
	text := rig.Must[string](j.t)(j.repo.Tag(j.t.Context(), name, of.String(), rig.CommitOptions{Message: "approve", Key: j.keys[who]}))
	check(j.t, j.repo.Push(j.t.Context(), "refs/tags/"+name))
	return rig.Must[signing.Hash](j.t)(signing.ParseHash(text))
}

// fetch returns the tags that the repository offers.
func (j *judged) fetch() []signing.Hash {
	j.t.Helper()
	rig.Must[signing.Hash](j.t)(j.mirror.Fetch(j.t.Context()))
	return j.mirror.Tags()
}

// evaluate judges a tip with all that is offered.
func (j *judged) evaluate(tip signing.Hash) *gitsync.Evaluation {
	j.t.Helper()
	return rig.Must[*gitsync.Evaluation](j.t)(j.judge.Evaluate(j.t.Context(), j.mirror, tip, j.fetch()))
}

// TestJudgeNamesWhoSigned: tags for a trust change that still waits are no
// evidence of anything, and say who has signed all the same.
func TestJudgeNamesWhoSigned(t *testing.T) {
	j := newJudged(t)
	change := j.push("alice", map[string]string{"trust.yaml": rootOfThree(2)})
	for _, step := range []struct{ who, have, eligible []string }{
		{nil, []string{"alice"}, []string{"bob", "carol"}},
		{[]string{"bob"}, []string{"alice", "bob"}, []string{"carol"}},
	} {
		for _, who := range step.who {
			j.tag(who, "approve/trust/"+who, change)
		}
		e := j.evaluate(change)
		if e.Moved || e.Refusal == nil || e.Refusal.Reason != signing.ReasonTrustPending || e.Awaits == nil {
			t.Fatalf("moved %v, refusal %+v, awaits %+v", e.Moved, e.Refusal, e.Awaits)
		}
		if !cmp.Equal(e.Awaits.Have, step.have) || !cmp.Equal(e.Awaits.Eligible, step.eligible) {
			t.Errorf("have %v, eligible %v, want %v and %v", e.Awaits.Have, e.Awaits.Eligible, step.have, step.eligible)
		}
	}
	j.tag("carol", "approve/trust/carol", change)
	if e := j.evaluate(change); !e.Moved || e.Refusal != nil || e.Awaits != nil || e.To != change {
		t.Errorf("moved %v to %s, refusal %+v, awaits %+v", e.Moved, e.To, e.Refusal, e.Awaits)
	}
}

// TestJudgeLeavesOutOldTags: the evidence holds the tags that count, and none
// of the others that the repository has.
func TestJudgeLeavesOutOldTags(t *testing.T) {
	j := newJudged(t)
	change := j.push("alice", map[string]string{"deployments/shop/compose.yaml": "services:\n  web:\n    image: nginx:1\n"})
	good := j.tag("bob", "approve/shop/1", change)
	old := j.tag("alice", "approve/shop/0", change)
	e := j.evaluate(change)
	if !slices.Contains(e.Evidence, good) || slices.Contains(e.Evidence, old) {
		t.Errorf("evidence %v, want %s in it and %s not", e.Evidence, good, old)
	}
	evaluation, ok := e.Token.(*verifier.Evaluation)
	if !ok || !cmp.Equal(evaluation.Tags(), []signing.Hash{good}) || !cmp.Equal(evaluation.Verdict.Approved, []string{"shop"}) {
		t.Errorf("the evaluation is %+v", e.Token)
	}
}
