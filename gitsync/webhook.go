package gitsync

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	maxWebhookBody = mebibyte
	webhookRate    = 10 // a second
	webhookBurst   = 20
	// webhookSkew is how far a signed time may be off this node's clock.
	webhookSkew = 5 * time.Minute
)

// webhook answers forges that tell of a push.
type webhook struct {
	secrets []WebhookSecret
	poke    func()
	now     func() time.Time
	bucket  *bucket
	seen    *replays
}

// NewWebhook returns a handler for POST requests of a git host that one of the
// secrets authenticates (see docs/configuration.md for the forms). It pokes and
// answers 202; what the body says is never looked at. A delivery that was taken
// before is answered 200 and pokes nobody: it is a retry by a host that has not
// seen the answer, or somebody's replay. Without a secret every request is
// answered 403. The rate is bounded before anything is read, and a body is
// hashed as it comes and kept nowhere, so that a flood costs nothing; what is
// missed meanwhile the poll finds.
func NewWebhook(secrets []WebhookSecret, poke func(), now func() time.Time) http.Handler {
	return &webhook{
		secrets: secrets, poke: poke, now: now,
		bucket: &bucket{now: now, tokens: webhookBurst, last: now()}, seen: newReplays(keptReplays),
	}
}

// ServeHTTP implements http.Handler.
func (w *webhook) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	const tooLarge = "the body is larger than 1 MiB"
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
	case r.ContentLength > maxWebhookBody:
		http.Error(rw, tooLarge, http.StatusRequestEntityTooLarge)
		return
	}
	d := newDelivery(w.secrets, r.Header)
	_, err := io.Copy(d, http.MaxBytesReader(rw, r.Body, maxWebhookBody))
	var exceeded *http.MaxBytesError
	switch {
	case errors.As(err, &exceeded):
		http.Error(rw, tooLarge, http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		http.Error(rw, "the body could not be read", http.StatusBadRequest)
		return
	}
	found, late := d.authentic(w.now())
	switch {
	case len(found) == 0 && late:
		http.Error(rw, "the signature is right, but webhook-timestamp is more than 5 minutes off this node's clock", http.StatusUnauthorized)
	case len(found) == 0:
		http.Error(rw, "missing or wrong signature", http.StatusUnauthorized)
	case !w.seen.add(found):
		rw.WriteHeader(http.StatusOK)
	default:
		w.poke()
		rw.WriteHeader(http.StatusAccepted)
	}
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
