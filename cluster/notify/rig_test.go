package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

var (
	revisionA = signing.Hash{0xaa}.String()
	revisionB = signing.Hash{0xbb}.String()
	revisionC = signing.Hash{0xcc}.String()
)

// rig is a leader with a real state, and receivers that are recorded.
type rig struct {
	t       *testing.T
	state   *cluster.State
	logged  *bytes.Buffer
	secrets map[string]string

	mu     sync.Mutex // guards the fields below
	index  uint64
	view   *cluster.View
	status *cluster.Status
	news   chan struct{} // closed when the view is replaced
	// calls are the requests that came, as text; answer is what they get.
	calls  []recorded
	answer func(recorded) *http.Response
	failed error // of Record
	// content is that of every unit.
	content string
}

// recorded is one request.
type recorded struct {
	method, url string
	header      http.Header
	body        string
}

// fields are those of a body in JSON.
func (c recorded) fields(t *testing.T) map[string]any {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(c.body), &fields); err != nil {
		t.Fatalf("body %q: %v", c.body, err)
	}
	return fields
}

func newRig(t *testing.T, settings *desired.Notifications) *rig {
	t.Helper()
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{
		t: t, state: state, logged: &bytes.Buffer{}, news: make(chan struct{}),
		view:    &cluster.View{Deployments: map[string]*cluster.Accepted{}, Cluster: desired.Cluster{Notifications: settings}},
		status:  &cluster.Status{Cluster: cluster.ClusterStatus{ID: "0123456789abcdef", Name: "prod"}},
		secrets: map[string]string{"token": "S3CRET-token", "ops-url": "https://hooks.example.com/S3CRET-path", "signing": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		answer:  func(recorded) *http.Response { return respond(http.StatusOK, "ok") },
	}
	r.apply(&cluster.InitCluster{
		Meta: cluster.Meta{
			ID: "0123456789abcdef", Name: "prod", CA: []byte("certificate"),
			Repo: cluster.Repo{URL: "https://git.example.com/acme/fleet", Branch: "main"}, Anchor: signing.Hash{1},
		},
		Node: node("n1", cluster.NodeReady),
	})
	return r
}

func node(name string, state cluster.NodeState) cluster.Node {
	return cluster.Node{Name: name, Address: name + ":7000", CertificateKey: [32]byte{byte(len(name))}, State: state}
}

// respond makes an answer.
func respond(code int, body string) *http.Response {
	return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// apply puts a command into the log.
func (r *rig) apply(command cluster.Command) uint64 {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	data, err := cluster.Encode(cluster.Entry{Time: time.Now(), Actor: cluster.Actor{Kind: cluster.ActorNode, Name: "n1"}, Command: command})
	if err != nil {
		r.t.Error(err)
		return 0
	}
	r.index++
	if result := r.state.Apply(r.index, data); result.Err != nil {
		r.t.Errorf("apply %s: %v", command.Kind(), result.Err)
	}
	return r.index
}

// set changes what status and view say, and tells the Notifier.
func (r *rig) set(change func(status *cluster.Status, view *cluster.View)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	status, view := *r.status, *r.view
	status.Deployments = slices.Clone(status.Deployments)
	change(&status, &view)
	r.status, r.view = &status, &view
	close(r.news)
	r.news = make(chan struct{})
}

// deployment changes the one of that name, or adds it.
func (r *rig) deployment(d cluster.DeploymentState) {
	r.set(func(status *cluster.Status, _ *cluster.View) {
		if i := slices.IndexFunc(status.Deployments, func(old cluster.DeploymentState) bool { return old.Name == d.Name }); i >= 0 {
			status.Deployments[i] = d
		} else {
			status.Deployments = append(status.Deployments, d)
		}
	})
}

// shop is a deployment: it runs one revision and wants another.
func shop(runs, wants string, health cluster.HealthAxis, reason string) cluster.DeploymentState {
	return cluster.DeploymentState{Name: "shop", Revision: runs, Target: wants, Health: health, Reason: reason}
}

// View implements Views.
func (r *rig) View() *cluster.View {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}

// Changed implements Views.
func (r *rig) Changed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.news
}

// Secret implements Secrets.
func (r *rig) Secret(_ context.Context, name string) ([]byte, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if secret, found := r.secrets[name]; found {
		return []byte(secret + "\n"), nil
	}
	return nil, fmt.Errorf("no secret %s", name)
}

// RoundTrip implements http.RoundTripper.
func (r *rig) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	call := recorded{request.Method, request.URL.String(), request.Header, string(body)}
	r.mu.Lock()
	r.calls = append(r.calls, call)
	answer := r.answer
	r.mu.Unlock()
	response := answer(call)
	if response == nil {
		return nil, fmt.Errorf("connection refused")
	}
	return response, nil
}

// took returns the requests that came since the last call, after 10 s of the
// bubble's time.
func (r *rig) took() []recorded {
	r.t.Helper()
	after(10 * time.Second)
	r.mu.Lock()
	defer r.mu.Unlock()
	calls := r.calls
	r.calls = nil
	return calls
}

// after waits in a bubble, whose time passes when nobody has anything to do.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// lead runs a Notifier, as one term of a leader, until what it returns is called.
func (r *rig) lead() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	n := New(Config{
		State: r.state, Views: r, Secrets: r, Transport: r, Now: time.Now,
		Logger: slog.New(slog.NewTextHandler(r.logged, nil)),
		Status: func() *cluster.Status {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.status
		},
		Content: func(string) string {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.content
		},
		Record: func(_ context.Context, events []cluster.Event) (uint64, error) {
			r.mu.Lock()
			failed := r.failed
			r.mu.Unlock()
			if failed != nil {
				return 0, failed
			}
			return r.apply(&cluster.RecordEvents{Events: events}), nil
		},
	})
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	synctest.Wait() // until it has looked once
	return func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Errorf("Run returned %v", err)
		}
	}
}

// slack is a channel for everything.
func slack(name string, kinds ...desired.NoticeKind) desired.Channel {
	if len(kinds) == 0 {
		kinds = desired.NoticeKinds()
	}
	return desired.Channel{Name: name, Type: desired.SlackChannel, URL: "https://hooks.example.com/" + name, Events: kinds}
}

func channels(list ...desired.Channel) *desired.Notifications {
	return &desired.Notifications{Channels: list}
}

// texts are the texts of calls to chat.
func (r *rig) texts(calls []recorded) []string {
	r.t.Helper()
	var texts []string
	for _, c := range calls {
		text, _ := c.fields(r.t)["text"].(string)
		texts = append(texts, text)
	}
	return texts
}

// want compares the texts that came with beginnings.
func (r *rig) want(when string, beginnings ...string) {
	r.t.Helper()
	got := r.texts(r.took())
	ok := len(got) == len(beginnings)
	for i := range got {
		ok = ok && i < len(beginnings) && strings.HasPrefix(got[i], beginnings[i])
	}
	if !ok {
		r.t.Errorf("%s: told %q, want %q\n%s", when, got, beginnings, r.logged)
	}
}
