package dns

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inNamespace runs the test again in a process with a network namespace of its
// own, and says whether this is that one.
func inNamespace(t *testing.T) bool {
	t.Helper()
	if os.Getenv("JACO_DNS_NAMESPACE") == t.Name() {
		if output, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, output)
		}
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("making a network namespace needs root")
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	command.Env = append(os.Environ(), "JACO_DNS_NAMESPACE="+t.Name())
	command.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	output, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(output), "--- PASS: "+t.Name()) {
		t.Errorf("in a namespace of its own: %v\n%s", err, output)
	}
	return false
}

func run(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	output, err := exec.Command(name, arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(arguments, " "), err, output)
	}
	return string(output)
}

// TestGateway listens on port 53 of an address that is not there yet, and asks
// with dig once it is, while it is made anew, and by another name server's
// habits: over TCP, for SRV, with EDNS.
func TestGateway(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 10.64.0.17\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s := New(Options{ResolvConf: resolv, Random: first})
	c := sample()
	c.Listeners = c.Listeners[:1]
	s.Set(c)
	start(t, s)
	until(t, "it listens before the address is there", serving(s, "10.64.0.17"))
	run(t, "ip", "link", "add", "jbtest", "type", "bridge")
	run(t, "ip", "link", "set", "jbtest", "up")
	run(t, "ip", "address", "add", "10.64.0.18/28", "dev", "jbtest")
	for range 2 { // the second time after the address was gone
		run(t, "ip", "address", "add", "10.64.0.17/28", "dev", "jbtest")
		dig := func(arguments ...string) string {
			return run(t, "dig", append([]string{"-b", "10.64.0.18", "@10.64.0.17", "+time=2", "+tries=1"}, arguments...)...)
		}
		for question, want := range map[string]string{
			"+short web A":                     "10.64.0.18\n10.64.16.18\n10.64.16.19\n",
			"+short +tcp web.shop A":           "10.64.0.18\n10.64.16.18\n10.64.16.19\n",
			"+short +noedns 1.web A":           "10.64.16.18\n",
			"+short _80._tcp.1.web SRV":        "0 0 80 1.web.shop.\n",
			"+short -x 10.64.16.18":            "1.web.shop.\n",
			"+short idle A":                    "",
			"+noall +comments idle A":          "status: NOERROR",
			"+noall +comments web AAAA":        "status: NOERROR",
			"+noall +comments example.com A":   "status: SERVFAIL", // it is its own upstream
			"+noall +comments +dnssec many A":  "flags: do; udp: 1232",
			"+noall +comments +noedns WEB ANY": "flags: qr aa rd ra;",
		} {
			got := dig(strings.Fields(question)...)
			if got != want && (!strings.HasPrefix(question, "+noall") || !strings.Contains(got, want)) {
				t.Errorf("dig %s: %q, wanted %q", question, got, want)
			}
		}
		run(t, "ip", "address", "del", "10.64.0.17/28", "dev", "jbtest")
	}
}

// TestFirstAddress holds that the answer comes from the address that was asked,
// on a machine with several.
func TestFirstAddress(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	run(t, "ip", "address", "add", "10.64.0.1/32", "dev", "lo")
	run(t, "ip", "address", "add", "10.64.0.17/32", "dev", "lo")
	s := New(Options{})
	s.Set(Config{Listeners: []Listener{{address("10.64.0.17"), "front"}}, Services: sample().Services})
	start(t, s)
	until(t, "it listens", serving(s, "10.64.0.17"))
	conn, err := net.ListenPacket("udp", "10.64.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	packet, err := question4("web.").Pack()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.WriteTo(packet, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("10.64.0.17:53"))); err != nil {
		t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, from, err := conn.ReadFrom(make([]byte, 512)); err != nil || from.String() != "10.64.0.17:53" {
		t.Errorf("answered from %v, %v", from, err)
	}
}
