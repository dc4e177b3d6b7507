package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
)

// poolOr is the pool, or the default one where none is named.
func poolOr(pool netip.Prefix) netip.Prefix {
	if !pool.IsValid() {
		return cluster.DefaultPool()
	}
	return pool
}

// checkRoutes refuses a pool that this host reaches by another way already: what
// is there would be cut off, or containers would be.
func (d *daemon) checkRoutes(pool netip.Prefix, advice string) error {
	conflicts, err := d.routes(pool)
	if err != nil {
		return fmt.Errorf("look at this host's routes: %w", err)
	}
	if len(conflicts) == 0 {
		return nil
	}
	return fmt.Errorf("the addresses of containers, %s, overlap with what this host reaches otherwise: %s; %s", pool, strings.Join(conflicts, ", "), advice)
}
