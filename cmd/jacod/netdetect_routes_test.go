package main

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// ownNamespace moves the test to a network namespace of its own, with an
// interface eth0 that is up, and returns what runs a command there.
func ownNamespace(t *testing.T) (run func(command string)) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	// The thread is never unlocked: it ends with the test's goroutine.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run = func(command string) {
		t.Helper()
		words := strings.Fields(command)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	for _, name := range []string{"eth0", "eth1", "jb0123456789", "jaco0"} {
		run("ip link add " + name + " type veth peer name x" + name)
		run("ip link set " + name + " up")
		run("ip link set x" + name + " up")
	}
	run("ip addr add 192.168.7.2/24 dev eth0")
	run("ip addr add 192.168.8.2/24 dev eth1")
	return run
}

func TestRouteConflicts(t *testing.T) {
	run := ownNamespace(t)
	pool := netip.MustParsePrefix("10.64.0.0/10")
	// No subtests: each is a goroutine of its own, in the namespace of another
	// thread.
	for _, test := range []struct {
		add  []string // routes, as "ip route add" takes them
		want string
	}{
		{nil, ""},
		{[]string{"default via 192.168.7.1"}, ""},
		{[]string{"0.0.0.0/1 via 192.168.7.1", "128.0.0.0/1 via 192.168.7.1"}, ""},
		{[]string{"10.0.0.0/10 via 192.168.7.1", "10.128.0.0/9 via 192.168.7.1"}, ""},
		{[]string{"10.64.0.0/16 via 192.168.7.1"}, "10.64.0.0/16 via eth0"},
		{[]string{"10.127.255.255/32 dev eth1"}, "10.127.255.255/32 via eth1"},
		{[]string{"10.0.0.0/8 via 192.168.7.1"}, "10.0.0.0/8 via eth0"},
		{[]string{"10.64.0.0/10 via 192.168.8.1"}, "10.64.0.0/10 via eth1"},
		{[]string{"10.65.0.0/16 via 192.168.7.1", "10.66.0.0/16 via 192.168.8.1"}, "10.65.0.0/16 via eth0, 10.66.0.0/16 via eth1"},
		{[]string{"10.65.0.0/16 via 192.168.7.1 table 100"}, "10.65.0.0/16 via eth0 in table 100"},
		{[]string{"10.65.0.0/16 nexthop via 192.168.7.1 nexthop via 192.168.8.1"}, "10.65.0.0/16 via eth0 and eth1"},
		{[]string{"blackhole 10.0.0.0/8", "unreachable 10.64.0.0/10"}, ""},
		{[]string{"prohibit 10.65.0.0/16"}, "10.65.0.0/16 to nowhere"},
		{[]string{"10.64.16.0/20 dev jaco0 proto 74", "unreachable 10.64.0.0/10 proto 74", "10.64.0.16/28 dev jb0123456789"}, ""},
		{[]string{"10.64.16.0/20 dev jaco0"}, "10.64.16.0/20 via jaco0"},
	} {
		for _, route := range test.add {
			run("ip route add " + route)
		}
		got, err := routeConflicts(pool)
		if err != nil || strings.Join(got, ", ") != test.want {
			t.Errorf("with %q: %q, %v; want %q", test.add, got, err, test.want)
		}
		for _, route := range test.add {
			run("ip route del " + route)
		}
	}
	// An address of the host is a route, too.
	run("ip addr add 10.70.0.1/24 dev eth1")
	if got, err := routeConflicts(pool); err != nil || strings.Join(got, ", ") != "10.70.0.0/24 via eth1" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := routeConflicts(netip.MustParsePrefix("100.64.0.0/10")); err != nil || len(got) > 0 {
		t.Errorf("%q, %v", got, err)
	}
}
