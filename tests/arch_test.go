package tests

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/jaco-sh/jaco"

// allowed says which of our packages a package may import: the table of
// docs/architecture.md. "+" after a name means "and all below it".
var allowed = map[string][]string{
	"proto/jaco/v1":     {},
	"signing":           {},
	"desired":           {"desired/sops"},
	"desired/sops":      {},
	"gitsync":           {"desired", "signing"},
	"cluster":           {"signing", "desired", "proto/jaco/v1"},
	"cluster/verifier":  {"cluster", "signing", "desired"},
	"cluster/consensus": {"cluster"},
	"cluster/identity":  {"cluster"},
	"cluster/notify":    {"cluster", "desired", "signing"},
	"cluster/rpc":       {"cluster+", "desired", "signing", "proto/jaco/v1"},
	"scheduler":         {"cluster", "desired", "signing"}, // signing for its Hash
	"scheduler/preview": {"cluster", "desired", "scheduler", "signing"},
	"agent":             {"cluster", "desired", "desired/sops", "signing"}, // likewise
	"agent/docker":      {"agent", "desired"},
	"agent/tmpfs":       {"agent"},
	"mesh":              {"cluster", "desired", "mesh/bridge", "mesh/dns", "mesh/firewall", "mesh/wireguard"},
	"mesh/bridge":       {},
	"mesh/dns":          {},
	"mesh/firewall":     {},
	"mesh/wireguard":    {},
	"cmd/jaco":          {"cluster", "cluster/rpc", "desired", "scheduler/preview", "signing"},
	"cmd/jacod":         {"+"},
}

// heavy says which packages may import a heavy library. A library that is not
// listed is small and free.
var heavy = map[string][]string{
	"google.golang.org/grpc":             {"proto/jaco/v1", "cluster/rpc"},
	"google.golang.org/protobuf":         {"proto/jaco/v1", "cluster", "cluster/rpc"},
	"github.com/go-git/":                 {"gitsync"},
	"github.com/fsnotify/fsnotify":       {"gitsync"},
	"github.com/compose-spec/compose-go": {"desired"},
	"github.com/hashicorp/go-memdb":      {"cluster"},
	"github.com/hashicorp/raft":          {"cluster/consensus"},
	"github.com/ProtonMail/go-crypto":    {"signing"},
	"github.com/hiddeco/sshsig":          {"signing"},
	"golang.org/x/crypto/ssh":            {"signing", "gitsync"},
	"filippo.io/age":                     {"cluster/identity"},
	"github.com/moby/moby/":              {"agent/docker", "mesh/bridge"},
	"github.com/google/nftables":         {"mesh/firewall"},
	"golang.zx2c4.com/wireguard":         {"mesh/wireguard"},
	"github.com/miekg/dns":               {"mesh/dns"},
	"github.com/vishvananda/netlink":     {"mesh/wireguard", "mesh/bridge", "mesh/firewall", "mesh", "cmd/jacod"},
	"github.com/spf13/cobra":             {"cmd/jaco", "cmd/jacod"},
	"github.com/prometheus/":             {"cmd/jacod"},
	"github.com/docker/docker":           {}, // succeeded by github.com/moby/moby/client
}

// pure are the packages whose results must hang on their arguments alone.
var pure = []string{"signing", "desired", "desired/sops", "cluster"}

// impure lists, by import path, the identifiers that pure packages must not
// use; "*" is the whole package.
var impure = map[string][]string{
	"time":         {"Now", "Since", "Until", "Sleep", "After", "Tick", "NewTimer", "NewTicker"},
	"math/rand":    {"*"},
	"math/rand/v2": {"*"},
	"crypto/rand":  {"*"},
	"log":          {"*"},
	"log/slog":     {"*"},
	"net/http":     {"*"},
	"os/exec":      {"*"},
}

// sizes of STYLE: a file and a function longer than this are split.
const (
	maxFileLines     = 500
	maxFunctionLines = 100
)

// source is one parsed file of the module.
type source struct {
	path      string // slash-separated, from the module's root
	directory string
	file      *ast.File
	lines     int
	test      bool
	generated bool
}

func parseModule(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	fset := token.NewFileSet()
	var files []source
	root := ".."
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := entry.Name()
		if entry.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(fset, path, data, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		files = append(files, source{
			path: relative, directory: filepath.ToSlash(filepath.Dir(relative)), file: file, lines: bytes.Count(data, []byte("\n")),
			test: strings.HasSuffix(name, "_test.go"), generated: ast.IsGenerated(file),
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 50 {
		t.Fatalf("only %d Go files found: the rules are not looking at the module", len(files))
	}
	return fset, files
}

// ours reports whether the rules on imports apply: the suites and examples may
// import what they test.
func (s source) ours() bool {
	return !strings.HasPrefix(s.path, "tests/") && !strings.HasPrefix(s.path, "examples/")
}

func TestImports(t *testing.T) {
	_, files := parseModule(t)
	for _, f := range files {
		if f.test || !f.ours() {
			continue
		}
		rules, listed := allowed[f.directory]
		if !listed {
			t.Errorf("%s: package %s is not in the import table; add it there and to docs/architecture.md", f.path, f.directory)
			continue
		}
		for _, spec := range f.file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if inner, found := strings.CutPrefix(path, module+"/"); found {
				if !permits(rules, inner) {
					t.Errorf("%s imports %s: %s may import %v; let the two meet in cluster.State or in an interface that the consumer declares",
						f.path, inner, f.directory, rules)
				}
				continue
			}
			for prefix, packages := range heavy {
				if strings.HasPrefix(path, prefix) && !slices.Contains(packages, f.directory) {
					t.Errorf("%s imports %s: only %v may; wrap it there", f.path, path, packages)
				}
			}
		}
	}
}

func permits(rules []string, path string) bool {
	for _, rule := range rules {
		prefix, below := strings.CutSuffix(rule, "+")
		if path == prefix || below && (prefix == "" || strings.HasPrefix(path, prefix+"/")) {
			return true
		}
	}
	return false
}

func TestPackagesAreDocumented(t *testing.T) {
	_, files := parseModule(t)
	documented := map[string]bool{}
	for _, f := range files {
		if f.test {
			continue
		}
		documented[f.directory] = documented[f.directory] || f.file.Doc != nil || f.generated
	}
	for directory, found := range documented {
		if !found {
			t.Errorf("package %s has no doc comment: say what it is and its rules", directory)
		}
	}
}

func TestPurePackages(t *testing.T) {
	fset, files := parseModule(t)
	for _, f := range files {
		if f.test || !slices.Contains(pure, f.directory) {
			continue
		}
		for _, use := range uses(f.file, impure) {
			t.Errorf("%s: %s in a pure package: take it as an argument", fset.Position(use.pos), use.name)
		}
	}
}

func TestSchedulerComputesPurely(t *testing.T) {
	fset, files := parseModule(t)
	for _, f := range files {
		// The loop alone may look at a clock.
		if f.test || f.directory != "scheduler" || strings.HasSuffix(f.path, "/loop.go") {
			continue
		}
		for _, use := range uses(f.file, impure) {
			t.Errorf("%s: %s in the planner: it takes everything as arguments, time included", fset.Position(use.pos), use.name)
		}
	}
}

func TestRootContexts(t *testing.T) {
	fset, files := parseModule(t)
	forbidden := map[string][]string{"context": {"Background", "TODO"}}
	for _, f := range files {
		if f.test || strings.HasPrefix(f.path, "cmd/") || !f.ours() {
			continue
		}
		for _, use := range uses(f.file, forbidden) {
			t.Errorf("%s: %s: only cmd makes a root context; take one as the first argument", fset.Position(use.pos), use.name)
		}
	}
}

func TestNoSleeps(t *testing.T) {
	fset, files := parseModule(t)
	for _, f := range files {
		for _, use := range uses(f.file, map[string][]string{"time": {"Sleep"}}) {
			t.Errorf("%s: %s: wait on a condition, or use testing/synctest", fset.Position(use.pos), use.name)
		}
	}
}

func TestNoInitFunctions(t *testing.T) {
	fset, files := parseModule(t)
	for _, f := range files {
		for _, decl := range f.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" && !f.generated {
				t.Errorf("%s: func init: construct it where it is used", fset.Position(fn.Pos()))
			}
		}
	}
}

func TestSizes(t *testing.T) {
	fset, files := parseModule(t)
	for _, f := range files {
		if f.generated {
			continue
		}
		if f.lines > maxFileLines {
			t.Errorf("%s has %d lines, more than %d: split it by responsibility", f.path, f.lines, maxFileLines)
		}
		for _, decl := range f.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			if lines := fset.Position(fn.End()).Line - fset.Position(fn.Pos()).Line + 1; lines > maxFunctionLines {
				t.Errorf("%s: %s has %d lines, more than %d", fset.Position(fn.Pos()), fn.Name.Name, lines, maxFunctionLines)
			}
		}
	}
}

func TestNoCatchAllPackages(t *testing.T) {
	_, files := parseModule(t)
	for _, f := range files {
		for _, part := range strings.Split(f.directory, "/") {
			if slices.Contains([]string{"internal", "pkg", "util", "utils", "common", "types", "helpers"}, part) {
				t.Errorf("%s: a package is named after what it holds, not %s", f.path, part)
			}
		}
	}
}

// use is one mention of a forbidden identifier.
type use struct {
	pos  token.Pos
	name string
}

// uses finds the identifiers of forbidden, by import path, in one file.
func uses(file *ast.File, forbidden map[string][]string) []use {
	names := map[string]string{} // local name to import path
	var found []use
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		identifiers, listed := forbidden[path]
		if !listed {
			continue
		}
		if slices.Contains(identifiers, "*") {
			found = append(found, use{spec.Pos(), path})
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	ast.Inspect(file, func(node ast.Node) bool {
		selector, ok := node.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		base, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		if path, imported := names[base.Name]; imported && slices.Contains(forbidden[path], selector.Sel.Name) {
			found = append(found, use{selector.Pos(), path + "." + selector.Sel.Name})
		}
		return true
	})
	return found
}

// TestRulesCatch breaks each rule on purpose: a rule that cannot fail guards
// nothing.
func TestRulesCatch(t *testing.T) {
	const text = `package p
import (
	clock "time"
	"math/rand"
)
func f() { clock.Sleep(1); _ = rand.Int(); _ = clock.Now() }
`
	file, err := parser.ParseFile(token.NewFileSet(), "p.go", text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, u := range uses(file, impure) {
		names = append(names, u.name)
	}
	slices.Sort(names)
	if want := []string{"math/rand", "time.Now", "time.Sleep"}; !slices.Equal(names, want) {
		t.Errorf("found %v, want %v", names, want)
	}
	if permits(allowed["gitsync"], "cluster") || permits(allowed["scheduler"], "agent") {
		t.Error("the import table lets loops import each other")
	}
	if !permits(allowed["cluster/rpc"], "cluster/verifier") || !permits(allowed["cmd/jacod"], "agent/docker") {
		t.Error("the import table forbids what it should allow")
	}
}
