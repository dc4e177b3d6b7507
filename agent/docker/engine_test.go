package docker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/agent"
)

// scripted is an engine that answers every request by the given function.
func scripted(t *testing.T, answer http.HandlerFunc) *Engine {
	t.Helper()
	path := filepath.Join(t.TempDir(), "engine.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer}}
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	e, err := New("unix://"+path, "c0ffee")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

func says(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"message":%q}`, message)
	}
}

// hangsUp breaks the connection without an answer, as an engine that stops does.
func hangsUp(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err == nil {
		conn.Close()
	}
}

func TestErrors(t *testing.T) {
	spec := agent.ContainerSpec{Name: "x"}
	spec.Container.Image = "web:1"
	tests := []struct {
		name   string
		answer http.HandlerFunc
		call   func(context.Context, *Engine) error
		want   error // nil: none of the sentinels
		text   string
	}{
		{"image is gone", says(404, "No such image: web:1"), create(spec), agent.ErrNotFound, "No such image: web:1"},
		{"name is taken", says(409, "Conflict. The name is in use"), create(spec), agent.ErrConflict, "Conflict. The name is in use"},
		{"bad setting", says(400, "invalid mount config"), create(spec), nil, "invalid mount config"},
		{"start refused", says(500, "port is already allocated"), start, nil, "port is already allocated"},
		{"engine stops", hangsUp, start, agent.ErrUnavailable, ""},
		{"network in use", says(403, "has active endpoints"), removeNetwork, agent.ErrConflict, "has active endpoints"},
		{"container is gone", says(404, "No such container"), inspect, agent.ErrNotFound, "No such container"},
		{"pull is denied", says(500, "pull access denied"), pull, nil, "pull access denied"},
		{"pull of what is none", says(500, "unused"), func(ctx context.Context, e *Engine) error { return e.Pull(ctx, "Not:A:Reference", nil) }, nil, "invalid reference format"},
		{"stream of events refused", says(500, "no"), follow, nil, "no"},
		{"stream of events breaks", hangsUp, follow, agent.ErrUnavailable, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.call(t.Context(), scripted(t, tt.answer))
			if err == nil {
				t.Fatal("no error")
			}
			for _, s := range []error{agent.ErrNotFound, agent.ErrConflict, agent.ErrUnavailable, agent.ErrForeign} {
				if errors.Is(err, s) != errors.Is(tt.want, s) {
					t.Errorf("error %q is %q: %t", err, s, errors.Is(err, s))
				}
			}
			if !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "from daemon") {
				t.Errorf("error %q, want the engine's words %q", err, tt.text)
			}
		})
	}
}

func create(spec agent.ContainerSpec) func(context.Context, *Engine) error {
	return func(ctx context.Context, e *Engine) error { _, err := e.Create(ctx, spec); return err }
}
func start(ctx context.Context, e *Engine) error         { return e.Start(ctx, "x") }
func removeNetwork(ctx context.Context, e *Engine) error { return e.RemoveNetwork(ctx, "x") }
func inspect(ctx context.Context, e *Engine) error       { _, err := e.Inspect(ctx, "x"); return err }
func pull(ctx context.Context, e *Engine) error          { return e.Pull(ctx, "web:1", nil) }
func follow(ctx context.Context, e *Engine) error        { _, failed := e.Events(ctx); return <-failed }

func TestPullFailsInTheMiddle(t *testing.T) {
	e := scripted(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, `{"status":"Pulling"}`)
		fmt.Fprintln(w, `{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}`)
	})
	err := e.Pull(t.Context(), "web:1", nil)
	if err == nil || errors.Is(err, agent.ErrUnavailable) || !strings.Contains(err.Error(), "manifest unknown") {
		t.Errorf("error %v, want the registry's words and an engine that answers", err)
	}
}

func TestNoEngine(t *testing.T) {
	e, err := New("unix://"+filepath.Join(t.TempDir(), "none.sock"), "c0ffee")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Info(t.Context()); !errors.Is(err, agent.ErrUnavailable) {
		t.Errorf("error %v, want unavailable", err)
	}
	if _, err := New("carrier-pigeon", "c0ffee"); err == nil {
		t.Error("a host that is none was taken")
	}
}

func TestRemoveIsIdempotent(t *testing.T) {
	for _, status := range []int{404, 409} { // gone, or going
		if err := scripted(t, says(status, "no")).Remove(t.Context(), "x"); err != nil {
			t.Errorf("status %d: %v", status, err)
		}
	}
	if err := scripted(t, says(404, "no")).RemoveNetwork(t.Context(), "x"); err != nil {
		t.Errorf("network: %v", err)
	}
}

func TestEventMapping(t *testing.T) {
	const cluster = `"sh.jaco.cluster":"c0ffee","sh.jaco.replica":"r1"`
	messages := []string{
		`{"Type":"container","Action":"kill","Actor":{"ID":"c1","Attributes":{` + cluster + `,"signal":"15"}},"timeNano":1}`,
		`{"Type":"container","Action":"die","Actor":{"ID":"c1","Attributes":{` + cluster + `,"exitCode":"143"}},"timeNano":2}`,
		`{"Type":"container","Action":"health_status: healthy","Actor":{"ID":"c1","Attributes":{` + cluster + `}},"timeNano":3}`,
		`{"Type":"container","Action":"die","Actor":{"ID":"other","Attributes":{"exitCode":"1"}},"timeNano":4}`,
		`{"Type":"container","Action":"die","Actor":{"ID":"else","Attributes":{"sh.jaco.cluster":"beef"}},"timeNano":5}`,
		`{"Type":"network","Action":"disconnect","Actor":{"ID":"n","Attributes":{"name":"jaco_shop_a","container":"c1"}},"timeNano":6}`,
		`{"Type":"network","Action":"create","Actor":{"ID":"n","Attributes":{"name":"jaco_shop_a"}},"timeNano":7}`,
		`{"Type":"network","Action":"destroy","Actor":{"ID":"n","Attributes":{"name":"jaco_shop_a"}},"timeNano":8}`,
	}
	e := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.RawQuery, "exec") {
			t.Errorf("asked for exec events: %s", r.URL.RawQuery)
		}
		w.WriteHeader(http.StatusOK)
		for _, m := range messages {
			fmt.Fprintln(w, m)
		}
	})
	stream, failed := e.Events(t.Context())
	var got []string
	for {
		select {
		case m := <-stream:
			got = append(got, fmt.Sprintf("%d %s container=%s replica=%s network=%s signal=%d exit=%d",
				m.Time.UnixNano(), m.Action, m.Container, m.Replica, m.Network, m.Signal, m.ExitCode))
			continue
		case err := <-failed:
			if !errors.Is(err, agent.ErrUnavailable) {
				t.Errorf("the stream's end: %v, want unavailable", err)
			}
		}
		break
	}
	want := []string{
		"1 kill container=c1 replica=r1 network= signal=15 exit=0",
		"2 die container=c1 replica=r1 network= signal=0 exit=143",
		"3 health_status container=c1 replica=r1 network= signal=0 exit=0",
		"6 disconnect container=c1 replica= network=jaco_shop_a signal=0 exit=0",
		"8 network destroy container= replica= network=jaco_shop_a signal=0 exit=0",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

// TestListSurvivesAStuckContainer: one container that the engine hangs on does
// not hide the others.
func TestListSurvivesAStuckContainer(t *testing.T) {
	e := scripted(t, func(w http.ResponseWriter, r *http.Request) {
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/containers/json"):
			fmt.Fprint(w, `[{"Id":"stuck","Names":["/jaco_x"],"State":"created","Labels":{"a":"b"}},{"Id":"fine"},{"Id":"gone"}]`)
		case strings.HasSuffix(path, "/stuck/json"):
			<-r.Context().Done()
		case strings.HasSuffix(path, "/fine/json"):
			fmt.Fprint(w, `{"Id":"fine","State":{"Status":"running"}}`)
		default:
			says(404, "no such container")(w, r)
		}
	})
	list, err := e.List(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%d containers, error %v, want two", len(list), err)
	}
	if c := list[0]; c.ID != "stuck" || c.Name != "jaco_x" || c.Status != agent.StatusCreated || c.Labels["a"] != "b" {
		t.Errorf("the stuck one: %+v", c)
	}
	if c := list[1]; c.ID != "fine" || c.Status != agent.StatusRunning {
		t.Errorf("the other: %+v", c)
	}
}

func TestEnsureNetwork(t *testing.T) {
	exists := func(labels string, internal bool) string {
		return fmt.Sprintf(`{"Name":"jaco_shop_a","Id":"n","Internal":%t,"Labels":{%s}}`, internal, labels)
	}
	ours := `"sh.jaco.cluster":"c0ffee"`
	tests := []struct {
		name  string
		found string // what inspecting answers, "" for not found
		inUse bool
		want  string // the requests that change something
		err   error
	}{
		{"is made", "", false, "POST create", nil},
		{"is there", exists(ours, false), false, "", nil},
		{"is another's", exists("", false), false, "", agent.ErrForeign},
		{"is of another cluster", exists(`"sh.jaco.cluster":"beef"`, false), false, "", agent.ErrForeign},
		{"is made anew when it differs", exists(ours, true), false, "DELETE jaco_shop_a POST create", nil},
		{"differs and is in use", exists(ours, true), true, "DELETE jaco_shop_a", agent.ErrConflict},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var did []string
			e := scripted(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet {
					did = append(did, r.Method+" "+filepath.Base(r.URL.Path))
				}
				switch {
				case r.Method == http.MethodGet && tt.found == "":
					says(404, "no such network")(w, r)
				case r.Method == http.MethodGet:
					fmt.Fprint(w, tt.found)
				case r.Method == http.MethodDelete && tt.inUse:
					says(403, "has active endpoints")(w, r)
				case r.Method == http.MethodDelete:
					w.WriteHeader(http.StatusNoContent)
				default:
					w.WriteHeader(http.StatusCreated)
					fmt.Fprint(w, `{"Id":"n"}`)
				}
			})
			err := e.EnsureNetwork(t.Context(), agent.Network{Name: "jaco_shop_a"})
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if got := strings.Join(did, " "); got != tt.want {
				t.Errorf("asked for %q, want %q", got, tt.want)
			}
		})
	}
}
