package dns

import (
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// resolvConfInterval is how often the file is looked at, while it is needed.
	resolvConfInterval = time.Second
	// maxNameservers is the C library's MAXNS: it ignores further ones too.
	maxNameservers = 3
)

// resolvConf are the resolvers of the node itself.
type resolvConf struct {
	path  string
	clock func() time.Time

	mu      sync.Mutex // guards the fields below
	looked  time.Time  // zero: never
	seen    os.FileInfo
	servers []netip.AddrPort
}

// upstreams are those of the file as it is now, within resolvConfInterval. A
// file that cannot be read names none.
func (r *resolvConf) upstreams() []netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock()
	if !r.looked.IsZero() && now.Sub(r.looked) < resolvConfInterval {
		return r.servers
	}
	r.looked = now
	info, err := os.Stat(r.path)
	if err != nil {
		r.seen, r.servers = nil, nil
		return nil
	}
	if r.seen != nil && os.SameFile(r.seen, info) && r.seen.ModTime().Equal(info.ModTime()) && r.seen.Size() == info.Size() {
		return r.servers
	}
	data, err := os.ReadFile(r.path)
	if err != nil {
		r.seen, r.servers = nil, nil
		return nil
	}
	r.seen, r.servers = info, parseResolvConf(string(data))
	return r.servers
}

// parseResolvConf reads the nameservers of a resolv.conf(5).
func parseResolvConf(text string) []netip.AddrPort {
	var out []netip.AddrPort
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != "nameserver" || len(out) == maxNameservers {
			continue
		}
		if address, err := netip.ParseAddr(fields[1]); err == nil {
			out = append(out, netip.AddrPortFrom(address.Unmap(), defaultPort))
		}
	}
	return out
}
