package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/desired"
)

// warnings lists what endangers the cluster as a whole.
func warnings(in StatusInput, nodes []NodeStatus) []string {
	out := []string{}
	if in.Soft.Problem != "" {
		out = append(out, fmt.Sprintf("node %s does not follow the log: %s", in.Soft.Node, in.Soft.Problem))
	}
	if in.Soft.Misled != "" {
		out = append(out, fmt.Sprintf("node %s refused what a leader gave it: %s; find out which node lied and replace it (jaco audit --type %s; docs/trust.md)",
			in.Soft.Node, in.Soft.Misled, EventLeaderMisbehaviour))
	}
	if text := staleText(in); text != "" {
		out = append(out, text)
	}
	if !in.Soft.Quorum {
		if removesItself(in) {
			return append(out, fmt.Sprintf("a signed commit removed node %s from the cluster, and no member answers it any more: what it shows is old; "+
				"stop jacod here and remove its containers and its data directory, after which a new token lets it join as a new node", in.Soft.Node))
		}
		return append(out, leaderless(in))
	}
	if text := fragile(in); text != "" {
		out = append(out, text)
	}
	if text := massLossText(in); text != "" {
		out = append(out, text)
	}
	return append(out, pairWarnings(in, nodes)...)
}

// staleText says that no new commit has come for longer than the trust policy
// thinks right: the repository, or who reads it, may be held back.
func staleText(in StatusInput) string {
	v := in.View
	if v == nil || v.MaxAge == 0 || v.Advanced.IsZero() || in.Now.Sub(v.Advanced) <= v.MaxAge {
		return ""
	}
	return fmt.Sprintf("no new commit was accepted since %s, longer than freshness.max_age in trust.yaml (%s): "+
		"see whether the repository's newest commit is %s; if not, something holds newer ones back",
		v.Advanced.UTC().Format(time.RFC3339), v.MaxAge, v.Commit.Short())
}

// removesItself reports whether the answering node has itself accepted that it
// is removed: nobody tells it more after that.
func removesItself(in StatusInput) bool {
	return in.View != nil && in.View.Cluster.Nodes[in.Soft.Node].Availability == desired.NodeRemoved
}

// leaderless says what is missing for a leader, and how old what is shown is.
func leaderless(in StatusInput) string {
	all := voters(in, func(string) bool { return true })
	others := voters(in, func(name string) bool { return name != in.Soft.Node })
	needed, more := len(all)/2+1, ""
	if len(others) < len(all) {
		needed, more = needed-1, " more"
	}
	until := fmt.Sprintf("%d%s of the voters %s %s", needed, more, strings.Join(others, ", "), oneOrMany(needed, "answers", "answer"))
	switch {
	case len(all) == 0:
		until = "most of the voters answer"
	case needed == 0:
		until = "this node, the only voter, leads again"
	}
	asOf := ""
	if at := in.Snapshot.Time(); !at.IsZero() {
		asOf = " as of " + at.UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("no leader: nothing can change until %s; what runs keeps running; this is the state of node %s%s (index %d)",
		until, in.Soft.Node, asOf, in.Snapshot.Index())
}

// fragile says whose loss stops all changes; "" when one voter may be lost.
func fragile(in StatusInput) string {
	down := map[string]bool{}
	nodes := in.Snapshot.Nodes()
	for _, n := range nodes {
		down[n.Name] = n.State == NodeDown
	}
	up := voters(in, func(name string) bool { return !down[name] })
	gone := voters(in, func(name string) bool { return down[name] })
	count := len(up) + len(gone)
	needed := count/2 + 1
	if count == 0 || len(up) > needed {
		return ""
	}
	losing := "losing " + strings.Join(up, " or ") + " stops all changes"
	if len(gone) > 0 {
		return fmt.Sprintf("%d of %d voters %s: %s; start %s, or add a node that takes over",
			len(up), count, oneOrMany(len(up), "answers", "answer"), losing, strings.Join(gone, " and "))
	}
	add := "add two nodes"
	switch missing := 3 - len(nodes); {
	case missing <= 0:
		add = "the next nodes vote once they have caught up"
	case missing == 1:
		add = "add one node"
	}
	return fmt.Sprintf("%d of %d voters: %s; %s", needed, count, losing, add)
}

// massLossText says that what is lost is not replaced yet. A node that is Down
// for long has nothing to do with it.
func massLossText(in StatusInput) string {
	if in.Soft.FromLeader == nil || in.Soft.FromLeader.MassLossUntil.IsZero() {
		return ""
	}
	until := in.Soft.FromLeader.MassLossUntil
	began := until.Add(-2 * DefaultLivenessConfig().MassPause)
	var down []string
	for _, n := range in.Snapshot.Nodes() {
		if n.State == NodeDown && n.Since.After(began) {
			down = append(down, n.Name)
		}
	}
	who := "nodes " + strings.Join(down, ", ") + " went down at once"
	switch len(down) {
	case 0:
		who = "nodes fell silent at once"
	case 1:
		who = "node " + down[0] + " went down and others are silent"
	}
	return fmt.Sprintf("%s, which looks like a broken network: their replicas stay where they are until %s", who, until.UTC().Format(time.RFC3339))
}

// voters lists, in order, the voters that qualify.
func voters(in StatusInput, qualifies func(string) bool) []string {
	var names []string
	for name, votes := range in.Soft.Voters {
		if votes && qualifies(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func oneOrMany(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
