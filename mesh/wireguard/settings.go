package wireguard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// The two settings of our interface. They live and go with it.

// forwardingFile lets what arrives from a peer be forwarded to a bridge
// (ip-sysctl of the kernel: conf/IFACE/forwarding). What arrives on a bridge is
// the engine's business, which switches ip_forward on.
func forwardingFile(name string) string {
	return filepath.Join("/proc/sys/net/ipv4/conf", name, "forwarding")
}

// noIPv6File keeps the kernel from making a link-local address and from asking
// for routers: the mesh is IPv4 only, and no peer may send from such an address.
func noIPv6File(name string) string {
	return filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6")
}

// readSetting reports whether a setting is on. One that the kernel does not
// have, as IPv6 where it is not built in, counts as on: there is nothing to do.
func readSetting(file string) (bool, error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read setting: %w", err)
	}
	return strings.TrimSpace(string(data)) != "0", nil
}

func switchOn(file string) error {
	if err := os.WriteFile(file, []byte("1"), 0o644); err != nil {
		return fmt.Errorf("change setting (is /proc/sys writable?): %w", err)
	}
	return nil
}
