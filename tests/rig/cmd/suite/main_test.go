package main

import (
	"strings"
	"testing"
	"time"
)

func TestCounts(t *testing.T) {
	in := `{"Action":"start","Package":"p"}
{"Action":"run","Test":"TestA"}
{"Action":"output","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Test":"TestA/sub","Output":"    what it said\n"}
{"Action":"pass","Test":"TestA/sub"}
{"Action":"pass","Test":"TestA"}
{"Action":"fail","Test":"TestB"}
{"Action":"skip","Test":"TestC"}
go: something else
{"Action":"output","Output":"FAIL\n"}
{"Action":"fail","Package":"p"}
last line without end`
	var c counts
	var out strings.Builder
	if err := c.read(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if want := (counts{passed: 2, failed: 1, skipped: 1}); c != want {
		t.Errorf("counts %+v, want %+v", c, want)
	}
	if want := "    what it said\ngo: something else\nlast line without end"; out.String() != want {
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
