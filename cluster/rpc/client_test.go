package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/jaco-sh/jaco/cluster"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

var noon = time.Date(2026, 11, 23, 12, 0, 0, 1, time.UTC)

// samePrefix compares prefixes as what they are.
var samePrefix = cmpopts.EquateComparable(netip.Prefix{})

func TestInitCarriesEverything(t *testing.T) {
	want := &InitRequest{
		ClusterName: "prod", Repo: "https://git.example.com/fleet.git", Branch: "main", Anchor: "tip",
		Signers: []Signer{{"alice", []byte("ssh-ed25519 A")}, {"bob", []byte("\xff\x00")}},
		SSHKey:  []byte("key"), Token: []byte("token"), KnownHosts: []byte("hosts"), Pool: netip.MustParsePrefix("10.32.0.0/12"),
	}
	result := &InitResult{ClusterID: "ab", Repo: "/r", Branch: "main", Anchor: "12", Lines: []string{"one", "two"}}
	var got *InitRequest
	failure := errors.New("cluster name \"a b\": want letters")
	c := newControl(t, initFunc(func(_ context.Context, request *InitRequest) (*InitResult, error) {
		got = request
		if request.ClusterName == "bad" {
			return nil, failure
		}
		return result, nil
	}), nil)
	answer, err := c.Init(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, samePrefix); diff != "" {
		t.Errorf("request (-sent +received):\n%s", diff)
	}
	if diff := cmp.Diff(result, answer); diff != "" {
		t.Errorf("result (-sent +received):\n%s", diff)
	}
	if _, err := c.Init(t.Context(), &InitRequest{ClusterName: "bad"}); err == nil || err.Error() != failure.Error() {
		t.Errorf("the failure became %v", err)
	}
}

func TestJoinClusterCarriesEverything(t *testing.T) {
	token := newTestToken(t, cluster.TokenJoin)
	result := &JoinClusterResult{ClusterID: "ab", ClusterName: "prod", Node: "node-2", Lines: []string{"one", "two"}}
	var got *JoinClusterRequest
	failure := fmt.Errorf("10.0.0.1:7000 refused: %w: used", cluster.ErrToken)
	c := newControl(t, nil, joinFunc(func(_ context.Context, request *JoinClusterRequest) (*JoinClusterResult, error) {
		got = request
		if request.Server == "10.0.0.9:7000" {
			return nil, failure
		}
		return result, nil
	}))
	want := &JoinClusterRequest{Server: "10.0.0.1:7000", Token: token}
	answer, err := c.JoinCluster(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	if *got != *want {
		t.Errorf("request %+v, want %+v", got, want)
	}
	if diff := cmp.Diff(result, answer); diff != "" {
		t.Errorf("result (-sent +received):\n%s", diff)
	}
	_, err = c.JoinCluster(t.Context(), &JoinClusterRequest{Server: "10.0.0.9:7000", Token: token})
	if err == nil || err.Error() != failure.Error() || !errors.Is(err, cluster.ErrToken) {
		t.Errorf("the failure became %v", err)
	}
	got = nil
	if _, err := c.JoinCluster(t.Context(), &JoinClusterRequest{Server: "10.0.0.1", Token: token}); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
		t.Errorf("a server without a port: %v", err)
	}
	if _, err := c.JoinCluster(t.Context(), &JoinClusterRequest{Server: "10.0.0.1:7000", Token: newTestToken(t, cluster.TokenRead)}); err == nil ||
		!strings.Contains(err.Error(), "to read with") {
		t.Errorf("a read token: %v", err)
	}
	if _, err := c.api.JoinCluster(t.Context(), &jacov1.JoinClusterRequest{Server: "10.0.0.1:7000", Token: "jaco-join-1.x"}); err == nil ||
		!strings.Contains(err.Error(), "cut or altered") {
		t.Errorf("a cut token: %v", err)
	}
	if got != nil {
		t.Errorf("a bad request got through: %+v", got)
	}
}

func TestIssueTokenOnTheSocket(t *testing.T) {
	c, m := newMemberControl(t)
	token := newTestToken(t, cluster.TokenRead)
	var operator string
	var kind cluster.TokenKind
	var ttl time.Duration
	m.issue = func(o string, k cluster.TokenKind, d time.Duration) (*IssuedToken, error) {
		operator, kind, ttl = o, k, d
		if k == cluster.TokenJoin {
			return nil, &NotLeaderError{}
		}
		return &IssuedToken{Token: token, ExpiresAt: noon}, nil
	}
	issued, err := c.IssueToken(t.Context(), cluster.TokenRead, 90*time.Second)
	if err != nil || issued.Token != token || !issued.ExpiresAt.Equal(noon) {
		t.Errorf("issued %+v, %v", issued, err)
	}
	if want := fmt.Sprintf("uid:%d", os.Getuid()); operator != want || kind != cluster.TokenRead || ttl != 90*time.Second {
		t.Errorf("asked by %q for a %s token for %s, want operator %s", operator, kind, ttl, want)
	}
	if _, err := c.IssueToken(t.Context(), cluster.TokenJoin, time.Hour); !errors.Is(err, ErrNotLeader) || !strings.Contains(err.Error(), "no leader") {
		t.Errorf("without a leader: %v", err)
	}
	kind = ""
	for _, bad := range []time.Duration{0, -time.Hour, 1000 * time.Hour, math.MaxInt64, math.MinInt64} {
		if _, err := c.IssueToken(t.Context(), cluster.TokenJoin, bad); !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("a token for %s: %v, want %v", bad, err, cluster.ErrInvalid)
		}
	}
	if _, err := c.api.IssueToken(t.Context(), &jacov1.IssueTokenRequest{Kind: "join", TtlSeconds: math.MaxInt64}); err == nil {
		t.Error("a token that never ends was made")
	}
	if kind != "" {
		t.Error("a bad request got through")
	}
}

func TestAuditCarriesEverything(t *testing.T) {
	c, m := newMemberControl(t)
	m.records = []cluster.AuditRecord{{Number: 3, Time: noon, Type: "advance-revision", Message: "a\nb"}, {Number: 4}}
	var got []cluster.AuditRecord
	each := func(r cluster.AuditRecord) error { got = append(got, r); return nil }
	request := AuditRequest{Since: noon, Type: "t", Deployment: "d", Revision: "r", Actor: "a"}
	if err := c.Audit(t.Context(), request, each); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.records, got); diff != "" {
		t.Errorf("records (-sent +received):\n%s", diff)
	}
	want := cluster.AuditFilter{Since: noon, Type: "t", Deployment: "d", Revision: "r", Actor: "a"}
	if diff := cmp.Diff(want, m.filter); diff != "" {
		t.Errorf("filter (-want +got):\n%s", diff)
	}
	if err := c.Audit(t.Context(), AuditRequest{Number: 4}, each); err != nil {
		t.Fatal(err)
	}
	if want := (cluster.AuditFilter{After: 3, Limit: 1}); m.filter != want {
		t.Errorf("one entry is asked for by %+v, want %+v", m.filter, want)
	}
}

func TestLogsCarryEverything(t *testing.T) {
	c, m := newMemberControl(t)
	m.lines = []LogLine{
		{Service: "web", Slot: 2, Replica: "r", Time: noon, Stderr: true, Text: []byte("\x1b[31m\xff")},
		{Service: "web", Slot: 1},
	}
	var got []LogLine
	for _, request := range []LogsRequest{
		{Deployment: "shop", Service: "web", Since: noon, Tail: 5}, {Deployment: "shop", Tail: -7}, {Deployment: "shop"},
	} {
		got = nil
		if err := c.Logs(t.Context(), request, func(l LogLine) error { got = append(got, l); return nil }); err != nil {
			t.Fatal(err)
		}
		request.Tail = max(request.Tail, -1)
		if diff := cmp.Diff(request, m.request); diff != "" {
			t.Errorf("request (-want +got):\n%s", diff)
		}
	}
	if diff := cmp.Diff(m.lines, got); diff != "" {
		t.Errorf("lines (-sent +received):\n%s", diff)
	}
}

func TestRefreshAndTrace(t *testing.T) {
	c, m := newMemberControl(t)
	m.refresh = func(_ context.Context, revision string) (string, bool, error) {
		return "head of " + revision, revision == "ab", nil
	}
	if head, contains, err := c.Refresh(t.Context(), "ab"); head != "head of ab" || !contains || err != nil {
		t.Errorf("refresh: %q, %v, %v", head, contains, err)
	}
	want := &cluster.TraceReport{Container: "12", Facts: []cluster.Fact{{Name: "node", Value: "n1", Source: cluster.FactReported}}}
	m.trace = func(id string) (*cluster.TraceReport, error) {
		if id != "12" {
			return nil, fmt.Errorf("no container %s: %w", id, ErrNotFound)
		}
		return want, nil
	}
	got, err := c.Trace(t.Context(), "12")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("trace (-sent +received):\n%s", diff)
	}
}

// TestDeadlineReachesTheServer: a call that waits for a leader must know for
// how long.
func TestDeadlineReachesTheServer(t *testing.T) {
	c, m := newMemberControl(t)
	m.refresh = func(ctx context.Context, _ string) (string, bool, error) {
		<-ctx.Done()
		return "", false, fmt.Errorf("no leader: %w", ctx.Err())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := c.Refresh(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("refresh ended with %v", err)
	}
}

// TestExportInChunks sends more than one message may hold.
func TestExportInChunks(t *testing.T) {
	c, m := newMemberControl(t)
	want := make([]byte, maxMessage+12345)
	source := rand.NewChaCha8([32]byte{1})
	_, _ = source.Read(want)
	m.export = func(w io.Writer) error {
		for _, part := range [][]byte{want[:1], want[1:1], want[1:]} {
			if n, err := w.Write(part); n != len(part) || err != nil {
				return fmt.Errorf("wrote %d of %d: %w", n, len(part), err)
			}
		}
		return nil
	}
	var got bytes.Buffer
	if err := c.Export(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%d bytes arrived, or other ones, of %d", got.Len(), len(want))
	}
}

// TestLargeStatus carries the status of 10,000 replicas whose starts failed
// with as much of a log as is kept.
func TestLargeStatus(t *testing.T) {
	c, m := newMemberControl(t)
	service := cluster.ServiceStatus{Name: "web"}
	for i := range 10_000 {
		service.Replicas = append(service.Replicas, cluster.ReplicaStatus{
			ID: fmt.Sprint(i), Reason: strings.Repeat("x", 2<<10), ContainerID: strings.Repeat("c", 64), SpecHash: strings.Repeat("s", 64),
		})
	}
	m.change(func() {
		m.status = &cluster.Status{Deployments: []cluster.DeploymentState{{Name: "shop", Services: []cluster.ServiceStatus{service}}}}
	})
	got, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Deployments[0].Services[0].Replicas); n != 10_000 {
		t.Errorf("%d replicas arrived", n)
	}
}

// TestStreamsEndWithTheirContext follows each stream and gives up.
func TestStreamsEndWithTheirContext(t *testing.T) {
	c, m := newMemberControl(t)
	m.records, m.lines = []cluster.AuditRecord{{Number: 1}}, []LogLine{{Slot: 1}}
	for name, follow := range map[string]func(ctx context.Context, seen func() error) error{
		"audit": func(ctx context.Context, seen func() error) error {
			return c.Audit(ctx, AuditRequest{Follow: true}, func(cluster.AuditRecord) error { return seen() })
		},
		"logs": func(ctx context.Context, seen func() error) error {
			return c.Logs(ctx, LogsRequest{Follow: true}, func(LogLine) error { return seen() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if err := follow(ctx, func() error { cancel(); return nil }); !errors.Is(err, context.Canceled) {
				t.Errorf("the stream ended with %v", err)
			}
			receiveFrom(t, m.ended)
			enough := errors.New("enough")
			if err := follow(t.Context(), func() error { return enough }); !errors.Is(err, enough) {
				t.Errorf("the stream ended with %v, want the reader's own error", err)
			}
			receiveFrom(t, m.ended) // the server was told
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.sock")
	c, err := DialSocket(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Status(t.Context())
	if err == nil {
		t.Fatal("nobody's status")
	}
	for _, part := range []string{"no jacod answers at " + path, "is it running", "group jaco", "--socket"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the error does not say %q: %v", part, err)
		}
	}
}

// TestWatchNeverEndsWell: whoever waits for something must not take the end of
// its time for an answer, whichever side notices it first.
func TestWatchNeverEndsWell(t *testing.T) {
	c, _ := newMemberControl(t)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		err := c.WatchStatus(ctx, func(*cluster.Status) error { return nil })
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("the watch ended with %v", err)
		}
	}
}
