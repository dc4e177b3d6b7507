package gitsync

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"
)

const (
	maxWebhookBody = mebibyte
	webhookRate    = 10 // a second
	webhookBurst   = 20
)

// webhook answers forges that tell of a push.
type webhook struct {
	secrets [][]byte
	poke    func()
	bucket  *bucket
}

// NewWebhook returns a handler for POST requests that carry an HMAC-SHA256 of
// their body by one of the secrets, in "X-Jaco-Signature: sha256=<hex>" or
// GitHub's "X-Hub-Signature-256". It authenticates, pokes and answers 202;
// what the body says is never looked at. Without a secret every request is
// answered 403. The rate is bounded before anything is read, so that a flood
// costs nothing; what is missed meanwhile the poll finds.
func NewWebhook(secrets [][]byte, poke func(), now func() time.Time) http.Handler {
	w := &webhook{poke: poke, bucket: &bucket{now: now, tokens: webhookBurst, last: now()}}
	for _, secret := range secrets {
		if len(secret) > 0 { // anybody can compute the HMAC of no secret
			w.secrets = append(w.secrets, secret)
		}
	}
	return w
}

// ServeHTTP implements http.Handler.
func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method != http.MethodPost:
		rw.Header().Set("Allow", http.MethodPost)
		http.Error(rw, "the webhook takes POST requests", http.StatusMethodNotAllowed)
		return
	case len(w.secrets) == 0:
		http.Error(rw, "no webhook secret is configured (webhook.secret_file in jacod.yaml)", http.StatusForbidden)
		return
	case !w.bucket.take():
		rw.Header().Set("Retry-After", "1")
		http.Error(rw, "too many requests", http.StatusTooManyRequests)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxWebhookBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		http.Error(rw, "the body is larger than 1 MiB", http.StatusRequestEntityTooLarge)
		return
	}
	if err != nil {
		http.Error(rw, "the body could not be read", http.StatusBadRequest)
		return
	}
	if !w.authentic(r.Header, body) {
		http.Error(rw, "missing or wrong signature", http.StatusUnauthorized)
		return
	}
	w.poke()
	rw.WriteHeader(http.StatusAccepted)
}

// authentic compares every signature with every secret, in constant time.
func (w *webhook) authentic(header http.Header, body []byte) bool {
	found := false
	for _, name := range []string{"X-Jaco-Signature", "X-Hub-Signature-256"} {
		text, prefixed := strings.CutPrefix(header.Get(name), "sha256=")
		signature, err := hex.DecodeString(text)
		if !prefixed || err != nil {
			continue
		}
		for _, secret := range w.secrets {
			mac := hmac.New(sha256.New, secret)
			mac.Write(body)
			found = hmac.Equal(mac.Sum(nil), signature) || found
		}
	}
	return found
}

// bucket is a token bucket.
type bucket struct {
	now func() time.Time

	mu     sync.Mutex // guards the fields below
	tokens float64
	last   time.Time
}

func (b *bucket) take() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.tokens = min(webhookBurst, b.tokens+passed*webhookRate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
