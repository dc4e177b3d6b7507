package cluster

import (
	"fmt"
	"slices"
	"sort"
)

// maxPairWarnings is how many broken pairs are warned of one by one: where there
// are more, one cause is behind them.
const maxPairWarnings = 5

// addMesh fills in what the node's edge says. Newer words are added last.
func (s *NodeStatus) addMesh(m *MeshBeat) {
	if m == nil {
		return
	}
	firewall := m.Firewall
	s.Firewall = &firewall
	if m.Mode != "" {
		s.WireGuard = m.Mode
	}
	if m.PeersAt == 0 || m.Peers == nil {
		return
	}
	s.Peers = slices.Clone(m.Peers)
	sort.Slice(s.Peers, func(i, j int) bool { return s.Peers[i].Node < s.Peers[j].Node })
}

// modeOf is who encrypts on a node, as the log has it.
func modeOf(in StatusInput, node string) string {
	recorded, _ := in.Snapshot.MeshNode(node)
	return recorded.Mode
}

// brokenPairs says of each of the node's connections that is broken which one
// it is and why. That a node which is known to be silent does not answer its
// peers either is no news.
func brokenPairs(in StatusInput, s NodeStatus) []string {
	var reasons []string
	if silent(in, s.Name) {
		return nil
	}
	for _, p := range s.Peers {
		if p.Reason != "" && !silent(in, p.Node) {
			reasons = append(reasons, pairText(s.Name, p))
		}
	}
	return reasons
}

// silent reports whether a node is not heard, or is a member no more.
func silent(in StatusInput, name string) bool {
	n, known := in.Snapshot.Node(name)
	return !known || n.State == NodeDown || n.State == NodeSuspect
}

// pairText names the two ends of a connection and what is wrong with it.
func pairText(node string, p PeerStatus) string {
	return fmt.Sprintf("%s \u2194 %s: %s", node, p.Node, p.Reason)
}

// pairWarnings names each broken pair once, whichever of the two says so first
// by name.
func pairWarnings(in StatusInput, nodes []NodeStatus) []string {
	var out []string
	told := map[[2]string]bool{}
	for i := range nodes {
		if silent(in, nodes[i].Name) {
			continue
		}
		for _, p := range nodes[i].Peers {
			pair := [2]string{min(nodes[i].Name, p.Node), max(nodes[i].Name, p.Node)}
			if p.Reason == "" || told[pair] || silent(in, p.Node) {
				continue
			}
			told[pair] = true
			if len(out) < maxPairWarnings {
				out = append(out, "the mesh is broken between "+pairText(nodes[i].Name, p))
			}
		}
	}
	if more := len(told) - len(out); more > 0 {
		out = append(out, fmt.Sprintf("the mesh is broken between %d more %s of nodes (jaco status nodes -o wide)", more, oneOrMany(more, "pair", "pairs")))
	}
	return out
}
