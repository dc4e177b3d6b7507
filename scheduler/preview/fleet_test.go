package preview_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// fleet is a cluster as it is, but for machines: commits signed by git, a log, a
// verifier, the scheduler's plans, and nodes that report phase by phase.
type fleet struct {
	t        *testing.T
	repo     *rig.Repo
	alice    *rig.Key
	objects  *cluster.MemoryObjects
	state    *cluster.State
	index    uint64
	now      time.Time
	verifier *verifier.Verifier
}

const (
	fleetID   = "0123456789abcdef"
	fleetFile = `version: %d
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
allow:
  - {deployment: shop, privileges: ["cap:NET_ADMIN", "volume:shared"]}
`
)

func newFleet(t *testing.T) *fleet {
	t.Helper()
	git := rig.StartGit(t)
	f := &fleet{
		t: t, objects: cluster.NewMemoryObjects(), now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		alice: rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519")),
	}
	bare := filepath.Join(t.TempDir(), "fleet.git")
	if err := git.InitBare(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	f.repo = rig.Must[*rig.Repo](t)(git.Clone(t.Context(), bare, ""))
	f.write("trust.yaml", fmt.Sprintf(fleetFile, 1))
	f.write("keys/alice.pub", f.alice.Public)
	anchor := f.commit()
	f.state = rig.Must[*cluster.State](t)(cluster.NewState(f.objects, cluster.NewMemoryAudit()))
	f.apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: fleetID, Name: "test", CA: []byte("pem"), Repo: cluster.Repo{URL: bare, Branch: "main"}, Anchor: anchor},
		Node: newNode("node-1"),
	})
	f.apply(&cluster.UpdateNode{Node: newNode("node-2")})
	f.apply(&cluster.UpdateNode{Node: newNode("node-3")})
	f.load()
	dir := filepath.Join(t.TempDir(), "trust")
	if _, err := verifier.PinAnchor(dir, fleetID, f.objects, anchor); err != nil {
		t.Fatal(err)
	}
	f.verifier = rig.Must[*verifier.Verifier](t)(verifier.Open(verifier.Config{
		Directory: dir, State: f.state, Objects: f.objects, Branch: "main",
		Now: func() time.Time { return f.now }, Logger: slog.New(slog.DiscardHandler),
	}))
	f.judged(0)
	return f
}

func newNode(name string) cluster.Node {
	return cluster.Node{
		Name: name, Address: name + ":7000", CertificateKey: [32]byte{name[5]}, SealKey: "age1" + name,
		State: cluster.NodeReady, CPU: 4e9, Memory: 8 << 30,
	}
}

func (f *fleet) path(name string) string { return filepath.Join(f.repo.Dir, filepath.FromSlash(name)) }

func (f *fleet) write(name, text string) {
	f.t.Helper()
	if err := f.repo.Write(map[string]string{name: text}); err != nil {
		f.t.Fatal(err)
	}
}

// edit replaces a text in a file, which must hold it.
func (f *fleet) edit(name, old, new string) {
	f.t.Helper()
	data, err := os.ReadFile(f.path(name))
	if err != nil || !strings.Contains(string(data), old) {
		f.t.Fatalf("%s has no %q (%v):\n%s", name, old, err, data)
	}
	f.write(name, strings.Replace(string(data), old, new, 1))
}

func (f *fleet) remove(name string) {
	f.t.Helper()
	if err := os.RemoveAll(f.path(name)); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) commit() signing.Hash {
	f.t.Helper()
	text := rig.Must[string](f.t)(f.repo.Commit(f.t.Context(), rig.CommitOptions{Message: "change", Key: f.alice}))
	return rig.Must[signing.Hash](f.t)(signing.ParseHash(text))
}

func (f *fleet) apply(command cluster.Command) {
	f.t.Helper()
	f.index++
	data := rig.Must[[]byte](f.t)(cluster.Encode(cluster.Entry{Time: f.now, Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "node-1"}, Command: command}))
	if result := f.state.Apply(f.index, data); result.Err != nil {
		f.t.Fatalf("%s: %v", command.Kind(), result.Err)
	}
}

// load brings the repository's objects into the state.
func (f *fleet) load() {
	f.t.Helper()
	out, err := exec.CommandContext(f.t.Context(), "git", "-C", f.repo.Dir, "cat-file", "--batch-all-objects", "--batch").Output()
	if err != nil {
		f.t.Fatal(err)
	}
	kinds := map[string]signing.ObjectType{"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject}
	var objects []cluster.StoredObject
	for reader := bufio.NewReader(strings.NewReader(string(out))); ; {
		header, err := reader.ReadString('\n')
		if err == io.EOF {
			break
		}
		var id, kind string
		var size int
		if _, err := fmt.Sscanf(header, "%s %s %d", &id, &kind, &size); err != nil {
			f.t.Fatal(err)
		}
		data := make([]byte, size+1)
		if _, err := io.ReadFull(reader, data); err != nil {
			f.t.Fatal(err)
		}
		objects = append(objects, cluster.StoredObject{
			ID: rig.Must[signing.Hash](f.t)(signing.ParseHash(id)), Object: signing.Object{Type: kinds[kind], Data: data[:size]},
		})
	}
	f.apply(&cluster.PutObjects{Objects: objects})
}

// push commits what is in the work tree and has it judged. It returns why the
// commit was refused, "" when it was accepted.
func (f *fleet) push() signing.Reason {
	f.t.Helper()
	commit := f.commit()
	f.load()
	e := rig.Must[*verifier.Evaluation](f.t)(f.verifier.Evaluate(f.objects, commit, nil))
	last, _ := f.state.Read().LastClaim()
	f.apply(&cluster.AdvanceRevision{Claim: cluster.Claim{
		Number: last.Number + 1, From: f.verifier.Record().Position.Commit, Commit: commit, Digest: e.Digest,
	}})
	f.judged(last.Number + 1)
	if e.Verdict.Refusal != nil {
		if _, err := f.repo.Git(f.t.Context(), "reset", "-q", "--hard", "HEAD^"); err != nil {
			f.t.Fatal(err)
		}
		return e.Verdict.Refusal.Reason
	}
	return ""
}

// judged lets the verifier run until it has judged a claim.
func (f *fleet) judged(number uint64) {
	f.t.Helper()
	ctx, stop := context.WithTimeout(f.t.Context(), 30*time.Second)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- f.verifier.Run(ctx) }()
	for {
		changed := f.verifier.Changed()
		if view := f.verifier.View(); view != nil && view.Claim >= number {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			f.t.Fatalf("claim %d is not judged", number)
		}
	}
	stop()
	if err := <-ended; err != nil {
		f.t.Fatal(err)
	}
}

func (f *fleet) input() *scheduler.Input {
	s := f.state.Read()
	return &scheduler.Input{
		ClusterID: fleetID, Now: f.now, Index: s.Index(), View: f.verifier.View(), Nodes: s.Nodes(), Replicas: s.Replicas(),
		Services: s.Services(), Deployments: s.DeploymentStatuses(),
	}
}

// settle plays scheduler and nodes until nothing happens any more: each node
// brings one of its replicas a phase on, then the scheduler looks again.
func (f *fleet) settle() {
	f.t.Helper()
	for range 10_000 {
		result := scheduler.Compute(*f.input())
		if result.Plan != nil {
			f.apply(result.Plan)
		}
		switch {
		case f.report() || result.Plan != nil:
			f.now = f.now.Add(200 * time.Millisecond)
		case result.Wake.IsZero():
			return
		default:
			f.now = result.Wake
		}
	}
	f.t.Fatal("the cluster does not come to rest")
}

// report brings one replica of each node a phase on.
func (f *fleet) report() bool {
	next := map[cluster.Phase]cluster.Phase{
		cluster.Assigned: cluster.Preparing, cluster.Preparing: cluster.Starting, cluster.Starting: cluster.Running,
	}
	done := map[string]bool{}
	replicas := f.state.Read().Replicas()
	slices.SortFunc(replicas, func(a, b cluster.Replica) int { return strings.Compare(a.ID, b.ID) })
	for _, r := range replicas {
		if r.Phase.Final() || done[r.Node] {
			continue
		}
		report := cluster.ReplicaReport{ID: r.ID, Phase: next[r.Phase]}
		s, _ := f.verifier.View().Spec(r.Deployment, r.Service, r.SpecHash)
		checked := s != nil && s.Container.Healthcheck != nil
		switch {
		case r.Stop && r.Phase == cluster.Stopping:
			report.Phase = cluster.Stopped
		case r.Stop:
			report.Phase = cluster.Stopping
		case r.Phase == cluster.Running && checked:
			report.Phase = cluster.Healthy
		case report.Phase == cluster.Running:
			report.NoHealthcheck, report.StartedAt = !checked, f.now
		}
		if report.Phase != "" {
			f.apply(&cluster.ReportReplicas{Node: r.Node, Reports: []cluster.ReplicaReport{report}})
			done[r.Node] = true
		}
	}
	return len(done) > 0
}

// plan asks for the plan of the work tree.
func (f *fleet) plan() *preview.Plan {
	f.t.Helper()
	record := f.verifier.Record()
	commit := rig.Must[*signing.Commit](f.t)(signing.ReadCommit(f.objects, record.Position.Commit))
	p, err := preview.Compute(f.t.Context(), preview.Input{
		Tree:  rig.Must[*preview.Tree](f.t)(preview.NewTree(f.files())),
		Trust: rig.Must[*signing.Trust](f.t)(signing.LoadTrust(f.objects, record.Position.Commit)), Accepted: f.objects,
		Against: record.Position.Commit, Base: commit.Tree, Units: record.Position.Units, Now: f.now, ClusterName: "test", State: f.input(),
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if !p.Settled {
		f.t.Error("the plan was not followed to its end")
	}
	return p
}

// files reads the work tree.
func (f *fleet) files() (files []preview.File) {
	f.t.Helper()
	err := filepath.WalkDir(f.repo.Dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() && entry.Name() == ".git" {
			return fs.SkipDir
		}
		if entry.IsDir() {
			return nil
		}
		name, _ := filepath.Rel(f.repo.Dir, path)
		file := preview.File{Path: filepath.ToSlash(name), Mode: preview.Plain}
		if entry.Type()&fs.ModeSymlink != 0 {
			target, err := os.Readlink(path)
			file.Mode, file.Data = preview.Symlink, []byte(target)
			files = append(files, file)
			return err
		}
		file.Data, err = os.ReadFile(path)
		files = append(files, file)
		return err
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return files
}

// running is the replica of each slot.
func (f *fleet) running() map[string]cluster.Replica {
	held := map[string]cluster.Replica{}
	for _, r := range f.state.Read().Replicas() {
		if !r.Phase.Final() {
			held[fmt.Sprintf("%s/%s.%d", r.Deployment, r.Service, r.Slot)] = r
		}
	}
	return held
}

// happened lists what became of each slot, in the words of a plan.
func happened(before, after map[string]cluster.Replica) []string {
	var out []string
	for slot, was := range before {
		switch is, stays := after[slot]; {
		case !stays:
			out = append(out, fmt.Sprintf("%s remove %s>", slot, was.Node))
		case is.ID == was.ID:
		case is.SpecHash == was.SpecHash && is.Node != was.Node:
			out = append(out, fmt.Sprintf("%s move %s>%s", slot, was.Node, is.Node))
		default:
			out = append(out, fmt.Sprintf("%s replace %s>%s", slot, was.Node, is.Node))
		}
	}
	for slot, is := range after {
		if _, was := before[slot]; !was {
			out = append(out, fmt.Sprintf("%s create >%s", slot, is.Node))
		}
	}
	slices.Sort(out)
	return out
}

func planned(p *preview.Plan) []string {
	var out []string
	for _, r := range p.Replicas {
		out = append(out, fmt.Sprintf("%s/%s.%d %s %s>%s", r.Deployment, r.Service, r.Slot, r.Action, r.From, r.To))
	}
	slices.Sort(out)
	return out
}
