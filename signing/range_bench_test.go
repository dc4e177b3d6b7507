package signing

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkVerifyRange judges 10,000 signed commits on one branch, each of
// which changes one file of one of 200 deployments.
func BenchmarkVerifyRange(b *testing.B) {
	const commits, deployments = 10_000, 200
	r, anchor := anchored(b)
	first := edits{"docs/guide.md": "guide"}
	for i := range deployments {
		first[fmt.Sprintf("deployments/app%03d/compose.yaml", i)] = "0"
		first[fmt.Sprintf("deployments/app%03d/.env", i)] = "0"
	}
	tip := r.commit("alice", "Start", first, anchor)
	for i := range commits - 1 {
		path := fmt.Sprintf("deployments/app%03d/compose.yaml", i%deployments)
		tip = r.quickCommit("alice", fmt.Sprintf("Change %d", i), path, fmt.Sprint(i), tip)
	}
	from := Position{Commit: anchor, Anchor: true}
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	for b.Loop() {
		v, err := Verify(r, from, tip, Options{Now: testNow})
		if err != nil || v.Refusal != nil || len(v.Commits) != commits {
			b.Fatal(err, v)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000/float64(b.N*commits), "ms/commit")
}

// quickCommit is commit for one changed file in a large tree: it stores what
// changed only.
func (r *testRepo) quickCommit(by, message, path, content string, parent Hash) Hash {
	r.clock++
	c, err := ReadCommit(r, parent)
	if err != nil {
		r.tb.Fatal(err)
	}
	who := Ident{Name: "Someone", Email: "someone@example.com", Time: time.Unix(r.clock, 0).In(time.FixedZone("+0000", 0))}
	next := &Commit{
		Tree: r.replace(c.Tree, path, content), Parents: []Hash{parent}, Author: who, Committer: who, Message: message + "\n",
	}
	next.Signature = r.sign(by, encodeCommit(next))
	return r.put(CommitObject, encodeCommit(next))
}
