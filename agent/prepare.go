package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// maxImages bounds the memory of prepared images.
const maxImages = 256

// laterError is trouble that must not be tried again before a time.
type laterError struct {
	at  time.Time
	err error
}

func (e *laterError) Error() string { return e.err.Error() }
func (e *laterError) Unwrap() error { return e.err }

// finalError is trouble that no repetition mends: the replica has failed.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }
func (e *finalError) Unwrap() error { return e.err }

// preparer fetches images and makes networks, each once for all the replicas
// that need it: those that come while it is under way wait for the same result.
type preparer struct {
	engine Engine
	// account says who pulls an image.
	account func(ctx context.Context, reference string) (*Account, error)
	cfg     Config
	wg      sync.WaitGroup // pulls under way

	mu       sync.Mutex // guards the fields below
	images   map[imageKey]*imageJob
	networks map[string]*job
}

// imageKey is one image as one revision wants it. With "always" it is pulled
// once per revision, so that the replicas of a revision run the same bytes and
// a restart does not depend on the registry.
type imageKey struct {
	reference string
	policy    desired.PullPolicy
	revision  signing.Hash
}

// job is one preparation; err is set when done is closed.
type job struct {
	done chan struct{}
	err  error
}

// imageJob is the preparation of an image with its history of failures.
type imageJob struct {
	job
	image   Image
	tries   int
	retryAt time.Time
}

func newPreparer(e Engine, cfg Config, account func(context.Context, string) (*Account, error)) *preparer {
	return &preparer{engine: e, account: account, cfg: cfg, images: map[imageKey]*imageJob{}, networks: map[string]*job{}}
}

// image makes sure that the image is there. A *finalError is the replica's end,
// a *laterError says when to try again. A pull goes on when the caller gives up, for the next one; it
// ends with run.
func (p *preparer) image(ctx, run context.Context, key imageKey) (Image, error) {
	j := p.imageJob(run, key)
	select {
	case <-ctx.Done():
		return Image{}, ctx.Err()
	case <-j.done:
		return j.image, j.err
	}
}

// imageJob returns the job under way, the one that succeeded, the one that
// failed and is not due yet, or begins a new one.
func (p *preparer) imageJob(run context.Context, key imageKey) *imageJob {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.images[key]
	if old != nil {
		select {
		case <-old.done:
			if old.err == nil || time.Now().Before(old.retryAt) {
				return old
			}
		default:
			return old
		}
	}
	j := &imageJob{job: job{done: make(chan struct{})}, tries: 1}
	if old != nil {
		j.tries = old.tries + 1
	}
	p.forgetOldLocked()
	p.images[key] = j
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		defer close(j.done)
		j.image, j.err = p.fetch(run, key)
		var final *finalError
		// An engine that was away is asked again as soon as it is back.
		if j.err != nil && !errors.As(j.err, &final) && !errors.Is(j.err, ErrUnavailable) {
			j.retryAt = time.Now().Add(p.cfg.backoff(j.tries))
			j.err = &laterError{at: j.retryAt, err: j.err}
		}
	}()
	return j
}

// forgetOldLocked makes room; what is forgotten is asked of the engine again.
func (p *preparer) forgetOldLocked() {
	if len(p.images) < maxImages {
		return
	}
	for k, j := range p.images {
		select {
		case <-j.done:
			delete(p.images, k)
		default:
		}
	}
}

// fetch does what the policy says.
func (p *preparer) fetch(ctx context.Context, key imageKey) (Image, error) {
	if key.policy != desired.PullAlways {
		img, err := p.lookup(ctx, key.reference)
		if err == nil || !errors.Is(err, ErrNotFound) {
			return img, err
		}
		if key.policy == desired.PullNever {
			return Image{}, &finalError{fmt.Errorf("image %s is not on this node and its pull_policy is never", key.reference)}
		}
	}
	pullCtx, cancel := context.WithTimeout(ctx, p.cfg.PullTimeout)
	defer cancel()
	account, err := p.account(pullCtx, key.reference)
	if err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", key.reference, err)
	}
	if err := p.engine.Pull(pullCtx, key.reference, account); err != nil {
		return Image{}, fmt.Errorf("pull %s: %w", key.reference, err)
	}
	return p.lookup(ctx, key.reference)
}

func (p *preparer) lookup(ctx context.Context, reference string) (Image, error) {
	img, err := call(ctx, p.cfg.CallTimeout, func(ctx context.Context) (Image, error) { return p.engine.Image(ctx, reference) })
	if err != nil {
		return Image{}, fmt.Errorf("look for image %s: %w", reference, err)
	}
	return img, nil
}

// network makes sure that a network is there. A success is remembered until
// forgetNetwork.
func (p *preparer) network(ctx context.Context, n Network) error {
	p.mu.Lock()
	j := p.networks[n.Name]
	mine := j == nil
	if mine {
		j = &job{done: make(chan struct{})}
		p.networks[n.Name] = j
	}
	p.mu.Unlock()
	if !mine {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-j.done:
			return j.err
		}
	}
	_, err := call(ctx, p.cfg.CallTimeout, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, p.engine.EnsureNetwork(ctx, n)
	})
	if err != nil {
		j.err = fmt.Errorf("network %s: %w", n.Name, err)
		p.forgetNetwork(n.Name)
	}
	close(j.done)
	return j.err
}

// forgetNetwork makes the next start look at the network again.
func (p *preparer) forgetNetwork(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.networks, name)
}

// forgetImage makes the next start look for the image again.
func (p *preparer) forgetImage(key imageKey) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.images, key)
}

// forgetNetworks is for an engine that was away: anything may have happened.
func (p *preparer) forgetNetworks() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.networks)
}

// backoff is the time to wait after the given number of failed attempts.
func (c Config) backoff(tries int) time.Duration {
	d := c.BackoffMin
	for range min(tries, 32) - 1 {
		if d *= 2; d >= c.BackoffMax {
			return c.BackoffMax
		}
	}
	return d
}
