package gitsync

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// webhookNow is the time of the vector of Standard Webhooks.
var webhookNow = time.Unix(1_614_265_330, 0)

// signingSecret is the secret of that vector.
const signingSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// sum is the HMAC-SHA256 of a text in hexadecimal digits.
func sum(secret, text string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	io.WriteString(mac, text)
	return hex.EncodeToString(mac.Sum(nil))
}

func sign(secret, body string) string { return "sha256=" + sum(secret, body) }

// signStandard is the signature of Standard Webhooks.
func signStandard(t testing.TB, secret, id, timestamp, body string) string {
	t.Helper()
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	io.WriteString(mac, id+"."+timestamp+"."+body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// hook is a handler under test.
type hook struct {
	http.Handler
	pokes int
	now   time.Time
}

// newHook returns one that knows the secrets, a line each.
func newHook(t testing.TB, secrets string) *hook {
	t.Helper()
	list, err := ParseWebhookSecrets([]byte(secrets))
	if err != nil && !errors.Is(err, ErrNoWebhookSecret) {
		t.Fatal(err)
	}
	h := &hook{now: webhookNow}
	h.Handler = NewWebhook(list, func() { h.pokes++ }, func() time.Time { return h.now })
	return h
}

// post sends a request with headers, "Name: value" a line each.
func (h *hook) post(method, headers string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/webhook", body)
	for line := range strings.Lines(headers) {
		if name, value, found := strings.Cut(strings.TrimSpace(line), ": "); found {
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestWebhook(t *testing.T) {
	const body = `{"ref":"refs/heads/main"}`
	large := strings.Repeat("x", mebibyte)
	for name, test := range map[string]struct {
		method  string
		secrets string
		headers string
		body    io.Reader
		status  int
	}{
		"ours":              {"POST", "s", "X-Jaco-Signature: " + sign("s", body), strings.NewReader(body), 202},
		"second secret":     {"POST", "old\ns", "X-Jaco-Signature: " + sign("s", body), strings.NewReader(body), 202},
		"upper-case digits": {"POST", "s", "X-Jaco-Signature: sha256=" + strings.ToUpper(sum("s", body)), strings.NewReader(body), 202},
		"empty body":        {"POST", "s", "X-Jaco-Signature: " + sign("s", ""), strings.NewReader(""), 202},
		"not JSON":          {"POST", "s", "X-Jaco-Signature: " + sign("s", "\x00<"), strings.NewReader("\x00<"), 202},
		"one of two forms":  {"POST", "s", "X-Jaco-Signature: " + sign("x", body) + "\nX-Gitea-Signature: " + sum("s", body), strings.NewReader(body), 202},
		"no signature":      {"POST", "s", "", strings.NewReader(body), 401},
		"wrong secret":      {"POST", "s", "X-Jaco-Signature: " + sign("x", body), strings.NewReader(body), 401},
		"another body":      {"POST", "s", "X-Jaco-Signature: " + sign("s", body+" "), strings.NewReader(body), 401},
		"cut signature":     {"POST", "s", "X-Jaco-Signature: " + sign("s", body)[:20], strings.NewReader(body), 401},
		"empty signature":   {"POST", "s", "X-Jaco-Signature: sha256=", strings.NewReader(body), 401},
		"without prefix":    {"POST", "s", "X-Jaco-Signature: " + sum("s", body), strings.NewReader(body), 401},
		"SHA-1 of GitHub":   {"POST", "s", "X-Hub-Signature: sha1=7d38cdd689735b008b3c702edd92eea23791c5f6", strings.NewReader(body), 401},
		"token of no form":  {"POST", "s", "Authorization: Bearer s", strings.NewReader(body), 401},
		"empty token":       {"POST", "s", "X-Gitlab-Token: ", strings.NewReader(body), 401},
		"a longer token":    {"POST", "s", "X-Gitlab-Token: ss", strings.NewReader(body), 401},
		"GET":               {"GET", "s", "", nil, 405},
		"PUT":               {"PUT", "s", "X-Jaco-Signature: " + sign("s", body), strings.NewReader(body), 405},
		"no secret":         {"POST", "", "X-Jaco-Signature: " + sign("", body), strings.NewReader(body), 403},
		"largest body":      {"POST", "s", "X-Jaco-Signature: " + sign("s", large), strings.NewReader(large), 202},
		"too large":         {"POST", "s", "X-Jaco-Signature: " + sign("s", large+"x"), strings.NewReader(large + "x"), 413},
		"too large, no length": {"POST", "s", "X-Jaco-Signature: " + sign("s", large+"x"),
			io.MultiReader(strings.NewReader(large), strings.NewReader("x")), 413},
		"broken body": {"POST", "s", "", brokenReader{}, 400},
		// The text of a signing secret signs nothing, and is no token.
		"signing secret as text":  {"POST", signingSecret, "X-Jaco-Signature: " + sign(signingSecret, body), strings.NewReader(body), 401},
		"signing key as token":    {"POST", "whsec_" + strings.Repeat("QUJD", 8), "X-Gitlab-Token: " + strings.Repeat("ABC", 8), strings.NewReader(body), 401},
		"signing secret as token": {"POST", signingSecret, "X-Gitlab-Token: " + signingSecret, strings.NewReader(body), 401},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, test.secrets)
			w := h.post(test.method, test.headers, test.body)
			pokes := 0
			if test.status == http.StatusAccepted {
				pokes = 1
			}
			if w.Code != test.status || h.pokes != pokes {
				t.Errorf("status %d with %d pokes, want %d with %d", w.Code, h.pokes, test.status, pokes)
			}
			if w.Code == http.StatusMethodNotAllowed && w.Header().Get("Allow") != "POST" {
				t.Errorf("Allow %q", w.Header().Get("Allow"))
			}
		})
	}
}

// TestOversizedIsNotRead: what says that it is too large is refused unread.
func TestOversizedIsNotRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/webhook", brokenReader{})
	r.ContentLength = mebibyte + 1
	w := httptest.NewRecorder()
	newHook(t, "s").ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("answered %d", w.Code)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

func TestWebhookRate(t *testing.T) {
	h := newHook(t, "s")
	number := 0
	post := func(n int) (accepted int) {
		for range n {
			number++
			body := strconv.Itoa(number)
			w := h.post(http.MethodPost, "X-Jaco-Signature: "+sign("s", body), strings.NewReader(body))
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
	h.now = h.now.Add(time.Second)
	if n := post(30); n != 10 {
		t.Errorf("%d a second later, want 10", n)
	}
	h.now = h.now.Add(time.Hour)
	if n := post(30); n != 20 {
		t.Errorf("%d an hour later, want 20", n)
	}
	h.now = h.now.Add(-time.Minute) // a clock set back neither gives nor takes
	if n := post(1); n != 0 {
		t.Errorf("%d with the clock set back", n)
	}
	h.now = h.now.Add(time.Second)
	if n := post(30); n != 10 {
		t.Errorf("%d afterwards, want 10", n)
	}
	if h.pokes != 60 {
		t.Errorf("%d pokes", h.pokes)
	}
}

// TestReplaysAreBounded: the newest are remembered, within a fixed size.
func TestReplaysAreBounded(t *testing.T) {
	key := func(n int) replayKey { return replayKey{kind: replayID, sum: [32]byte{byte(n), byte(n >> 8)}} }
	r := newReplays(4)
	for n := range 10 {
		if !r.add([]replayKey{key(n)}) {
			t.Errorf("%d is said to be known", n)
		}
		if r.add([]replayKey{key(n)}) {
			t.Errorf("%d is not known", n)
		}
		if len(r.known) > 4 {
			t.Fatalf("%d are kept", len(r.known))
		}
	}
	if r.add([]replayKey{key(6), key(100)}) {
		t.Error("the oldest that fits was forgotten")
	}
	if !r.add([]replayKey{key(5)}) {
		t.Error("more than the newest four are kept")
	}
	// A body and an id of the same sum are not the same.
	if !r.add([]replayKey{{kind: replayBody, sum: key(5).sum}}) {
		t.Error("a body was taken for an id")
	}
	// What a bucket lets through while a signed time is good fits.
	if most := webhookBurst + webhookRate*int(2*webhookSkew/time.Second); keptReplays < most {
		t.Errorf("%d deliveries are remembered, of %d that can come", keptReplays, most)
	}
}

func TestParseWebhookSecrets(t *testing.T) {
	long := "whsec_" + base64.StdEncoding.EncodeToString(make([]byte, 65))
	for text, want := range map[string]string{
		"":                          "the file is empty",
		" \n\t\n":                   "the file is empty",
		"one":                       "one",
		"  one two \r\n\nthree\n":   "one two|three",
		signingSecret + "\nplain\n": "signing|plain",
		"plain\n\nwhsec_!secret":    "line 3: a secret that begins with whsec_ continues in base64",
		"whsec_c2hvcnQ=":            "line 1: a signing secret of 5 bytes",
		long:                        "line 1: a signing secret of 65 bytes",
		strings.Repeat("a\n", 9):    "line 9: more than 8 secrets",
	} {
		data := []byte(text)
		secrets, err := ParseWebhookSecrets(data)
		clear(data)
		if err != nil {
			if !strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), "!secret") {
				t.Errorf("%q: error %q, want %q", text, err, want)
			}
			continue
		}
		var got []string
		for _, secret := range secrets {
			if secret.standard {
				got = append(got, "signing")
			} else {
				got = append(got, string(secret.key))
			}
		}
		if !slices.Equal(got, strings.Split(want, "|")) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// FuzzWebhook holds the handler to its one promise: it pokes exactly when one
// of the headers authenticates the body, and never twice for the same delivery.
func FuzzWebhook(f *testing.F) {
	const secret = "s3cret"
	vector := "Webhook-Id: msg_p5jXN8AQM9LWM0D4loKWxJek\nWebhook-Timestamp: 1614265330\n" +
		"Webhook-Signature: v1a,xyz v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	f.Add("POST", "", []byte("{}"))
	f.Add("POST", "X-Jaco-Signature: "+sign(secret, "{}"), []byte("{}"))
	f.Add("POST", "X-Jaco-Signature: sha256=00\nX-Hub-Signature-256: "+sign(secret, "x"), []byte("x"))
	f.Add("POST", "X-Gitea-Signature: "+sum(secret, "x")+"\nX-Forgejo-Signature: 00", []byte("x"))
	f.Add("POST", "X-Hub-Signature: "+sign(secret, "x"), []byte("x"))
	f.Add("POST", "X-Gitlab-Token: "+secret, []byte("x"))
	f.Add("POST", vector, []byte(`{"test": 2432232314}`))
	f.Add("POST", strings.Replace(vector, "330", "999", 1), []byte(`{"test": 2432232314}`))
	f.Add("GET", "X-Jaco-Signature: "+sign(secret, ""), []byte(nil))
	f.Fuzz(func(t *testing.T, method, headers string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), method, "/webhook", bytes.NewReader(body))
		if err != nil {
			t.Skip("on purpose: the input makes no request")
		}
		for line := range strings.Lines(headers) {
			if name, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); found {
				r.Header.Add(name, value)
			}
		}
		h := newHook(t, secret+"\n"+signingSecret)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		want := r.Method == http.MethodPost && len(body) <= mebibyte && authenticates(t, r.Header, secret, string(body))
		if (h.pokes == 1) != want || (w.Code == http.StatusAccepted) != want || h.pokes > 1 {
			t.Errorf("status %d with %d pokes, want accepted: %v", w.Code, h.pokes, want)
		}
		again := r.Clone(t.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		w = httptest.NewRecorder()
		h.ServeHTTP(w, again)
		if want && w.Code != http.StatusOK || !want && w.Code == http.StatusAccepted || h.pokes > 1 {
			t.Errorf("the same again: status %d with %d pokes", w.Code, h.pokes)
		}
	})
}

// authenticates says by plain comparison of texts what the handler must take.
func authenticates(t *testing.T, header http.Header, secret, body string) bool {
	t.Helper()
	hex := sum(secret, body)
	for name, prefix := range map[string]string{
		"X-Jaco-Signature": "sha256=", "X-Hub-Signature-256": "sha256=", "X-Hub-Signature": "sha256=", "X-Gitea-Signature": "", "X-Forgejo-Signature": "",
	} {
		// Digits may be of either case, the prefix not.
		if value, prefixed := strings.CutPrefix(header.Get(name), prefix); prefixed && strings.EqualFold(value, hex) {
			return true
		}
	}
	if header.Get("X-Gitlab-Token") == secret {
		return true
	}
	id, timestamp := header.Get("Webhook-Id"), header.Get("Webhook-Timestamp")
	seconds, err := strconv.Atoi(timestamp)
	if id == "" || len(id) > 256 || strings.Contains(id, ".") || strings.Trim(timestamp, "0123456789") != "" || len(timestamp) > 12 || err != nil {
		return false
	}
	if off := int64(seconds) - webhookNow.Unix(); off > 300 || off < -300 {
		return false
	}
	return slices.Contains(strings.Fields(header.Get("Webhook-Signature")), signStandard(t, signingSecret, id, timestamp, body))
}
