package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fixtureNow is when the fixtures are judged: all keys that expire are
// expired, all commits are made.
var fixtureNow = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)

// gitVerdict is what "git verify-commit" says of a fixture.
type gitVerdict string

const (
	gitAccepts gitVerdict = "accepts"
	gitRefuses gitVerdict = "refuses"
	// gitDiffers marks what versions of git or gpg see differently.
	gitDiffers gitVerdict = "differs by version"
)

// TestFixtures compares, for every committed fixture, our verdict with git's.
// Where the two differ the table says why; both are asserted, so that a
// difference that comes or goes fails.
func TestFixtures(t *testing.T) {
	src := loadObjects(t)
	ring := fixtureKeyring(t)
	git := newGitJudge(t)
	var listed []string
	for _, tt := range fixtureTable() {
		listed = append(listed, tt.name)
		t.Run(tt.name, func(t *testing.T) {
			data := readFixture(t, "commits/"+tt.name)
			key, err := judgeFixture(data, ring, src)
			switch {
			case tt.want == nil && err != nil:
				t.Errorf("we refuse it: %v", err)
			case tt.want == nil && key.Fingerprint == "":
				t.Error("accepted without a key")
			case tt.want != nil && !errors.Is(err, tt.want):
				t.Errorf("error %v, want %v", err, tt.want)
			case tt.want != nil && !strings.Contains(err.Error(), tt.text):
				t.Errorf("error %q, want it to contain %q", err, tt.text)
			}
			differs := tt.git == gitDiffers || (tt.want == nil) != (tt.git == gitAccepts)
			if differs != (tt.why != "") {
				t.Errorf("git %s it, we say %v, reason %q: want a reason exactly where the two differ", tt.git, err, tt.why)
			}
			if tt.want == nil && tt.git != gitAccepts {
				t.Error("we are more lenient than git")
			}
			if got, output := git.verify(t, data); tt.git != gitDiffers && got != tt.git {
				t.Errorf("git %s it, want %s:\n%s", got, tt.git, output)
			}
		})
	}
	for _, name := range fixtureNames(t, "commits") {
		if !slices.Contains(listed, name) {
			t.Errorf("fixture commits/%s is not in the table", name)
		}
	}
}

// judgeFixture is what a node does with a commit: decode it, check its signature,
// read its whole tree.
func judgeFixture(data []byte, ring *Keyring, src Source) (Key, error) {
	commit, err := DecodeCommit(data)
	if err != nil {
		return Key{}, err
	}
	key, err := ring.Verify(commit.Payload, commit.Signature, fixtureNow)
	if err != nil {
		return Key{}, err
	}
	tree := NewTreeFS(src, commit.Tree)
	return key, fs.WalkDir(tree, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		_, err = fs.ReadFile(tree, path)
		return err
	})
}

// fixtureSource is a Source in memory. It does not check ids, as a hostile one
// would not.
type fixtureSource map[Hash]Object

func (m fixtureSource) Object(id Hash) (Object, error) {
	object, ok := m[id]
	if !ok {
		return Object{}, ErrNotFound
	}
	return object, nil
}

// loadObjects reads testdata/fixtures/objects under the ids in their names.
func loadObjects(t testing.TB) fixtureSource {
	t.Helper()
	src := fixtureSource{}
	for _, name := range fixtureNames(t, "objects") {
		digits, kind, _ := strings.Cut(name, ".")
		id, err := ParseHash(digits)
		if err != nil {
			t.Fatal(err)
		}
		object := Object{Type: BlobObject, Data: readFixture(t, "objects/"+name)}
		if kind == "tree" {
			object.Type = TreeObject
		}
		src[id] = object
	}
	return src
}

// ringKeys names the public keys that the fixtures' keyring holds. The unknown
// and the weak ones are left out.
func ringKeys() []string {
	return []string{
		"openpgp-ed25519.asc", "openpgp-rsa3072.asc", "openpgp-nistp256.asc", "openpgp-subkey.asc",
		"openpgp-revoked.asc", "openpgp-expired.asc", "openpgp-backdated.asc",
		"ssh-ed25519.pub", "ssh-ecdsa-p256.pub", "ssh-rsa3072.pub",
	}
}

func fixtureKeyring(t testing.TB) *Keyring {
	t.Helper()
	var keys []Key
	for _, name := range ringKeys() {
		found, err := ParseKeys(readFixture(t, "keys/"+name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		keys = append(keys, found...)
	}
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return ring
}

func readFixture(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "fixtures", name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// fixtureNames lists the files in a folder of the fixtures.
func fixtureNames(t testing.TB, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join("testdata", "fixtures", folder))
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// gitJudge runs the real git over raw commits, hermetically.
type gitJudge struct {
	env  []string
	skip string // why it cannot run; empty mostly
}

// newGitJudge makes an empty repository whose git knows the keyring's keys,
// the weak ones too: git refuses none for being weak.
func newGitJudge(t testing.TB) *gitJudge {
	t.Helper()
	for _, tool := range []string{"git", "gpg", "ssh-keygen"} {
		if _, err := exec.LookPath(tool); err != nil {
			return &gitJudge{skip: tool + " is not installed: the comparison with git was left out"}
		}
	}
	// Not t.TempDir: gpg's socket path must stay short.
	home, err := os.MkdirTemp("", "jf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(home) })
	signers, err := filepath.Abs(filepath.Join("testdata", "fixtures", "allowed_signers"))
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf("[gpg \"ssh\"]\n\tallowedSignersFile = %s\n", signers)
	if err := os.WriteFile(filepath.Join(home, "gitconfig"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(home, "gnupg"), 0o700); err != nil {
		t.Fatal(err)
	}
	g := &gitJudge{env: []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + home, "LC_ALL=C", "TZ=UTC",
		"GNUPGHOME=" + filepath.Join(home, "gnupg"), "GIT_DIR=" + filepath.Join(home, "repo.git"),
		"GIT_CONFIG_GLOBAL=" + filepath.Join(home, "gitconfig"), "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0",
	}}
	g.mustRun(t, nil, "git", "init", "-q", "--bare", filepath.Join(home, "repo.git"))
	for _, name := range append(ringKeys(), "openpgp-rsa2048.asc", "openpgp-dsa.asc") {
		if strings.HasSuffix(name, ".asc") {
			g.mustRun(t, readFixture(t, "keys/"+name), "gpg", "--batch", "--quiet", "--import")
		}
	}
	return g
}

// verify stores a raw commit and asks git about its signature.
func (g *gitJudge) verify(t testing.TB, commit []byte) (gitVerdict, string) {
	t.Helper()
	if g.skip != "" {
		t.Skip(g.skip)
	}
	id := strings.TrimSpace(g.mustRun(t, commit, "git", "hash-object", "--literally", "-w", "--stdin", "-t", "commit"))
	output, err := g.run(t, nil, "git", "verify-commit", id)
	var exit *exec.ExitError
	switch {
	case err == nil:
		return gitAccepts, output
	case errors.As(err, &exit):
		return gitRefuses, output
	}
	t.Fatal(err)
	return "", ""
}

func (g *gitJudge) run(t testing.TB, stdin []byte, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = g.env
	cmd.Stdin = bytes.NewReader(stdin)
	output, err := cmd.CombinedOutput()
	return string(output), err
}

func (g *gitJudge) mustRun(t testing.TB, stdin []byte, name string, args ...string) string {
	t.Helper()
	output, err := g.run(t, stdin, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}
