package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/gitsync"
)

// TestWebhookChannel: what is posted verifies as Standard Webhooks says, by the
// receiver of this project.
func TestWebhookChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(desired.Channel{Name: "pager", Type: desired.WebhookChannel, URLSecret: "ops-url", Secret: "signing", Events: desired.NoticeKinds()}))
		stop := r.lead()
		defer stop()
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		calls := r.took()
		if len(calls) != 1 || calls[0].url != "https://hooks.example.com/S3CRET-path" {
			t.Fatalf("calls %v\n%s", calls, r.logged)
		}
		secrets, err := gitsync.ParseWebhookSecrets([]byte(r.secrets["signing"]))
		if err != nil {
			t.Fatal(err)
		}
		pokes := 0
		handler := gitsync.NewWebhook(secrets, func() { pokes++ }, time.Now)
		for _, body := range []string{calls[0].body + " ", calls[0].body} {
			request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
			request.Header = calls[0].header
			handler.ServeHTTP(httptest.NewRecorder(), request)
		}
		if pokes != 1 {
			t.Errorf("the signature was taken %d times of a right and a changed body", pokes)
		}
		var got payload
		if err := json.Unmarshal([]byte(calls[0].body), &got); err != nil {
			t.Fatal(err)
		}
		want := payloadData{ClusterID: "0123456789abcdef", Cluster: "prod", Deployment: "shop", Revision: revisionA, Message: "shop runs aa0000000000, whole and healthy"}
		if got.Type != "jaco.converged" || got.Timestamp.IsZero() || got.Data != want {
			t.Errorf("payload %+v", got)
		}
	})
}

// TestNoSecretIsSaid looks for secrets in logs and events when everything fails.
func TestNoSecretIsSaid(t *testing.T) {
	for name, answer := range map[string]func(recorded) *http.Response{
		"connection": func(recorded) *http.Response { return nil },
		"an answer that repeats": func(c recorded) *http.Response {
			return respond(http.StatusForbidden, "you said "+c.url+" "+c.header.Get("Authorization")+" "+c.body)
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			settings := forge(desired.GitHub, "https://api.github.com")
			settings.Channels = []desired.Channel{
				{Name: "ops", Type: desired.SlackChannel, URLSecret: "ops-url", Events: desired.NoticeKinds()},
				{Name: "pager", Type: desired.WebhookChannel, URLSecret: "ops-url", Secret: "signing", Events: desired.NoticeKinds()},
				{Name: "clear", Type: desired.SlackChannel, URLSecret: "http-url", Events: desired.NoticeKinds()},
				{Name: "odd", Type: desired.WebhookChannel, URLSecret: "ops-url", Secret: "odd", Events: desired.NoticeKinds()},
			}
			r := newRig(t, settings)
			r.secrets["http-url"], r.secrets["odd"] = "http://hooks.example.com/S3CRET", "S3CRET"
			r.answer = answer
			r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
			stop := r.lead()
			after(time.Minute)
			stop()
			said := r.logged.String() + strings.Join(r.events(cluster.EventNotNotified), "\n")
			if n := len(r.events(cluster.EventNotNotified)); n != 5 {
				t.Errorf("%s: %d complaints:\n%s", name, n, said)
			}
			if strings.Contains(said, "S3CRET") || strings.Contains(said, "MfKQ9r8") {
				t.Errorf("%s: a secret was said:\n%s", name, said)
			}
		})
	}
}

// server is a real one with TLS, and a client that trusts it.
func server(t *testing.T, handler http.HandlerFunc) (*httptest.Server, *http.Transport) {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	transport := NewTransport()
	t.Cleanup(transport.CloseIdleConnections)
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	transport.TLSClientConfig.RootCAs = pool
	return s, transport
}

type noSecrets struct{}

func (noSecrets) Secret(context.Context, string) ([]byte, error) { return nil, errors.New("none") }

func TestClient(t *testing.T) {
	redirected := false
	s, transport := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ok":
			body, _ := io.ReadAll(r.Body)
			if string(body) != `{}` || r.Header.Get("Authorization") != "x" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/redirect":
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		case "/elsewhere":
			redirected = true
		case "/long":
			w.WriteHeader(http.StatusInternalServerError)
			for range 100 {
				io.WriteString(w, strings.Repeat("no ", 10_000))
			}
		case "/control":
			http.Error(w, "a\x1b[31m\r\nb\xff", http.StatusUnprocessableEntity)
		case "/later":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	c := newClient(transport, noSecrets{})
	post := func(path string) error {
		return c.post(t.Context(), call{address: s.URL + path, header: http.Header{"Authorization": {"x"}}, body: []byte(`{}`)})
	}
	if err := post("/ok"); err != nil {
		t.Errorf("ok: %v", err)
	}
	if err := post("/redirect"); redirected || err == nil || !strings.Contains(err.Error(), "answered 307 Temporary Redirect, a redirect, which is not followed") {
		t.Errorf("redirect: %v, followed: %v", err, redirected)
	}
	if err := post("/long"); err == nil || len(err.Error()) > 300 {
		t.Errorf("a long answer: %v", err)
	}
	if err := post("/control"); !errors.Is(err, errFinal) || err.Error() != "not tried again: answered 422 Unprocessable Entity: a [31m b" {
		t.Errorf("control characters: %q", err)
	}
	var later *retryError
	if err := post("/later"); !errors.As(err, &later) || later.after != 7*time.Second || errors.Is(err, errFinal) {
		t.Errorf("later: %v", err)
	}
	if err := c.post(t.Context(), call{address: "http://example.com/"}); err == nil || !strings.Contains(err.Error(), "must be https") {
		t.Errorf("http: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.post(ctx, call{address: s.URL + "/ok", header: http.Header{}}); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	strange := newClient(NewTransport(), noSecrets{})
	var unknown *tls.CertificateVerificationError
	if err := strange.post(t.Context(), call{address: s.URL + "/ok", header: http.Header{}}); !errors.As(err, &unknown) {
		t.Errorf("an unknown authority: %v", err)
	}
}

// TestClientGivesUp: a receiver that says nothing is left after the timeout.
func TestClientGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		begun := time.Now()
		err := newClient(silent, noSecrets{}).post(t.Context(), call{address: "https://example.com/", header: http.Header{}})
		if took := time.Since(begun); err == nil || took != requestTimeout {
			t.Errorf("%v after %v", err, took)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSecretLine(t *testing.T) {
	for text, ok := range map[string]bool{"token\n": true, "": false, "\n": false, "a\nb": false, "a\x00b": false} {
		c := newClient(nil, oneSecret(text))
		got, err := c.secret(t.Context(), "s")
		if (err == nil) != ok || ok && got != "token" {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
}

// TestEncryptedSecretIsNotRepeated: it is long, and says nothing to people.
func TestEncryptedSecretIsNotRepeated(t *testing.T) {
	const encrypted = "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n"
	if _, err := newClient(nil, noSecrets{}).secret(t.Context(), encrypted); err == nil || err.Error() != "open the secret in cluster.yaml: none" {
		t.Errorf("%v", err)
	}
}

type oneSecret string

func (s oneSecret) Secret(context.Context, string) ([]byte, error) { return []byte(s), nil }

func TestSlackText(t *testing.T) {
	m := message{info: clusterInfo{name: "a&b"}, fact: fact{notice: notice{Kind: desired.NoticeRefused, Text: "<x> " + strings.Repeat("y", 10_000), Command: "git ```x"}}}
	text := slackText(m)
	if !strings.HasPrefix(text, "*refused* [a&amp;b] &lt;x&gt; yyy") || !strings.HasSuffix(text, "\n```git x```") || len(text) > maxSlackText {
		t.Errorf("text of %d bytes: %.60s", len(text), text)
	}
}

func TestCut(t *testing.T) {
	for text, want := range map[string]string{"abc": "abc", "abcdefgh": "abcdefgh", "abcdefghi": "abcde…", "ääääää": "ää…"} {
		if got := cut(text, 8); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
