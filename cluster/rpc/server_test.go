package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// fakeMember is a Member and a Log whose answers a test sets. Its streams
// tell when they end.
type fakeMember struct {
	mu      sync.Mutex // guards the fields below
	status  *cluster.Status
	state   chan struct{} // closed and replaced at each change
	asked   int           // calls of Status
	refresh func(ctx context.Context, revision string) (string, bool, error)
	trace   func(id string) (*cluster.TraceReport, error)
	export  func(io.Writer) error
	records []cluster.AuditRecord
	filter  cluster.AuditFilter
	lines   []LogLine
	request LogsRequest
	failure error // of Audit and Lines, after what they have
	issue   func(operator string, kind cluster.TokenKind, ttl time.Duration) (*IssuedToken, error)
	moved   []string // operator and commit of Reanchor

	ended chan struct{} // takes one value for each followed stream that ended
}

var (
	_ Member = (*fakeMember)(nil)
	_ Log    = (*fakeMember)(nil)

	_ TokenIssuer = (*fakeMember)(nil)
)

func newFakeMember() *fakeMember {
	return &fakeMember{
		status: &cluster.Status{Cluster: cluster.ClusterStatus{Name: "test"}},
		state:  make(chan struct{}), ended: make(chan struct{}, 10),
	}
}

// change sets fields and wakes the watchers.
func (m *fakeMember) change(set func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	set()
	close(m.state)
	m.state = make(chan struct{})
}

// Status implements Member.
func (m *fakeMember) Status() *cluster.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked++
	return m.status
}

// Changed implements Member.
func (m *fakeMember) Changed() (state, view <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

// Refresh implements Member.
func (m *fakeMember) Refresh(ctx context.Context, revision string) (string, bool, error) {
	return m.refresh(ctx, revision)
}

// Reanchor implements Member.
func (m *fakeMember) Reanchor(_ context.Context, operator string, commit signing.Hash) (*ReanchorResult, error) {
	m.moved = append(m.moved, operator+" "+commit.String())
	if commit.IsZero() {
		return nil, ErrNotFound
	}
	return &ReanchorResult{TrustVersion: 4, Root: []string{"alice", "bob"}, Lines: []string{"go on"}}, nil
}

// Trace implements Member.
func (m *fakeMember) Trace(id string) (*cluster.TraceReport, error) { return m.trace(id) }

// Plan implements Member: it answers with what it was sent.
func (m *fakeMember) Plan(_ context.Context, files []PlanFile) ([]byte, error) {
	return json.Marshal(files)
}

// Export implements Member.
func (m *fakeMember) Export(_ context.Context, w io.Writer) error { return m.export(w) }

// Audit implements Log.
func (m *fakeMember) Audit(ctx context.Context, filter cluster.AuditFilter, follow bool, each func(cluster.AuditRecord) error) error {
	m.mu.Lock()
	m.filter = filter
	records, failure := m.records, m.failure
	m.mu.Unlock()
	for _, record := range records {
		if err := each(record); err != nil {
			return err
		}
	}
	return m.follow(ctx, follow, failure)
}

// Lines implements Log.
func (m *fakeMember) Lines(ctx context.Context, request LogsRequest, each func(LogLine) error) error {
	m.mu.Lock()
	m.request = request
	lines, failure := m.lines, m.failure
	m.mu.Unlock()
	for _, line := range lines {
		if err := each(line); err != nil {
			return err
		}
	}
	return m.follow(ctx, request.Follow, failure)
}

func (m *fakeMember) follow(ctx context.Context, follow bool, failure error) error {
	if !follow {
		return failure
	}
	<-ctx.Done()
	m.ended <- struct{}{}
	return nil
}

// IssueToken implements TokenIssuer.
func (m *fakeMember) IssueToken(_ context.Context, operator string, kind cluster.TokenKind, ttl time.Duration) (*IssuedToken, error) {
	return m.issue(operator, kind, ttl)
}

// Recipient implements Recipients.
func (m *fakeMember) Recipient(_ context.Context, unit string) (string, error) {
	return "age1of-" + unit, nil
}

// joinFunc is a Joiner.
type joinFunc func(ctx context.Context, request *JoinClusterRequest) (*JoinClusterResult, error)

// JoinCluster implements Joiner.
func (f joinFunc) JoinCluster(ctx context.Context, request *JoinClusterRequest) (*JoinClusterResult, error) {
	return f(ctx, request)
}

// initFunc is an Initializer.
type initFunc func(ctx context.Context, request *InitRequest) (*InitResult, error)

// Init implements Initializer.
func (f initFunc) Init(ctx context.Context, request *InitRequest) (*InitResult, error) {
	return f(ctx, request)
}

// control is a server on a socket, and a client of it.
type control struct {
	*Client
	server *Server
	stop   context.CancelFunc
	ended  chan error // takes what Serve returned
}

func newControl(t *testing.T, initializer Initializer, joiner Joiner) *control {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jaco.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	c := &control{server: NewServer(initializer, joiner), stop: stop, ended: make(chan error, 1)}
	go func() { c.ended <- c.server.Serve(ctx, listener) }()
	if c.Client, err = DialSocket(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stop()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// attached is newControl with a member.
func newMemberControl(t *testing.T) (*control, *fakeMember) {
	t.Helper()
	c, m := newControl(t, nil, nil), newFakeMember()
	c.server.Attach(m, m, m, m)
	return c, m
}

func TestNotInitialized(t *testing.T) {
	c := newControl(t, nil, nil)
	for name, call := range map[string]func(ctx context.Context) error{
		"status":   func(ctx context.Context) error { _, err := c.Status(ctx); return err },
		"watch":    func(ctx context.Context) error { return c.WatchStatus(ctx, nil) },
		"refresh":  func(ctx context.Context) error { _, _, err := c.Refresh(ctx, ""); return err },
		"audit":    func(ctx context.Context) error { return c.Audit(ctx, AuditRequest{}, nil) },
		"trace":    func(ctx context.Context) error { _, err := c.Trace(ctx, "x"); return err },
		"reanchor": func(ctx context.Context) error { _, err := c.Reanchor(ctx, signing.Hash{1}); return err },
		"export":   func(ctx context.Context) error { return c.Export(ctx, io.Discard) },
		"logs":     func(ctx context.Context) error { return c.Logs(ctx, LogsRequest{}, nil) },
		"token":    func(ctx context.Context) error { _, err := c.IssueToken(ctx, cluster.TokenJoin, time.Hour); return err },
		"plan":     func(ctx context.Context) error { _, err := c.Plan(ctx, nil); return err },
	} {
		if err := call(t.Context()); !errors.Is(err, ErrNotInitialized) {
			t.Errorf("%s before init: %v", name, err)
		}
	}
	m := newFakeMember()
	c.server.Attach(m, m, m, m)
	if status, err := c.Status(t.Context()); err != nil || status.Cluster.Name != "test" {
		t.Errorf("status after init: %+v, %v", status, err)
	}
}

func TestReanchor(t *testing.T) {
	c, m := newMemberControl(t)
	commit := signing.Hash{7}
	result, err := c.Reanchor(t.Context(), commit)
	if err != nil {
		t.Fatal(err)
	}
	want := &ReanchorResult{TrustVersion: 4, Root: []string{"alice", "bob"}, Lines: []string{"go on"}}
	if diff := cmp.Diff(want, result); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
	operator := fmt.Sprintf("uid:%d", os.Getuid())
	if len(m.moved) != 1 || m.moved[0] != operator+" "+commit.String() {
		t.Errorf("the member was asked %q, want by %s", m.moved, operator)
	}
	if _, err := c.Reanchor(t.Context(), signing.Hash{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("error %v, want ErrNotFound", err)
	}
}

// TestServeEndsWatches stops the server under streams that never end by
// themselves.
func TestServeEndsWatches(t *testing.T) {
	c, m := newMemberControl(t)
	m.records = []cluster.AuditRecord{{Number: 1}}
	seen, over := make(chan struct{}, 2), make(chan error, 2)
	go func() {
		over <- c.WatchStatus(t.Context(), func(*cluster.Status) error { seen <- struct{}{}; return nil })
	}()
	go func() {
		over <- c.Audit(t.Context(), AuditRequest{Follow: true}, func(cluster.AuditRecord) error { seen <- struct{}{}; return nil })
	}()
	receiveFrom(t, seen)
	receiveFrom(t, seen)
	c.stop()
	if err := receiveFrom(t, c.ended); err != nil {
		t.Errorf("Serve returned %v", err)
	}
	for range 2 {
		if err := receiveFrom(t, over); err == nil {
			t.Error("a stream ended as if it were complete")
		}
	}
	receiveFrom(t, m.ended)
}

func TestServeFails(t *testing.T) {
	listener, err := net.Listen("unix", filepath.Join(t.TempDir(), "jaco.sock"))
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	if err := NewServer(nil, nil).Serve(t.Context(), listener); err == nil {
		t.Error("serving a closed listener is no error")
	}
}

// TestErrorsKeepTheirSentence passes errors of every kind through the socket:
// what a person reads is what was said on the other side.
func TestErrorsKeepTheirSentence(t *testing.T) {
	c, m := newMemberControl(t)
	for _, test := range []struct {
		err  error
		is   error // errors.Is on this side
		want string
	}{
		{fmt.Errorf("no container of shop: %w", ErrNotFound), ErrNotFound, "no container of shop: not found"},
		{fmt.Errorf("no container 12ab: %w", cluster.ErrNotFound), ErrNotFound, "no container 12ab: " + cluster.ErrNotFound.Error()},
		{errors.New("fetch: ssh host key not trusted: run `ssh-keyscan x`\nand again"), nil, "fetch: ssh host key not trusted: run `ssh-keyscan x`\nand again"},
		{fmt.Errorf("ask: %w", context.DeadlineExceeded), context.DeadlineExceeded, context.DeadlineExceeded.Error()},
		{fmt.Errorf("ask: %w", context.Canceled), context.Canceled, context.Canceled.Error()},
		{fmt.Errorf("too early: %w", ErrNotInitialized), ErrNotInitialized, ErrNotInitialized.Error()},
	} {
		m.trace = func(string) (*cluster.TraceReport, error) { return nil, test.err }
		m.refresh = func(context.Context, string) (string, bool, error) { return "", false, test.err }
		m.export = func(io.Writer) error { return test.err }
		m.failure = test.err
		_, traceErr := c.Trace(t.Context(), "x")
		_, _, refreshErr := c.Refresh(t.Context(), "")
		for name, err := range map[string]error{
			"trace": traceErr, "refresh": refreshErr, "export": c.Export(t.Context(), io.Discard),
			"audit": c.Audit(t.Context(), AuditRequest{}, nil), "logs": c.Logs(t.Context(), LogsRequest{}, nil),
		} {
			if err == nil || err.Error() != test.want || test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%s: %v became %v, want %q", name, test.err, err, test.want)
			}
		}
	}
}

func TestStatusWatchSendsChangesOnly(t *testing.T) {
	c, m := newMemberControl(t)
	ctx, cancel := context.WithCancel(t.Context())
	terms, over := make(chan uint64), make(chan error, 1)
	go func() {
		over <- c.WatchStatus(ctx, func(s *cluster.Status) error { terms <- s.Cluster.Term; return nil })
	}()
	if term := receiveFrom(t, terms); term != 0 {
		t.Errorf("the watch begins with term %d", term)
	}
	set := func(term uint64) { m.status = &cluster.Status{Cluster: cluster.ClusterStatus{Term: term}} }
	m.change(func() { set(1) })
	if term := receiveFrom(t, terms); term != 1 {
		t.Errorf("after a change the watch says term %d", term)
	}
	for range 3 { // wakes that change nothing to see
		m.mu.Lock()
		before := m.asked
		m.mu.Unlock()
		m.change(func() { set(1) })
		for asked := before; asked == before; {
			m.mu.Lock()
			asked = m.asked
			m.mu.Unlock()
			select {
			case term := <-terms:
				t.Fatalf("the watch sent the same status again (term %d)", term)
			default:
			}
		}
	}
	m.change(func() { set(2) })
	if term := receiveFrom(t, terms); term != 2 {
		t.Errorf("after another change the watch says term %d", term)
	}
	cancel()
	if err := receiveFrom(t, over); !errors.Is(err, context.Canceled) {
		t.Errorf("the watch ended with %v", err)
	}
}
