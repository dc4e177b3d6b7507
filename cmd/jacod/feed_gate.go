package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
)

var _ agent.Gate = (*feed)(nil)

// Await implements agent.Gate. A network is open while the edge is there and
// follows the networks as this node accepted them, and says of at least one of
// the network's slices, with the prefix that the state gives it now, that it is
// ready. The state counts as it was when the caller came, at least: whoever
// read an assignment in it waits for the networks that came with it.
func (f *feed) Await(ctx context.Context, networks []string) (map[string][]agent.Bridge, error) {
	index := f.deps.Index()
	for {
		f.mu.Lock()
		changed := f.changed
		bridges, missing := f.bridges(index, networks)
		f.mu.Unlock()
		if missing == "" {
			return bridges, nil
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("the network is not ready on this node: %s", missing)
		case <-changed:
		}
	}
}

// bridges are those of each network that may take containers, or what is
// missing. The caller holds mu.
func (f *feed) bridges(index uint64, networks []string) (map[string][]agent.Bridge, string) {
	switch {
	case f.trouble != "":
		return nil, f.trouble
	case f.wanted == nil || f.builtIndex < index:
		return nil, "what the edge must know is not known yet"
	case f.report.Applied < f.networksIndex:
		return nil, "the edge does not follow the newest change of its networks yet"
	}
	found := make(map[string][]agent.Bridge, len(networks))
	for _, name := range networks {
		bridges, missing := f.bridgesOf(name)
		if missing != "" {
			return nil, missing
		}
		found[name] = bridges
	}
	return found, ""
}

// bridgesOf are those of one network.
func (f *feed) bridgesOf(name string) (bridges []agent.Bridge, missing string) {
	at := slices.IndexFunc(f.wanted.Networks, func(n cluster.EdgeNetwork) bool { return n.Name == name })
	if at < 0 || len(f.wanted.Networks[at].Slices) == 0 {
		return nil, fmt.Sprintf("network %s has no addresses on this node yet", name)
	}
	var reasons []string
	for _, s := range f.wanted.Networks[at].Slices {
		slice := cluster.Slice{Network: name, Serial: s.Serial, Prefix: s.Prefix}
		if reason := f.closed(&slice); reason != "" {
			reasons = append(reasons, reason)
			continue
		}
		bridges = append(bridges, agent.Bridge{
			Network: cluster.SliceNetwork(name, s.Serial), Gateway: slice.Gateway(), Capacity: slice.Capacity(),
		})
	}
	if len(bridges) == 0 {
		return nil, strings.Join(reasons, "; ")
	}
	return bridges, ""
}

// closed says why a slice may not take containers; "" when it may.
func (f *feed) closed(s *cluster.Slice) string {
	name := cluster.SliceNetwork(s.Network, s.Serial)
	for _, r := range f.report.Networks {
		switch {
		case r.Network != s.Network || r.Serial != s.Serial:
		case r.Prefix != s.Prefix:
			return fmt.Sprintf("network %s has the addresses %s, and the cluster gives it %s", name, prefixText(r.Prefix), s.Prefix)
		case r.Ready:
			return ""
		case r.Reason != "":
			return fmt.Sprintf("network %s: %s", name, r.Reason)
		default:
			return fmt.Sprintf("network %s is not isolated yet", name)
		}
	}
	return fmt.Sprintf("network %s is not made yet", name)
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return "none"
	}
	return p.String()
}
