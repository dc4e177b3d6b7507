package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// TestSecretFiles: a secret is read anew each time, and one that is not there
// says where it belongs.
func TestSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	secrets := secretFiles{"forge-token": path, "none": path + "-none"}
	for _, want := range []string{"first\n", "second\n"} {
		check(t, os.WriteFile(path, []byte(want), 0o600))
		got, err := secrets.secret("forge-token")
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	check(t, os.WriteFile(path, make([]byte, maxSecretFile+1), 0o600))
	if got, err := secrets.secret("forge-token"); err != nil || len(got) != maxSecretFile {
		t.Errorf("%d bytes, %v, of a file without end", len(got), err)
	}
	for name, want := range map[string]string{"other": "set secret_files.other in its jacod.yaml", "none": "secret_files.none: open"} {
		if _, err := secrets.secret(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

// TestContentOf: what is signed by one more is the same content.
func TestContentOf(t *testing.T) {
	unit := func(tree byte, path string, content byte, signers ...string) signing.Unit {
		v := signing.Vouch{Path: path, Content: signing.Hash{content}, Mode: 0o100644}
		for _, name := range signers {
			v.Signers = append(v.Signers, signing.Approval{Signer: name})
		}
		return signing.Unit{Tree: signing.Hash{tree}, Vouched: []signing.Vouch{v}}
	}
	first := contentOf(unit(1, "a", 1, "alice"))
	if again := contentOf(unit(1, "a", 1, "alice", "bob")); again != first {
		t.Error("another signature makes another content")
	}
	for _, other := range []signing.Unit{unit(2, "a", 1), unit(1, "b", 1), unit(1, "a", 2), {Tree: signing.Hash{1}}} {
		if contentOf(other) == first {
			t.Errorf("%+v has the same content", other)
		}
	}
}

// hookServer records what it is posted.
type hookServer struct {
	*httptest.Server

	mu    sync.Mutex // guards the field below
	posts []string
}

func newHookServer(t *testing.T, secret string) *hookServer {
	t.Helper()
	secrets, err := gitsync.ParseWebhookSecrets([]byte(secret))
	check(t, err)
	h := &hookServer{}
	note := func(text string) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.posts = append(h.posts, text)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /pager", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			note(err.Error())
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		gitsync.NewWebhook(secrets, func() {
			var said struct {
				Type string
				Data struct{ Deployment, Revision string }
			}
			if err := json.Unmarshal(body, &said); err != nil {
				note(err.Error())
			}
			note(strings.Join([]string{said.Type, said.Data.Deployment, said.Data.Revision}, " "))
		}, time.Now).ServeHTTP(w, r)
	})
	mux.HandleFunc("POST /api/v1/repos/acme/fleet/statuses/{revision}", func(w http.ResponseWriter, r *http.Request) {
		var said struct{ State, Context string }
		if err := json.NewDecoder(r.Body).Decode(&said); err != nil || r.Header.Get("Authorization") != "token t0ken" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		note(strings.Join([]string{said.State, said.Context, r.PathValue("revision")}, " "))
		w.WriteHeader(http.StatusCreated)
	})
	h.Server = httptest.NewServer(mux)
	t.Cleanup(h.Close)
	return h
}

// all returns what was posted, sorted.
func (h *hookServer) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.posts))
}

// encrypt does what age -a -r does.
func encrypt(t *testing.T, recipient, text string) string {
	t.Helper()
	to := rig.Must[*age.X25519Recipient](t)(age.ParseX25519Recipient(recipient))
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w := rig.Must[io.WriteCloser](t)(age.Encrypt(armored, to))
	_, err := io.WriteString(w, text)
	check(t, errors.Join(err, w.Close(), armored.Close()))
	return out.String()
}

// TestDaemonTells has a daemon tell of what is refused, with what cluster.yaml
// and jacod.yaml say, and not again after a restart.
func TestDaemonTells(t *testing.T) {
	const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	server := newHookServer(t, secret)
	n := newTestNode(t)
	dir := t.TempDir()
	n.config.SecretFiles = map[string]string{"pager-secret": filepath.Join(dir, "pager")}
	check(t, os.WriteFile(n.config.SecretFiles["pager-secret"], []byte(secret+"\n"), 0o600))
	n.start(t)
	git := rig.StartGit(t)
	alice := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	_, err := n.client.Init(t.Context(), &rpc.InitRequest{ClusterName: "prod", Signers: []rpc.Signer{{Name: "alice", Key: []byte(alice.Public)}}})
	check(t, err)
	repo := rig.Must[*rig.Repo](t)(git.Clone(t.Context(), n.leads(t).Sync.Repo, ""))
	push := func(key *rig.Key, files map[string]string) string {
		t.Helper()
		commit := rig.Must[string](t)(repo.CommitFiles(t.Context(), files, rig.CommitOptions{Message: "change", Key: key}))
		check(t, repo.Push(t.Context()))
		return commit
	}
	recipient := rig.Must[string](t)(n.client.Recipient(t.Context(), signing.ClusterUnit))
	settings := "notifications:\n  statuses:\n    forge: forgejo\n    api: " + server.URL + "/api/v1\n    repository: acme/fleet\n" +
		"    token: |\n      " + strings.ReplaceAll(encrypt(t, recipient, "t0ken"), "\n", "\n      ") + "\n" +
		"  channels:\n    pager: {type: webhook, url: '" + server.URL + "/pager', secret: pager-secret}\n"
	var want []string
	told := func(more ...string) {
		t.Helper()
		want = append(want, more...)
		slices.Sort(want)
		n.eventually(t, strings.Join(more, " and "), func() bool { return len(server.all()) >= len(want) })
		if diff := cmp.Diff(want, server.all()); diff != "" {
			t.Errorf("told (-want +got):\n%s\n%s", diff, n.log)
		}
	}
	broken := push(alice, map[string]string{"cluster.yaml": settings, "deployments/shop/compose.yaml": "services: {web: {image: web, ports: nonsense}}\n"})
	told("jaco.refused shop "+broken, "failure jaco/prod/shop "+broken)
	unsigned := push(nil, map[string]string{"deployments/shop/compose.yaml": "services: {web: {image: web}}\n"})
	told("jaco.refused  "+unsigned, "failure jaco/prod "+unsigned)
	records := func() (count int) {
		check(t, n.client.Audit(t.Context(), rpc.AuditRequest{Type: string(cluster.EventNotified)}, func(cluster.AuditRecord) error {
			count++
			return nil
		}))
		return count
	}
	n.eventually(t, "the records", func() bool { return records() == len(want) })
	n.stop(t)

	n.start(t)
	n.eventually(t, "a leader", func() bool {
		status, err := n.client.Status(t.Context())
		return err == nil && status.Cluster.Leader == "n1"
	})
	check(t, repo.Reset(t.Context(), broken))
	other := rig.Must[string](t)(repo.CommitFiles(t.Context(), map[string]string{"README": "unsigned too"}, rig.CommitOptions{Message: "change"}))
	check(t, repo.ForcePush(t.Context()))
	told("jaco.refused  "+other, "failure jaco/prod "+other)
	n.stop(t)
	for _, hidden := range []string{"t0ken", "MfKQ9r8"} {
		if strings.Contains(n.log.String(), hidden) {
			t.Errorf("the log holds %s", hidden)
		}
	}
}
