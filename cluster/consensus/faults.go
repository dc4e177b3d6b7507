package consensus

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// retryEvery is how often a write that the disk refused is tried again.
const retryEvery = 500 * time.Millisecond

// faultKind is what does not work at the moment.
type faultKind string

const (
	faultLog   faultKind = "log"   // raft.db does not take what is written to it
	faultState faultKind = "state" // the state's own stores do not
)

// faults collects what goes wrong on raft's goroutines, to which no error can
// be returned: what will pass is noted for Stats, what will not ends Run.
type faults struct {
	dir     string
	logger  *slog.Logger
	ended   chan error    // takes the first fatal fault
	closing chan struct{} // closed when Run begins to shut raft down
	// live is set while raft's goroutines run. Before, errors go to Run itself,
	// which also recovers from raft's panics.
	live atomic.Bool

	mu      sync.Mutex // guards the fields below
	present map[faultKind]error
	since   time.Time // when the first of present was noted
	refusal error     // the last of faultLog, present or not
}

func newFaults(dir string, logger *slog.Logger) *faults {
	return &faults{
		dir: dir, logger: logger,
		ended: make(chan error, 1), closing: make(chan struct{}),
		present: map[faultKind]error{},
	}
}

// fatal ends Run with err.
func (f *faults) fatal(err error) {
	select {
	case f.ended <- err:
	default: // only the first one counts
	}
}

// note records a fault that may pass, and logs it once.
func (f *faults) note(kind faultKind, err error) {
	f.mu.Lock()
	_, known := f.present[kind]
	if len(f.present) == 0 {
		f.since = time.Now()
	}
	f.present[kind] = err
	if kind == faultLog {
		f.refusal = err
	}
	f.mu.Unlock()
	if !known {
		f.logger.Error("disk refuses a write, trying again until it takes it", "what", string(kind), "error", explain(f.dir, err))
	}
}

// clear forgets a fault that has passed.
func (f *faults) clear(kind faultKind) {
	f.mu.Lock()
	_, known := f.present[kind]
	delete(f.present, kind)
	f.mu.Unlock()
	if known {
		f.logger.Info("disk takes writes again", "what", string(kind))
	}
}

// current returns the present fault, nil when all is well.
func (f *faults) current() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range []faultKind{faultLog, faultState} {
		if err := f.present[kind]; err != nil {
			return explain(f.dir, err)
		}
	}
	return nil
}

// lasting reports whether something has not worked for d or longer.
func (f *faults) lasting(d time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.present) > 0 && time.Since(f.since) >= d
}

// lastOfLog returns why the log last refused something, which may have passed
// by now; otherwise without such a reason.
func (f *faults) lastOfLog(otherwise error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refusal == nil {
		return otherwise
	}
	return explain(f.dir, f.refusal)
}

// wait returns true when it is time to try again, false when raft shuts down.
func (f *faults) wait() bool {
	timer := time.NewTimer(retryEvery)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-f.closing:
		return false
	}
}

// shuttingDown reports whether Run has begun to shut raft down.
func (f *faults) shuttingDown() bool {
	select {
	case <-f.closing:
		return true
	default:
		return false
	}
}

// explain adds to an error of the store what can be done about it.
func explain(dir string, err error) error {
	advice := cluster.DiskAdvice(dir, err)
	if advice == "" && errors.Is(err, ErrDamaged) {
		advice = cluster.DiskAdvice(dir, cluster.ErrCorrupt)
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}
