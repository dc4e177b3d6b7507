package consensus

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// repeatAfter is when an append that says nothing new is sent all the same, so
// that a connection that broke without a word is found.
const repeatAfter = time.Second

// gatedPipeline falls silent with its gate, and when there is nothing to say,
// and tells of a commit at once.
//
// Raft sends every follower an empty append at each CommitTimeout, for the news
// of a commit that it may carry. A short time-out makes these most of the work
// of an idle cluster, a long one makes every follower late. So the time-out is
// long, and the news goes out by itself (tell). What a connection has carried
// once it need not carry again: it delivers in order or it breaks, and a new
// one starts without memory. Heartbeats, on which leases and elections hang, go
// another way (gate.AppendEntries) and are never left out.
type gatedPipeline struct {
	raft.AppendPipeline
	silent func() error
	now    func() time.Time
	// leads returns the index that is committed, if this node is the leader of
	// the term.
	leads func(term uint64) (commit uint64, leads bool)

	wake   chan struct{} // holds one token when something was committed
	closed chan struct{}
	once   sync.Once

	mu   sync.Mutex                // guards the fields below and AppendPipeline.AppendEntries
	last raft.AppendEntriesRequest // as it would stand without its entries; Term is 0 before the first
	said appendNews
	at   time.Time
}

func newGatedPipeline(p raft.AppendPipeline, silent func() error, leads func(uint64) (uint64, bool), now func() time.Time) *gatedPipeline {
	return &gatedPipeline{
		AppendPipeline: p, silent: silent, leads: leads, now: now,
		wake: make(chan struct{}, 1), closed: make(chan struct{}),
	}
}

// appendNews is all that an append without entries tells.
type appendNews struct {
	term, previous, previousTerm, commit uint64
}

// AppendEntries implements raft.AppendPipeline. The future of an append that is
// left out is nil: raft looks at the answers in the pipeline's own channel, and
// there is none.
func (p *gatedPipeline) AppendEntries(args *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	if err := p.silent(); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	news, now := newsOf(args), p.now()
	if len(args.Entries) == 0 && news == p.said && now.Sub(p.at) < repeatAfter {
		return nil, nil
	}
	p.said, p.at, p.last = news, now, *args
	if n := len(args.Entries); n > 0 {
		p.said = appendNews{} // what follows them is news
		p.last.PrevLogEntry, p.last.PrevLogTerm = args.Entries[n-1].Index, args.Entries[n-1].Term
		p.last.Entries = nil
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}

func newsOf(args *raft.AppendEntriesRequest) appendNews {
	return appendNews{args.Term, args.PrevLogEntry, args.PrevLogTerm, args.LeaderCommitIndex}
}

// run tells of commits until the pipeline is closed, or stop is.
func (p *gatedPipeline) run(stop <-chan struct{}) {
	for {
		select {
		case <-p.wake:
			p.tell()
		case <-p.closed:
			return
		case <-stop:
			return
		}
	}
}

// tell sends the news of a commit, behind all that was sent before. Without an
// append before it there is nothing that it could refer to, and raft's next one
// will carry it.
//
// The follower takes the commit for its own log up to what was sent last, so it
// must be one that this leader's log holds. It is when this node leads in the
// term of the connection after the commit was known: it has led since the
// connection was opened, and a leader has every entry that is committed until
// the end of its term (Leader Completeness; Ongaro and Ousterhout, In Search of
// an Understandable Consensus Algorithm, 5.4).
func (p *gatedPipeline) tell() {
	p.mu.Lock()
	defer p.mu.Unlock()
	commit, leads := p.leads(p.last.Term)
	if !leads || p.last.Term == 0 || commit <= p.last.LeaderCommitIndex || p.silent() != nil {
		return
	}
	args := p.last
	args.LeaderCommitIndex = commit
	p.said, p.at, p.last = newsOf(&args), p.now(), args
	// When it fails the connection is broken, and raft finds that by itself.
	_, _ = p.AppendPipeline.AppendEntries(&args, new(raft.AppendEntriesResponse))
}

// Close implements raft.AppendPipeline.
func (p *gatedPipeline) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.AppendPipeline.Close()
}

// pipelines are the open connections of a leader.
type pipelines struct {
	mu   sync.Mutex
	open map[*gatedPipeline]struct{}
	any  atomic.Bool // whether open holds one
}

// committed says that an entry was committed.
func (ps *pipelines) committed() {
	if !ps.any.Load() {
		return
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for p := range ps.open {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// follow runs p until its end.
func (ps *pipelines) follow(p *gatedPipeline, stop <-chan struct{}) {
	ps.set(p, true)
	defer ps.set(p, false)
	p.run(stop)
}

func (ps *pipelines) set(p *gatedPipeline, open bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if open {
		ps.open[p] = struct{}{}
	} else {
		delete(ps.open, p)
	}
	ps.any.Store(len(ps.open) > 0)
}
