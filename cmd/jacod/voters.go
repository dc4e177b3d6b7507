package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/consensus"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/desired"
)

// zoneLabel names where a node stands, as the fleet repository says.
const zoneLabel = "zone"

// step makes at most one change, and says whether there may be another.
func (t *term) step(ctx context.Context) (again bool, err error) {
	m := t.member
	servers := m.consensus.Servers()
	nodes := m.state.Read().Nodes()
	if servers == nil || len(nodes) == 0 {
		return false, nil
	}
	departed := t.departed(nodes)
	change, found := consensus.NextChange(consensus.MembershipInput{
		Servers: servers, Candidates: t.candidates(nodes, departed), Leader: m.info.Node, LeaderIndex: m.consensus.Stats().LastIndex,
	})
	if found {
		return true, t.change(ctx, servers, change)
	}
	if err := t.seal(ctx, voterNames(servers)); err != nil {
		return false, err
	}
	if err := t.makeUnitSecret(ctx, voterNames(servers)); err != nil {
		return false, err
	}
	return t.dismiss(ctx, servers, nodes, departed)
}

// change makes a change of who takes part. Who gets a vote can open what is
// sealed before, and who loses it cannot after.
func (t *term) change(ctx context.Context, servers []consensus.Server, change consensus.Change) error {
	m := t.member
	if change.Kind == consensus.ChangePromote {
		if err := t.seal(ctx, append(voterNames(servers), change.Node)); err != nil {
			return err
		}
	}
	if err := m.consensus.Make(ctx, change); err != nil {
		return fmt.Errorf("%s: %w", change, err)
	}
	m.logger.Info("membership changed", "change", change.String())
	if change.Kind == consensus.ChangeTransfer {
		return nil
	}
	return m.proposeHere(ctx, &cluster.RecordEvents{Events: []cluster.Event{{
		Type: cluster.EventVoters, Node: change.Node, Message: change.String(),
	}}})
}

// moveTime is how long a node that a commit removes may stay until what it runs
// has moved: it may have been removed because it cannot be trusted.
const moveTime = 30 * time.Second

// departed names the nodes that a commit removes and that may go: those that run
// nothing any more, do not answer, or had their time.
func (t *term) departed(nodes []cluster.Node) map[string]bool {
	view, now := t.member.verifier.View(), t.member.clock()
	if view == nil {
		return nil
	}
	runs := map[string]bool{}
	for _, r := range t.member.state.Read().Replicas() {
		runs[r.Node] = runs[r.Node] || !r.Phase.Final()
	}
	leaving, gone := map[string]time.Time{}, map[string]bool{}
	for i := range nodes {
		node := &nodes[i]
		if view.Cluster.Nodes[node.Name].Availability != desired.NodeRemoved {
			continue
		}
		since, known := t.leaving[node.Name]
		if !known {
			since = now
		}
		leaving[node.Name] = since
		gone[node.Name] = mayLeave(node, runs[node.Name], now.Sub(since))
	}
	t.leaving = leaving
	return gone
}

// mayLeave reports whether a node that is removed goes now.
func mayLeave(node *cluster.Node, runs bool, waited time.Duration) bool {
	return node.State != cluster.NodeReady || !runs || waited >= moveTime
}

// candidates are the members as consensus judges them.
func (t *term) candidates(nodes []cluster.Node, departed map[string]bool) []consensus.Candidate {
	m, soft, suspect := t.member, t.soft(), cluster.DefaultLivenessConfig().Suspect
	settings := map[string]desired.NodeSettings{}
	if view := m.verifier.View(); view != nil {
		settings = view.Cluster.Nodes
	}
	out := make([]consensus.Candidate, len(nodes))
	for i := range nodes {
		node := &nodes[i]
		c := consensus.Candidate{
			Name: node.Name, Address: node.Address, Zone: settings[node.Name].Labels[zoneLabel],
			Removed: departed[node.Name],
		}
		heard, known := soft[node.Name]
		silence := heard.Age
		if !known {
			silence = m.clock().Sub(t.begun)
		}
		switch {
		case node.Name == m.info.Node:
			c.Alive, c.Index = true, m.state.Read().Index()
		case known && silence < suspect:
			c.Alive, c.Index = true, heard.Index
		default:
			c.Index, c.DownFor = heard.Index, max(silence, time.Nanosecond)
		}
		out[i] = c
	}
	return out
}

// dismiss takes a node out of the member table that a commit removes and that
// takes part in consensus no more.
func (t *term) dismiss(ctx context.Context, servers []consensus.Server, nodes []cluster.Node, departed map[string]bool) (bool, error) {
	view := t.member.verifier.View()
	if view == nil {
		return false, nil
	}
	for i := range nodes {
		name := nodes[i].Name
		part := slices.ContainsFunc(servers, func(s consensus.Server) bool { return s.Name == name })
		if part || !departed[name] || len(nodes) == 1 {
			continue
		}
		err := t.member.proposeHere(ctx, &cluster.RemoveNode{Name: name, Reason: "cluster.yaml of " + view.Commit.Short() + " removes it"})
		if err != nil {
			return false, fmt.Errorf("remove node %s: %w", name, err)
		}
		t.member.logger.Info("node removed", "node", name, "commit", view.Commit.String())
		return true, nil
	}
	return false, nil
}

func voterNames(servers []consensus.Server) []string {
	var names []string
	for _, s := range servers {
		if s.Voter {
			names = append(names, s.Name)
		}
	}
	return names
}

// seal seals anew what is not sealed to these voters alone.
func (t *term) seal(ctx context.Context, voters []string) error {
	m := t.member
	snapshot := m.state.Read()
	recipients := sealKeys(snapshot, voters)
	if len(recipients) == 0 {
		return nil
	}
	var items []cluster.SealedItem
	for _, item := range snapshot.SealedItems() {
		if sameRecipients(item.Recipients, recipients) {
			continue
		}
		plaintext, err := m.identity.Open(item)
		if err != nil {
			return fmt.Errorf("seal %s to %v: %w", item.Name, voters, err)
		}
		sealed, err := identity.Seal(item.Name, plaintext, recipients)
		if err != nil {
			return err
		}
		items = append(items, sealed)
	}
	if len(items) == 0 {
		return nil
	}
	return m.proposeHere(ctx, &cluster.PutSealed{Items: items})
}

// sealKeys are the keys of the voters that are in the member table.
func sealKeys(snapshot *cluster.Snapshot, voters []string) map[string]string {
	keys := map[string]string{}
	for _, name := range voters {
		if node, found := snapshot.Node(name); found {
			keys[name] = node.SealKey
		}
	}
	return keys
}

func sameRecipients(names []string, recipients map[string]string) bool {
	if len(names) != len(recipients) {
		return false
	}
	for _, name := range names {
		if _, found := recipients[name]; !found {
			return false
		}
	}
	return true
}

// retire takes a node out of consensus whose log is gone: were it to come back
// as what it was, it might vote a second time in one term.
func (t *term) retire(ctx context.Context, name string) error {
	c := t.member.consensus
	for _, s := range c.Servers() {
		if s.Name != name {
			continue
		}
		if s.Voter {
			if err := c.Demote(ctx, name); err != nil {
				return fmt.Errorf("take the vote of node %s: %w", name, err)
			}
		}
		if err := c.Remove(ctx, name); err != nil && !errors.Is(err, consensus.ErrUnknownServer) {
			return fmt.Errorf("take node %s out of consensus: %w", name, err)
		}
	}
	return nil
}
