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
// long, and the news also goes out by itself (tell). What a connection has
// carried once it need not carry again: it delivers in order or it breaks, and a
// new one starts without memory. Heartbeats, on which leases and elections hang,
// go another way (gate.AppendEntries) and are never left out.
type gatedPipeline struct {
	raft.AppendPipeline
	silent func() error
	now    func() time.Time
	// leads returns the index that is committed, if this node is the leader of
	// the term.
	leads func(term uint64) (commit uint64, leads bool)
	// send appends beside the pipeline.
	send func(*raft.AppendEntriesRequest) error
	// hangs is how long one append may take before the pipeline is given up.
	hangs time.Duration

	wake   chan struct{} // holds one token when something was committed
	closed chan struct{}
	once   sync.Once

	// Raft's alone, which uses a pipeline from one goroutine.
	said appendNews
	at   time.Time

	mu   sync.Mutex                // guards the fields below
	last raft.AppendEntriesRequest // the last append, as it would stand behind its entries; Term is 0 before the first
	told uint64                    // the highest commit that the follower was told of
}

func newGatedPipeline(p raft.AppendPipeline, g *gate, send func(*raft.AppendEntriesRequest) error, now func() time.Time) *gatedPipeline {
	return &gatedPipeline{
		AppendPipeline: p, silent: g.silent, leads: g.leads, send: send, hangs: g.hangs, now: now,
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
	news, now := newsOf(args), p.now()
	if len(args.Entries) == 0 && news == p.said && now.Sub(p.at) < repeatAfter {
		return nil, nil
	}
	p.said, p.at = news, now
	if len(args.Entries) > 0 {
		p.said = appendNews{} // what follows them is news
	}
	// Raft stops to read answers at the first refusal. An append that it sends
	// before it sees that would wait for its turn for ever.
	stuck := time.AfterFunc(p.hangs, func() { _ = p.AppendPipeline.Close() })
	defer stuck.Stop()
	future, err := p.AppendPipeline.AppendEntries(args, resp)
	if err == nil {
		p.sent(args)
	}
	return future, err
}

// sent remembers where the follower's log ends behind an append.
func (p *gatedPipeline) sent(args *raft.AppendEntriesRequest) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = *args
	p.told = max(p.told, args.LeaderCommitIndex)
	if n := len(args.Entries); n > 0 {
		p.last.PrevLogEntry, p.last.PrevLogTerm = args.Entries[n-1].Index, args.Entries[n-1].Term
		p.last.Entries = nil
	}
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

// tell sends the news of a commit. Should it be lost, or come before the entries
// that it is about, raft's next append carries it too.
//
// The follower takes the commit for its own log, which the append ties to this
// leader's up to the last entry that was sent: no more than that is called
// committed. And the entry must be one that this leader's log holds. It is when
// this node leads in the term of the connection after the commit was known: it
// has led since the connection was opened, and until the end of its term a leader
// has every entry that is committed (Leader Completeness; Ongaro and Ousterhout,
// In Search of an Understandable Consensus Algorithm, 5.4).
func (p *gatedPipeline) tell() {
	if p.silent() != nil {
		return
	}
	p.mu.Lock()
	args := p.last
	commit, leads := p.leads(args.Term)
	args.LeaderCommitIndex = min(commit, args.PrevLogEntry)
	news := leads && args.Term > 0 && args.LeaderCommitIndex > p.told
	if news {
		p.told = args.LeaderCommitIndex
	}
	p.mu.Unlock()
	if news {
		_ = p.send(&args) // raft finds by itself what is broken
	}
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
