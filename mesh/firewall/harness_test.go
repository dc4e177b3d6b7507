package firewall

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The tests never see the namespace of the host: as root this program starts
// itself again in a new one, and each test that needs a kernel makes one more,
// on its own thread.

// childEnv says what a copy of this program is: "tests" runs the tests, "hold"
// keeps a namespace for a container until its input ends.
const childEnv = "JACO_FIREWALL_CHILD"

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(childEnv) == "hold":
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	case os.Getenv(childEnv) == "tests", os.Geteuid() != 0:
		os.Exit(m.Run())
	}
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(os.Environ(), childEnv+"=tests")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if cmd.ProcessState == nil {
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		os.Exit(1)
	}
	os.Exit(cmd.ProcessState.ExitCode())
}

// newNamespace puts the test, its goroutine alone, into a new network namespace,
// which ends with it.
func newNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 || os.Getenv(childEnv) != "tests" {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // for good: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	run(t, "ip link set lo up")
}

// newFirewall is one in the test's namespace.
func newFirewall(t testing.TB) *Firewall {
	t.Helper()
	f := New(Options{Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

// mustSet is a Set that has to succeed.
func mustSet(t testing.TB, f *Firewall, c Config) Result {
	t.Helper()
	result, err := f.Set(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// run runs commands, one a line, in the test's namespace.
func run(t testing.TB, commands string) string {
	t.Helper()
	out := ""
	for line := range strings.Lines(commands) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		output, err := exec.Command(words[0], words[1:]...).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.TrimSpace(line), err, output)
		}
		out += string(output)
	}
	return out
}

// nft runs a script.
func nft(t testing.TB, script string) {
	t.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v\n%s\n%s", err, out, script)
	}
}

// listing is our table as nft prints it, without counts, "" when there is none.
func listing(t testing.TB) string {
	t.Helper()
	var out, problem bytes.Buffer
	cmd := exec.Command("nft", "-s", "list", "table", "inet", tableName)
	cmd.Stdout, cmd.Stderr = &out, &problem
	if err := cmd.Run(); err != nil {
		if strings.Contains(problem.String(), "No such file") {
			return ""
		}
		t.Fatalf("nft: %v\n%s", err, problem.String())
	}
	return out.String()
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = prefix(s)
	}
	return out
}

// sample is a node with two networks, one of them on two bridges, and an
// internal one, in a cluster of four nodes of which one is for ingress.
func sample() Config {
	a := prefixes("10.64.0.16/28", "10.64.0.32/28", "10.64.16.16/28")
	return Config{
		Mesh: "jaco0", MeshAddress: addr("10.64.0.1"), Pool: prefix("10.64.0.0/10"),
		Peers:   []netip.Addr{addr("10.64.16.1"), addr("10.64.32.1"), addr("10.64.48.1")},
		Ingress: []netip.Addr{addr("10.64.32.1")},
		Bridges: []Bridge{
			{Name: "jbA", Network: "a", Subnet: prefix("10.64.0.16/28"), Gateway: addr("10.64.0.17"), Members: a},
			{Name: "jbA2", Network: "a", Subnet: prefix("10.64.0.32/28"), Gateway: addr("10.64.0.33"), Members: a},
			{Name: "jbB", Network: "b", Subnet: prefix("10.64.0.48/28"), Gateway: addr("10.64.0.49"),
				Members: prefixes("10.64.0.48/28", "10.64.16.32/28")},
			{Name: "jbI", Network: "i", Subnet: prefix("10.64.0.64/28"), Gateway: addr("10.64.0.65"),
				Members: prefixes("10.64.0.64/28", "10.64.16.48/28"), Internal: true},
		},
	}
}
