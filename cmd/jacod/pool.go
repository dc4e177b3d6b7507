package main

import (
	"fmt"
	"net/netip"
	"strings"
)

// sharedAddresses are for carriers' networks, and private by use (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

// defaultPool is where containers' addresses come from unless --pool says
// otherwise.
var defaultPool = netip.MustParsePrefix("10.64.0.0/10")

// poolOr is the pool, or the default one where none is named.
func poolOr(pool netip.Prefix) netip.Prefix {
	if !pool.IsValid() {
		return defaultPool
	}
	return pool
}

// checkPool refuses what cannot be the pool of a cluster: it is of private
// IPv4 addresses and holds at least the /20 that one node takes.
func checkPool(pool netip.Prefix) error {
	switch {
	case !pool.IsValid() || !pool.Addr().Is4():
		return fmt.Errorf("pool %s: want an IPv4 prefix, such as %s", pool, defaultPool)
	case pool != pool.Masked():
		return fmt.Errorf("pool %s: it begins at %s", pool, pool.Masked())
	case pool.Bits() < 8 || pool.Bits() > 20:
		return fmt.Errorf("pool %s: want a length of 8 to 20: each node takes a /20, and another one when that is used up", pool)
	case !pool.Addr().IsPrivate() && !inside(pool, sharedAddresses):
		return fmt.Errorf("pool %s: containers' addresses are private ones: of 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16 or %s", pool, sharedAddresses)
	}
	for _, private := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"} {
		if whole := netip.MustParsePrefix(private); whole.Overlaps(pool) && !inside(pool, whole) {
			return fmt.Errorf("pool %s: it reaches beyond %s", pool, private)
		}
	}
	return nil
}

func inside(part, whole netip.Prefix) bool {
	return part.Bits() >= whole.Bits() && whole.Contains(part.Addr())
}

// checkRoutes refuses a pool that this host reaches by another way already: what
// is there would be cut off, or containers would be.
func (d *daemon) checkRoutes(pool netip.Prefix, advice string) error {
	if d.routes == nil {
		return nil
	}
	conflicts, err := d.routes(pool)
	if err != nil {
		return fmt.Errorf("look at this host's routes: %w", err)
	}
	if len(conflicts) == 0 {
		return nil
	}
	return fmt.Errorf("the addresses of containers, %s, overlap with what this host reaches otherwise: %s; %s", pool, strings.Join(conflicts, ", "), advice)
}
