package signing

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// maxWindow is the number of chain commits whose signatures are checked at
// once, at most. It starts at one and doubles, so that little is checked in
// vain when the range ends early.
const maxWindow = 256

// checked is the answer about one commit's signature, by the trust in force.
type checked struct {
	who Approval
	err error
}

// signer returns who signed the commit, or why the signature does not count.
// When it was not checked yet, the commits that come next on the chain are
// checked with it: they are most likely asked for next.
func (j *judge) signer(id Hash) (Approval, error) {
	if _, known := j.checked[id]; !known {
		if len(j.ahead) > 0 && j.ahead[0] == id {
			clear(j.checked) // what lies behind is not asked for again
			j.window = max(1, min(2*j.window, len(j.ahead), maxWindow))
			j.check(j.ahead[:j.window])
		} else {
			j.check([]Hash{id})
		}
	}
	found := j.checked[id]
	return found.who, found.err
}

// check checks the signatures of several commits on all processors, up to the
// first that cannot be read. Objects are read by the caller's goroutine alone,
// in order, so that what is read never depends on how the workers run.
func (j *judge) check(ids []Hash) {
	commits := make([]*Commit, 0, len(ids))
	for _, id := range ids {
		c, err := j.history.commit(id)
		if err != nil {
			j.checked[id] = checked{err: err}
			break
		}
		commits = append(commits, c)
	}
	answers := make([]checked, len(commits))
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < len(commits); i = int(next.Add(1)) - 1 {
			answers[i].who, answers[i].err = j.trust.signature(commits[i].Payload, commits[i].Signature, j.opts.Now)
			answers[i].who.Commit = commits[i].ID
		}
	}
	var workers sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(commits)) - 1 {
		workers.Go(work)
	}
	work()
	workers.Wait()
	for i, c := range commits {
		j.checked[c.ID] = answers[i]
	}
}

// forget drops the answers that were given by a policy no longer in force.
func (j *judge) forget() {
	clear(j.checked)
	j.window = 0
}
