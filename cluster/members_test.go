package cluster

import (
	"errors"
	"testing"
	"time"
)

func joinToken(id string, expires time.Time) Token {
	return Token{ID: id, Kind: TokenJoin, Hash: [32]byte{1}, ExpiresAt: expires, Checkpoint: []byte("checkpoint")}
}

// memberCase is a command in a cluster of node-1 and node-2 with one join token
// and one replica on each node, and what it is refused with.
type memberCase struct {
	name    string
	command Command
	want    error // nil: it is applied
}

const goodToken = "00000000000000aa"

// newcomer is what a good admission brings; change spoils it.
func newcomer(change func(*AdmitNode)) *AdmitNode {
	c := &AdmitNode{Token: goodToken, Node: testNode("node-3")}
	c.Node.CertificateKey, c.Node.SealKey, c.Node.State = [32]byte{3}, "age1three", NodeNotReady
	if change != nil {
		change(c)
	}
	return c
}

func memberCases() []memberCase {
	later := start.Add(time.Hour)
	token := func(change func(*Token)) *PutToken {
		k := joinToken("00000000000000bb", later)
		change(&k)
		return &PutToken{Token: k}
	}
	suspect := testNode("node-2")
	suspect.State = NodeSuspect
	return []memberCase{
		{"a token", token(func(*Token) {}), nil},
		{"a token to read", token(func(k *Token) { k.Kind, k.Checkpoint = TokenRead, nil }), nil},
		{"an id that is short", token(func(k *Token) { k.ID = "bb" }), ErrInvalid},
		{"an id in capitals", token(func(k *Token) { k.ID = "00000000000000BB" }), ErrInvalid},
		{"a token without a hash", token(func(k *Token) { k.Hash = [32]byte{} }), ErrInvalid},
		{"a token of no kind", token(func(k *Token) { k.Kind = "" }), ErrInvalid},
		{"a token that has expired", token(func(k *Token) { k.ExpiresAt = start }), ErrInvalid},
		{"a token without an end", token(func(k *Token) { k.ExpiresAt = time.Time{} }), ErrInvalid},
		{"a token to join with nothing", token(func(k *Token) { k.Checkpoint = nil }), ErrInvalid},
		{"the largest checkpoint", token(func(k *Token) { k.Checkpoint = make([]byte, MaxCheckpointBytes) }), nil},
		{"a larger checkpoint", token(func(k *Token) { k.Checkpoint = make([]byte, MaxCheckpointBytes+1) }), ErrInvalid},
		{"a checkpoint to read", token(func(k *Token) { k.Kind = TokenRead }), ErrInvalid},
		{"an id that is taken", token(func(k *Token) { k.ID = goodToken }), ErrExists},

		{"an admission", newcomer(nil), nil},
		{"no such token", newcomer(func(c *AdmitNode) { c.Token = "00000000000000bb" }), ErrToken},
		{"no token", newcomer(func(c *AdmitNode) { c.Token = "" }), ErrToken},
		{"a member that answers", newcomer(func(c *AdmitNode) { c.Node.Name = "node-2" }), ErrExists},
		{"no name", newcomer(func(c *AdmitNode) { c.Node.Name = "" }), ErrInvalid},
		{"no address", newcomer(func(c *AdmitNode) { c.Node.Address = "" }), ErrInvalid},
		{"no state", newcomer(func(c *AdmitNode) { c.Node.State = "" }), ErrInvalid},
		{"no key", newcomer(func(c *AdmitNode) { c.Node.CertificateKey = [32]byte{} }), ErrInvalid},
		{"another node's key", newcomer(func(c *AdmitNode) { c.Node.CertificateKey = [32]byte{1} }), ErrInvalid},
		{"another node's address", newcomer(func(c *AdmitNode) { c.Node.Address = "node-1:7000" }), ErrInvalid},

		{"a removal", &RemoveNode{Name: "node-2"}, nil},
		{"the removal of nobody", &RemoveNode{Name: "node-9"}, nil},

		{"a transition", &UpdateNode{Node: suspect, Expect: 2}, nil},
		{"a transition of what has moved on", &UpdateNode{Node: suspect, Expect: 1}, ErrConflict},
		{"a transition of nobody", &UpdateNode{Node: testNode("node-9"), Expect: 3}, ErrConflict},
		{"a loss on a node that answers", &ApplyPlan{Lose: []string{testReplica(1, 1).ID}}, ErrConflict},
		{"a loss of nothing", &ApplyPlan{Lose: []string{testReplica(9, 9).ID}}, ErrConflict},
	}
}

// TestMemberCommands holds each refusal that the comments of the commands
// promise, and that a command which was applied changes nothing when it is
// applied again.
func TestMemberCommands(t *testing.T) {
	for _, test := range memberCases() {
		t.Run(test.name, func(t *testing.T) {
			r := initialized(t)
			r.must(&ApplyPlan{Create: []Replica{testReplica(1, 1)}})
			r.must(&PutToken{Token: joinToken(goodToken, start.Add(time.Hour))})
			result := r.apply(test.command)
			if !errors.Is(result.Err, test.want) || (test.want == nil) != (result.Err == nil) {
				t.Fatalf("error %v, want %v", result.Err, test.want)
			}
			if test.want != nil && result.Changed {
				t.Error("a refused command changed the state")
			}
			if again := r.apply(test.command); again.Changed {
				t.Errorf("again: %+v", again)
			}
		})
	}
}

func TestRemoveTheLastNode(t *testing.T) {
	r := initialized(t)
	r.must(&RemoveNode{Name: "node-2"})
	if result := r.apply(&RemoveNode{Name: "node-1"}); !errors.Is(result.Err, ErrInvalid) {
		t.Errorf("the last node was removed: %+v", result)
	}
}

// TestAReplacedNodeLeavesNothing: what ran on the machine before is Lost, and
// what was sealed to its key is not taken for sealed to the new one's.
func TestAReplacedNodeLeavesNothing(t *testing.T) {
	r := initialized(t)
	lost, other := testReplica(1, 1), testReplica(2, 2)
	lost.Node = "node-2"
	r.must(&ApplyPlan{Create: []Replica{lost, other}})
	r.must(&PutSealed{Items: []SealedItem{
		{Name: "both", Recipients: []string{"node-1", "node-2"}, Ciphertext: []byte{1}},
		{Name: "one", Recipients: []string{"node-2"}, Ciphertext: []byte{2}},
	}})
	down := testNode("node-2")
	down.State = NodeDown
	r.must(&UpdateNode{Node: down})
	r.must(&PutToken{Token: joinToken(goodToken, start.Add(time.Hour))})
	r.must(newcomer(func(c *AdmitNode) { c.Node.Name = "node-2" }))

	s := r.state.Read()
	if got, _ := s.Replica(lost.ID); got.Phase != Lost || got.FinishedAt.IsZero() || got.ModifyIndex != s.Index() {
		t.Errorf("its replica is %+v", got)
	}
	if got, _ := s.Replica(other.ID); got.Phase != Assigned {
		t.Errorf("another node's replica is %+v", got)
	}
	if n, _ := s.Node("node-2"); n.CreateIndex != s.Index() || !n.Since.Equal(s.Time()) || n.CertificateKey != [32]byte{3} {
		t.Errorf("the new machine is %+v", n)
	}
	for name, want := range map[string]int{"both": 1, "one": 0} {
		if item, _ := s.Sealed(name); len(item.Recipients) != want {
			t.Errorf("%s is sealed to %v", name, item.Recipients)
		}
	}
	if k, _ := s.Token(goodToken); k.UsedBy != "node-2" || k.Checkpoint != nil {
		t.Errorf("the token is %+v", k)
	}
}
