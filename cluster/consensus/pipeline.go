package consensus

import (
	"time"

	"github.com/hashicorp/raft"
)

// repeatAfter is when an append that says nothing new is sent all the same, so
// that a connection that broke without a word is found.
const repeatAfter = time.Second

// gatedPipeline falls silent with its gate, and when there is nothing to say.
//
// Raft sends every follower an empty append at each CommitTimeout, for the news
// of a commit that it may carry. On an idle cluster these are most of the work:
// at 20 ms some 40 a second for each follower. What a connection has carried
// once it need not carry again: it delivers in order or it breaks, and a new
// one starts without memory. Heartbeats, on which leases and elections hang, go
// another way (AppendEntries) and are never left out.
//
// Raft uses a pipeline from one goroutine.
type gatedPipeline struct {
	raft.AppendPipeline
	silent func() error
	now    func() time.Time

	said appendNews
	at   time.Time
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
	news, now := appendNews{args.Term, args.PrevLogEntry, args.PrevLogTerm, args.LeaderCommitIndex}, p.now()
	if len(args.Entries) == 0 && news == p.said && now.Sub(p.at) < repeatAfter {
		return nil, nil
	}
	p.said, p.at = news, now
	if len(args.Entries) > 0 {
		p.said = appendNews{} // what follows them is news
	}
	return p.AppendPipeline.AppendEntries(args, resp)
}
