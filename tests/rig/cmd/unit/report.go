package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/tests/rig/gotest"
)

// report prints what is worth reading of the events of go test, as it comes.
type report struct {
	out    io.Writer
	counts gotest.Counts
	// said holds the output of what has not ended, by package and test; that of
	// a package itself is under the empty test.
	said    map[string]map[string][]string
	failed  map[string]bool // packages in which a test failed
	skipped []skip
}

// skip is a test that did not run.
type skip struct{ pkg, test, reason string }

func newReport(out io.Writer) *report {
	return &report{out: out, said: map[string]map[string][]string{}, failed: map[string]bool{}}
}

func (r *report) take(ev gotest.Event) {
	r.counts.Take(ev)
	switch ev.Action {
	case "build-output":
		r.print(ev.Output)
	case "output":
		tests := r.said[ev.Package]
		if tests == nil {
			tests = map[string][]string{}
			r.said[ev.Package] = tests
		}
		if !gotest.Noise(ev.Output) {
			tests[ev.Test] = append(tests[ev.Test], ev.Output)
		}
	case "pass", "fail", "skip":
		if ev.Test == "" {
			r.endPackage(ev)
		} else {
			r.endTest(ev)
		}
	}
}

// endTest prints the output of a test that failed.
func (r *report) endTest(ev gotest.Event) {
	lines := r.said[ev.Package][ev.Test]
	delete(r.said[ev.Package], ev.Test)
	switch ev.Action {
	case "fail":
		r.failed[ev.Package] = true
		r.print(lines...)
	case "skip":
		r.skipped = append(r.skipped, skip{ev.Package, ev.Test, gotest.SkipReason(lines)})
	}
}

// endPackage prints the package's line. When it failed, what its unfinished
// tests said comes before: one of them ended the process.
func (r *report) endPackage(ev gotest.Event) {
	tests := r.said[ev.Package]
	delete(r.said, ev.Package)
	if ev.Action != "fail" {
		if lines := tests[""]; len(lines) > 0 {
			r.print(lines[len(lines)-1])
		}
		return
	}
	for _, test := range slices.Sorted(maps.Keys(tests)) {
		if test != "" {
			r.print(tests[test]...)
		}
	}
	r.print(tests[""]...)
	if !r.failed[ev.Package] {
		r.counts.Failed++ // it did not compile, crashed or ran out of time
	}
}

func (r *report) print(lines ...string) {
	for _, line := range lines {
		_, _ = io.WriteString(r.out, line)
	}
}

// finish lists what was skipped and prints the last line. It says whether all
// is well, given whether go test said so.
func (r *report) finish(ok, strict bool) bool {
	gaps := 0
	if len(r.skipped) > 0 {
		r.print(fmt.Sprintf("\nSKIPPED, %d in all:\n", len(r.skipped)))
	}
	slices.SortFunc(r.skipped, func(a, b skip) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test)) })
	for _, s := range r.skipped {
		mark := "        "
		if !strings.HasPrefix(s.reason, gotest.OnPurpose) {
			gaps++
			mark = "  GAP   "
		}
		r.print(fmt.Sprintf("%s%s %s: %s\n", mark, s.pkg, s.test, cmp.Or(s.reason, "no reason given")))
	}
	switch {
	case gaps > 0 && strict:
		r.print(fmt.Sprintf("%d of them not on purpose: that counts as a failure here\n", gaps))
	case gaps > 0:
		r.print(fmt.Sprintf("%d of them not on purpose: CI would fail\n", gaps))
	}
	if r.counts == (gotest.Counts{}) {
		ok = false
		r.print("no test ran: that counts as a failure\n")
	}
	r.print(fmt.Sprintf("unit: %s\n", r.counts))
	return ok && r.counts.Failed == 0 && (gaps == 0 || !strict)
}
