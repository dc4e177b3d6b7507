package dns

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// nobody is what holder says when it cannot see who it is.
const nobody = "an unknown program"

// holder names the program that has an IPv4 address and port, or all addresses,
// as "dnsmasq (1234)", from the tables below proc.
func holder(proc, protocol string, at netip.AddrPort) string {
	for _, table := range []string{protocol, protocol + "6"} {
		data, err := os.ReadFile(filepath.Join(proc, "self/net", table))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(data)) {
			if inode, ok := socketOf(line, protocol, at); ok {
				return programOf(proc, inode)
			}
		}
	}
	return nobody
}

// listening is TCP_LISTEN as proc_net_tcp prints it.
const listening = "0A"

// socketOf is the inode of a line of /proc/net/udp or tcp whose socket keeps
// others from the address.
func socketOf(line, protocol string, at netip.AddrPort) (inode string, ok bool) {
	fields := strings.Fields(line)
	if len(fields) < 10 || protocol == "tcp" && fields[3] != listening {
		return "", false
	}
	address, port, ok := strings.Cut(fields[1], ":")
	if n, err := strconv.ParseUint(port, 16, 16); !ok || err != nil || uint16(n) != at.Port() {
		return "", false
	}
	raw, err := hex.DecodeString(address)
	if err != nil {
		return "", false
	}
	// Addresses are words of the machine, of 32 bits each, little endian on all
	// that we are built for.
	for i := 0; i+4 <= len(raw); i += 4 {
		slices.Reverse(raw[i : i+4])
	}
	found, ok := netip.AddrFromSlice(raw)
	return fields[9], ok && (found.IsUnspecified() || found.Unmap() == at.Addr())
}

// programOf finds the process that has a socket open.
func programOf(proc, inode string) string {
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	if err != nil {
		return nobody
	}
	for _, link := range links {
		if target, err := os.Readlink(link); err != nil || target != "socket:["+inode+"]" {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		name, err := os.ReadFile(filepath.Join(process, "comm"))
		if err != nil {
			return nobody
		}
		return fmt.Sprintf("%s (%s)", strings.TrimSpace(string(name)), filepath.Base(process))
	}
	return nobody
}
