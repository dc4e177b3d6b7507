package rig_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/tests/rig"
)

// TestGit signs with every kind of key, and has git itself check what it made.
func TestGit(t *testing.T) {
	ctx := t.Context()
	g := rig.StartGit(t)
	bare := filepath.Join(g.Dir, "fleet.git")
	if err := g.InitBare(ctx, bare); err != nil {
		t.Fatal(err)
	}
	repo := rig.Must[*rig.Repo](t)(g.Clone(ctx, bare, ""))
	hash := rig.Must[string](t)
	key := rig.Must[*rig.Key](t)
	keys := map[string]*rig.Key{
		"ssh-ed25519": key(g.NewSSHKey(ctx, "alice", "ed25519")),
		"ssh-ecdsa":   key(g.NewSSHKey(ctx, "bob", "ecdsa")),
		"ssh-rsa":     key(g.NewSSHKey(ctx, "carol", "rsa")),
		"pgp-ed25519": key(g.NewOpenPGPKey(ctx, "dave", "ed25519", time.Time{})),
		"unsigned":    nil,
	}
	for name, k := range keys {
		t.Run(name, func(t *testing.T) {
			commit := hash(repo.CommitFiles(ctx, map[string]string{"a/" + name: name}, rig.CommitOptions{Message: name, Key: k}))
			raw := hash(repo.Git(ctx, "cat-file", "commit", commit))
			if got, want := strings.Contains(raw, "\ngpgsig "), k != nil; got != want {
				t.Errorf("signed: %v, want %v\n%s", got, want, raw)
			}
			if k == nil {
				return
			}
			signers := filepath.Join(g.Dir, "signers")
			if err := os.WriteFile(signers, []byte(k.Name+" "+k.Public+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			hash(repo.Git(ctx, "-c", "gpg.ssh.allowedSignersFile="+signers, "verify-commit", commit))
			hash(repo.Tag(ctx, "approve/"+name, commit, rig.CommitOptions{Message: "ok", Key: k}))
			hash(repo.Git(ctx, "-c", "gpg.ssh.allowedSignersFile="+signers, "verify-tag", "approve/"+name))
			if k.Fingerprint == "" || k.Public == "" {
				t.Errorf("key: %+v", k)
			}
		})
	}
	mergeAndRewrite(t, repo, keys["ssh-ed25519"])
}

// mergeAndRewrite ends with a branch on the server that was rewritten.
func mergeAndRewrite(t *testing.T, repo *rig.Repo, key *rig.Key) {
	t.Helper()
	ctx := t.Context()
	hash := rig.Must[string](t)
	tip := hash(repo.Git(ctx, "rev-parse", "HEAD"))
	if err := repo.Checkout(ctx, "topic", tip+"~1"); err != nil {
		t.Fatal(err)
	}
	hash(repo.CommitFiles(ctx, map[string]string{"b": "b"}, rig.CommitOptions{Message: "side", Date: time.Unix(1e9, 0)}))
	if err := repo.Checkout(ctx, "main", ""); err != nil {
		t.Fatal(err)
	}
	merge := hash(repo.Merge(ctx, "topic", rig.CommitOptions{Message: "merge", Key: key}))
	if parents := hash(repo.Git(ctx, "log", "-1", "--format=%P", merge)); len(strings.Fields(parents)) != 2 || !strings.HasPrefix(parents, tip) {
		t.Errorf("merge has parents %q, want %s first", parents, tip)
	}
	if err := repo.Push(ctx); err != nil {
		t.Fatal(err)
	}
	if err := repo.Reset(ctx, tip); err != nil {
		t.Fatal(err)
	}
	if err := repo.Push(ctx); err == nil {
		t.Error("a push that rewrites the branch passed")
	}
	if err := repo.ForcePush(ctx); err != nil {
		t.Fatal(err)
	}
}

func TestExpiredOpenPGPKey(t *testing.T) {
	g := rig.StartGit(t)
	k := rig.Must[*rig.Key](t)(g.NewOpenPGPKey(t.Context(), "old", "rsa3072", time.Now().AddDate(0, -1, 0)))
	if !strings.HasPrefix(k.Public, "-----BEGIN PGP PUBLIC KEY BLOCK-----\n") || len(k.Fingerprint) != 40 {
		t.Errorf("key: %+v", k)
	}
}

// TestGitServers pushes and clones through both servers, from the LAN and from
// the node.
func TestGitServers(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{NoEngine: true})
	g := rig.StartGit(t)
	root := filepath.Join(g.Dir, "srv")
	if err := g.InitBare(ctx, filepath.Join(root, "fleet.git")); err != nil {
		t.Fatal(err)
	}
	web := rig.StartGitHTTP(t, &r.LAN.Space, root)
	shell := rig.StartGitSSH(t, &r.LAN.Space, g, root)
	for i, url := range []string{web.PushURL("fleet.git"), shell.URL("fleet.git")} {
		repo := rig.Must[*rig.Repo](t)(g.Clone(ctx, url, r.LAN.NetNS))
		// More than git sends without chunks by default.
		big := map[string]string{fmt.Sprintf("big%d", i): strings.Repeat(fmt.Sprint(url, time.Now()), 1<<16)}
		tip := rig.Must[string](t)(repo.CommitFiles(ctx, big, rig.CommitOptions{Message: url}))
		if err := repo.Push(ctx); err != nil {
			t.Fatal(err)
		}
		again := rig.Must[*rig.Repo](t)(g.Clone(ctx, url, r.Node().NetNS))
		if got := rig.Must[string](t)(again.Git(ctx, "rev-parse", "HEAD")); got != tip {
			t.Errorf("%s: clone is at %s, want %s", url, got, tip)
		}
	}
	if _, err := g.Clone(ctx, web.URL("fleet.git"), r.LAN.NetNS); err == nil {
		t.Error("cloned without a password")
	}
	if n := web.Counts()["GET /fleet.git/info/refs git-receive-pack"]; n == 0 {
		t.Errorf("no push was counted: %v", web.Counts())
	}
}

// TestProxy counts calls, and passes events and a hijacked connection through.
func TestProxy(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{})
	engine := r.Node().Engine
	proxy := rig.StartProxy(t, filepath.Join(r.Node().Dir, "proxy.sock"), engine.Docker)
	d := rig.NewDocker(proxy.Socket)

	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", proxy.Socket)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: dial}}
	req := rig.Must[*http.Request](t)(http.NewRequestWithContext(ctx, http.MethodGet, "http://d/v1.41/events", nil))
	events := rig.Must[*http.Response](t)(client.Do(req))
	defer func() { _ = events.Body.Close() }()

	id := runWeb(t, d, 8000)
	var ev struct{ ID, Action string }
	for dec := json.NewDecoder(events.Body); ev.Action != "start"; {
		if err := dec.Decode(&ev); err != nil {
			t.Fatal(err)
		}
	}
	rig.Must[rig.Details](t)(d.Inspect(ctx, id))
	attachProbe(t, proxy.Socket, d, id)
	if err := d.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Inspect(ctx, id); !rig.NotFound(err) {
		t.Errorf("inspect after remove: %v", err)
	}
	want := map[string]int{
		"GET /events": 1, "POST /images/create": 2, "POST /containers/create": 1, "POST /containers/{id}/start": 1,
		"GET /containers/json": 1, "GET /containers/{id}/json": 2, "DELETE /containers/{id}": 1,
		"POST /containers/{id}/exec": 1, "POST /exec/{id}/start": 1,
	}
	if diff := cmp.Diff(want, proxy.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	proxy.Reset()
	proxy.Fail(func(method, _ string) bool { return method == http.MethodPost })
	err := d.Do(ctx, http.MethodPost, "/containers/create", map[string]any{"Image": "web:1"}, nil)
	if err == nil || !strings.Contains(err.Error(), "refused by the rig") {
		t.Errorf("create: %v", err)
	}
	if diff := cmp.Diff(map[string]int{"POST /containers/create": 1}, proxy.Counts()); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
}

// attachProbe runs the image's own probe by a hijacked exec.
func attachProbe(t *testing.T, socket string, d *rig.Docker, id string) {
	t.Helper()
	ctx := t.Context()
	var exec struct{ ID string }
	in := map[string]any{"AttachStdout": true, "Cmd": []string{"/web", "-probe", "http://127.0.0.1:1/"}}
	if err := d.Do(ctx, http.MethodPost, "/containers/"+id+"/exec", in, &exec); err != nil {
		t.Fatal(err)
	}
	conn := rig.Must[net.Conn](t)((&net.Dialer{}).DialContext(ctx, "unix", socket))
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "POST /v1.41/exec/%s/start HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"+
		"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", exec.ID)
	var got strings.Builder
	for lines := bufio.NewScanner(conn); lines.Scan() && !strings.Contains(got.String(), "connection refused"); {
		got.WriteString(lines.Text() + "\n")
	}
	if !strings.HasPrefix(got.String(), "HTTP/1.1 101 ") || !strings.Contains(got.String(), "connection refused") {
		t.Errorf("hijacked exec: %q", got.String())
	}
}

func TestPattern(t *testing.T) {
	for _, c := range [][2]string{
		{"GET /v1.41/containers/json", "GET /containers/json"},
		{"GET /containers/3f/json", "GET /containers/{id}/json"},
		{"DELETE /v1.41/containers/3f", "DELETE /containers/{id}"},
		{"GET /v1.41/images/example.com/a/b:1/json", "GET /images/{id}/json"},
		{"DELETE /v1.41/images/example.com/a/b:1", "DELETE /images/{id}"},
		{"POST /v1.44/images/create", "POST /images/create"},
		{"GET /v1.41/networks", "GET /networks"},
		{"GET /v1.41/networks/web", "GET /networks/{id}"},
		{"GET /_ping", "GET /_ping"},
	} {
		method, path, _ := strings.Cut(c[0], " ")
		if got := rig.Pattern(method, path); got != c[1] {
			t.Errorf("Pattern(%s) = %s, want %s", c[0], got, c[1])
		}
	}
}

type log string

func (l log) Tail(int) string { return string(l) }

func TestWaitFor(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Millisecond)
	defer cancel()
	n := 0
	err := rig.WaitFor(ctx, "pigs to fly", func(context.Context) (bool, string) {
		n++
		return false, fmt.Sprintf("look %d", n)
	}, log("the log"))
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"wait for pigs to fly: context deadline exceeded", fmt.Sprintf("last state: look %d", n), "the log"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error %q lacks %q", err, want)
		}
	}
	if err := rig.WaitFor(t.Context(), "now", func(context.Context) (bool, string) { return true, "" }); err != nil {
		t.Error(err)
	}
}
