package dns

import (
	"net/netip"
	"sync"
)

const (
	// maxWaiting bounds the queries that wait for something, of all clients.
	maxWaiting = 1024
	// maxWaitingOf bounds those of one, so that it leaves room for others.
	maxWaitingOf = 128
)

// limiter counts the queries that wait. Whoever comes when it is full is told
// SERVFAIL at once.
type limiter struct {
	mu    sync.Mutex // guards the fields below
	total int
	by    map[netip.Addr]int
}

// take counts a query in, unless there are too many; release counts it out.
func (l *limiter) take(source netip.Addr) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= maxWaiting || l.by[source] >= maxWaitingOf {
		return nil, false
	}
	l.total++
	l.by[source]++
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.total--
		if l.by[source]--; l.by[source] == 0 {
			delete(l.by, source)
		}
	}, true
}
