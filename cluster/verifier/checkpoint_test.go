package verifier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// checkpoint is b's own, which must be there to be had.
func (b *bench) checkpoint() []byte {
	b.t.Helper()
	data, err := b.Checkpoint(b.state.Read())
	if err != nil {
		b.t.Fatal(err)
	}
	return data
}

func TestCheckpointHoldsWhatTheNodeAccepted(t *testing.T) {
	leader, _, commits := chain(t, "web:1", "web:2")
	leader.apply(leader.now, &cluster.ApplyPlan{Deployments: []cluster.DeploymentStatus{
		{Name: "shop", Converged: commits[0]}, {Name: "retired", Converged: commits[1]},
	}})
	data := leader.checkpoint()
	var c Checkpoint
	if err := json.Unmarshal(data, &c); err != nil {
		t.Fatal(err)
	}
	want := leader.Record()
	want.Branch = "main"
	if diff := cmp.Diff(want, c.Record); diff != "" {
		t.Errorf("the record (-node +checkpoint):\n%s", diff)
	}
	head := leader.state.Read().AuditHead()
	if c.Pinned.Audit != (AuditMark{head.Number, head.Hash}) || c.Pinned.Trust == (Digest{}) || c.Pinned.Trust == c.Record.Digest {
		t.Errorf("pinned %+v", c.Pinned)
	}
	shop, retired := c.Pinned.Units["shop"], c.Pinned.Units["retired"]
	if shop.Converged != commits[0] || shop.Active == (Digest{}) || shop.Previous == (Digest{}) || shop.Active == shop.Previous {
		t.Errorf("shop is pinned as %+v", shop)
	}
	if retired != (PinnedUnit{Converged: commits[1]}) {
		t.Errorf("retired is pinned as %+v", retired)
	}
	for range 50 {
		if !bytes.Equal(leader.checkpoint(), data) {
			t.Fatal("two checkpoints of one state differ")
		}
	}
}

// TestCheckpointBytesAreCanonical: what is read from a checkpoint's bytes is
// written as the same bytes, whatever a record holds.
func TestCheckpointBytesAreCanonical(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 8), func(b []byte) string { return string(b) }))
	hash := rapid.Map(rapid.SliceOfN(rapid.Byte(), 20, 20), func(b []byte) signing.Hash { return signing.Hash(b) })
	rapid.Check(t, func(t *rapid.T) {
		c := &Checkpoint{Version: checkpointVersion, Record: *sampleRecord(), Pinned: Pinned{Units: map[string]PinnedUnit{}}}
		c.Record.Checkpoint = nil
		c.Record.Time = time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "seconds"), rapid.Int64Range(0, 999_999_999).Draw(t, "nanoseconds")).UTC()
		for range rapid.IntRange(0, 20).Draw(t, "units") {
			name := text.Draw(t, "name")
			c.Record.Position.Units[name] = signing.Unit{Revision: hash.Draw(t, "revision"), Vouched: []signing.Vouch{{Path: text.Draw(t, "path")}}}
			c.Pinned.Units[name] = PinnedUnit{Converged: hash.Draw(t, "converged")}
		}
		c.Record.Refusal.Detail = text.Draw(t, "detail")
		data, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		var read Checkpoint
		if err := json.Unmarshal(data, &read); err != nil {
			t.Fatal(err)
		}
		again, err := read.encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("read and written again (%v):\n%s\n%s", err, data, again)
		}
	})
}

func TestCheckpointIsRefusedWhileUnsettled(t *testing.T) {
	leader, node, commits := chain(t, "web:1", "web:2")
	joining := leader.node(t)
	data := leader.checkpoint()
	if _, err := PinCheckpoint(joining.dir, data, CheckpointHash(data)); err != nil {
		t.Fatal(err)
	}
	joining.open()
	joining.judgeAll()
	liar := leader.fork(leader.index - 1)
	liar.assert(commits[0], nil)
	node.install(liar)
	first := leader.node(t) // that accepted nothing yet, and is given another cluster's state
	if _, err := PinAnchor(first.dir, testCluster, leader.objects, leader.anchor); err != nil {
		t.Fatal(err)
	}
	first.open()
	first.install(leader.filled(t, genesisOf("fedcba9876543210", leader.anchor)))
	for name, b := range map[string]*bench{
		"a node that has not checked its own": joining, "a node whose log was replaced": node, "a node in another cluster": first,
	} {
		if data, err := b.Checkpoint(b.state.Read()); !errors.Is(err, ErrUnsettled) {
			t.Errorf("%s: %d bytes, %v", name, len(data), err)
		}
	}
	if _, err := leader.Checkpoint(leader.fork(leader.index - 1).state.Read()); !errors.Is(err, ErrUnsettled) {
		t.Errorf("over a state that lacks the last claim: %v", err)
	}
}

func TestCheckpointIsBounded(t *testing.T) {
	c := &Checkpoint{Record: *sampleRecord()}
	c.Record.Refusal.Detail = strings.Repeat("x", cluster.MaxCheckpointBytes)
	if data, err := c.encode(); err == nil {
		t.Errorf("encoded to %d bytes", len(data))
	}
	large := make([]byte, cluster.MaxCheckpointBytes+1)
	if _, err := PinCheckpoint(t.TempDir(), large, CheckpointHash(large)); !errors.Is(err, ErrCheckpoint) {
		t.Errorf("pinned: %v", err)
	}
}

// TestPinCheckpointRefuses spoils a good checkpoint, and where it says so gives
// the hash of the spoiled one.
func TestPinCheckpointRefuses(t *testing.T) {
	leader, _, _ := chain(t, "web:1")
	good := leader.checkpoint()
	edited := func(edit func(*Checkpoint)) []byte {
		var c Checkpoint
		if err := json.Unmarshal(good, &c); err != nil {
			t.Fatal(err)
		}
		edit(&c)
		data, err := json.Marshal(&c)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	for name, test := range map[string]struct {
		data  []byte
		other bool // the hash is that of the good one
		says  string
	}{
		"a byte changed":            {bytes.Replace(good, []byte("alice"), []byte("alicf"), 1), true, "not the one that the token is for"},
		"nothing":                   {nil, true, "not the one that the token is for"},
		"no JSON":                   {[]byte("checkpoint"), false, "malformed"},
		"a newer version":           {edited(func(c *Checkpoint) { c.Version++ }), false, "version 2"},
		"a field of a newer build":  {bytes.Replace(good, []byte(`{"version":1,`), []byte(`{"version":1,"new":2,`), 1), false, "canonical"},
		"other spaces":              {bytes.Replace(good, []byte(`{"version":1,`), []byte(`{"version": 1,`), 1), false, "canonical"},
		"something behind it":       {append(bytes.Clone(good), '\n'), false, "canonical"},
		"no cluster":                {edited(func(c *Checkpoint) { c.Record.ClusterID = "prod" }), false, `cluster id "prod"`},
		"no branch":                 {edited(func(c *Checkpoint) { c.Record.Branch = "" }), false, "the branch"},
		"no anchor":                 {edited(func(c *Checkpoint) { c.Record.Anchor = signing.Hash{} }), false, "no anchor"},
		"no commit":                 {edited(func(c *Checkpoint) { c.Record.Position.Commit = signing.Hash{} }), false, "no accepted commit"},
		"no digest":                 {edited(func(c *Checkpoint) { c.Record.Digest = Digest{} }), false, "digest"},
		"no digest of trust":        {edited(func(c *Checkpoint) { c.Pinned.Trust = Digest{} }), false, "digest"},
		"no audit head":             {edited(func(c *Checkpoint) { c.Pinned.Audit.Number = 0 }), false, "audit"},
		"a claim of another number": {edited(func(c *Checkpoint) { c.Record.Judged.Number++ }), false, "contradict"},
		"accepted more than judged": {edited(func(c *Checkpoint) { c.Record.Accepted.Number++ }), false, "contradict"},
		"a node that went astray":   {edited(func(c *Checkpoint) { c.Record.Astray = true }), false, "contradict"},
		"checked already":           {edited(func(c *Checkpoint) { c.Pinned.Done = true }), false, "not that of a member"},
		"one within another":        {edited(func(c *Checkpoint) { c.Record.Checkpoint = &Pinned{Done: true} }), false, "not that of a member"},
		"too deep to be read":       {[]byte(strings.Repeat("[", 20_000)), false, "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			hash := CheckpointHash(test.data)
			if test.other {
				hash = CheckpointHash(good)
			}
			dir := filepath.Join(t.TempDir(), "trust")
			record, err := PinCheckpoint(dir, test.data, hash)
			if !errors.Is(err, ErrCheckpoint) || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("pinned %v, error %v", record, err)
			}
			if _, err := Open(Config{Directory: dir}); !errors.Is(err, ErrNoTrust) {
				t.Errorf("it left a trust store: %v", err)
			}
		})
	}
}

func TestPinCheckpointKeepsAStore(t *testing.T) {
	leader, node, _ := chain(t, "web:1")
	data := leader.checkpoint()
	before, err := os.ReadFile(filepath.Join(node.dir, storeFile))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := PinCheckpoint(node.dir, data, CheckpointHash(data)); err == nil || errors.Is(err, ErrCheckpoint) {
		t.Errorf("pinned over a store: %v", err)
	}
	if err := os.WriteFile(filepath.Join(node.dir, storeFile), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := PinCheckpoint(node.dir, data, CheckpointHash(data)); err == nil {
		t.Error("pinned over a store that is damaged")
	}
	if err := os.WriteFile(filepath.Join(node.dir, storeFile), before, 0o600); err != nil {
		t.Fatal(err)
	}
}
