package desired

import (
	"encoding/json"
	"errors"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden files and the tables of docs/compose.md")

// TestCompile holds every folder of testdata/compile: the files of a
// deployment named shop in in/, and beside it what they become, in want.json,
// or why they do not, in want.err.
func TestCompile(t *testing.T) {
	cases, err := filepath.Glob("testdata/compile/*")
	if err != nil || len(cases) < 20 {
		t.Fatalf("only %d cases found (%v)", len(cases), err)
	}
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			t.Parallel()
			d, err := Compile(os.DirFS(filepath.Join(dir, "in")), "shop", "deployments/shop")
			var file, got string
			if err != nil {
				file, got = filepath.Join(dir, "want.err"), err.Error()+"\n"
				if !errors.As(err, new(Problems)) {
					t.Errorf("error of type %T, want Problems", err)
				}
			} else {
				file, got = filepath.Join(dir, "want.json"), toJSON(t, d)
			}
			checkGolden(t, file, got)
			again, errAgain := Compile(os.DirFS(filepath.Join(dir, "in")), "shop", "deployments/shop")
			if diff := cmp.Diff(d, again, cmpopts.EquateComparable(netip.Addr{})); diff != "" || errText(err) != errText(errAgain) {
				t.Errorf("a second compile differs: %s\n%v\n%v", diff, err, errAgain)
			}
		})
	}
}

func toJSON(t *testing.T, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data) + "\n"
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func checkGolden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		for _, stale := range []string{"want.json", "want.err"} {
			if base := filepath.Base(file); base == "want.json" || base == "want.err" {
				_ = os.Remove(filepath.Join(filepath.Dir(file), stale))
			}
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; the answer was:\n%s", err, got)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// files is a deployment's folder in memory, from "name", "content" pairs.
func files(pairs ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for i := 0; i+1 < len(pairs); i += 2 {
		fsys[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1]), Mode: 0o644}
	}
	return fsys
}

// compose compiles one compose file and nothing beside it.
func compose(text string) (*Deployment, error) {
	return Compile(files("compose.yaml", text), "shop", "deployments/shop")
}

func wantProblem(t *testing.T, err error, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Fatalf("error %v\ndoes not contain %q", err, part)
		}
	}
}

// TestCorpus compiles public compose files when JACO_COMPOSE_CORPUS names a
// folder of them: each either compiles or is refused with places, none panics.
func TestCorpus(t *testing.T) {
	dir := os.Getenv("JACO_COMPOSE_CORPUS")
	if dir == "" {
		t.Skip("on purpose: JACO_COMPOSE_CORPUS names no folder")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*.y*ml"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no compose files in %s (%v)", dir, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			d, err := compose(string(data))
			var problems Problems
			switch {
			case errors.As(err, &problems):
				for _, p := range problems {
					if p.Line == 0 {
						t.Errorf("a problem without a line: %s", p)
					}
				}
				t.Logf("refused:\n%s", err)
			case err != nil:
				t.Errorf("error of type %T: %v", err, err)
			default:
				t.Logf("%d services, ignored: %v", len(d.Services), d.Ignored)
			}
		})
	}
}
