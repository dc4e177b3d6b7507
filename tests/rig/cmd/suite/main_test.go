package main

import (
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig/gotest"
)

func TestShow(t *testing.T) {
	var out strings.Builder
	for _, ev := range []gotest.Event{
		{Action: "run", Test: "TestA"},
		{Action: "output", Test: "TestA", Output: "=== RUN   TestA\n"},
		{Action: "output", Test: "TestA/sub", Output: "    what it said\n"},
		{Action: "build-output", Output: "x.go:1: undefined\n"},
		{Action: "output", Output: "FAIL\n"},
	} {
		show(&out, ev)
	}
	if want := "    what it said\nx.go:1: undefined\n"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-run", "TestX", "-timeout", "3m", "push", "idle"})
	if err != nil {
		t.Fatal(err)
	}
	if o.run != "TestX" || o.timeout != 3*time.Minute || o.count != 1 || strings.Join(o.names, " ") != "push idle" {
		t.Errorf("options %+v", o)
	}
	if _, err := parse(nil); err == nil || !strings.Contains(err.Error(), "usage:") {
		t.Errorf("without a name: %v", err)
	}
}

func TestUnknownSuite(t *testing.T) {
	ok, err := run(t.Context(), []string{"no-such-suite"}, &strings.Builder{})
	if ok || err == nil || !strings.Contains(err.Error(), `no suite "no-such-suite"`) {
		t.Errorf("run: %v, %v", ok, err)
	}
}
