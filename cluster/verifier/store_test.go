package verifier

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// sampleRecord has something in every field.
func sampleRecord() *Record {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	approval := signing.Approval{Signer: "alice", Key: "SHA256:abc", Commit: signing.Hash{3}}
	pin := &Pin{Revision: signing.Hash{4}, Tree: signing.Hash{5}, Claim: 6, Index: 60, TrustVersion: 2, Signers: []signing.Approval{approval},
		At: noon, Grounds: []signing.Ground{{Paths: []string{"deployments/shop/compose.yaml"}, Signers: []string{"alice"}, Approvals: []signing.Approval{approval}, At: noon}},
		Standing: &Standing{Outdated: true, Suspect: true, Reason: "laptop lost"}}
	return &Record{
		ClusterID: "0123456789abcdef",
		Anchor:    signing.Hash{1},
		Branch:    "main",
		Position: signing.Position{Commit: signing.Hash{2}, Units: map[string]signing.Unit{
			"shop": {Revision: signing.Hash{4}, Tree: signing.Hash{5}, Signers: []signing.Approval{approval}},
		}},
		Digest:       Digest{12},
		Claim:        7,
		Judged:       Mark{Number: 7, Index: 70, Digest: Digest{13}},
		Accepted:     Mark{Number: 6, Index: 60, Digest: Digest{14}},
		Astray:       true,
		Signers:      []string{"alice"},
		TrustVersion: 2,
		Time:         noon,
		Advanced:     noon,
		MaxAge:       72 * time.Hour,
		Floor:        &Floor{Claim: 5, Commit: signing.Hash{19}},
		Reanchors:    []Reanchored{{Commit: signing.Hash{20}, From: signing.Hash{21}, Claim: 3, At: noon, By: "uid:0"}},
		Units: map[string]UnitRecord{"shop": {
			Active: pin, Previous: pin, Invalid: &InvalidPin{Revision: signing.Hash{8}, Tree: signing.Hash{9}, Reason: "compose.yaml:3"},
		}},
		Prune:   []cluster.PrunedVolume{{Deployment: "old", Volume: "data", Engine: "jaco_old_data", Revision: signing.Hash{18}}},
		Pending: []signing.Pending{{Unit: "blog", Revision: signing.Hash{10}, Need: 1, Eligible: []string{"bob"}}},
		Refusal: &signing.Refusal{Commit: signing.Hash{11}, Reason: signing.ReasonUnsigned, Detail: "no signature"},
		Heard:   &Heard{Index: 81, At: time.Date(2026, 11, 23, 12, 5, 0, 0, time.UTC)},
		Checkpoint: &Pinned{
			Audit: AuditMark{Number: 80, Hash: Digest{15}}, Trust: Digest{16}, Done: true, Problem: "none",
			Units: map[string]PinnedUnit{"shop": {Converged: signing.Hash{4}, Active: Digest{17}, Previous: Digest{18}}},
		},
	}
}

// TestSampleRecordIsFull: a field that is added is filled above, so that the
// tests of the store look at it.
func TestSampleRecordIsFull(t *testing.T) {
	for _, v := range []any{*sampleRecord(), *sampleRecord().Checkpoint, sampleRecord().Checkpoint.Units["shop"],
		sampleRecord().Units["shop"], *sampleRecord().Units["shop"].Active, sampleRecord().Judged} {
		for i, value := 0, reflect.ValueOf(v); i < value.NumField(); i++ {
			if value.Field(i).IsZero() {
				t.Errorf("%T.%s is not filled", v, value.Type().Field(i).Name)
			}
		}
	}
}

func newTestStore(t *testing.T) (*Store, string) {
	t.Helper()
	directory := filepath.Join(t.TempDir(), "trust")
	store, err := OpenStore(directory)
	if err != nil {
		t.Fatal(err)
	}
	return store, directory
}

func TestStoreRoundTrip(t *testing.T) {
	store, directory := newTestStore(t)
	if _, err := store.Load(); !errors.Is(err, ErrNoTrust) || !strings.Contains(err.Error(), "jaco bootstrap init") {
		t.Fatalf("load of nothing: %v, want %v with advice", err, ErrNoTrust)
	}
	want := sampleRecord()
	if err := store.Save(want); err != nil {
		t.Fatal(err)
	}
	want.Claim++
	if err := store.Save(want); err != nil {
		t.Fatal(err)
	}
	again, err := OpenStore(directory)
	if err != nil {
		t.Fatal(err)
	}
	got, err := again.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the record changed on its way through the disk (-want +got):\n%s", diff)
	}
	entries, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() != storeFile || info.Mode().Perm() != 0o600 {
			t.Errorf("found %s with mode %v", e.Name(), info.Mode())
		}
	}
	if info, err := os.Stat(directory); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory has mode %v, %v", info.Mode(), err)
	}
}

// Whatever happens to a byte of the file, a store never takes it for good, nor
// for missing.
func TestStoreDamage(t *testing.T) {
	store, directory := newTestStore(t)
	if err := store.Save(sampleRecord()); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(directory, storeFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		data := append([]byte(nil), good...)
		at := rapid.IntRange(0, len(data)-1).Draw(t, "at")
		switch rapid.SampledFrom([]string{"change", "cut", "insert"}).Draw(t, "damage") {
		case "change":
			data[at] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		case "cut":
			data = data[:at]
		case "insert":
			data = append(data, data[at])
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		record, err := store.Load()
		if !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewerStore) {
			t.Fatalf("loaded %v with error %v", record, err)
		}
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name the file", err)
		}
	})
}

func TestStoreLoadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(path string) error
		want  error
	}{
		"empty": {func(path string) error { return os.WriteFile(path, nil, 0o600) }, ErrCorrupt},
		"newer format": {func(path string) error {
			return os.WriteFile(path, []byte("jaco-trust-2 "+strings.Repeat("0", 64)+"\n{}"), 0o600)
		}, ErrNewerStore},
		"not JSON, with a good checksum": {func(path string) error {
			const sumOfX = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
			return os.WriteFile(path, []byte(storeHeader+sumOfX+"\nx"), 0o600)
		}, ErrCorrupt},
		"a directory": {func(path string) error { return os.Mkdir(path, 0o700) }, syscall.EISDIR},
	} {
		t.Run(name, func(t *testing.T) {
			store, directory := newTestStore(t)
			if err := c.spoil(filepath.Join(directory, storeFile)); err != nil {
				t.Fatal(err)
			}
			if _, err := store.Load(); !errors.Is(err, c.want) {
				t.Errorf("load: %v, want %v", err, c.want)
			}
		})
	}
}

// A crash while saving leaves the old record and at most one stale file, which
// the next save takes over.
func TestStoreAfterCrash(t *testing.T) {
	store, directory := newTestStore(t)
	want := sampleRecord()
	if err := store.Save(want); err != nil {
		t.Fatal(err)
	}
	stale := filepath.Join(directory, storeFile+".tmp")
	if err := os.WriteFile(stale, []byte(storeHeader+"half"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the record changed (-want +got):\n%s", diff)
	}
	want.Claim++
	if err := store.Save(want); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(stale); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stale file stays: %v", err)
	}
}

func TestStoreFullDisk(t *testing.T) {
	directory := t.TempDir()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("no small file system to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(directory, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	store, err := OpenStore(filepath.Join(directory, "trust"))
	if err != nil {
		t.Fatal(err)
	}
	want := sampleRecord()
	if err := store.Save(want); err != nil {
		t.Fatal(err)
	}
	ballast, err := os.Create(filepath.Join(directory, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer ballast.Close()
	for err == nil {
		_, err = ballast.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk did not fill up: %v", err)
	}
	changed := sampleRecord()
	changed.Claim++
	if err := store.Save(changed); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space on the file system of "+store.directory) {
		t.Errorf("save on a full disk: %v", err)
	}
	got, err := store.Load()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the old record is gone (-want +got):\n%s", diff)
	}
	if err := OpenJournal(directory).Append(JournalEntry{}); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space on the file system of "+directory) {
		t.Errorf("journal on a full disk: %v", err)
	}
}

func entryOf(claim uint64, detail string) JournalEntry {
	return JournalEntry{
		Time: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), Claim: claim, Commit: signing.Hash{byte(claim)},
		Reason: signing.ReasonUnsigned, Detail: detail,
	}
}

func TestJournal(t *testing.T) {
	directory := t.TempDir()
	journal := OpenJournal(directory)
	if got, err := journal.Read(); len(got) != 0 || err != nil {
		t.Errorf("read of nothing: %v, %v", got, err)
	}
	want := []JournalEntry{entryOf(1, "one"), entryOf(2, "two\nlines")}
	for _, e := range want {
		if err := journal.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	got, err := OpenJournal(directory).Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
	if info, err := os.Stat(filepath.Join(directory, journalFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// Wherever a crash cuts the last line, what was written before and what is
// written after can be read.
func TestJournalCutShort(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		directory, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		journal := OpenJournal(directory)
		path := filepath.Join(directory, journalFile)
		if err := journal.Append(entryOf(1, "before")); err != nil {
			rt.Fatal(err)
		}
		whole, err := os.Stat(path)
		if err != nil {
			rt.Fatal(err)
		}
		if err := journal.Append(entryOf(2, "cut")); err != nil {
			rt.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			rt.Fatal(err)
		}
		// From nothing of the last line to all but the end of it.
		keep := rapid.Int64Range(whole.Size(), info.Size()-2).Draw(rt, "keep")
		if err := os.Truncate(path, keep); err != nil {
			rt.Fatal(err)
		}
		if err := journal.Append(entryOf(3, "after")); err != nil {
			rt.Fatal(err)
		}
		got, err := journal.Read()
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff([]JournalEntry{entryOf(1, "before"), entryOf(3, "after")}, got); diff != "" {
			rt.Errorf("read (-want +got):\n%s", diff)
		}
	})
}

func TestJournalRotates(t *testing.T) {
	directory := t.TempDir()
	journal := OpenJournal(directory)
	detail := strings.Repeat("x", 100<<10)
	const entries = 40 // about 4 MiB
	for i := range uint64(entries) {
		if err := journal.Append(entryOf(i+1, detail)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir(directory)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		info, err := f.Info()
		if err != nil {
			t.Fatal(err)
		}
		if limit := int64(journalLimit + len(detail) + 1024); info.Size() > limit {
			t.Errorf("%s has %d bytes, want at most %d", f.Name(), info.Size(), limit)
		}
		names = append(names, f.Name())
	}
	if got, want := fmt.Sprint(names), fmt.Sprintf("[%s %s]", journalFile, journalOldFile); got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	got, err := journal.Read()
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < 10 || got[len(got)-1].Claim != entries {
		t.Fatalf("%d entries are left", len(got))
	}
	for i := 1; i < len(got); i++ {
		if got[i].Claim != got[i-1].Claim+1 {
			t.Errorf("claim %d follows %d", got[i].Claim, got[i-1].Claim)
		}
	}
}

// TestNoteMisbehaviour: what another part refuses survives in the journal, beside
// the claims, and is reported.
func TestNoteMisbehaviour(t *testing.T) {
	leader, node, commits := chain(t, "web:1")
	event := cluster.Event{
		Type: cluster.EventLeaderMisbehaviour, Deployment: "shop", Service: "web", Replica: "abc",
		Revision: commits[0], Message: "this node accepted no such spec",
	}
	if err := node.NoteMisbehaviour(event); err != nil {
		t.Fatal(err)
	}
	leader.claim(leader.deploy(leader.mallory, "shop", "evil:1"), nil)
	node.catchUp(leader)
	node.reopen()
	entries, err := node.Refused()
	if err != nil || len(entries) != 2 {
		t.Fatalf("journal %+v, %v", entries, err)
	}
	want := JournalEntry{Time: node.now.UTC(), Commit: commits[0], Reason: ReasonAssignment, Detail: event.Message,
		Deployment: "shop", Service: "web", Replica: "abc"}
	if diff := cmp.Diff(want, entries[0]); diff != "" {
		t.Errorf("entry (-want +got):\n%s", diff)
	}
	if len(node.events) != 2 || node.events[0] != event || node.events[1] != entries[1].Event() {
		t.Errorf("events %+v", node.events)
	}
	if last := node.LastRefused(); last == nil || *last != entries[1] {
		t.Errorf("after a restart the last entry is %+v", last)
	}
	if err := os.RemoveAll(node.dir); err != nil {
		t.Fatal(err)
	}
	if err := node.NoteMisbehaviour(event); err == nil || len(node.events) != 3 {
		t.Errorf("without a disk: error %v, %d events; it is to be reported all the same", err, len(node.events))
	}
}

// TestJournalReadsWhatEarlierBuildsWrote holds the names of its fields.
func TestJournalReadsWhatEarlierBuildsWrote(t *testing.T) {
	directory := t.TempDir()
	line := `{"time":"2026-11-23T12:00:00Z","claim":2,"commit":"0200000000000000000000000000000000000000","reason":"unsigned","detail":"two"}` + "\n"
	if err := os.WriteFile(filepath.Join(directory, journalFile), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := OpenJournal(directory).Read()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]JournalEntry{entryOf(2, "two")}, got); diff != "" {
		t.Errorf("read (-want +got):\n%s", diff)
	}
}
