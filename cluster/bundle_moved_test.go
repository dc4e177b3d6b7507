package cluster

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
)

// TestBundleAfterOperatorsMovedThePin: what no signature leads to verifies only
// for who trusts the commit that the operators named.
func TestBundleAfterOperatorsMovedThePin(t *testing.T) {
	r := newSignedRig(t)
	anchor := r.history.commit(signing.Hash{}, fleet(t, "shop:9"), "another history", testKey("alice"))
	tip := r.history.commit(anchor, fleet(t, "shop:10"), "go on", testKey("alice"))
	r.must(&PutObjects{Objects: r.history.taken()})
	at, _, err := signing.Reanchor(r.objects, r.at, anchor)
	if err != nil {
		t.Fatal(err)
	}
	r.at = at
	r.claim(tip)

	verify := func(opts BundleOptions) (*BundleReport, string) {
		report, err := VerifyBundle(bytes.NewReader(r.bundle()), opts)
		var failed *VerificationError
		if err != nil && !errors.As(err, &failed) {
			t.Fatal(err)
		}
		if failed != nil {
			return nil, failed.What
		}
		return report, ""
	}
	if _, problem := verify(r.options()); !strings.Contains(problem, "rewritten") {
		t.Errorf("without a word of any operator: %q", problem)
	}
	r.must(&RecordEvents{Events: []Event{{Type: EventReanchored, Node: "node-1", Revision: anchor, Message: "moved"}}})
	if _, problem := verify(r.options()); !strings.Contains(problem, "rewritten") || !strings.Contains(problem, "--reanchor") {
		t.Errorf("without trust in it: %q", problem)
	}
	opts := r.options()
	opts.Reanchors = []signing.Hash{{1}}
	if _, problem := verify(opts); problem == "" {
		t.Error("another commit will do")
	}
	opts.Reanchors = append(opts.Reanchors, anchor)
	report, problem := verify(opts)
	if problem != "" {
		t.Fatal(problem)
	}
	last := report.Claims[len(report.Claims)-1]
	if report.Accepted != tip || !last.Reanchored || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], anchor.String()) {
		t.Errorf("accepted %s, claim %+v, warnings %q", report.Accepted, last, report.Warnings)
	}
}
