package firewall

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watch starts a Watch in the test's namespace. Each call of changed fills the
// channel.
func watch(t *testing.T, f *Firewall) <-chan struct{} {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/task/%d/ns/net", os.Getpid(), unix.Gettid())
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		runtime.LockOSThread() // for good
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = errors.Join(unix.Setns(fd, unix.CLONE_NEWNET), unix.Close(fd))
		}
		if err == nil {
			err = f.Watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
		}
		ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the watch ended with %v", err)
		}
	})
	if !rings(changed) {
		t.Fatal("nothing is told at the beginning")
	}
	return changed
}

func rings(changed <-chan struct{}) bool {
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-changed:
		return true
	case <-timer.C:
		return false
	}
}

// quiet reports whether nothing was told although the fence, a change of another
// kind, has gone the same way.
func quiet(changed <-chan struct{}) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-changed:
		return false
	case <-timer.C:
		return true
	}
}

func TestWatch(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	changed := watch(t, f)
	mustSet(t, f, sample())
	mustSet(t, f, manyNetworks(100))
	if !quiet(changed) {
		t.Error("our own transactions are told of")
	}
	nft(t, foreign)
	nft(t, "delete table ip other\nadd table ip jaco\ndelete table ip jaco")
	if !quiet(changed) {
		t.Error("changes of other tables are told of")
	}
	for _, script := range []string{
		"insert rule inet jaco forward accept", `add element inet jaco bridges { "jbZ" }`, "add chain inet jaco forward { policy drop; }",
		"add chain inet jaco extra", "add set inet jaco spare { type ipv4_addr; }", "add counter inet jaco hits",
		"add table inet jaco { flags dormant; }", "flush set inet jaco members", "delete table inet jaco", "flush ruleset",
	} {
		mustSet(t, f, sample())
		nft(t, script)
		if !rings(changed) {
			t.Errorf("nothing is told of: %s", script)
		}
		mustSet(t, f, sample())
		if !quiet(changed) {
			t.Errorf("the repair of it is told of: %s", script)
		}
	}
	// Another process is foreign, even another Firewall.
	if err := newFirewall(t).CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !rings(changed) {
		t.Error("nothing is told of what another process did")
	}
}

// TestWatchRepairs is how both are used: the time from a flush to the repair.
func TestWatchRepairs(t *testing.T) {
	newNamespace(t)
	f := newFirewall(t)
	config := manyNetworks(100)
	changed := watch(t, f)
	mustSet(t, f, config)
	for range 10 {
		nft(t, "flush ruleset")
		start := time.Now()
		if !rings(changed) {
			t.Fatal("nothing is told")
		}
		if result := mustSet(t, f, config); len(result.Drift) != 1 {
			t.Errorf("%+v", result)
		}
		t.Logf("repaired %s after nft's end", time.Since(start).Round(100*time.Microsecond))
	}
}
