package desired

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
)

// The budget of one hostile compile. An input that gets past its limit costs
// seconds and gigabytes, so the bounds may be generous on a busy machine.
const (
	hostileTime  = 5 * time.Second
	hostileAlloc = 512 << 20
)

func repeat(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// bomb is n anchors that each stand for ten of the one before.
func bomb(n int) string {
	var b strings.Builder
	b.WriteString("x-0: &a0 [" + strings.Repeat("x, ", 9) + "x]\n")
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	return b.String()
}

// service is a compose file with one service and these fields.
func service(fields string) string { return "services:\n  web:\n    image: nginx\n" + fields }

// TestHostileInput tries what takes compose-go or a YAML parser seconds or
// gigabytes, and what is merely too much: each is refused by its own limit,
// quickly.
func TestHostileInput(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"10 KB nested 5,000 deep", service("    labels: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000)), "nested deeper than the limit of 32"},
		{"mappings nested deep", service("    labels: " + strings.Repeat("{a: ", 5000) + strings.Repeat("}", 5000)), "nested deeper than the limit of 32"},
		{"deep in an extension", "x-deep: " + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "\n" + service(""), "nested deeper than the limit of 32"},
		{"1 MiB of open brackets", strings.Repeat("[", 1<<20), "exceeded max depth"},
		{"60,000 ports in one range", service(`    ports: ["1-60000:1-60000"]`), "ports[0]: more than the limit of 4096 published ports"},
		{"a huge range", service(`    ports: ["1-999999999:80"]`), "more than the limit of 4096 published ports"},
		{"many ranges", service("    ports:\n" + repeat(3, "      - 1%[1]d000-1%[1]d999:2%[1]d000-2%[1]d999\n") + "      - 30000-32000:30000-32000\n"), "more than the limit of 4096 published ports"},
		{"a range by variable", service(`    ports: ["${A:-1-60000}:${A:-1-60000}"]`), "more than the limit of 4096 published ports"},
		{"30,000 variables", service("    environment:\n" + repeat(30_000, "      K%d: v\n")), "30000 entries in one mapping, more than the limit of 4096"},
		{"30,000 list items", service("    command:\n" + repeat(30_000, "      - v%d\n")), "30000 entries in one list, more than the limit of 4096"},
		{"nested defaults, 24 KB", service("    user: " + strings.Repeat("${A:-", 4800) + strings.Repeat("}", 4800)), "services.web.user: 4800 times ${ in one value, more than the limit of 256"},
		{"nested defaults, few", service("    user: " + strings.Repeat("${A:-", 20) + strings.Repeat("}", 20)), "${…} nested deeper than the limit of 8"},
		{"nested defaults, not closed", service("    user: " + strings.Repeat("${A:-", 200)), "a ${ is not closed"},
		{"alias bomb", bomb(9) + service("    labels: *a9"), "more than the limit of 100000 YAML nodes"},
		{"small alias bomb", bomb(4) + service(""), "more than the limit of 100000 YAML nodes"},
		{"merge bomb", "x-a: &a {" + strings.TrimSuffix(repeat(1000, "k%d: v, "), ", ") + "}\n" + service("    labels:\n      <<: ["+strings.TrimSuffix(strings.Repeat("*a, ", 200), ", ")+"]"), "more than the limit of 100000 YAML nodes"},
		{"more than 1 MiB", service("    user: " + strings.Repeat("x", 1<<20)), "more than the limit of 1048576 a file"},
		{"1 MiB of commas", "a: [" + strings.Repeat("a,", 1<<19-10) + "]", "more than the limit of 100000 YAML nodes"},
		{"1 MiB of dashes", strings.Repeat("-\n", 1<<19), "more than the limit of 100000 YAML nodes"},
		{"several documents", strings.Repeat(service("")+"---\n", 100), "more than one YAML document"},
		{"1,001 services", "services:\n" + repeat(1001, "  s%d: {image: nginx}\n"), "services: 1001 services, more than the limit of 1000"},
		{"a long number", service("    labels: {n: " + strings.Repeat("9", 100) + "}"), "number too long"},
		{"many problems", service(repeat(3000, "    wrong%d: 1\n")), "and 2900 more problems"},
		{"a dependency chain of all services", "services:\n" + repeat(999, "  s%[1]d: {image: nginx, depends_on: [s%[1]d]}\n") + "  last: {image: nginx}\n", "services wait for each other"},
		{"a long key over many entries", "? " + strings.Repeat("s", 1<<19) + "\n: {" + repeat(4000, "k%d: 1, ") + "}\n" + service(""), "a key of 524288 bytes, more than the limit of 256"},
		{"many unset variables", service("    command:\n" + repeat(4000, "      - $V%d\n") + "    wrong: 1\n"), "services.web.wrong: unknown field"},
		{"escapes for a terminal", service("    \"wrong\\e[31m\\nline\": 1\n"), "services.web.wrong\ufffd[31m\ufffdline: unknown field"},
		{"an unknown anchor of 1 MiB", "a: *" + strings.Repeat("x", 1<<20-10), "not readable as YAML"},
		{"too many replicas", service("    deploy: {replicas: 2000000000}"), "must be a whole number from 0 to 10000"},
		{"a duration beyond all clocks", service("    stop_grace_period: 90000000h"), "stop_grace_period: not a valid value"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			quickly(t, func() error {
				_, err := compose(test.text)
				return err
			}, test.want)
		})
	}
}

// quickly runs a compile, expects its error, and holds it to the budget.
func quickly(t *testing.T, compile func() error, want string) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := processorTime(t)
	err := compile()
	took := processorTime(t) - start
	runtime.ReadMemStats(&after)
	wantProblem(t, err, want)
	if allocated := after.TotalAlloc - before.TotalAlloc; took > hostileTime || allocated > hostileAlloc {
		t.Errorf("took %s and %d MiB", took, allocated>>20)
	}
	if len(err.Error()) > 64<<10 {
		t.Errorf("the answer has %d bytes", len(err.Error()))
	}
}

// processorTime is what the process has taken so far. Unlike the time of day it
// does not grow when others keep the machine busy.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		t.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// TestHostileEnvFiles tries env files that explode or recurse.
func TestHostileEnvFiles(t *testing.T) {
	doubling := "V0=" + strings.Repeat("x", 1000) + "\n"
	for i := range 40 {
		doubling += fmt.Sprintf("V%d=$V%d$V%d\n", i+1, i, i)
	}
	tests := []struct{ name, env, want string }{
		{"variables that double", doubling, "more than the limit of 16777216 bytes"},
		{"a default in a default", "A=" + strings.Repeat("${A:-", 5000) + strings.Repeat("}", 5000) + "\n", "more than the limit of 256"},
		{"too many variables", repeat(5000, "K%d=v\n"), "more than the limit of 4096 variables"},
		{"an open quote", `A="` + strings.Repeat("x\n", 1<<18), "a quoted value is not closed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			quickly(t, func() error {
				_, err := Compile(files("compose.yaml", service("    user: $A"), ".env", test.env), "shop", "deployments/shop")
				return err
			}, "deployments/shop/.env")
			quickly(t, func() error {
				_, err := Compile(files("compose.yaml", service("    env_file: web.env"), "web.env", test.env), "shop", "deployments/shop")
				return err
			}, test.want)
		})
	}
	t.Run("500,000 comments", func(t *testing.T) {
		if _, err := Compile(files("compose.yaml", service(""), ".env", strings.Repeat("#\n", 1<<19)), "shop", "deployments/shop"); err != nil {
			t.Error(err)
		}
	})
	t.Run("1,000 services with one large file", func(t *testing.T) {
		quickly(t, func() error {
			_, err := Compile(files("compose.yaml", "services:\n"+repeat(1000, "  s%d: {image: a, env_file: big.env}\n"),
				"big.env", "A="+strings.Repeat("x", 1<<19)), "shop", "deployments/shop")
			return err
		}, "more than the limit of 16777216 bytes")
	})
}

// TestAtTheLimits compiles what is just allowed.
func TestAtTheLimits(t *testing.T) {
	tests := []struct{ name, text string }{
		{"ports", service(`    ports: ["1-4096:1-4096"]`)},
		{"entries", service("    environment:\n" + repeat(MaxEntries, "      K%d: v\n"))},
		{"references", service("    user: " + strings.Repeat("${A:-x}", MaxReferences))},
		{"reference depth", service("    user: " + strings.Repeat("${A:-", MaxReferenceDepth) + strings.Repeat("}", MaxReferenceDepth))},
		{"services", "services:\n" + repeat(MaxServices, "  s%d: {image: nginx}\n")},
		{"replicas", service("    deploy: {replicas: 10000}")},
		{"depth", "x-deep: " + strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth) + "\n" + service("")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if _, err := compose(test.text); err != nil {
				t.Error(err)
			}
		})
	}
}

// sizes is a file system of files that only have a size.
func sizes(bytes int64, count int) fs.FS {
	return sizedFS{fstest.MapFS{}, bytes, count}
}

type sizedFS struct {
	fstest.MapFS
	bytes int64
	count int
}

func (s sizedFS) ReadDir(name string) ([]fs.DirEntry, error) {
	if name != "." {
		return nil, fs.ErrNotExist
	}
	entries := make([]fs.DirEntry, s.count)
	for i := range entries {
		entries[i] = sizedEntry{fmt.Sprintf("f%05d", i), s.bytes}
	}
	return entries, nil
}

type sizedEntry struct {
	name  string
	bytes int64
}

func (e sizedEntry) Name() string               { return e.name }
func (e sizedEntry) IsDir() bool                { return false }
func (e sizedEntry) Type() fs.FileMode          { return 0 }
func (e sizedEntry) Info() (fs.FileInfo, error) { return e, nil }
func (e sizedEntry) Size() int64                { return e.bytes }
func (e sizedEntry) Mode() fs.FileMode          { return 0o644 }
func (e sizedEntry) ModTime() time.Time         { return time.Time{} }
func (e sizedEntry) Sys() any                   { return nil }

func TestCheckFiles(t *testing.T) {
	tests := []struct {
		name string
		fsys fs.FS
		want string // "" for fine
	}{
		{"nothing", fstest.MapFS{}, ""},
		{"as large as can be", sizes(MaxFileBytes, 16), ""},
		{"as many as can be", sizes(1, MaxFiles), ""},
		{"one byte too large", sizes(MaxFileBytes+1, 1), "deployments/f00000: 1048577 bytes, more than the limit of 1048576 a file"},
		{"too large together", sizes(MaxFileBytes, 17), "deployments: 17825792 bytes in all files, more than the limit of 16777216"},
		{"too many", sizes(1, MaxFiles+1), "deployments: more than the limit of 10000 files"},
		{"symlink", fstest.MapFS{"a/b": {Mode: fs.ModeSymlink}}, "deployments/a/b: not a plain file"},
		{"device", fstest.MapFS{"dev": {Mode: fs.ModeDevice}}, "deployments/dev: not a plain file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := CheckFiles(test.fsys, ".", "deployments")
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantProblem(t, err, test.want)
		})
	}
	if err := CheckFiles(fstest.MapFS{"deployments/shop/x": {Mode: fs.ModeSymlink}}, "deployments", "deployments"); err == nil ||
		!strings.HasPrefix(err.Error(), "deployments/shop/x: ") {
		t.Errorf("below a folder: %v", err)
	}
	if err := CheckFiles(fstest.MapFS{}, "gone", "gone"); err == nil || err.Error() != "gone: no such file" {
		t.Errorf("a missing folder: %v", err)
	}
}

// TestNothingOfTheHostIsRead names a file of the host in every field that can
// name one, in every way, and looks for its contents.
func TestNothingOfTheHostIsRead(t *testing.T) {
	const secret = "CANARY=the-host-s-secret"
	dir := t.TempDir()
	folder := filepath.Join(dir, "deployments", "shop")
	outside := filepath.Join(dir, "outside.env")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(outside, []byte(secret+"\nservices: {stolen: {image: a}}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CANARY", "the-host-s-secret")
	for _, path := range []string{outside, "../../outside.env", "file://" + outside, "./../../outside.env", "~/outside.env"} {
		for _, field := range []string{
			"    env_file: %q\n", "    env_file: [{path: %q}]\n", "    env_file: [{path: %q, required: false}]\n",
			"    label_file: %q\n", "    extends: {file: %q, service: stolen}\n", "    volumes: [\"%s:/x\"]\n",
			"    build: {context: %q}\n", "    credential_spec: {file: %q}\n", "    develop: {watch: [{path: %q, action: sync}]}\n",
			"include: [%q]\n", "include: [{path: %q, env_file: %[1]q}]\n", "secrets: {s: {file: %q}}\n", "configs: {s: {file: %q}}\n",
			"    environment: [CANARY]\n", "    user: $CANARY\n",
		} {
			text := field
			if strings.Contains(field, "%") {
				text = fmt.Sprintf(field, path)
			}
			if err := os.WriteFile(filepath.Join(folder, "compose.yaml"), []byte(service(text)), 0o644); err != nil {
				t.Fatal(err)
			}
			d, err := Compile(os.DirFS(folder), "shop", "deployments/shop")
			all := errText(err)
			if d != nil {
				all += toJSON(t, d)
			}
			if strings.Contains(all, "the-host-s-secret") || strings.Contains(all, "stolen:") {
				t.Errorf("%s: the host's file was read: %s", text, all)
			}
		}
	}
	if err := os.Symlink(outside, filepath.Join(folder, "link.env")); err != nil {
		t.Fatal(err)
	}
	_, err := Compile(os.DirFS(folder), "shop", "deployments/shop")
	wantProblem(t, err, "deployments/shop/link.env: not a plain file")
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"shop", "a", "0", "shop-2", strings.Repeat("a", 63)} {
		if err := CheckName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", "Shop", "a_b", "a.b", "a/b", "..", "ä", "all", "trust", "cluster", "reanchor", "sync", "logs", strings.Repeat("a", 64)} {
		if CheckName(name) == nil {
			t.Errorf("%q passes", name)
		}
	}
	_, err := Compile(files("compose.yaml", service("")), "all", "deployments/all")
	wantProblem(t, err, `deployments/all: "all" is no deployment name: approval tags use it`)
}
