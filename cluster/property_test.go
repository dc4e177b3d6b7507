package cluster

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/signing"
)

// commands draws commands that mostly make sense in the state that they come
// to, so that sequences of them reach far.
type commands struct {
	t *rapid.T
	r *rig
}

func (c commands) draw() Command {
	s := c.r.state.Read()
	if s.Meta() == nil && rapid.IntRange(0, 3).Draw(c.t, "init") > 0 {
		return testInit()
	}
	switch rapid.IntRange(0, 15).Draw(c.t, "kind") {
	case 0:
		return testInit()
	case 1, 10:
		return c.update(s)
	case 11:
		return &PutToken{Token: c.token()}
	case 12:
		n := c.member()
		n.CertificateKey[1] = byte(rapid.IntRange(0, 3).Draw(c.t, "key"))
		return &AdmitNode{Node: n, Token: tokenID(rapid.IntRange(0, 3).Draw(c.t, "token"))}
	case 13:
		return &RemoveNode{Name: c.node()}
	case 14:
		return c.mesh()
	case 15:
		return c.meshPlan(s)
	case 2:
		return &PutObjects{Objects: rapid.SliceOfN(rapid.Map(rapid.IntRange(0, 40), numberedObject), 0, 5).Draw(c.t, "objects")}
	case 3:
		return c.claim(s)
	case 4:
		return &RecordRefusal{Refusal: Refusal{Head: c.hash(), Reason: rapid.SampledFrom([]signing.Reason{
			"", signing.ReasonUnsigned, signing.ReasonRewritten}).Draw(c.t, "reason")}}
	case 5:
		return &SetSync{State: rapid.SampledFrom([]SyncState{SyncSynced, SyncStalled, SyncFetching}).Draw(c.t, "sync"), Head: c.hash()}
	case 6, 7:
		return c.plan(s)
	case 8:
		return c.report(s)
	}
	return &PutSealed{Items: []SealedItem{{
		Name: rapid.SampledFrom([]string{"ca-key", "repo-credential", ""}).Draw(c.t, "item"), Recipients: []string{c.node()},
		Ciphertext: rapid.SliceOfN(rapid.Byte(), 0, 3).Draw(c.t, "ciphertext"),
	}}}
}

func (c commands) mesh() Command {
	return &ReportMesh{
		Node: c.node(), PublicKey: [32]byte{byte(rapid.IntRange(0, 4).Draw(c.t, "mesh key"))}, Port: 51820,
		Mode: rapid.SampledFrom([]string{"kernel", "kernel", "userspace", "odd"}).Draw(c.t, "mode"),
	}
}

// meshPlan draws few blocks and slices, so that they meet.
func (c commands) meshPlan(s *Snapshot) Command {
	p := &ApplyPlan{}
	number := func(most int, what string) uint32 { return uint32(rapid.IntRange(0, most).Draw(c.t, what)) }
	for range number(2, "blocks") {
		p.Blocks = append(p.Blocks, NodeBlock{Node: c.node(), Prefix: netip.PrefixFrom(addressAt(10<<24|64<<16|number(4, "block")<<12), 20)})
	}
	for range number(3, "slices") {
		p.Slices = append(p.Slices, Slice{
			Network: rapid.SampledFrom([]string{"front", "back"}).Draw(c.t, "network"), Node: c.node(), Serial: int(number(2, "serial")),
			Prefix: netip.PrefixFrom(addressAt(10<<24|64<<16|number(4, "of block")<<12|number(3, "place")<<4), 28),
		})
	}
	for _, slice := range s.Slices() {
		if number(3, "drop") == 0 {
			p.DropSlices = append(p.DropSlices, SliceKey{Network: slice.Network, Node: slice.Node, Serial: slice.Serial})
		}
	}
	return p
}

func numberedObject(n int) StoredObject {
	return testObject(signing.ObjectType(1+n%4), fmt.Sprint("object ", n))
}

func (c commands) node() string {
	return rapid.SampledFrom([]string{"node-1", "node-2", "node-3"}).Draw(c.t, "node")
}

func (c commands) member() Node {
	n := testNode(c.node())
	n.State = rapid.SampledFrom([]NodeState{NodeReady, NodeNotReady, NodeSuspect, NodeDown, NodeDown, "odd"}).Draw(c.t, "state")
	return n
}

func (c commands) update(s *Snapshot) Command {
	u := &UpdateNode{Node: c.member()}
	if old, ok := s.Node(u.Node.Name); ok && rapid.Bool().Draw(c.t, "expect") {
		u.Expect = old.ModifyIndex + uint64(rapid.IntRange(0, 1).Draw(c.t, "moved"))
	}
	return u
}

func tokenID(n int) string { return fmt.Sprintf("%016x", n) }

func (c commands) token() Token {
	k := Token{
		ID: tokenID(rapid.IntRange(0, 3).Draw(c.t, "token")), Hash: [32]byte{1},
		Kind:      rapid.SampledFrom([]TokenKind{TokenJoin, TokenJoin, TokenRead, "odd"}).Draw(c.t, "kind of token"),
		ExpiresAt: start.Add(time.Duration(rapid.IntRange(0, 120).Draw(c.t, "expires")) * time.Second),
	}
	if k.Kind == TokenJoin {
		k.Checkpoint = []byte("checkpoint")
	}
	return k
}

func (c commands) hash() signing.Hash {
	return numberedObject(rapid.IntRange(0, 40).Draw(c.t, "object")).ID
}

func (c commands) claim(s *Snapshot) Command {
	last, _ := s.LastClaim()
	return &AdvanceRevision{Claim: Claim{
		Number: last.Number + uint64(rapid.IntRange(0, 2).Draw(c.t, "step")), From: c.hash(), Commit: c.hash(),
	}}
}

func (c commands) plan(s *Snapshot) Command {
	p := &ApplyPlan{}
	service, _ := s.Service("shop", "api")
	if rapid.Bool().Draw(c.t, "expect") {
		p.Expect = []Expectation{{Kind: ExpectService, Key: "shop/api", ModifyIndex: service.ModifyIndex + uint64(rapid.IntRange(0, 1).Draw(c.t, "moved"))}}
	}
	for range rapid.IntRange(0, 3).Draw(c.t, "create") {
		r := testReplica(rapid.IntRange(1, 3).Draw(c.t, "slot"), service.NextSerial)
		r.Node = c.node()
		service.NextSerial++
		p.Create = append(p.Create, r)
	}
	p.Services = []Service{{Deployment: "shop", Name: "api", NextSerial: service.NextSerial}}
	for _, r := range s.Replicas() {
		switch rapid.IntRange(0, 5).Draw(c.t, "fate") {
		case 0:
			p.Stop = append(p.Stop, r.ID)
		case 1:
			if r.Phase.Final() || rapid.IntRange(0, 9).Draw(c.t, "wrong") == 0 {
				p.Remove = append(p.Remove, r.ID)
			}
		case 2:
			if n, ok := s.Node(r.Node); ok && n.State == NodeDown || rapid.IntRange(0, 9).Draw(c.t, "wrong") == 0 {
				p.Lose = append(p.Lose, r.ID)
			}
		}
	}
	p.Deployments = []DeploymentStatus{{Name: "shop", Converged: c.hash()}}
	return p
}

func (c commands) report(s *Snapshot) Command {
	p := &ReportReplicas{Node: c.node()}
	for _, r := range s.Replicas() {
		if r.Node != p.Node && rapid.IntRange(0, 19).Draw(c.t, "foreign") > 0 {
			continue
		}
		var at NetworkAddresses
		for _, slice := range s.SlicesOnNode(r.Node) {
			at = NewNetworkAddresses(map[string]netip.Addr{slice.Network: slice.Gateway().Next()})
		}
		p.Reports = append(p.Reports, ReplicaReport{
			Addresses: at,
			ID:        r.ID, Phase: rapid.SampledFrom(phases[:]).Draw(c.t, "phase"),
			ContainerID: rapid.SampledFrom([]string{"", "c1", "c2"}).Draw(c.t, "container"),
		})
	}
	return p
}

// play applies random entries and hands each to check.
func play(rt *rapid.T, r *rig, check func(data []byte, before *Snapshot, result Result)) {
	draw := commands{rt, r}
	for range rapid.IntRange(1, 30).Draw(rt, "entries") {
		e := Entry{
			Time:  start.Add(time.Duration(rapid.IntRange(0, 100).Draw(rt, "seconds")) * time.Second),
			Actor: Actor{Kind: ActorNode, Name: "node-1"}, Command: draw.draw(),
		}
		data, err := Encode(e)
		if err != nil {
			rt.Fatal(err)
		}
		before := r.state.Read()
		check(data, before, r.applyBytes(data))
	}
}

// TestEqualLogsGiveEqualBytes: a second node that applied the same entries,
// and a third that was given a snapshot on the way, save to the same bytes.
func TestEqualLogsGiveEqualBytes(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		first, second, third := newRig(t), newRig(t), newRig(t)
		joins := rapid.Uint64Range(0, 30).Draw(rt, "joins")
		play(rt, first, func(data []byte, _ *Snapshot, result Result) {
			other := second.applyBytes(data)
			if fmt.Sprint(other) != fmt.Sprint(result) {
				rt.Fatalf("one node: %v, the other: %v", result, other)
			}
			switch {
			case first.index == joins:
				if err := third.state.Load(bytes.NewReader(saved(t, first.state))); err != nil {
					rt.Fatal(err)
				}
				third.index = joins
			case joins == 0 || third.index > 0:
				if late := third.applyBytes(data); fmt.Sprint(late) != fmt.Sprint(result) {
					rt.Fatalf("one node: %v, the one that joined: %v", result, late)
				}
			}
		})
		want := saved(t, first.state)
		if !bytes.Equal(want, saved(t, second.state)) {
			rt.Fatal("two nodes save different bytes")
		}
		if third.index == first.index && !bytes.Equal(want, saved(t, third.state)) {
			rt.Fatal("the node that joined saves different bytes")
		}
	})
}

// TestEveryEntryKeepsTheRules checks what must hold of every step.
func TestEveryEntryKeepsTheRules(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := newRig(t)
		play(rt, r, func(data []byte, before *Snapshot, result Result) {
			after := r.state.Read()
			if Stops(result.Err) {
				rt.Fatalf("stopped: %v", result.Err)
			}
			if after.Index() != before.Index()+1 || after.Time().Before(before.Time()) {
				rt.Fatalf("at %d %v after %d %v", after.Index(), after.Time(), before.Index(), before.Time())
			}
			if equal := bytes.Equal(tables(rt, before), tables(rt, after)); equal == result.Changed || result.Err != nil && !equal {
				rt.Fatalf("result %+v, tables equal: %v", result, equal)
			}
			checkReplicas(rt, before, after)
			checkMembers(rt, before, after)
			checkMesh(rt, after)
			entry, err := after.AuditEntry(before.AuditHead().Number + 1)
			if err != nil || entry.follows(before.AuditHead()) != nil || entry.Index != after.Index() || !entry.Time.Equal(after.Time()) {
				rt.Fatalf("audit entry %+v, error %v", entry, err)
			}
			if (entry.Outcome == "") != (result.Err == nil) {
				rt.Fatalf("outcome %q of %v", entry.Outcome, result.Err)
			}
			if _, put := mustDecode(rt, data).Command.(*PutObjects); !put && !bytes.Equal(entry.Received, data) {
				rt.Fatal("the audit log keeps other bytes than were received")
			}
		})
	})
}

// tables encodes all but the position and the audit log.
func tables(rt *rapid.T, s *Snapshot) []byte {
	var out bytes.Buffer
	rw := &recordWriter{w: &out, encoder: &encoder{}}
	s.saveTables(rw)
	s.saveBodies(rw)
	var kept []byte
	rr := &recordReader{r: &out, sum: sha256.New()}
	for out.Len() > 0 {
		kind, body, err := rr.next()
		if err != nil {
			rt.Fatal(err)
		}
		switch kind {
		case recordHead, recordSegment, recordAudit:
		default:
			kept = append(append(kept, byte(kind)), body...)
		}
	}
	return kept
}

func checkReplicas(rt *rapid.T, before, after *Snapshot) {
	for _, old := range before.Replicas() {
		r, ok := after.Replica(old.ID)
		switch {
		case !ok && !old.Phase.Final():
			rt.Fatalf("replica %s was removed as %s", old.ID, old.Phase)
		case ok && old.Phase.Final() && r != old:
			rt.Fatalf("a final replica changed from %+v to %+v", old, r)
		case ok && r != old && r.ModifyIndex != after.Index():
			rt.Fatalf("replica changed at %d, says %d", after.Index(), r.ModifyIndex)
		case ok && old.Stop && !r.Stop:
			rt.Fatalf("replica %s is no longer to stop", old.ID)
		}
	}
}

// checkMembers: a token is used once, Since moves with the state alone, and who
// is no member runs nothing.
func checkMembers(rt *rapid.T, before, after *Snapshot) {
	for _, old := range before.Tokens() {
		k, ok := after.Token(old.ID)
		switch {
		case ok && old.UsedBy != "" && k.UsedBy != old.UsedBy:
			rt.Fatalf("token %s was used by %q, then by %q", k.ID, old.UsedBy, k.UsedBy)
		case ok && (k.UsedBy == "") != (k.Kind == TokenRead || len(k.Checkpoint) > 0):
			rt.Fatalf("token %+v", k)
		}
	}
	members := map[string]Node{}
	for _, n := range after.Nodes() {
		members[n.Name] = n
		old, ok := before.Node(n.Name)
		if ok && n.CreateIndex == old.CreateIndex && n.Since.Equal(old.Since) != (n.State == old.State) && !before.Time().Equal(after.Time()) {
			rt.Fatalf("node was %+v, is %+v", old, n)
		}
		if n.Since.After(after.Time()) {
			rt.Fatalf("node %+v at %v", n, after.Time())
		}
	}
	if len(members) == 0 && after.Meta() != nil {
		rt.Fatal("the last node is gone")
	}
	for _, r := range after.Replicas() {
		n, ok := members[r.Node]
		if !r.Phase.Final() && (!ok || n.CreateIndex > r.CreateIndex) {
			rt.Fatalf("replica %s is %s on node %s, which is no member since then", r.ID, r.Phase, r.Node)
		}
	}
}

// checkMesh: only members are in the mesh, and nothing overlaps.
func checkMesh(rt *rapid.T, s *Snapshot) {
	places := map[string]MeshNode{}
	var blocks, pieces []netip.Prefix
	for _, n := range s.MeshNodes() {
		if _, member := s.Node(n.Node); !member {
			rt.Fatalf("%s is in the mesh and no member", n.Node)
		}
		places[n.Node], blocks = n, append(blocks, n.Blocks...)
	}
	for _, slice := range s.Slices() {
		if n := places[slice.Node]; !n.holds(slice.Prefix) || slice.Prefix.Contains(n.Address()) {
			rt.Fatalf("%s of %+v", &slice, n)
		}
		pieces = append(pieces, slice.Prefix)
	}
	for _, r := range s.Replicas() {
		for network, at := range r.Addresses.All() {
			used := func(slice Slice) bool { return slice.Network == network && slice.Prefix.Contains(at) }
			if !r.Phase.Final() && !slices.ContainsFunc(s.SlicesOnNode(r.Node), used) {
				rt.Fatalf("replica %s is at %s in %s, which is given back", r.ID, at, network)
			}
		}
	}
	for _, list := range [][]netip.Prefix{blocks, pieces} {
		for i, a := range list {
			if slices.ContainsFunc(list[:i], a.Overlaps) {
				rt.Fatalf("%s is given twice: %v", a, list)
			}
		}
	}
}

func mustDecode(rt *rapid.T, data []byte) Entry {
	e, err := Decode(data)
	if err != nil {
		rt.Fatal(err)
	}
	return e
}
