package gotest

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestRead(t *testing.T) {
	const in = `{"Action":"start","Package":"p"}
{"Action":"pass","Package":"p","Test":"TestA/sub"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p","Test":"TestB"}
{"Action":"skip","Package":"p","Test":"TestC"}
go: something else
{"Action":"fail","Package":"p"}
last line without end`
	var counts Counts
	var actions []string
	var out strings.Builder
	err := Read(strings.NewReader(in), &out, func(ev Event) {
		counts.Take(ev)
		actions = append(actions, ev.Action)
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Counts{Passed: 2, Failed: 1, Skipped: 1}); counts != want {
		t.Errorf("counts %+v, want %+v", counts, want)
	}
	if want := []string{"start", "pass", "pass", "fail", "skip", "fail"}; !slices.Equal(actions, want) {
		t.Errorf("actions %v, want %v", actions, want)
	}
	if want := "go: something else\nlast line without end"; out.String() != want {
		t.Errorf("output %q, want %q", out.String(), want)
	}
}

func TestSkipReason(t *testing.T) {
	for name, c := range map[string]struct {
		output, want string
	}{
		"one line":       {"=== RUN   TestA\n    a_test.go:3: on purpose: this\n--- SKIP: TestA (0.00s)\n", "on purpose: this"},
		"several lines":  {"    a_test.go:3: this\n        and that\n--- SKIP: TestA (0.00s)\n", "this and that"},
		"after messages": {"printed\n    a_test.go:3: note\n        more of it\n    b_test.go:4: no root\n--- SKIP: TestA (0.00s)\n", "no root"},
		"none":           {"=== RUN   TestA\n--- SKIP: TestA (0.00s)\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := SkipReason(slices.Collect(strings.Lines(c.output))); got != c.want {
				t.Errorf("reason %q, want %q", got, c.want)
			}
		})
	}
}

// TestRun plays a module with each outcome, so that a change in what go test
// prints does not make skips silent.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod": "module example.com/x\n\ngo 1.26\n",
		"x_test.go": `package x
import "testing"
func TestPass(t *testing.T) { t.Log("fine") }
func TestFail(t *testing.T) { t.Error("bad") }
func TestSkip(t *testing.T) {
	t.Log("before")
	t.Run("parallel", func(t *testing.T) { t.Parallel(); t.Skip("no root\nhere") })
	t.Skipf("on purpose: %d", 1)
}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var counts Counts
	output, reasons := map[string][]string{}, map[string]string{}
	var out strings.Builder
	err := Command{Dir: dir, Env: []string{"GOFLAGS=", "GOWORK=off"}, Args: []string{"."}}.Run(t.Context(), &out, func(ev Event) {
		counts.Take(ev)
		output[ev.Test] = append(output[ev.Test], ev.Output)
		if ev.Action == "skip" {
			reasons[ev.Test] = SkipReason(output[ev.Test])
		}
	})
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("error %v, want an exit status\n%s", err, out.String())
	}
	if want := (Counts{Passed: 1, Failed: 1, Skipped: 2}); counts != want {
		t.Errorf("counts %+v, want %+v", counts, want)
	}
	if reasons["TestSkip"] != "on purpose: 1" || reasons["TestSkip/parallel"] != "no root here" {
		t.Errorf("reasons %q", reasons)
	}
}
