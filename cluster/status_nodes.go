package cluster

import (
	"fmt"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/desired"
)

// lagWorthTelling is the number of entries that a node may be behind without
// its reason saying so: heartbeats are a second old, and a busy cluster writes
// some hundred entries in one.
const lagWorthTelling = 500

func nodeStatuses(in StatusInput) []NodeStatus {
	replicas := map[string]int{}
	for _, r := range in.Snapshot.Replicas() {
		if !r.Phase.Final() {
			replicas[r.Node]++
		}
	}
	out := []NodeStatus{}
	for _, n := range in.Snapshot.Nodes() {
		out = append(out, nodeStatus(in, n, replicas[n.Name]))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// nodeStatus is one node: what is recorded of it, what the leader heard of it,
// and, of the answering node, what it knows of itself.
func nodeStatus(in StatusInput, n Node, replicas int) NodeStatus {
	s := NodeStatus{
		Name: n.Name, Address: n.Address, Role: "non-voter", State: n.State, Availability: string(desired.NodeActive),
		Labels: map[string]string{}, Version: n.Version, Replicas: replicas, WireGuard: modeOf(in, n.Name), Peers: []PeerStatus{},
	}
	if in.Soft.Voters[n.Name] {
		s.Role = "voter"
	}
	if in.View != nil {
		settings := in.View.Cluster.Nodes[n.Name]
		for k, v := range settings.Labels {
			s.Labels[k] = v
		}
		if settings.Availability != "" {
			s.Availability = string(settings.Availability)
		}
	}
	soft, refusal := s.addSoft(in)
	removed := s.Availability == string(desired.NodeRemoved)
	reasons := []string{stateReason(n, soft, replicas, removed)}
	if n.State != NodeDown {
		reasons = append(reasons, refusal)
	}
	if n.Name == in.Soft.Node {
		// The record may say the same already, or cannot be written.
		for _, own := range []string{in.Soft.Problem, in.Soft.Fault} {
			if own != "" && !strings.Contains(n.Reason, own) {
				s.State, reasons = NodeNotReady, append([]string{own}, reasons...)
			}
		}
	}
	if s.Lag != nil && *s.Lag > lagWorthTelling {
		reasons = append(reasons, fmt.Sprintf("is %d entries behind the leader", *s.Lag))
	}
	if removed {
		reasons = append(reasons, "a signed commit removes it: it leaves once a leader has taken that up")
	}
	if f := s.Firewall; f != nil && !f.Ready && n.State != NodeDown && f.Reason != "" && !strings.Contains(n.Reason, f.Reason) {
		reasons = append(reasons, "no container starts: "+f.Reason) // it is recorded once it lasts
	}
	reasons = append(reasons, brokenPairs(in, s)...)
	s.Reason = joinReasons(reasons...)
	return s
}

// addSoft fills in what the log does not carry, and returns what the leader
// heard, nil when nothing, and why the node does not follow, "" when it does.
func (s *NodeStatus) addSoft(in StatusInput) (soft *NodeSoft, refusal string) {
	leader := in.Soft.FromLeader
	if leader != nil {
		if heard, ok := leader.Nodes[s.Name]; ok {
			soft = &heard
			s.CPUPressure, s.MemoryPressure = heard.CPUPressure, heard.MemoryPressure
			s.Accepted, s.Index = hashText(heard.Commit), &heard.Index
			s.HeartbeatAge, s.ClockOffset = seconds(heard.Age), seconds(heard.ClockOffset)
			s.addMesh(heard.Mesh)
			refusal = refuses(heard.Claim, heard.Refusal)
		}
	}
	if s.Name == in.Soft.Node {
		index := in.Snapshot.Index()
		s.Index = &index
		s.addMesh(in.Soft.Mesh)
		if v := in.View; v != nil {
			s.Accepted, refusal = hashText(v.Commit), refuses(v.Claim, v.RefusalText())
		}
	}
	if leader != nil && s.Index != nil {
		lag := leader.Index - min(leader.Index, *s.Index)
		if s.Name == leader.Leader { // its own heartbeat is as old as any
			lag = 0
		}
		s.Lag = &lag
	}
	return soft, refusal
}

// stateReason says why the node is in its state, and what to do about it. What
// is recorded changes with the state alone; what changes by the second is here.
func stateReason(n Node, soft *NodeSoft, replicas int, removed bool) string {
	switch {
	case n.State == NodeSuspect && soft != nil && strings.HasPrefix(n.Reason, reasonSilent):
		return fmt.Sprintf("no heartbeat for %s", soft.Age.Truncate(time.Second))
	case n.State == NodeDown:
		return downReason(n, replicas, removed)
	case n.State == NodeNotReady && n.Reason == "":
		return "it has not said yet that it can run anything"
	case n.State == NodeNotReady && strings.HasPrefix(n.Reason, reasonStopping):
		return n.Reason + "; nothing moves while it restarts"
	}
	return n.Reason
}

func downReason(n Node, replicas int, removed bool) string {
	why := n.Reason
	if !strings.HasPrefix(why, reasonDown) {
		why = joinReasons(reasonDown+n.Since.UTC().Format(time.RFC3339), why)
	}
	where := "its replicas run elsewhere"
	if replicas > 0 {
		where = fmt.Sprintf("%d of its replicas %s for it, or for another place", replicas, oneOrMany(replicas, "waits", "wait"))
	}
	if removed {
		return why + "; " + where
	}
	return fmt.Sprintf("%s; %s; start it, or remove it with a signed nodes.%s.availability: removed", why, where, n.Name)
}

// RefusalText is why this node does not follow the newest claim, as heartbeats
// carry it; "" when it does.
func (v *View) RefusalText() string {
	if v == nil || v.Refusal == nil {
		return ""
	}
	return string(v.Refusal.Reason) + ": " + v.Refusal.Detail
}

// refuses says what a node does not follow, and why. The claim that it refused
// is the last one that it judged.
func refuses(claim uint64, why string) string {
	if why == "" {
		return ""
	}
	return fmt.Sprintf("refuses claim %d: %s", claim, why)
}

// seconds is a duration as the document has it, to the millisecond.
func seconds(d time.Duration) *float64 {
	s := math.Round(d.Seconds()*1000) / 1000
	return &s
}
