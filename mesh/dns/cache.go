package dns

import (
	"container/list"
	"sync"
	"time"

	"github.com/miekg/dns"
)

const (
	// cacheEntries and cacheEntrySize bound the cache: at most 2 MiB of answers.
	cacheEntries   = 512
	cacheEntrySize = 4096 // bytes on the wire
	// maxPositive and maxNegative bound how long an answer is kept, whatever its
	// own time to live is. A name that came into being is found within maxNegative.
	maxPositive = 5 * time.Minute
	maxNegative = 30 * time.Second
)

// cache keeps the latest answers of upstreams. It is safe for concurrent use;
// names of the mesh never come here.
type cache struct {
	clock func() time.Time

	mu      sync.Mutex // guards the fields below
	entries map[question]*list.Element
	recent  *list.List // of *cached, most recently used first
}

// cached is one answer.
type cached struct {
	question question
	answer   *dns.Msg
	since    time.Time
	until    time.Time
}

func newCache(clock func() time.Time) *cache {
	return &cache{clock: clock, entries: map[question]*list.Element{}, recent: list.New()}
}

// get returns a copy with what is left of its time to live, or nil.
func (c *cache) get(q question) *dns.Msg {
	now := c.clock()
	c.mu.Lock()
	element := c.entries[q]
	if element == nil {
		c.mu.Unlock()
		return nil
	}
	entry := element.Value.(*cached)
	if !now.Before(entry.until) {
		c.remove(element)
		c.mu.Unlock()
		return nil
	}
	c.recent.MoveToFront(element)
	c.mu.Unlock()
	answer := entry.answer.Copy()
	age := uint32(max(0, now.Sub(entry.since)) / time.Second)
	for _, section := range [][]dns.RR{answer.Answer, answer.Ns, answer.Extra} {
		for _, rr := range section {
			rr.Header().Ttl -= min(age, rr.Header().Ttl)
		}
	}
	return answer
}

func (c *cache) put(q question, answer *dns.Msg) {
	life := lifetime(answer)
	if life <= 0 || answer.Len() > cacheEntrySize {
		return
	}
	now := c.clock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.entries[q]; element != nil {
		c.remove(element)
	}
	for c.recent.Len() >= cacheEntries {
		c.remove(c.recent.Back())
	}
	c.entries[q] = c.recent.PushFront(&cached{q, answer, now, now.Add(life)})
}

// remove takes an entry out; c.mu is held.
func (c *cache) remove(element *list.Element) {
	delete(c.entries, element.Value.(*cached).question)
	c.recent.Remove(element)
}

// lifetime is how long an answer may be kept; 0: not at all. That a name or
// type does not exist is kept as RFC 2308, section 5, says: by its SOA record,
// and not without one.
func lifetime(answer *dns.Msg) time.Duration {
	if answer.Truncated || !isAnswer(answer) {
		return 0
	}
	if answer.Rcode == dns.RcodeSuccess && len(answer.Answer) > 0 {
		return min(shortest(answer), maxPositive)
	}
	for _, rr := range answer.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(shortest(answer), time.Duration(soa.Minttl)*time.Second, maxNegative)
		}
	}
	return 0
}

// shortest is the shortest time to live in an answer.
func shortest(answer *dns.Msg) time.Duration {
	least := uint32(maxPositive / time.Second)
	for _, section := range [][]dns.RR{answer.Answer, answer.Ns, answer.Extra} {
		for _, rr := range section {
			least = min(least, rr.Header().Ttl)
		}
	}
	return time.Duration(least) * time.Second
}
