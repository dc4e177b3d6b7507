package firewall

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Config is everything the table is rendered from.
type Config struct {
	// Mesh is the WireGuard interface, MeshAddress this node's own on it.
	Mesh        string
	MeshAddress netip.Addr
	// Pool is where all container and mesh addresses come from; nobody outside
	// may use one.
	Pool netip.Prefix
	// Peers are the mesh addresses of the other nodes, which may probe this one.
	Peers []netip.Addr
	// Ingress are the mesh addresses of nodes whose own processes may reach the
	// containers of every network.
	Ingress []netip.Addr
	Bridges []Bridge
}

// Bridge is one bridge of a network on this node.
type Bridge struct {
	Name    string // the interface
	Network string // what it is a bridge of; members of two networks never overlap
	Subnet  netip.Prefix
	Gateway netip.Addr // the bridge's own address: DNS is there
	// Members are the prefixes whose containers are of the same network, on all
	// nodes, this one's own among them.
	Members []netip.Prefix
	// Internal bridges have no way out of the cluster, and nothing outside comes in.
	Internal bool
}

// maxInterface is the longest name of an interface in bytes: IFNAMSIZ of
// linux/if.h without the byte that ends it.
const maxInterface = 15

// Validate says what of the configuration cannot be rendered into rules that
// isolate: names that are none or given twice, addresses outside the pool,
// networks that share addresses.
func (c *Config) Validate() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !isInterface(c.Mesh) {
		complain("%q is not the name of an interface", c.Mesh)
	}
	if !c.Pool.IsValid() || !c.Pool.Addr().Is4() || c.Pool.Bits() == 0 {
		return errors.Join(append(errs, fmt.Errorf("the pool %s is not a prefix of IPv4", c.Pool))...)
	}
	for _, a := range slices.Concat([]netip.Addr{c.MeshAddress}, c.Peers, c.Ingress) {
		if !c.Pool.Contains(a) {
			complain("the mesh address %s is not in the pool %s", a, c.Pool)
		}
	}
	if slices.Contains(c.Peers, c.MeshAddress) {
		complain("the node's own address %s is a peer's too", c.MeshAddress)
	}
	names := map[string]bool{c.Mesh: true, loopback: true}
	for i := range c.Bridges {
		b := &c.Bridges[i]
		if !isInterface(b.Name) || names[b.Name] {
			complain("%q is not the name of an interface, or is given twice", b.Name)
		}
		names[b.Name] = true
		if err := b.validate(c.Pool); err != nil {
			complain("bridge %s: %w", b.Name, err)
		}
	}
	if err := c.overlap(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (b *Bridge) validate(pool netip.Prefix) error {
	if !within(b.Subnet, pool) {
		return fmt.Errorf("the subnet %s is not in the pool %s", b.Subnet, pool)
	}
	if !b.Subnet.Contains(b.Gateway) {
		return fmt.Errorf("the gateway %s is not in the subnet %s", b.Gateway, b.Subnet)
	}
	own := false
	for _, m := range b.Members {
		if !within(m, pool) {
			return fmt.Errorf("the member %s is not in the pool %s", m, pool)
		}
		own = own || within(b.Subnet, m)
	}
	if !own {
		return fmt.Errorf("its own subnet %s is not among its members", b.Subnet)
	}
	return nil
}

// overlap finds an address that is two networks'.
func (c *Config) overlap() error {
	type claim struct {
		prefix  netip.Prefix
		network string
	}
	claims := []claim{{netip.PrefixFrom(c.MeshAddress, 32), "the mesh itself"}}
	for _, b := range c.Bridges {
		for _, m := range b.Members {
			claims = append(claims, claim{m.Masked(), b.Network})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(comparePrefixes(a.prefix, b.prefix), strings.Compare(a.network, b.network))
	})
	// Those that contain a prefix come before it, so that one look back at the
	// widest of the last ones is enough.
	var widest claim
	for i, this := range claims {
		if i > 0 && widest.prefix.Overlaps(this.prefix) {
			if widest.network != this.network {
				return fmt.Errorf("the networks %s and %s share %s", widest.network, this.network, this.prefix)
			}
			continue
		}
		widest = this
	}
	return nil
}

// within reports whether a prefix is wholly in another.
func within(p, outer netip.Prefix) bool {
	return p.IsValid() && outer.Contains(p.Addr()) && p.Bits() >= outer.Bits()
}

// isInterface says what the kernel takes as a name (dev_valid_name of
// net/core/dev.c), without what nft would have to quote.
func isInterface(name string) bool {
	if name == "" || len(name) > maxInterface || name == "." || name == ".." {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`/:"*\`, r) })
}

// comparePrefixes orders by address, and the wider one first.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}

// disjoint returns the same addresses in prefixes that do not overlap, in order.
// Neighbours are not merged: what is written is what is read back.
func disjoint(prefixes []netip.Prefix) []netip.Prefix {
	sorted := make([]netip.Prefix, 0, len(prefixes))
	for _, p := range prefixes {
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, comparePrefixes)
	out := sorted[:0]
	for _, p := range sorted {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}
