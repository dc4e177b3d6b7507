package refusals

import (
	"bytes"
	"compress/zlib"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "refusals") }

// trustWithBob lists bob as a signer who is not root.
const trustWithBob = `version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
  bob: {keys: [keys/bob.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`

// play is what the cases share: one cluster, and people with keys.
type play struct {
	*stage.Stage
	bob, mallory *rig.Key
	round        int
}

// files are a deployment that is told apart by its message.
func (p *play) files(message string) map[string]string {
	return map[string]string{stage.Path("shop"): stage.Compose(stage.Service{
		Name: "web", Tag: "1", Replicas: 1, Env: map[string]string{"MESSAGE": message},
	})}
}

// refusal is one case: how the branch gets bad, and what is said of it.
type refusal struct {
	name string
	// spoil pushes something bad and returns the commit that must be named;
	// "" where the head itself is.
	spoil func(*play) string
	want  signing.Reason
	// mend is used where no command of the advice does; nil: follow the advice.
	mend func(*play)
}

var refusals = []refusal{
	{"unsigned", func(p *play) string {
		bad := p.CommitAs(nil, p.files("evil"))
		p.Push()
		return bad
	}, signing.ReasonUnsigned, nil},
	{"unknown signer", func(p *play) string {
		bad := p.CommitAs(p.mallory, p.files("evil"))
		p.Push()
		return bad
	}, signing.ReasonUnknownSigner, nil},
	{"unsigned ancestor", func(p *play) string {
		bad := p.CommitAs(nil, p.files("evil"))
		p.Commit(map[string]string{"README": fmt.Sprint("signed on top ", p.round)})
		p.Push()
		return bad
	}, signing.ReasonUnsigned, nil},
	{"rewritten branch", func(p *play) string {
		p.Check(p.Repo.Reset(p.T.Context(), "HEAD~1"))
		p.Commit(map[string]string{"README": "another history"})
		p.Check(p.Repo.ForcePush(p.T.Context()))
		return ""
	}, signing.ReasonRewritten, nil},
	{"foxtrot merge", func(p *play) string {
		accepted := p.revParse("HEAD")
		p.Check(p.Repo.Checkout(p.T.Context(), "topic", "HEAD~1"))
		p.Commit(map[string]string{"README": "a side branch"})
		merge, err := p.Repo.Merge(p.T.Context(), accepted, rig.CommitOptions{Message: "the wrong way round", Key: p.Alice})
		p.Check(err)
		p.Check(p.Repo.Checkout(p.T.Context(), "main", merge))
		p.Push()
		return merge
	}, signing.ReasonFoxtrot, nil},
	{"trust changed by who is not root", func(p *play) string {
		bad := p.CommitAs(p.bob, map[string]string{"trust.yaml": strings.Replace(trustWithBob, "version: 2", "version: 3", 1) + "# bob was here\n"})
		p.Push()
		return bad
	}, signing.ReasonTrust, nil},
	{"tampered object", tamper, signing.ReasonTampered, mendTampered},
}

// TestRefusals plays every case on one cluster: it must be left as if nothing
// had happened.
func TestRefusals(t *testing.T) {
	s := stage.New(t, stage.Config{})
	p := &play{Stage: s, bob: s.NewKey("bob"), mallory: s.NewKey("mallory")}
	s.Commit(map[string]string{"trust.yaml": trustWithBob, "keys/bob.pub": p.bob.Public})
	s.Deploy(p.files("start"))
	parent := t
	for _, test := range refusals {
		t.Run(test.name, func(t *testing.T) {
			p.T = t
			defer func() { p.T = parent }()
			p.round++
			p.Deploy(p.files(fmt.Sprint("before ", test.name)))
			before, accepted := p.containerIDs(), p.Status().Sync.Accepted

			bad := test.spoil(p)
			head := p.remoteHead()
			if bad == "" {
				bad = head
			}
			entry := p.waitRefused(head)
			if entry.Code != string(test.want) || entry.Revision != bad {
				t.Errorf("refused %s for %s (%s), want %s for %s", entry.Revision, entry.Code, entry.Reason, bad, test.want)
			}
			p.wantUnchanged(t, before, accepted)
			p.wantSaid(t, bad, entry)

			if test.mend != nil {
				test.mend(p)
			} else {
				p.follow(t, entry.Advice)
			}
			p.Deploy(p.files(fmt.Sprint("after ", test.name)))
			if state := p.Status().Sync.State; state != cluster.SyncSynced {
				t.Errorf("after the way out sync is %s", state)
			}
			after := p.containerIDs()
			if len(after) != 1 || after[0] == before[0] {
				t.Errorf("after the way out the engine holds %v, before %v", after, before)
			}
		})
	}
	out := s.Jaco("audit", "verify", "--anchor", s.Anchor)
	if !strings.HasPrefix(out, "verified") {
		t.Errorf("audit verify says:\n%s", out)
	}
}

func (p *play) revParse(rev string) string {
	p.T.Helper()
	return rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "rev-parse", rev))
}

func (p *play) bare() string { return filepath.Join(p.Daemon.DataDir, "repo.git") }

func (p *play) remoteHead() string {
	p.T.Helper()
	return rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "--git-dir", p.bare(), "rev-parse", "main"))
}

func (p *play) containerIDs() []string {
	p.T.Helper()
	var ids []string
	for _, c := range p.Containers() {
		ids = append(ids, c.ID)
	}
	return ids
}

func (p *play) waitRefused(head string) cluster.RefusalStatus {
	p.T.Helper()
	var found cluster.RefusalStatus
	p.Eventually(30*time.Second, "the refusal of "+head, func(status *cluster.Status) (bool, string) {
		for _, r := range status.Sync.Refused {
			if r.Head == head && status.Sync.State == cluster.SyncStalled {
				found = r
				return true, ""
			}
		}
		return false, stage.Summary(status)
	})
	return found
}

func (p *play) wantUnchanged(t *testing.T, before []string, accepted string) {
	t.Helper()
	if after := p.containerIDs(); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("containers changed from %v to %v", before, after)
	}
	if got := p.Status().Sync.Accepted; got != accepted {
		t.Errorf("accepted moved from %s to %s", accepted, got)
	}
}

// wantSaid looks at what people see: status sync, --wait, and the audit log.
func (p *play) wantSaid(t *testing.T, bad string, entry cluster.RefusalStatus) {
	t.Helper()
	out := p.Jaco("status", "sync")
	for _, part := range []string{"Stalled", bad[:12], entry.Code, strings.TrimSpace(strings.Split(entry.Advice, "\n")[0])} {
		if !strings.Contains(out, part) {
			t.Errorf("status sync does not say %q:\n%s", part, out)
		}
	}
	if out := p.JacoFails(3, "status", "--wait", "--timeout", "20s"); !strings.Contains(out, "refused") {
		t.Errorf("status --wait says:\n%s", out)
	}
	var records []cluster.AuditRecord
	if err := json.Unmarshal([]byte(p.Jaco("audit", "--type", string(cluster.KindRecordRefusal), "-o", "json")), &records); err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, r := range records {
		if r.Revision == bad {
			count++
		}
	}
	if count != 1 {
		t.Errorf("the audit log holds %d refusals of %s, want 1", count, bad)
	}
}

// follow runs the first command of the advice in alice's clone.
func (p *play) follow(t *testing.T, advice string) {
	t.Helper()
	for line := range strings.Lines(advice) {
		if strings.HasPrefix(line, "  ") {
			if out, err := p.Repo.Shell(t.Context(), strings.TrimSpace(line)); err != nil {
				t.Fatalf("the advice does not work: %s\n%v\n%s", line, err, out)
			}
			return
		}
	}
	t.Fatalf("the advice holds no command:\n%s", advice)
}

// tamper replaces the bytes of one pushed blob in the repository itself, as
// someone with access to the git host's disk could.
func tamper(p *play) string {
	commit := p.Commit(p.files("tampered"))
	p.Check(p.Repo.Push(p.T.Context(), "HEAD:refs/heads/elsewhere"))
	blob := p.revParse(commit + ":" + stage.Path("shop"))
	path := filepath.Join(p.bare(), "objects", blob[:2], blob[2:])
	good := rig.Must[[]byte](p.T)(os.ReadFile(path))
	p.Check(os.WriteFile(path+".good", good, 0o600))
	evil := p.otherObject()
	p.Check(os.Chmod(path, 0o600))
	p.Check(os.WriteFile(path, evil, 0o600))
	rig.Must[string](p.T)(p.Repo.Git(p.T.Context(), "--git-dir", p.bare(), "update-ref", "refs/heads/main", commit))
	return commit
}

// otherObject is the stored form of a blob with other content: a compose file
// that nobody signed.
func (p *play) otherObject() []byte {
	p.T.Helper()
	var b bytes.Buffer
	content := p.files("evil")[stage.Path("shop")]
	w := zlib.NewWriter(&b)
	_, err := fmt.Fprintf(w, "blob %d\x00%s", len(content), content)
	p.Check(errors.Join(err, w.Close()))
	return b.Bytes()
}

func mendTampered(p *play) {
	matches := rig.Must[[]string](p.T)(filepath.Glob(filepath.Join(p.bare(), "objects", "??", "*.good")))
	for _, good := range matches {
		p.Check(os.Rename(good, strings.TrimSuffix(good, ".good")))
	}
}
