package agent

import (
	"sync"
	"time"
)

// message is what other goroutines tell the loop.
type message interface{ message() }

// listed says that the event stream stands and what there is; at is when the
// listing began.
type listed struct {
	at         time.Time
	info       Info
	containers []Container
	networks   []Network
	volumes    []Volume
}

// lost says that the engine does not answer.
type lost struct{ err error }

// happened is an event of the engine.
type happened struct{ event Event }

// looked is the answer to one inspection that began at at; container is nil
// when it does not exist.
type looked struct {
	id        string
	at        time.Time
	container *Container
}

// progressed says how far a start has come.
type progressed struct {
	key string
	progress
	digest string
}

// done is the result of an action.
type done struct {
	action action
	// container is what exists now, looked at at; nil when nobody looked.
	container *Container
	at        time.Time
	touched   string // id of a container that was made but not looked at
	gone      string // id of a container that was removed, at that time
	outcome   *outcome
	lines     []string  // with autopsy
	passed    bool      // with check
	hung      bool      // with check: it did not end in time
	trouble   error     // the action may be repeated
	retryAt   time.Time // with trouble; zero: after the usual back-off
	digest    string
	networks  []Network // of this cluster that exist now
	volumes   []Volume  // likewise
}

func (listed) message()     {}
func (lost) message()       {}
func (happened) message()   {}
func (looked) message()     {}
func (progressed) message() {}
func (done) message()       {}

// inbox queues messages for the loop. Putting never blocks, so that nobody who
// serves the loop can wait for it while it waits for him.
type inbox struct {
	ready chan struct{} // holds a token while messages wait

	mu       sync.Mutex // guards the field below
	messages []message
}

func newInbox() *inbox { return &inbox{ready: make(chan struct{}, 1)} }

func (b *inbox) put(m message) {
	b.mu.Lock()
	b.messages = append(b.messages, m)
	b.mu.Unlock()
	poke(b.ready)
}

func (b *inbox) take() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	ms := b.messages
	b.messages = nil
	return ms
}

// poke puts a token into a channel of capacity one unless it holds one.
func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
