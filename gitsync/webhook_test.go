package gitsync

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func sign(secret, body string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, body)
	return "sha256=" + hex.EncodeToString(mac.Sum(nil))
}

func TestWebhook(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	// The example of GitHub's documentation.
	const documented = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	for name, test := range map[string]struct {
		method  string
		secrets []string
		header  map[string]string
		body    io.Reader
		status  int
		pokes   int
	}{
		"generic":           {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", body)}, strings.NewReader(body), 202, 1},
		"GitHub":            {"POST", []string{"s"}, map[string]string{"X-Hub-Signature-256": sign("s", body)}, strings.NewReader(body), 202, 1},
		"GitHub's example":  {"POST", []string{"It's a Secret to Everybody"}, map[string]string{"X-Hub-Signature-256": documented}, strings.NewReader("Hello, World!"), 202, 1},
		"second secret":     {"POST", []string{"old", "s"}, map[string]string{"X-Jaco-Signature": sign("s", body)}, strings.NewReader(body), 202, 1},
		"upper-case digits": {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": "sha256=" + strings.ToUpper(sign("s", body)[7:])}, strings.NewReader(body), 202, 1},
		"empty body":        {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", "")}, strings.NewReader(""), 202, 1},
		"not JSON":          {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", "\x00<")}, strings.NewReader("\x00<"), 202, 1},
		"no signature":      {"POST", []string{"s"}, nil, strings.NewReader(body), 401, 0},
		"wrong secret":      {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("x", body)}, strings.NewReader(body), 401, 0},
		"another body":      {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", body+" ")}, strings.NewReader(body), 401, 0},
		"cut signature":     {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", body)[:20]}, strings.NewReader(body), 401, 0},
		"empty signature":   {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": "sha256="}, strings.NewReader(body), 401, 0},
		"without prefix":    {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", body)[7:]}, strings.NewReader(body), 401, 0},
		"SHA-1 of GitHub":   {"POST", []string{"s"}, map[string]string{"X-Hub-Signature": sign("s", body)}, strings.NewReader(body), 401, 0},
		"GET":               {"GET", []string{"s"}, nil, nil, 405, 0},
		"PUT":               {"PUT", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", body)}, strings.NewReader(body), 405, 0},
		"no secret":         {"POST", nil, map[string]string{"X-Jaco-Signature": sign("", body)}, strings.NewReader(body), 403, 0},
		"empty secret":      {"POST", []string{""}, map[string]string{"X-Jaco-Signature": sign("", body)}, strings.NewReader(body), 403, 0},
		"largest body":      {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", strings.Repeat("x", mebibyte))}, strings.NewReader(strings.Repeat("x", mebibyte)), 202, 1},
		"too large":         {"POST", []string{"s"}, map[string]string{"X-Jaco-Signature": sign("s", strings.Repeat("x", mebibyte+1))}, strings.NewReader(strings.Repeat("x", mebibyte+1)), 413, 0},
		"broken body":       {"POST", []string{"s"}, nil, brokenReader{}, 400, 0},
	} {
		t.Run(name, func(t *testing.T) {
			pokes := 0
			h := newTestWebhook(test.secrets, &pokes, time.Now)
			r := httptest.NewRequest(test.method, "/webhook", test.body)
			for k, v := range test.header {
				r.Header.Set(k, v)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status || pokes != test.pokes {
				t.Errorf("status %d with %d pokes, want %d with %d", w.Code, pokes, test.status, test.pokes)
			}
			if w.Code == 405 && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
		})
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func newTestWebhook(secrets []string, pokes *int, now func() time.Time) http.Handler {
	var list [][]byte
	for _, s := range secrets {
		list = append(list, []byte(s))
	}
	return NewWebhook(list, func() { *pokes++ }, now)
}

func TestWebhookRate(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	pokes := 0
	h := newTestWebhook([]string{"s"}, &pokes, func() time.Time { return now })
	post := func(n int) (accepted int) {
		for range n {
			r := httptest.NewRequest(http.MethodPost, "/webhook", nil)
			r.Header.Set("X-Jaco-Signature", sign("s", ""))
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			switch w.Code {
			case http.StatusAccepted:
				accepted++
			case http.StatusTooManyRequests:
				if w.Header().Get("Retry-After") != "1" {
					t.Error("no Retry-After")
				}
			default:
				t.Errorf("status %d", w.Code)
			}
		}
		return accepted
	}
	if n := post(30); n != 20 {
		t.Errorf("%d of a burst, want 20", n)
	}
	now = now.Add(time.Second)
	if n := post(30); n != 10 {
		t.Errorf("%d a second later, want 10", n)
	}
	now = now.Add(time.Hour)
	if n := post(30); n != 20 {
		t.Errorf("%d an hour later, want 20", n)
	}
	now = now.Add(-time.Minute) // a clock set back neither gives nor takes
	if n := post(1); n != 0 {
		t.Errorf("%d with the clock set back", n)
	}
	now = now.Add(time.Second)
	if n := post(30); n != 10 {
		t.Errorf("%d afterwards, want 10", n)
	}
	if pokes != 60 {
		t.Errorf("%d pokes", pokes)
	}
}

// FuzzWebhook holds the handler to its one promise: it pokes exactly when one
// of the headers signs the body.
func FuzzWebhook(f *testing.F) {
	f.Add("POST", "", "", []byte("{}"))
	f.Add("POST", sign("s3cret", "{}"), "", []byte("{}"))
	f.Add("POST", "sha256=00", sign("s3cret", "x"), []byte("x"))
	f.Add("GET", sign("s3cret", ""), "sha1=", []byte(nil))
	f.Fuzz(func(t *testing.T, method, generic, hub string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, "/webhook", bytes.NewReader(body))
		if err != nil {
			t.Skip("on purpose: the input makes no request")
		}
		r.Header["X-Jaco-Signature"], r.Header["X-Hub-Signature-256"] = []string{generic}, []string{hub}
		pokes := 0
		w := httptest.NewRecorder()
		newTestWebhook([]string{"s3cret"}, &pokes, time.Now).ServeHTTP(w, r)
		valid := sign("s3cret", string(body))
		// Digits may be of either case.
		signed := strings.HasPrefix(generic, "sha256=") && strings.EqualFold(generic, valid) ||
			strings.HasPrefix(hub, "sha256=") && strings.EqualFold(hub, valid)
		want := r.Method == http.MethodPost && signed && len(body) <= mebibyte
		if (pokes == 1) != want || (w.Code == http.StatusAccepted) != want || pokes > 1 {
			t.Errorf("status %d with %d pokes, want accepted: %v", w.Code, pokes, want)
		}
	})
}
