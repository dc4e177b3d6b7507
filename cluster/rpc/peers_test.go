package rpc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/signing"
)

// twoNodes is node-1, which answers, and the connections of node-2.
func twoNodes(t *testing.T) (*fakeCluster, *fakeServer, *Peers, *directory) {
	t.Helper()
	c := newFakeCluster(t, "0123456789abcdef")
	one, two := c.node(t, "node-1"), c.node(t, "node-2")
	server := c.serve(t, one, "127.0.0.1:0")
	peers, where := c.peers(t, two, server)
	return c, server, peers, where
}

// report is an entry that node may have put into the log.
func report(node string) cluster.Entry {
	return cluster.Entry{
		Time: noon, Actor: cluster.Actor{Kind: cluster.ActorNode, Name: node},
		Command: &cluster.ReportReplicas{Node: node, Reports: []cluster.ReplicaReport{{ID: "shop/api/1/1", Phase: cluster.Running}}},
	}
}

func TestProposeCarriesEverything(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	var gotNode string
	var got cluster.Entry
	server.node.propose = func(node string, entry cluster.Entry) (cluster.Result, error) {
		gotNode, got = node, entry
		return cluster.Result{Index: 42}, nil
	}
	result, err := peers.Propose(t.Context(), "node-1", report("node-2"))
	if err != nil || result.Index != 42 || result.Err != nil {
		t.Errorf("result %+v, %v", result, err)
	}
	if gotNode != "node-2" {
		t.Errorf("the caller is %q", gotNode)
	}
	if diff := cmp.Diff(report("node-2"), got); diff != "" {
		t.Errorf("entry (-sent +received):\n%s", diff)
	}
}

// TestRefusalsKeepTheirKind: a caller branches on them as if it led itself.
func TestRefusalsKeepTheirKind(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	for _, kind := range []error{cluster.ErrInvalid, cluster.ErrConflict, cluster.ErrExists, cluster.ErrToken} {
		refused := fmt.Errorf("%w: because of this", kind)
		for name, answer := range map[string]func(string, cluster.Entry) (cluster.Result, error){
			"in the result": func(string, cluster.Entry) (cluster.Result, error) {
				return cluster.Result{Index: 7, Err: refused}, nil
			},
			"as the error": func(string, cluster.Entry) (cluster.Result, error) { return cluster.Result{Index: 7}, refused },
		} {
			server.node.propose = answer
			result, err := peers.Propose(t.Context(), "node-1", report("node-2"))
			if !errors.Is(err, kind) || err.Error() != refused.Error() || !errors.Is(result.Err, kind) || result.Index != 7 {
				t.Errorf("%v %s became %v, %+v", refused, name, err, result)
			}
			for _, other := range []error{cluster.ErrInvalid, cluster.ErrConflict, cluster.ErrExists, cluster.ErrToken} {
				if other != kind && errors.Is(err, other) {
					t.Errorf("%v is also %v", err, other)
				}
			}
		}
	}
	for _, kind := range []error{ErrNotFound, ErrForbidden, identity.ErrNotMember} {
		server.node.poke = func() error { return fmt.Errorf("%w: because of this", kind) }
		if err := peers.Poke(t.Context(), "node-1"); !errors.Is(err, kind) || !strings.Contains(err.Error(), "because of this") {
			t.Errorf("%v became %v", kind, err)
		}
	}
	server.node.poke = func() error { return errors.New("the disk is full") }
	if err := peers.Poke(t.Context(), "node-1"); err == nil || err.Error() != "poke node node-1: the disk is full" {
		t.Errorf("an error of no kind became %v", err)
	}
}

func TestNotLeaderNamesTheLeader(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	for _, leader := range []string{"node-3", ""} {
		server.node.propose = func(string, cluster.Entry) (cluster.Result, error) {
			return cluster.Result{}, fmt.Errorf("propose: %w", &NotLeaderError{Leader: leader})
		}
		_, err := peers.Propose(t.Context(), "node-1", report("node-2"))
		notLeader, ok := errors.AsType[*NotLeaderError](err)
		if !errors.Is(err, ErrNotLeader) || !ok || notLeader.Leader != leader {
			t.Errorf("leader %q: %v", leader, err)
		}
	}
}

func TestLivenessCarriesEverything(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	pressure := 12.5
	beat := cluster.Heartbeat{
		Node: "node-2", Version: "v1", Index: 7, Commit: signing.Hash{1}, Claim: 3, Refusal: "no", Ready: true, Reason: "why",
		CPU: 4, Memory: 5, CPUPressure: &pressure, Fault: "disk", SentAt: noon, Stopping: true,
	}
	var gotBeat cluster.Heartbeat
	server.node.heartbeat = func(_ context.Context, b cluster.Heartbeat) (time.Time, error) {
		gotBeat = b
		return noon.Add(time.Second), nil
	}
	at, err := peers.Heartbeat(t.Context(), "node-1", beat)
	if err != nil || !at.Equal(noon.Add(time.Second)) {
		t.Errorf("heartbeat: %v, %v", at, err)
	}
	if diff := cmp.Diff(beat, gotBeat); diff != "" {
		t.Errorf("heartbeat (-sent +received):\n%s", diff)
	}
	soft := &cluster.LeaderStatus{
		Leader: "node-1", Index: 9, Nodes: map[string]cluster.NodeSoft{"node-2": {Heartbeat: beat, Age: time.Second, ClockOffset: -time.Minute}},
		Head: signing.Hash{2}, FetchedAt: noon, Fetching: true,
	}
	server.node.soft = func() (*cluster.LeaderStatus, error) { return soft, nil }
	gotSoft, err := peers.Soft(t.Context(), "node-1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(soft, gotSoft); diff != "" {
		t.Errorf("soft status (-sent +received):\n%s", diff)
	}
	server.node.probe = func(node string) (bool, error) { return node == "node-3", nil }
	for node, want := range map[string]bool{"node-3": true, "node-4": false} {
		if got, err := peers.Probe(t.Context(), "node-1", node); got != want || err != nil {
			t.Errorf("probe of %s: %v, %v", node, got, err)
		}
	}
}

func TestSyncAndDataCarryEverything(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	poked := 0
	server.node.poke = func() error { poked++; return nil }
	if err := peers.Poke(t.Context(), "node-1"); err != nil || poked != 1 {
		t.Errorf("poke: %v, %d times", err, poked)
	}
	server.node.refresh = func(revision string) (string, bool, error) { return "head of " + revision, true, nil }
	if head, contains, err := peers.Refresh(t.Context(), "node-1", "ab"); head != "head of ab" || !contains || err != nil {
		t.Errorf("refresh: %q, %v, %v", head, contains, err)
	}
	request := LogsRequest{Deployment: "shop", Service: "api", Since: noon, Tail: 3}
	lines := []LogLine{{Service: "api", Slot: 2, Replica: "r", Time: noon, Stderr: true, Text: []byte("x")}, {Slot: 1}}
	var gotRequest LogsRequest
	server.node.logs = func(_ context.Context, r LogsRequest, each func(LogLine) error) error {
		gotRequest = r
		for _, line := range lines {
			if err := each(line); err != nil {
				return err
			}
		}
		return nil
	}
	var got []LogLine
	if err := peers.Logs(t.Context(), "node-1", request, func(l LogLine) error { got = append(got, l); return nil }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(lines, got) + cmp.Diff(request, gotRequest); diff != "" {
		t.Errorf("logs (-sent +received):\n%s", diff)
	}
	enough := errors.New("enough")
	if err := peers.Logs(t.Context(), "node-1", request, func(LogLine) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("a reader that stops got %v", err)
	}
}

func TestSegment(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	body := bytes.Repeat([]byte("entry"), 200<<10)
	hash := sha256.Sum256(body)
	var gotFirst uint64
	answer := body
	server.node.segment = func(first uint64, h [32]byte) ([]byte, error) {
		gotFirst = first
		if h != hash {
			return nil, fmt.Errorf("segment: %w", ErrNotFound)
		}
		return answer, nil
	}
	got, err := peers.Segment(t.Context(), "node-1", 1025, hash)
	if err != nil || !bytes.Equal(got, body) || gotFirst != 1025 {
		t.Errorf("segment: %d bytes, %v", len(got), err)
	}
	if _, err := peers.Segment(t.Context(), "node-1", 1, [32]byte{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a segment that is not there: %v", err)
	}
	answer = append(bytes.Clone(body[1:]), 'x')
	if _, err := peers.Segment(t.Context(), "node-1", 1025, hash); !errors.Is(err, cluster.ErrCorrupt) {
		t.Errorf("another segment's bytes: %v", err)
	}
}

func TestIssueTokenCarriesEverything(t *testing.T) {
	c, server, peers, _ := twoNodes(t)
	checkpoint := []byte("what node-2 pins")
	request := IssueTokenRequest{Kind: cluster.TokenJoin, TTL: time.Hour, Checkpoint: checkpoint, Operator: "uid:0@node-2"}
	token := c.token(t, cluster.TokenJoin, sha256.Sum256(checkpoint))
	var got IssueTokenRequest
	server.node.issue = func(node string, r IssueTokenRequest) (*IssuedToken, error) {
		if node != "node-2" {
			t.Errorf("the caller is %q", node)
		}
		got = r
		return &IssuedToken{Token: token, ExpiresAt: noon.Add(time.Hour)}, nil
	}
	issued, err := peers.IssueToken(t.Context(), "node-1", c.hash(t), request)
	if err != nil || issued.Token != token || !issued.ExpiresAt.Equal(noon.Add(time.Hour)) {
		t.Errorf("issued %+v, %v", issued, err)
	}
	if diff := cmp.Diff(request, got); diff != "" {
		t.Errorf("request (-sent +received):\n%s", diff)
	}
}

// TestLeaderCannotSwapAToken: the token decides what a joining node pins, so
// that a bad leader would choose it.
func TestLeaderCannotSwapAToken(t *testing.T) {
	c, server, peers, _ := twoNodes(t)
	checkpoint := []byte("what node-2 pins")
	request := IssueTokenRequest{Kind: cluster.TokenJoin, TTL: time.Hour, Checkpoint: checkpoint, Operator: "uid:0@node-2"}
	good := c.token(t, cluster.TokenJoin, sha256.Sum256(checkpoint))
	for name, swap := range map[string]func(*Token){
		"checkpoint": func(k *Token) { k.Checkpoint = [32]byte{1} },
		"authority":  func(k *Token) { k.Authority = [32]byte{1} },
		"kind":       func(k *Token) { k.Kind, k.Checkpoint = cluster.TokenRead, [32]byte{} },
	} {
		token := good
		swap(&token)
		server.node.issue = func(string, IssueTokenRequest) (*IssuedToken, error) { return &IssuedToken{Token: token}, nil }
		if issued, err := peers.IssueToken(t.Context(), "node-1", c.hash(t), request); err == nil || !strings.Contains(err.Error(), "nobody may join with it") {
			t.Errorf("another %s: issued %v, %v", name, issued, err)
		}
	}
}

// TestMembersSpeakForThemselves has a member name another one wherever it can.
func TestMembersSpeakForThemselves(t *testing.T) {
	c, server, peers, _ := twoNodes(t)
	server.node.propose = func(string, cluster.Entry) (cluster.Result, error) { return cluster.Result{}, nil }
	server.node.heartbeat = func(context.Context, cluster.Heartbeat) (time.Time, error) { return noon, nil }
	server.node.issue = func(string, IssueTokenRequest) (*IssuedToken, error) { return nil, errUnset }
	own := cluster.Actor{Kind: cluster.ActorNode, Name: "node-2"}
	entry := func(actor cluster.Actor, command cluster.Command) cluster.Entry {
		return cluster.Entry{Time: noon, Actor: actor, Command: command}
	}
	events := func(nodes ...string) *cluster.RecordEvents {
		command := &cluster.RecordEvents{}
		for _, node := range nodes {
			command.Events = append(command.Events, cluster.Event{Type: cluster.EventDriftCorrected, Node: node})
		}
		return command
	}
	for name, e := range map[string]cluster.Entry{
		"another's name":     entry(cluster.Actor{Kind: cluster.ActorNode, Name: "node-1"}, report("node-1").Command),
		"an operator's name": entry(cluster.Actor{Kind: cluster.ActorOperator, Name: "node-2"}, report("node-2").Command),
		"another's replicas": entry(own, report("node-1").Command),
		"another's key":      entry(own, &cluster.ReportMesh{Node: "node-1", PublicKey: [32]byte{1}, Port: 51820, Mode: "kernel"}),
		"another's event":    entry(own, events("node-2", "node-1")),
		"a node's state":     entry(own, &cluster.UpdateNode{Node: cluster.Node{Name: "node-2", Address: "a:1", State: cluster.NodeReady}}),
		"a removal":          entry(own, &cluster.RemoveNode{Name: "node-2"}),
		"an admission":       entry(own, &cluster.AdmitNode{Node: cluster.Node{Name: "node-2", Address: "a:1", State: cluster.NodeReady}}),
		"a token":            entry(own, &cluster.PutToken{Token: cluster.Token{ID: "00", Kind: cluster.TokenJoin, ExpiresAt: noon}}),
		"a plan":             entry(own, &cluster.ApplyPlan{}),
		"a secret":           entry(own, &cluster.PutSealed{}),
		"a cluster":          entry(own, &cluster.InitCluster{Node: cluster.Node{State: cluster.NodeReady}, Meta: cluster.Meta{InitializedAt: noon}}),
	} {
		if _, err := peers.Propose(t.Context(), "node-1", e); !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v, want %v", name, err, ErrForbidden)
		}
	}
	for name, command := range map[string]cluster.Command{
		"its replicas":      report("node-2").Command,
		"its key":           &cluster.ReportMesh{Node: "node-2", PublicKey: [32]byte{1}, Port: 51820, Mode: "kernel"},
		"its events":        events("node-2", ""),
		"objects":           &cluster.PutObjects{},
		"a claim":           &cluster.AdvanceRevision{Claim: cluster.Claim{Number: 1, Time: noon}},
		"a refusal":         &cluster.RecordRefusal{Refusal: cluster.Refusal{Time: noon}},
		"the sync's state ": &cluster.SetSync{State: cluster.SyncStalled},
	} {
		if _, err := peers.Propose(t.Context(), "node-1", entry(own, command)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := peers.Heartbeat(t.Context(), "node-1", cluster.Heartbeat{Node: "node-1"}); !errors.Is(err, ErrForbidden) {
		t.Errorf("another's heartbeat: %v", err)
	}
	for name, request := range map[string]IssueTokenRequest{
		"another's operator": {Kind: cluster.TokenRead, TTL: time.Hour, Operator: "uid:0@node-1"},
		"nobody":             {Kind: cluster.TokenRead, TTL: time.Hour},
	} {
		if _, err := peers.IssueToken(t.Context(), "node-1", c.hash(t), request); !errors.Is(err, ErrForbidden) {
			t.Errorf("a token for %s: %v, want %v", name, err, ErrForbidden)
		}
	}
	for name, request := range map[string]IssueTokenRequest{
		"no checkpoint":    {Kind: cluster.TokenJoin, TTL: time.Hour, Operator: "uid:0@node-2"},
		"large checkpoint": {Kind: cluster.TokenJoin, TTL: time.Hour, Operator: "uid:0@node-2", Checkpoint: make([]byte, cluster.MaxCheckpointBytes+1)},
		"no time":          {Kind: cluster.TokenRead, Operator: "uid:0@node-2"},
	} {
		if _, err := peers.IssueToken(t.Context(), "node-1", c.hash(t), request); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("a token with %s: %v, want %v", name, err, cluster.ErrInvalid)
		}
	}
}

// TestLargestMessages sends what the state takes at most.
func TestLargestMessages(t *testing.T) {
	_, server, peers, _ := twoNodes(t)
	size := 0
	server.node.propose = func(_ string, e cluster.Entry) (cluster.Result, error) {
		size = len(e.Command.(*cluster.PutObjects).Objects[0].Data)
		return cluster.Result{}, nil
	}
	object := cluster.StoredObject{Object: signing.Object{Type: signing.BlobObject, Data: make([]byte, cluster.MaxObjectBytes)}}
	entry := report("node-2")
	entry.Command = &cluster.PutObjects{Objects: []cluster.StoredObject{object}}
	if _, err := peers.Propose(t.Context(), "node-1", entry); err != nil || size != cluster.MaxObjectBytes {
		t.Errorf("%d bytes arrived, %v", size, err)
	}
}
