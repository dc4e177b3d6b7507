package consensus

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// smallDisk returns a directory on a file system of the given size.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("no small file system to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill takes all space that is left and returns the file that holds it.
func fill(t *testing.T, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "ballast"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk did not fill up: %v", err)
	}
	return f.Name()
}

// A full disk stops the log, says so, and takes nothing down: raft by itself
// would panic at the next election, when it cannot write its term.
func TestFullDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	r := newRig(t, 1)
	n := r.nodes[0]
	n.dir = dir
	n.open()
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	n.run()
	r.leader()
	n.mustPropose("one")
	ballast := fill(t, dir)

	_, err := n.propose(strings.Repeat("x", 1<<20))
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space on the file system of "+n.cfg.Dir) {
		t.Fatalf("propose on a full disk: %v", err)
	}
	// It stands for election again, which needs the disk.
	ended, changed := n.leading.term()
	for ended != nil {
		receive(t, changed)
		ended, changed = n.leading.term()
	}
	if fault := n.Stats().Fault; !errors.Is(fault, syscall.ENOSPC) {
		t.Errorf("fault is %v", fault)
	}
	select {
	case err := <-n.ended:
		t.Fatalf("Run ended: %v", err)
	default:
	}

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	r.leader()
	n.mustPropose("two")
	if got := n.state.messages(); got != "one two" {
		t.Errorf("applied %q", got)
	}
	// A small entry does not show that the disk takes the large one.
	eventually(t, "the fault passes", func() bool { return n.Stats().Fault == nil })
}

// Run ends in order while the disk is full.
func TestStopOnFullDisk(t *testing.T) {
	dir := smallDisk(t, "2m")
	r := newRig(t, 1)
	n := r.nodes[0]
	n.dir = dir
	n.open()
	if err := n.Bootstrap(); err != nil {
		t.Fatal(err)
	}
	n.run()
	r.leader()
	n.mustPropose("one")
	ballast := fill(t, dir)
	if _, err := n.propose(strings.Repeat("x", 1<<20)); err == nil {
		t.Fatal("the disk took it")
	}
	// raft's goroutine is in the guard now, or about to be
	if n.Stats().Fault == nil {
		t.Error("no fault is noted")
	}
	if err := n.stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	n.open()
	n.run()
	r.leader()
	n.state.waitFor(t, "one")
}

func TestBootstrapOnFullDisk(t *testing.T) {
	dir := smallDisk(t, "16k")
	fill(t, dir)
	r := newRig(t, 1)
	n := r.nodes[0]
	n.dir = dir
	n.open()
	defer n.stream.Listener.Close()
	err := n.Bootstrap()
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("bootstrap: %v", err)
	}
}
