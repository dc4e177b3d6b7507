package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/tests/rig/gotest"
)

// play feeds events to a report and returns what it prints.
func play(t *testing.T, events string, ok, strict bool) (string, bool) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	if err := gotest.Read(strings.NewReader(events), &out, r.take); err != nil {
		t.Fatal(err)
	}
	good := r.finish(ok, strict)
	return out.String(), good
}

const skips = `{"Action":"run","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"    p_test.go:1: needs root\n"}
{"Action":"output","Package":"p","Test":"TestRoot","Output":"--- SKIP: TestRoot (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestRoot"}
{"Action":"output","Package":"p","Test":"TestLive","Output":"    p_test.go:2: on purpose: the suite runs it\n"}
{"Action":"skip","Package":"p","Test":"TestLive"}
{"Action":"skip","Package":"p","Test":"TestMute"}
{"Action":"output","Package":"p","Test":"TestLoud","Output":"    p_test.go:3: nobody wants to know\n"}
{"Action":"pass","Package":"p","Test":"TestLoud"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`

func TestReportListsSkips(t *testing.T) {
	got, ok := play(t, skips, true, false)
	want := `ok  	p	0.1s

SKIPPED, 3 in all:
        p TestLive: on purpose: the suite runs it
  GAP   p TestMute: no reason given
  GAP   p TestRoot: needs root
2 of them not on purpose: CI would fail
unit: 1 passed, 0 failed, 3 skipped
`
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("good is %t (-want +got):\n%s", ok, diff)
	}
	if got, ok := play(t, skips, true, true); ok || !strings.Contains(got, "2 of them not on purpose: that counts as a failure here\nunit: ") {
		t.Errorf("strict: good is %t:\n%s", ok, got)
	}
	purposeful := strings.ReplaceAll(skips, "needs root", "on purpose: x")
	purposeful = strings.ReplaceAll(purposeful, `{"Action":"skip","Package":"p","Test":"TestMute"}`+"\n", "")
	if got, ok := play(t, purposeful, true, true); !ok || !strings.HasSuffix(got, "\nunit: 1 passed, 0 failed, 2 skipped\n") {
		t.Errorf("strict with skips on purpose alone: good is %t:\n%s", ok, got)
	}
}

func TestReportFailures(t *testing.T) {
	for name, c := range map[string]struct{ events, want string }{
		"a test": {
			`{"Action":"output","Package":"p","Test":"TestA/sub","Output":"    p_test.go:1: bad\n"}
{"Action":"fail","Package":"p","Test":"TestA/sub"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"FAIL\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			"    p_test.go:1: bad\n--- FAIL: TestA (0.00s)\nFAIL\tp\t0.1s\nunit: 0 passed, 2 failed, 0 skipped\n",
		},
		"the process ended in a test": {
			`{"Action":"output","Package":"p","Test":"TestA","Output":"panic: oh\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}`,
			"panic: oh\nFAIL\tp\t0.1s\nunit: 0 passed, 1 failed, 0 skipped\n",
		},
		"no compiling": {
			`{"ImportPath":"p","Action":"build-output","Output":"p.go:1: undefined\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			"p.go:1: undefined\nFAIL\tp [build failed]\nunit: 0 passed, 1 failed, 0 skipped\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := play(t, c.events, false, false)
			if diff := cmp.Diff(c.want, got); diff != "" || ok {
				t.Errorf("good is %t (-want +got):\n%s", ok, diff)
			}
		})
	}
	if got, ok := play(t, "", true, false); ok || !strings.Contains(got, "no test ran") {
		t.Errorf("without a test good is %t:\n%s", ok, got)
	}
}

// TestRun plays a module whose one test skips for want of something.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":    "module example.com/x\n\ngo 1.26\n",
		"x_test.go": "package x\n\nimport \"testing\"\n\nfunc TestX(t *testing.T) { t.Skip(\"needs root\") }\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "")
	for _, strict := range []bool{false, true} {
		var out strings.Builder
		ok, err := run(t.Context(), []string{"-timeout", "1m", "."}, strict, &out)
		if err != nil || ok == strict {
			t.Errorf("strict is %t: good is %t, error %v", strict, ok, err)
		}
		for _, want := range []string{"GAP   example.com/x TestX: needs root\n", "\nunit: 0 passed, 0 failed, 1 skipped\n"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("output lacks %q:\n%s", want, out.String())
			}
		}
	}
	if _, err := run(t.Context(), nil, false, &strings.Builder{}); err == nil || !strings.Contains(err.Error(), "usage:") {
		t.Errorf("without a package: %v", err)
	}
}
