package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
)

// attackCluster is the id of every cluster that is attacked.
const attackCluster = "0123456789abcdef"

// attackField is a repository, a log, and the nodes that follow it.
type attackField struct {
	t      *testing.T
	bare   string
	labels map[string]signing.Hash
	clock  *attackClock
	log    *attackLog
	syncer *gitsync.Syncer

	leader, current, behind, joining *attackNode
}

// attackClock is what every node and the log go by.
type attackClock struct {
	mu  sync.Mutex // guards the field below
	now time.Time
}

func (c *attackClock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *attackClock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = to
}

// newAttackField unpacks the history of a case into a bare repository without a
// branch.
func newAttackField(t *testing.T, name string) *attackField {
	t.Helper()
	bundle, err := filepath.Abs(filepath.Join(attacksDir, name, "history.bundle"))
	check(t, err)
	f := &attackField{
		t: t, bare: filepath.Join(t.TempDir(), "fleet.git"), labels: make(map[string]signing.Hash),
		clock: &attackClock{now: attackTime},
	}
	f.git("", "init", "-q", "--bare", f.bare)
	f.git("", "-C", f.bare, "-c", "transfer.fsckObjects=false", "fetch", "-q", bundle, "refs/labels/*:refs/labels/*")
	for label, text := range bundleRefs(t, bundle) {
		id, err := signing.ParseHash(text)
		check(t, err)
		f.labels[label] = id
	}
	return f
}

func (f *attackField) git(stdin string, args ...string) []byte {
	f.t.Helper()
	cmd := exec.CommandContext(f.t.Context(), "git", args...)
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=/dev/null", "LC_ALL=C")
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			out = exit.Stderr
		}
		f.t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// id is the commit or tag of a label.
func (f *attackField) id(label string) signing.Hash {
	f.t.Helper()
	id, found := f.labels[label]
	if !found {
		f.t.Fatalf("make.sh makes no label %q", label)
	}
	return id
}

// nameOf is the label of an id; of several the first. Without one it is the id.
func (f *attackField) nameOf(id signing.Hash) string {
	var names []string
	for name, labelled := range f.labels {
		if labelled == id {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return id.String()
	}
	return slices.Min(names)
}

// publish gives the repository the refs of a step and no others, the branch last:
// the sync is told of each by itself.
func (f *attackField) publish(step attackStep) {
	f.t.Helper()
	f.log.forget()
	var updates strings.Builder
	for line := range strings.Lines(string(f.git("", "-C", f.bare, "for-each-ref", "--format=%(refname)", "refs/tags"))) {
		if ref := strings.TrimSpace(line); step.Tags[strings.TrimPrefix(ref, "refs/tags/")] == "" {
			fmt.Fprintf(&updates, "delete %s\n", ref)
		}
	}
	for name, label := range step.Tags {
		fmt.Fprintf(&updates, "update refs/tags/%s %s\n", name, f.id(label))
	}
	f.git(updates.String(), "-C", f.bare, "update-ref", "--stdin")
	f.git("", "-C", f.bare, "update-ref", "refs/heads/main", f.id(step.Push).String())
}

// begin has every node pin the anchor but the one that will join, brings the
// cluster to the state before the attack, and makes the token.
func (f *attackField) begin() {
	f.t.Helper()
	anchor := f.id("anchor")
	f.leader = newAttackNode(f, "the leader")
	f.log = &attackLog{t: f.t, clock: f.clock, leader: f.leader}
	f.log.apply(&cluster.InitCluster{
		Meta: cluster.Meta{ID: attackCluster, Name: "test", CA: []byte("pem"), Repo: cluster.Repo{URL: f.bare, Branch: "main"}, Anchor: anchor},
		Node: cluster.Node{Name: "n1", Address: "127.0.0.1:7000", CertificateKey: [32]byte{1}, SealKey: "age1x", State: cluster.NodeReady},
	})
	objects := f.everything()
	f.leader.pin(objects, anchor)
	f.log.apply(&cluster.PutObjects{Objects: anchorObjects(f.t, f.source(objects), anchor)})
	for _, n := range []struct {
		to   **attackNode
		name string
	}{{&f.current, "the node that is up to date"}, {&f.behind, "the node that was behind"}} {
		*n.to = newAttackNode(f, n.name)
		(*n.to).pin(objects, anchor)
	}
	config := gitsync.DefaultConfig()
	config.Repository.URL = f.bare
	config.Interval = func() time.Duration { return time.Hour } // Refresh alone has it look
	syncer, err := gitsync.New(config, judge{f.leader.verifier}, f.log)
	check(f.t, err)
	f.syncer = syncer
	f.git("", "-C", f.bare, "update-ref", "refs/heads/main", f.id("base").String())
	f.run("the sync", syncer.Run)
	if head, err := syncer.Refresh(f.t.Context()); err != nil || head != f.id("base") {
		f.t.Fatalf("base: %s, %v", head, err)
	}
	if at := f.leader.verifier.Record().Position.Commit; at != f.id("base") {
		f.t.Fatalf("accepted before the attack is %s: %+v", f.nameOf(at), f.log.refused(f.id("base")))
	}
	token, err := f.leader.verifier.Checkpoint(f.leader.state.Read())
	check(f.t, err)
	f.joining = newAttackNode(f, "the node that joins")
	_, err = verifier.PinCheckpoint(f.joining.dir, token, verifier.CheckpointHash(token))
	check(f.t, err)
	f.joining.open()
}

// run has a loop run until the test ends.
func (f *attackField) run(name string, loop func(context.Context) error) {
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- loop(ctx) }()
	f.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			f.t.Errorf("%s: %v", name, err)
		}
	})
}

// everything is all objects of the repository.
func (f *attackField) everything() []cluster.StoredObject {
	f.t.Helper()
	reader := bufio.NewReader(strings.NewReader(string(f.git("", "-C", f.bare, "cat-file", "--batch-all-objects", "--batch"))))
	types := map[string]signing.ObjectType{
		"commit": signing.CommitObject, "tree": signing.TreeObject, "blob": signing.BlobObject, "tag": signing.TagObject,
	}
	var objects []cluster.StoredObject
	for {
		header, err := reader.ReadString('\n')
		if err == io.EOF {
			return objects
		}
		check(f.t, err)
		words := strings.Fields(header)
		var size int
		if _, err := fmt.Sscan(words[2], &size); err != nil {
			f.t.Fatal(err)
		}
		data := make([]byte, size+1) // a line end follows
		_, err = io.ReadFull(reader, data)
		check(f.t, err)
		id, err := signing.ParseHash(words[0])
		check(f.t, err)
		objects = append(objects, cluster.StoredObject{ID: id, Object: signing.Object{Type: types[words[1]], Data: data[:size]}})
	}
}

// claimAnyway writes what a leader would that means to bring the head of a step
// in: all evidence there is, every tag, and a claim with a made-up digest.
func (f *attackField) claimAnyway(last attackStep) {
	f.t.Helper()
	for _, chunk := range chunkObjects(f.everything()) {
		f.log.apply(&cluster.PutObjects{Objects: chunk})
	}
	var tags []signing.Hash
	for _, label := range last.Tags {
		if id := f.id(label); !slices.Contains(tags, id) && f.isTag(id) {
			tags = append(tags, id)
		}
	}
	slices.SortFunc(tags, func(a, b signing.Hash) int { return strings.Compare(a.String(), b.String()) })
	before, _ := f.leader.state.Read().LastClaim()
	f.log.apply(&cluster.AdvanceRevision{Claim: cluster.Claim{
		Number: before.Number + 1, From: f.leader.verifier.Record().Position.Commit, Commit: f.id(last.Push),
		Digest: [32]byte{1}, Tags: tags,
	}})
}

func (f *attackField) isTag(id signing.Hash) bool {
	f.t.Helper()
	return strings.TrimSpace(string(f.git("", "-C", f.bare, "cat-file", "-t", id.String()))) == "tag"
}

// follow gives a node what the log has more, and waits until it has judged that.
func (f *attackField) follow(n *attackNode) {
	f.t.Helper()
	for ; n.applied < len(f.log.entries); n.applied++ {
		if result := n.state.Apply(uint64(n.applied+1), f.log.entries[n.applied]); result.Err != nil {
			f.t.Fatalf("%s: entry %d: %v", n.name, n.applied+1, result.Err)
		}
	}
	n.settle()
}

// attackNode is one node: its state, and its own verifier.
type attackNode struct {
	field    *attackField
	name     string
	dir      string
	objects  *cluster.MemoryObjects
	state    *cluster.State
	verifier *verifier.Verifier
	applied  int
}

func newAttackNode(f *attackField, name string) *attackNode {
	f.t.Helper()
	n := &attackNode{field: f, name: name, dir: filepath.Join(f.t.TempDir(), "trust"), objects: cluster.NewMemoryObjects()}
	state, err := cluster.NewState(n.objects, cluster.NewMemoryAudit())
	check(f.t, err)
	n.state = state
	return n
}

// source gives objects by their ids.
func (f *attackField) source(objects []cluster.StoredObject) *cluster.MemoryObjects {
	f.t.Helper()
	source := cluster.NewMemoryObjects()
	check(f.t, source.Put(objects))
	return source
}

// pin makes the node a first member, which pins the anchor.
func (n *attackNode) pin(objects []cluster.StoredObject, anchor signing.Hash) {
	n.field.t.Helper()
	source := n.field.source(objects)
	_, err := verifier.PinAnchor(n.dir, attackCluster, source, anchor)
	check(n.field.t, err)
	check(n.field.t, n.objects.Put(anchorObjects(n.field.t, source, anchor)))
	n.open()
}

// anchorObjects are what genesis brings: the anchor and its trust files.
func anchorObjects(t *testing.T, source signing.Source, anchor signing.Hash) []cluster.StoredObject {
	t.Helper()
	recorder := signing.NewRecorder(source)
	position, _, err := signing.Anchor(recorder, anchor)
	check(t, err)
	_, err = cluster.ContentDigest(recorder, position)
	check(t, err)
	var objects []cluster.StoredObject
	for _, id := range recorder.IDs() {
		object, err := source.Object(id)
		check(t, err)
		objects = append(objects, cluster.StoredObject{ID: id, Object: object})
	}
	return objects
}

// open starts the node's verifier.
func (n *attackNode) open() {
	n.field.t.Helper()
	v, err := verifier.Open(verifier.Config{
		Directory: n.dir, State: n.state, Objects: n.objects, Branch: "main",
		Now: n.field.clock.read, Logger: slog.New(slog.DiscardHandler),
	})
	check(n.field.t, err)
	n.verifier = v
	n.field.run(n.name, v.Run)
}

// settle waits until the node has judged every claim that it has.
func (n *attackNode) settle() {
	n.field.t.Helper()
	ctx, cancel := context.WithTimeout(n.field.t.Context(), time.Minute)
	defer cancel()
	last, _ := n.state.Read().LastClaim()
	m := &member{verifier: n.verifier, state: n.state}
	if err := m.waitJudged(ctx, last.Number); err != nil {
		n.field.t.Fatalf("%s does not judge claim %d: %v: %v", n.name, last.Number, err, n.verifier.Problem())
	}
	for n.verifier.View() == nil { // one that joins has judged the claims of its token
		changed := n.verifier.Changed()
		if n.verifier.View() != nil {
			break
		}
		select {
		case <-ctx.Done():
			n.field.t.Fatalf("%s has no view: %v", n.name, n.verifier.Problem())
		case <-changed:
		}
	}
}

// attackLog is the log of the cluster, and what the leader's sync writes to it.
type attackLog struct {
	t       *testing.T
	clock   *attackClock
	leader  *attackNode
	entries [][]byte

	mu   sync.Mutex // guards the field below
	last *gitsync.Refusal
}

var _ gitsync.Log = (*attackLog)(nil)

// apply appends an entry and applies it on the leader.
func (l *attackLog) apply(command cluster.Command) {
	l.t.Helper()
	if err := l.propose(command); err != nil {
		l.t.Fatalf("apply %s: %v", command.Kind(), err)
	}
}

func (l *attackLog) propose(command cluster.Command) error {
	data, err := cluster.Encode(cluster.Entry{Time: l.clock.read(), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
	if err != nil {
		return err
	}
	l.entries = append(l.entries, data)
	l.leader.applied = len(l.entries)
	return l.leader.state.Apply(uint64(len(l.entries)), data).Err
}

// Have implements gitsync.Log.
func (l *attackLog) Have(id signing.Hash) (bool, error) {
	return l.leader.state.Read().HasObject(id), nil
}

// Advance implements gitsync.Log.
func (l *attackLog) Advance(ctx context.Context, advance gitsync.Advance) error {
	evaluation, ok := advance.Evaluation.Token.(*verifier.Evaluation)
	if !ok {
		return errors.New("the evaluation is not the verifier's")
	}
	objects := make([]cluster.StoredObject, len(advance.Objects))
	for i, o := range advance.Objects {
		objects[i] = cluster.StoredObject{ID: o.ID, Object: o.Object}
	}
	for _, chunk := range chunkObjects(objects) {
		if err := l.propose(&cluster.PutObjects{Objects: chunk}); err != nil {
			return err
		}
	}
	before, _ := l.leader.state.Read().LastClaim()
	claim := cluster.Claim{
		Number: before.Number + 1, From: advance.Evaluation.From, Commit: advance.Evaluation.To,
		Digest: evaluation.Digest, Tags: evaluation.Tags(),
	}
	if err := l.propose(&cluster.AdvanceRevision{Claim: claim}); err != nil {
		return err
	}
	return (&member{verifier: l.leader.verifier, state: l.leader.state}).waitJudged(ctx, claim.Number)
}

// Refuse implements gitsync.Log.
func (l *attackLog) Refuse(_ context.Context, r gitsync.Refusal) error {
	l.mu.Lock()
	l.last = &r
	l.mu.Unlock()
	return l.propose(&cluster.RecordRefusal{Refusal: cluster.Refusal{
		Head: r.Head, Commit: r.Commit, Reason: r.Reason, Detail: r.Detail, Advice: r.Advice,
	}})
}

// refused is what was refused of the head since forget; nil when the head is
// accepted.
func (l *attackLog) refused(head signing.Hash) *gitsync.Refusal {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last == nil || l.last.Head != head || l.leader.state.Read().Sync().State != cluster.SyncStalled {
		return nil
	}
	return l.last
}

func (l *attackLog) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = nil
}

// Transition implements gitsync.Log.
func (l *attackLog) Transition(_ context.Context, t gitsync.Transition) error {
	return l.propose(&cluster.SetSync{State: cluster.SyncState(t.State), Reason: t.Reason, Head: t.Head, Awaits: t.Awaits})
}
