package consensus

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// guard stands between raft and the log on disk, and makes up for what raft
// does not bear or gets wrong when a disk refuses writes:
//
//   - Raft panics when it cannot write its term or read an entry. The guard
//     tries the term again until the disk takes it; a goroutine that cannot go
//     on ends, and raft's shutdown then finds it gone. (The gate sees to it
//     that with several voters raft seldom comes that far.)
//   - Raft cuts off the end of its log before it stores what comes instead, and
//     goes on as if it had the old end when the second fails. The guard does
//     both when the second comes, and begins only when there is room for it.
//   - Raft writes the term of a vote before the name. If the second failed, an
//     old name would stand beside the new term, and raft would grant that
//     candidate its vote unseen. The guard writes the name first.
//
// What a disk refused once it counts as refusing until it has taken as much: a
// full disk often takes the few bytes of a vote, but not the next entry.
type guard struct {
	store  disk
	faults *faults
	term   atomic.Uint64 // the newest on disk
	// trouble tells watch that the disk has refused something, and asked that
	// ready wants an answer.
	trouble chan struct{}
	asked   chan chan<- error

	// cut is the end of the log that raft wants gone, and vote the term of a
	// vote whose name is still to come. Only raft's main goroutine uses them.
	cut  struct{ first, last uint64 }
	vote *uint64

	storing atomic.Pointer[time.Time] // when the entries being stored came; nil while none are

	mu      sync.Mutex // guards the fields below
	taken   time.Time  // when the disk last took a write
	refused int        // the largest write it has refused, in bytes; 0 when all is well
}

var (
	_ raft.LogStore    = (*guard)(nil)
	_ raft.StableStore = (*guard)(nil)
)

// raft's names for what it cannot bear to lose.
const (
	keyCurrentTerm  = "CurrentTerm"
	keyLastVoteTerm = "LastVoteTerm"
	keyLastVoteName = "LastVoteCand"
)

const (
	// keyProbe is where the guard writes to see whether it can.
	keyProbe = "jaco.probe"
	// probeSize is how many bytes a disk that refused something must take at
	// least, and probeLimit how many it is asked to at most.
	probeSize  = 64 << 10
	probeLimit = 16 << 20
	// voteSize stands for the few bytes of a term or a vote.
	voteSize = 64
	// entrySize is what an entry takes beside its data.
	entrySize = 128
	// readyFor is how long a write that the disk took shows that it takes more.
	readyFor = 100 * time.Millisecond
	// readyWithin is how long a few bytes may take.
	readyWithin = time.Second
)

// errHangs is why a node with a disk that does not answer takes no part in
// elections.
var errHangs = errors.New("the disk hangs")

func newGuard(store disk, faults *faults) *guard {
	g := &guard{store: store, faults: faults, trouble: make(chan struct{}, 1), asked: make(chan chan<- error)}
	if term, err := store.GetUint64([]byte(keyCurrentTerm)); err == nil {
		g.term.Store(term)
	}
	return g
}

// FirstIndex implements raft.LogStore.
func (g *guard) FirstIndex() (uint64, error) { return g.store.FirstIndex() }

// LastIndex implements raft.LogStore.
func (g *guard) LastIndex() (uint64, error) { return g.store.LastIndex() }

// GetLog implements raft.LogStore.
func (g *guard) GetLog(index uint64, entry *raft.Log) error {
	err := g.store.GetLog(index, entry)
	if err == nil || errors.Is(err, raft.ErrLogNotFound) || !g.faults.live.Load() {
		return err
	}
	if !g.faults.shuttingDown() {
		g.faults.fatal(explain(g.faults.dir, fmt.Errorf("read entry %d of the log: %w: %w", index, ErrDamaged, err)))
	}
	runtime.Goexit()
	return err
}

// StoreLog implements raft.LogStore.
func (g *guard) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore. Raft bears its error: a leader steps
// down, a follower does not acknowledge.
func (g *guard) StoreLogs(entries []*raft.Log) error {
	begun := time.Now()
	g.storing.Store(&begun)
	defer g.storing.Store(nil)
	size := 0
	for _, entry := range entries {
		size += len(entry.Data) + len(entry.Extensions) + entrySize
	}
	cut := g.cut
	g.cut.first, g.cut.last = 0, 0
	if cut.first == 0 {
		return g.noted(size, g.store.StoreLogs(entries))
	}
	if err := g.probe(size); err != nil {
		return err
	}
	if err := g.noted(size, g.store.DeleteRange(cut.first, cut.last)); err != nil {
		return err
	}
	err := g.noted(size, g.store.StoreLogs(entries))
	if err != nil && !g.faults.shuttingDown() {
		g.faults.fatal(explain(g.faults.dir, fmt.Errorf(
			"the disk took the end of the log away, but not what replaces it from entry %d on; "+
				"what was taken away was never acknowledged, and jacod can start again: %w", cut.first, err)))
	}
	return err
}

// DeleteRange implements raft.LogStore. Old entries go at once, the end of the
// log when StoreLogs brings what replaces it.
func (g *guard) DeleteRange(first, last uint64) error {
	lowest, err := g.store.FirstIndex()
	if err != nil {
		return g.noted(probeSize, err)
	}
	highest, err := g.store.LastIndex()
	if err != nil {
		return g.noted(probeSize, err)
	}
	if first > lowest && last >= highest {
		g.cut.first, g.cut.last = first, last
		return nil
	}
	return g.noted(probeSize, g.store.DeleteRange(first, last))
}

// Set implements raft.StableStore. Without it a vote is not given.
func (g *guard) Set(key, value []byte) error {
	err := g.noted(voteSize, g.store.Set(key, value))
	term := g.vote
	if string(key) != keyLastVoteName || term == nil {
		return err
	}
	g.vote = nil
	if err != nil {
		return err
	}
	return g.noted(voteSize, g.store.SetUint64([]byte(keyLastVoteTerm), *term))
}

// Get implements raft.StableStore.
func (g *guard) Get(key []byte) ([]byte, error) { return g.store.Get(key) }

// GetUint64 implements raft.StableStore.
func (g *guard) GetUint64(key []byte) (uint64, error) { return g.store.GetUint64(key) }

// SetUint64 implements raft.StableStore.
func (g *guard) SetUint64(key []byte, value uint64) error {
	switch string(key) {
	case keyLastVoteTerm:
		g.vote = &value
		return nil
	case keyCurrentTerm:
		return g.setTerm(key, value)
	}
	return g.noted(voteSize, g.store.SetUint64(key, value))
}

func (g *guard) setTerm(key []byte, term uint64) error {
	// At its start raft writes the term that it has just read, which must not
	// fail where the disk is full.
	if old, err := g.store.GetUint64(key); err == nil && old == term {
		return nil
	}
	for {
		err := g.noted(voteSize, g.store.SetUint64(key, term))
		if err == nil {
			g.term.Store(term)
			return nil
		}
		if !g.faults.live.Load() {
			return err
		}
		if !g.faults.wait() {
			runtime.Goexit()
		}
	}
}

// noted passes on what became of a write of the given size, and keeps the
// fault up to date.
func (g *guard) noted(size int, err error) error {
	if err != nil && g.faults.shuttingDown() {
		return err
	}
	g.mu.Lock()
	if err == nil {
		g.taken = time.Now()
		if size >= g.refused {
			g.refused = 0
		}
	} else {
		g.refused = min(max(g.refused, size, probeSize), probeLimit)
	}
	well := g.refused == 0
	g.mu.Unlock()
	switch {
	case err != nil:
		g.faults.note(faultLog, err)
		select {
		case g.trouble <- struct{}{}:
		default:
		}
	case well:
		g.faults.clear(faultLog)
	}
	return err
}

// ready proves that the disk takes a few bytes, such as a vote. It does not
// wait for one that hangs.
func (g *guard) ready() error {
	g.mu.Lock()
	fresh := time.Since(g.taken) < readyFor
	g.mu.Unlock()
	if fresh {
		return nil
	}
	timer := time.NewTimer(readyWithin)
	defer timer.Stop()
	answer := make(chan error, 1)
	select {
	case g.asked <- answer:
	case <-timer.C:
		return errHangs
	case <-g.faults.closing:
		return ErrNotRunning
	}
	select {
	case err := <-answer:
		return err
	case <-timer.C:
		return errHangs
	case <-g.faults.closing:
		return ErrNotRunning
	}
}

// probe proves that the disk takes size bytes, and gives them back to the
// log's file, where the next entry finds them.
func (g *guard) probe(size int) error {
	size = min(max(size, probeSize), probeLimit)
	if err := g.noted(size, g.store.Set([]byte(keyProbe), make([]byte, size))); err != nil {
		return err
	}
	return g.noted(voteSize, g.store.Set([]byte(keyProbe), []byte{1}))
}

// hangs reports whether the disk has neither taken nor refused an entry for d.
func (g *guard) hangs(d time.Duration) bool {
	begun := g.storing.Load()
	return begun != nil && time.Since(*begun) >= d
}

// watch writes what ready asks for, and looks again and again at a disk that
// has refused something, until raft is shut down: on a node that does not lead
// nothing else may be written.
func (g *guard) watch() {
	var again <-chan time.Time
	for {
		select {
		case answer := <-g.asked:
			answer <- g.noted(voteSize, g.store.Set([]byte(keyProbe), []byte{1}))
		case <-g.trouble:
			if again == nil {
				again = time.After(retryEvery)
			}
		case <-again:
			again = nil
			g.mu.Lock()
			size := g.refused
			g.mu.Unlock()
			if size > 0 {
				_ = g.probe(size) // what it refuses is trouble again
			}
		case <-g.faults.closing:
			return
		}
	}
}
