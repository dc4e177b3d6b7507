package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/tests/rig"
)

const patience = 30 * time.Second

var noTime time.Time

// testNode is a daemon in this process, without an engine.
type testNode struct {
	config Config
	clock  func() time.Time
	log    *safeBuffer
	client *rpc.Client
	cancel context.CancelFunc
	ended  chan error
}

func newTestNode(t *testing.T) *testNode {
	t.Helper()
	dir := t.TempDir()
	config := DefaultConfig("n1")
	config.DataDir, config.Socket = filepath.Join(dir, "data"), filepath.Join(dir, "run", "jaco.sock")
	config.Listen, config.AdvertiseAddress, config.HTTPListen = freePort(t), "127.0.0.1", freePort(t)
	config.Engine = "unix://" + filepath.Join(dir, "no-engine.sock")
	config.Raft = RaftConfig{Heartbeat: 100 * time.Millisecond, Election: 100 * time.Millisecond, Lease: 50 * time.Millisecond, Commit: 5 * time.Millisecond}
	return &testNode{config: config, clock: time.Now, log: &safeBuffer{}}
}

// freePort is an address that nobody listens on just now.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func (n *testNode) start(t *testing.T) {
	t.Helper()
	logger := slog.New(slog.NewTextHandler(n.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	n.cancel, n.ended = cancel, make(chan error, 1)
	d := newDaemon(n.config, logger, n.clock)
	go func() { n.ended <- d.Run(ctx) }()
	t.Cleanup(cancel)
	n.eventually(t, "the socket", func() bool {
		conn, err := net.Dial("unix", n.config.Socket)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
	var err error
	n.client, err = rpc.DialSocket(n.config.Socket)
	check(t, err)
}

// eventually waits for a condition, unless the daemon ends first.
func (n *testNode) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	ticker, over := time.NewTicker(10*time.Millisecond), time.After(patience)
	defer ticker.Stop()
	for !holds() {
		select {
		case err := <-n.ended:
			t.Fatalf("the daemon ended before %s: %v\n%s", what, err, n.log)
		case <-over:
			t.Fatalf("%s did not come\n%s", what, n.log)
		case <-ticker.C:
		}
	}
}

// stop ends the daemon as a signal does.
func (n *testNode) stop(t *testing.T) {
	t.Helper()
	check(t, n.client.Close())
	n.cancel()
	select {
	case err := <-n.ended:
		if err != nil {
			t.Errorf("the daemon ended with %v\n%s", err, n.log)
		}
	case <-time.After(patience):
		t.Fatalf("the daemon does not end\n%s", n.log)
	}
}

func (n *testNode) get(t *testing.T, path string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.config.HTTPListen+path, nil)
	check(t, err)
	response, err := http.DefaultClient.Do(request)
	check(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, string(body)
}

// leads waits until the daemon leads and follows its repository.
func (n *testNode) leads(t *testing.T) *cluster.Status {
	t.Helper()
	var status *cluster.Status
	n.eventually(t, "a leader", func() bool {
		var err error
		status, err = n.client.Status(t.Context())
		return err == nil && status.Cluster.Leader == "n1" && status.Sync.State == cluster.SyncSynced && status.Sync.Accepted != ""
	})
	return status
}

// TestDaemon lives through the life of a node without an engine: started,
// initialized, stopped, started again.
func TestDaemon(t *testing.T) {
	n := newTestNode(t)
	n.start(t)
	if code, body := n.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz answers %d %s", code, body)
	}
	if code, body := n.get(t, "/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "jaco bootstrap init") {
		t.Errorf("before init /readyz answers %d %s", code, body)
	}
	if _, err := n.client.Status(t.Context()); !errors.Is(err, rpc.ErrNotInitialized) {
		t.Errorf("before init status answers %v", err)
	}
	alice := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	bad := &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte("nonsense")}}}
	if _, err := n.client.Init(t.Context(), bad); err == nil {
		t.Fatal("init took a key that is none")
	}
	if got := names(t, n.config.DataDir); len(got) != 1 || got[0] != "lock" {
		t.Errorf("a refused init leaves %q", got)
	}
	good := &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}}
	result, err := n.client.Init(t.Context(), good)
	check(t, err)
	if _, err := n.client.Init(t.Context(), good); err == nil || !strings.Contains(err.Error(), "belongs to cluster "+result.ClusterID+" already") {
		t.Errorf("a second init: %v", err)
	}
	first := n.leads(t)
	if first.Cluster.ID != result.ClusterID || first.Sync.Anchor != result.Anchor || first.Sync.Accepted != result.Anchor {
		t.Errorf("init said %+v, status says %+v", result, first.Sync)
	}
	if head, contains, err := n.client.Refresh(t.Context(), result.Anchor[:8]); err != nil || head != result.Anchor || !contains {
		t.Errorf("refresh: %s, %v, %v", head, contains, err)
	}
	n.eventually(t, "the reason of an engine that is not there", func() bool {
		code, body := n.get(t, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "NotReady: the engine does not answer")
	})
	n.verify(t, result.Anchor)
	n.stop(t)
	if _, err := os.Lstat(n.config.Socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}

	// As if the last step of init had been lost in a crash.
	check(t, os.WriteFile(filepath.Join(n.config.DataDir, unfinishedFile), nil, 0o600))
	n.start(t)
	second := n.leads(t)
	if second.Cluster.ID != first.Cluster.ID || second.Sync.Accepted != first.Sync.Accepted || second.Cluster.Term <= first.Cluster.Term {
		t.Errorf("after a restart status says %+v, before %+v", second.Cluster, first.Cluster)
	}
	if _, err := os.Lstat(filepath.Join(n.config.DataDir, unfinishedFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a member's data still passes for an unfinished init")
	}
	n.verify(t, result.Anchor)
	n.stop(t)
}

// verify exports the audit log and verifies it as somebody else would.
func (n *testNode) verify(t *testing.T, anchor string) {
	t.Helper()
	var records []string
	check(t, n.client.Audit(t.Context(), rpc.AuditRequest{}, func(r cluster.AuditRecord) error {
		records = append(records, r.Type)
		return nil
	}))
	if len(records) == 0 || records[0] != string(cluster.KindInitCluster) {
		t.Errorf("the audit log begins with %q", records)
	}
	var bundle bytes.Buffer
	check(t, n.client.Export(t.Context(), &bundle))
	report, err := cluster.VerifyBundle(&bundle, cluster.BundleOptions{})
	check(t, err)
	if report.Anchor.String() != anchor || len(report.Signatures) != 1 {
		t.Errorf("the bundle says %+v", report)
	}
}

// TestSocket looks at who may open the operator's socket.
func TestSocket(t *testing.T) {
	mine, err := user.Current()
	check(t, err)
	group, err := user.LookupGroupId(mine.Gid)
	check(t, err)
	gid, err := strconv.Atoi(group.Gid)
	check(t, err)
	for _, name := range []string{group.Name, "no-such-group-here"} {
		n := newTestNode(t)
		n.config.Group = name
		d := newDaemon(n.config, slog.New(slog.DiscardHandler), n.clock)
		listener, err := d.listenSocket(t.Context())
		check(t, err)
		info, err := os.Stat(n.config.Socket)
		check(t, err)
		if info.Mode().Perm() != 0o660 || info.Mode().Type() != fs.ModeSocket {
			t.Errorf("group %s: mode %v", name, info.Mode())
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); !ok || stat.Gid != uint32(gid) {
			t.Errorf("group %s: the socket is of group %d, want %d", name, stat.Gid, gid)
		}
		listener.Close()
	}
}

func TestStaleSocket(t *testing.T) {
	n := newTestNode(t)
	d := newDaemon(n.config, slog.New(slog.DiscardHandler), n.clock)
	first, err := d.listenSocket(t.Context())
	check(t, err)
	if _, err := d.listenSocket(t.Context()); err == nil || !strings.Contains(err.Error(), "another jacod answers") {
		t.Errorf("over a socket that answers: %v", err)
	}
	unix, ok := first.(*net.UnixListener)
	if !ok {
		t.Fatalf("the listener is a %T", first)
	}
	unix.SetUnlinkOnClose(false) // as kill -9 leaves it
	unix.Close()
	second, err := d.listenSocket(t.Context())
	check(t, err)
	second.Close()
	check(t, os.WriteFile(n.config.Socket, []byte("precious"), 0o600))
	if _, err := d.listenSocket(t.Context()); err == nil || !strings.Contains(err.Error(), "something else than a socket") {
		t.Errorf("over a file: %v", err)
	}
	if data, err := os.ReadFile(n.config.Socket); err != nil || string(data) != "precious" {
		t.Errorf("the file holds %q, %v", data, err)
	}
}

func TestFindAddress(t *testing.T) {
	for _, test := range []struct{ listen, advertise, want, wantErr string }{
		{":7000", "10.0.0.5", "10.0.0.5:7000", ""},
		{"0.0.0.0:7001", "fd00::1", "[fd00::1]:7001", ""},
		{"nonsense", "10.0.0.5", "", "listen"},
		{":7000", "example.com", "", "advertise_address"},
	} {
		d := newDaemon(Config{Listen: test.listen, AdvertiseAddress: test.advertise}, slog.New(slog.DiscardHandler), time.Now)
		err := d.findAddress()
		if test.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("%+v: %v", test, err)
			}
		} else if err != nil || d.address != test.want {
			t.Errorf("%+v: %s, %v", test, d.address, err)
		}
	}
}

func TestWebhookPortServesNothingElse(t *testing.T) {
	n := newTestNode(t)
	n.config.Webhook.Listen = freePort(t)
	n.config.Webhook.SecretFile = filepath.Join(t.TempDir(), "secret")
	check(t, os.WriteFile(n.config.Webhook.SecretFile, []byte("secret\n"), 0o600))
	n.start(t)
	n.config.HTTPListen = n.config.Webhook.Listen // for get
	for path, want := range map[string]int{"/webhook": http.StatusMethodNotAllowed, "/metrics": http.StatusNotFound, "/healthz": http.StatusNotFound, "/": http.StatusNotFound} {
		if code, body := n.get(t, path); code != want {
			t.Errorf("%s answers %d %s, want %d", path, code, body, want)
		}
	}
	n.stop(t)
}

// safeBuffer is a log that a test reads while it is written.
type safeBuffer struct {
	mu   sync.Mutex // guards the field below
	text bytes.Buffer
}

// Write implements io.Writer.
func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String implements fmt.Stringer.
func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// TestStatusOfNode marshals the status of a real member: what the CLI shows
// must not hold a null where docs/cli.md has a list.
func TestStatusOfNode(t *testing.T) {
	n := newTestNode(t)
	n.start(t)
	alice := rig.Must[*rig.Key](t)(rig.StartGit(t).NewSSHKey(t.Context(), "alice", "ed25519"))
	_, err := n.client.Init(t.Context(), &rpc.InitRequest{ClusterName: "test", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}})
	check(t, err)
	data, err := json.Marshal(n.leads(t))
	check(t, err)
	for _, list := range []string{"deployments", "nodes", "routes", "certificates", "signers", "pending", "refused", "peers"} {
		if strings.Contains(string(data), `"`+list+`":null`) {
			t.Errorf("%s is null:\n%s", list, data)
		}
	}
	n.stop(t)
}
