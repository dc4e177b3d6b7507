package dns

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestParseResolvConf(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "[]",
		"nameserver 127.0.0.53\n": "[127.0.0.53:53]",
		"# nameserver 192.0.2.1\n; nameserver 192.0.2.2\nsearch a b\n":                     "[]",
		"nameserver 192.0.2.1\n\tnameserver\tfe80::1%eth0\nnameserver ::ffff:192.0.2.3":    "[192.0.2.1:53 [fe80::1%eth0]:53 192.0.2.3:53]",
		"nameserver nowhere\nnameserver\nnameserver 192.0.2.1 # the gateway\n":             "[192.0.2.1:53]",
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n": "[1.1.1.1:53 1.1.1.2:53 1.1.1.3:53]",
		"nameserver 192.0.2.1\r\noptions ndots:5\r\n":                                      "[192.0.2.1:53]",
		"nameservers 192.0.2.1\n": "[]",
	} {
		if got := fmt.Sprint(parseResolvConf(text)); got != want {
			t.Errorf("%q: %s, wanted %s", text, got, want)
		}
	}
}

// TestResolvConfFollows holds that the file is read again when it changed, also
// by another one in its place, but not for every query.
func TestResolvConfFollows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	now := time.Unix(1_800_000_000, 0)
	r := &resolvConf{path: path, clock: func() time.Time { return now }}
	want := func(want string) {
		t.Helper()
		if got := fmt.Sprint(r.upstreams()); got != want {
			t.Errorf("%s, wanted %s", got, want)
		}
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want("[]")
	write(path, "nameserver 192.0.2.1\n")
	want("[]") // looked at a moment ago
	now = now.Add(resolvConfInterval)
	want("[192.0.2.1:53]")
	write(path+".new", "nameserver 192.0.2.2\n")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(resolvConfInterval)
	want("[192.0.2.2:53]")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	now = now.Add(resolvConfInterval)
	want("[]")
}

func TestSocketOf(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("on purpose: the lines are of a little endian machine")
	}
	at := netip.MustParseAddrPort("10.64.0.17:53")
	for line, want := range map[string]bool{
		"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode":                            false,
		"  1: 11004010:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1":                            false, // the other way round
		"  1: 1100400A:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1":                            true,
		"  1: 1100400A:0035 00000000:0000 01 00000000:00000000 00:00000000 00000000     0        0 4711 1":                            false, // a connection
		"  1: 1100400A:0036 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1":                            false,
		"  1: 00000000:0035 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1":                            true,
		"  1: 00000000000000000000000000000000:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 00000000     0        0 4711 1": true,
		"  1: 0000000000000000FFFF00001100400A:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 00000000     0        0 4711 1": true,
		"  1: 0000000000000000FFFF00001200400A:0035 00000000000000000000000000000000:0000 0A 0:0 00:0 00000000     0        0 4711 1": false,
	} {
		inode, ok := socketOf(line, "tcp", at)
		if ok != want || ok && inode != "4711" {
			t.Errorf("%s: %s, %v", line, inode, ok)
		}
	}
}
