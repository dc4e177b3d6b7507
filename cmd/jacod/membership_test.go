package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster/rpc"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	check(t, err)
	found := []string{}
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}

// makeParts makes everything that a member has, but for member.json.
func makeParts(t *testing.T, dir string) {
	t.Helper()
	for _, name := range memberParts {
		path := filepath.Join(dir, name)
		if strings.HasSuffix(name, ".db") {
			check(t, os.WriteFile(path, []byte(name), 0o600))
			continue
		}
		check(t, os.MkdirAll(path, 0o700))
		check(t, os.WriteFile(filepath.Join(path, "file"), []byte(name), 0o600))
	}
}

func TestUnfinishedInitIsCleaned(t *testing.T) {
	dir := t.TempDir()
	check(t, beginInit(dir))
	makeParts(t, dir)
	check(t, saveMembership(dir, membership{Cluster: "c"}))
	check(t, os.WriteFile(filepath.Join(dir, "other"), nil, 0o600))
	check(t, beginInit(dir)) // after a crash
	if got, want := names(t, dir), []string{unfinishedFile, "other"}; !slices.Equal(got, want) {
		t.Errorf("a second init begins with %q, want %q", got, want)
	}
	makeParts(t, dir)
	check(t, abandonInit(dir))
	if got, want := names(t, dir), []string{"other"}; !slices.Equal(got, want) {
		t.Errorf("an abandoned init leaves %q, want %q", got, want)
	}
	check(t, abandonInit(dir)) // of nothing
}

// TestMemberIsNeverTouched has init meet each part of a member's data without
// the mark of an unfinished init.
func TestMemberIsNeverTouched(t *testing.T) {
	for _, part := range memberParts {
		t.Run(part, func(t *testing.T) {
			dir := t.TempDir()
			check(t, os.WriteFile(filepath.Join(dir, part), []byte("precious"), 0o600))
			err := beginInit(dir)
			if err == nil || !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), membershipFile) {
				t.Fatalf("init over %s: %v", part, err)
			}
			if data, err := os.ReadFile(filepath.Join(dir, part)); err != nil || string(data) != "precious" {
				t.Errorf("init left %q, %v", data, err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{part}) {
				t.Errorf("init left %q in the directory", got)
			}
		})
	}
}

// TestFinishedInitLeavesNoMark: a mark that outlived its init would have the
// data removed by the next one, should member.json ever be lost.
func TestFinishedInitLeavesNoMark(t *testing.T) {
	dir := t.TempDir()
	check(t, beginInit(dir))
	makeParts(t, dir)
	check(t, saveMembership(dir, membership{Cluster: "c"}))
	check(t, endInit(dir))
	check(t, os.Remove(filepath.Join(dir, membershipFile)))
	if err := beginInit(dir); err == nil {
		t.Error("init began over a finished one")
	}
	check(t, endInit(dir)) // there is none
}

func TestBeginInitNeedsItsMark(t *testing.T) {
	if err := beginInit(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a directory: %v", err)
	}
}

func TestMembership(t *testing.T) {
	dir := t.TempDir()
	if _, err := loadMembership(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before init: %v", err)
	}
	want := membership{
		Cluster: "0123456789abcdef", Node: "n1", Address: "10.0.0.1:7000", Branch: "main", Joining: true,
		Peers: []rpc.MemberKey{{Name: "n2", Address: "10.0.0.2:7000", Key: [32]byte{1}}},
	}
	check(t, saveMembership(dir, want))
	check(t, saveMembership(dir, want)) // replaces
	if got, err := loadMembership(dir); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("loaded %+v, %v", got, err)
	}
	if got := names(t, dir); !slices.Equal(got, []string{membershipFile}) {
		t.Errorf("saving left %q", got)
	}
	info, err := os.Stat(filepath.Join(dir, membershipFile))
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	check(t, os.WriteFile(filepath.Join(dir, membershipFile), []byte(`{"cluster":`), 0o600))
	if _, err := loadMembership(dir); err == nil || !strings.Contains(err.Error(), membershipFile+" is damaged") {
		t.Errorf("cut short: %v", err)
	}
	if err := saveMembership(filepath.Join(dir, "none"), want); err == nil {
		t.Error("saved into a directory that is not there")
	}
}

func TestLockDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	unlock, err := lockDirectory(dir)
	check(t, err)
	info, err := os.Stat(dir)
	check(t, err)
	if info.Mode().Perm()&0o066 != 0 {
		t.Errorf("others may list the data directory: %v", info.Mode())
	}
	// The lock is that of an open file: another one is as good as another process's.
	if _, err := lockDirectory(dir); err == nil || !strings.Contains(err.Error(), "data directory "+dir+" is in use by another jacod") {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	unlock, err = lockDirectory(dir)
	check(t, err)
	unlock()
	file := filepath.Join(dir, "lock")
	if _, err := lockDirectory(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a file as data directory: %v", err)
	}
}
