package signing

import (
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The inputs of both targets are seeds of a mutator, so that one run of git
// judges many objects: git needs longer to start than to judge.
const (
	objectsPerRun    = 150
	signaturesPerRun = 12
)

// FuzzGitObjects compares our strict decoders with git fsck --strict over
// mutated objects. Every difference is in gitDifferences.
func FuzzGitObjects(f *testing.F) {
	judge := newGitJudge(f)
	if judge.skip != "" {
		f.Skip(judge.skip)
	}
	seeds := differentialSeeds(f)
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := mutator{rand.New(rand.NewPCG(seed, 1))}
		objects := make(map[Hash]Object)
		for range objectsPerRun {
			o := m.mutate(seeds[m.IntN(len(seeds))])
			objects[plainHash(t, o)] = o
		}
		complaints := judge.fsck(t, objects)
		for id, o := range objects {
			about := complaints[id]
			if slices.Contains(about, unreadable) {
				// Git takes a missing object for what the first link to it says:
				// one object can make another unreadable.
				about = judge.fsck(t, map[Hash]Object{id: o})[id]
			}
			compareWithFsck(t, o, about)
		}
	})
}

// FuzzGitSignatures compares our verdict with git verify-commit over mutated
// signed commits. What we take git takes; where we are stricter
// fixtureTable says why.
func FuzzGitSignatures(f *testing.F) {
	judge := newGitJudge(f)
	if judge.skip != "" {
		f.Skip(judge.skip)
	}
	ring := fixtureKeyring(f)
	var seeds []Object
	for _, tt := range fixtureTable() {
		if tt.git == gitAccepts && tt.want == nil {
			seeds = append(seeds, Object{CommitObject, readFixture(f, "commits/"+tt.name)})
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		m := mutator{rand.New(rand.NewPCG(seed, 2))}
		objects := make(map[Hash]Object)
		for range signaturesPerRun {
			o := seeds[m.IntN(len(seeds))]
			if m.IntN(8) > 0 { // some stay good
				o = m.mutateSigned(o)
			}
			objects[plainHash(t, o)] = o
		}
		good := judge.verifyAll(t, objects)
		for id, o := range objects {
			err := verifyRaw(ring, o.Data)
			switch {
			case err == nil && !good[id]:
				t.Errorf("we take and git verify-commit refuses\n%s", o.Data)
			case err != nil && good[id] && !explainedSignature(err):
				t.Errorf("git verify-commit takes, and we refuse (%v)\n%s", err, o.Data)
			}
		}
	})
}

// verifyRaw is our verdict on the bytes of a commit.
func verifyRaw(ring *Keyring, data []byte) error {
	c, err := DecodeCommit(data)
	if err != nil {
		return err
	}
	_, err = ring.Verify(c.Payload, c.Signature, fixtureNow)
	return err
}

// decodeStrictly is our verdict on an object.
func decodeStrictly(o Object) error {
	var err error
	switch o.Type {
	case CommitObject:
		_, err = DecodeCommit(o.Data)
	case TagObject:
		_, err = DecodeTag(o.Data)
	case TreeObject:
		_, err = DecodeTree(o.Data)
	default:
		err = fmt.Errorf("no decoder for a %s", o.Type)
	}
	return err
}

// compareWithFsck fails for a difference that no table explains.
func compareWithFsck(t *testing.T, o Object, complaints []string) {
	t.Helper()
	err := decodeStrictly(o)
	switch {
	case err != nil && !errors.Is(err, ErrMalformed):
		t.Errorf("error %v does not wrap ErrMalformed", err)
	case err != nil && len(complaints) == 0 && !explained("", err):
		t.Errorf("git fsck takes, and we refuse (%v), the %s\n%q", err, o.Type, o.Data)
	case err == nil:
		for _, complaint := range complaints {
			if !explained(complaint, nil) {
				t.Errorf("we take, and git fsck says %s of, the %s\n%q", complaint, o.Type, o.Data)
			}
		}
	}
}

// explained reports whether a difference is known: our error alone, or git's
// complaint alone.
func explained(complaint string, err error) bool {
	return slices.ContainsFunc(gitDifferences, func(d gitDifference) bool {
		if err != nil {
			return d.ours != nil && d.ours.MatchString(err.Error())
		}
		return d.ours == nil && d.git == complaint
	})
}

// explainedSignature reports whether it is known that git takes a signature
// which we refuse with this error: a fixture shows it and says why.
func explainedSignature(err error) bool {
	for _, d := range signatureDifferences {
		if d.ours.MatchString(err.Error()) {
			return true
		}
	}
	return explained("", err) || slices.ContainsFunc(fixtureTable(), func(f fixture) bool {
		return f.git != gitRefuses && f.want != nil && f.text != "" && strings.Contains(err.Error(), f.text)
	})
}

// TestGitDifferences shows each known difference by its example, so that one
// that goes, or whose words change, fails.
func TestGitDifferences(t *testing.T) {
	judge := newGitJudge(t)
	if judge.skip != "" {
		t.Skip(judge.skip)
	}
	for _, d := range gitDifferences {
		id := plainHash(t, d.example)
		err, complaints := decodeStrictly(d.example), judge.fsck(t, map[Hash]Object{id: d.example})[id]
		switch {
		case d.why == "":
			t.Errorf("%q: no reason", d.example.Data)
		case d.ours != nil && (err == nil || !d.ours.MatchString(err.Error()) || len(complaints) > 0):
			t.Errorf("%q: we say %v and git %v, want ours to match %q and none of git's", d.example.Data, err, complaints, d.ours)
		case d.ours == nil && (err != nil || !slices.Equal(complaints, []string{d.git})):
			t.Errorf("%q: we say %v and git %v, want git's %s alone", d.example.Data, err, complaints, d.git)
		}
	}
}

// TestSignatureDifferences does the same for signatures.
func TestSignatureDifferences(t *testing.T) {
	judge, ring := newGitJudge(t), fixtureKeyring(t)
	for _, d := range signatureDifferences {
		data := []byte(strings.Replace(string(readFixture(t, "commits/"+d.fixture)), d.old, d.new, 1))
		err := verifyRaw(ring, data)
		if err == nil || !d.ours.MatchString(err.Error()) || d.why == "" {
			t.Errorf("%s: we say %v, want %q", d.fixture, err, d.ours)
		}
		if verdict, out := judge.verify(t, data); verdict != gitAccepts {
			t.Errorf("%s: git refuses it:\n%s", d.fixture, out)
		}
	}
}

// differentialSeeds are the commits, tags and trees of the fixtures.
func differentialSeeds(t testing.TB) []Object {
	t.Helper()
	var seeds []Object
	for _, name := range fixtureNames(t, "commits") {
		seeds = append(seeds, Object{CommitObject, readFixture(t, "commits/"+name)})
	}
	for _, name := range fixtureNames(t, "tags") {
		o := Object{TagObject, readFixture(t, "tags/"+name)}
		seeds = append(seeds, o, o, o, o) // there are few of them
	}
	for _, name := range fixtureNames(t, "objects") {
		if strings.HasSuffix(name, ".tree") {
			seeds = append(seeds, Object{TreeObject, readFixture(t, "objects/"+name)})
		}
	}
	return seeds
}

// plainHash is the id of an object, without looking for attacks on it.
func plainHash(t testing.TB, o Object) Hash {
	t.Helper()
	id, err := HashObject(o)
	if err != nil {
		t.Fatal(err) // no mutation hits a collision
	}
	return id
}

// loose writes objects as git keeps them, with no check whatever, into an object
// directory of their own.
func (g *gitJudge) loose(t testing.TB, objects map[Hash]Object) []string {
	t.Helper()
	dir := t.TempDir()
	for id, o := range objects {
		var packed bytes.Buffer
		w, err := zlib.NewWriterLevel(&packed, zlib.BestSpeed)
		if err == nil {
			_, err = fmt.Fprintf(w, "%s %d\x00%s", o.Type, len(o.Data), o.Data)
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, id.String()[:2], id.String()[2:])
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, packed.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return append(slices.Clone(g.env), "GIT_OBJECT_DIRECTORY="+dir)
}

// gitOutput runs git over loose objects; that it answers with a status is no
// error.
func (g *gitJudge) gitOutput(t testing.TB, objects map[Hash]Object, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Env = g.loose(t, objects)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out)
}

// unreadable is what fsck names of an object that git cannot parse.
const unreadable = "unreadable"

var (
	fsckComplaint  = regexp.MustCompile(`^(?:error|warning) in \w+ ([0-9a-f]{40}): (\w+): `)
	fsckUnreadable = regexp.MustCompile(`^error: ([0-9a-f]{40}): object (?:could not be parsed|corrupt)`)
)

// fsck returns git's complaints about each object, by the names of its messages.
// Links to objects that are not there are none.
func (g *gitJudge) fsck(t testing.TB, objects map[Hash]Object) map[Hash][]string {
	t.Helper()
	complaints := make(map[Hash][]string)
	for line := range strings.Lines(g.gitOutput(t, objects, "fsck", "--strict", "--no-dangling", "--no-progress")) {
		name, found := unreadable, fsckUnreadable.FindStringSubmatch(line)
		if found == nil {
			if found = fsckComplaint.FindStringSubmatch(line); found == nil {
				continue
			}
			name = found[2]
		}
		id, err := ParseHash(found[1])
		if err != nil {
			t.Fatal(err)
		}
		complaints[id] = append(complaints[id], name)
	}
	return complaints
}

// verifyAll asks git verify-commit about each commit; of several at once it does
// not say which was meant.
func (g *gitJudge) verifyAll(t testing.TB, objects map[Hash]Object) map[Hash]bool {
	t.Helper()
	good := make(map[Hash]bool)
	for id := range objects {
		good[id] = false
	}
	env := g.loose(t, objects)
	for id := range objects {
		cmd := exec.CommandContext(t.Context(), "git", "verify-commit", id.String())
		cmd.Env = env
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		good[id] = err == nil
	}
	return good
}

// mutator spoils objects.
type mutator struct{ *rand.Rand }

// tokens are what mutations put in.
var tokens = []string{
	"\n", " ", "\x00", "0", "<", ">", "-", "+0000", "\n\n", "\t", "é",
	"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n", "parent 1111111111111111111111111111111111111111\n",
	"parent 0000000000000000000000000000000000000000\n", "author A <a@b> 1 +0000\n", "committer A <a@b> 1 +0000\n",
	"encoding ISO-8859-1\n", "mergetag object\n", "gpgsig x\n", "gpgsig-sha256 x\n", "x-note y\n", "tag x\n", "type commit\n",
	"tagger A <a@b> 1 +0000\n", "-----BEGIN SSH SIGNATURE-----\n", "-----END SSH SIGNATURE-----\n", "-----BEGIN PGP SIGNATURE-----\n",
	"100644 a\x00aaaaaaaaaaaaaaaaaaaa", "40000 .git\x00aaaaaaaaaaaaaaaaaaaa", "120000 .gitmodules\x00aaaaaaaaaaaaaaaaaaaa",
	"100664 b\x00aaaaaaaaaaaaaaaaaaaa", "160000 c\x00aaaaaaaaaaaaaaaaaaaa", "040000 d\x00aaaaaaaaaaaaaaaaaaaa", "..", "/",
}

// mutate returns the object with one to three changes.
func (m mutator) mutate(o Object) Object {
	data := bytes.Clone(o.Data)
	for range 1 + m.IntN(3) {
		data = m.change(data)
	}
	return Object{Type: o.Type, Data: data}
}

// mutateSigned is mutate, mostly within the signature and the headers around it.
func (m mutator) mutateSigned(o Object) Object {
	start := bytes.Index(o.Data, []byte("gpgsig "))
	end := start + bytes.Index(o.Data[max(start, 0):], []byte("-----END")) + 30
	if start < 0 || m.IntN(4) == 0 {
		return m.mutate(o)
	}
	end = min(end, len(o.Data))
	inside := m.change(bytes.Clone(o.Data[start:end]))
	return Object{Type: o.Type, Data: slices.Concat(o.Data[:start], inside, o.Data[end:])}
}

// change makes one change.
func (m mutator) change(data []byte) []byte {
	if len(data) == 0 {
		return []byte(tokens[m.IntN(len(tokens))])
	}
	at := m.IntN(len(data))
	switch m.IntN(8) {
	case 0: // another byte
		data[at] ^= byte(1 << m.IntN(8))
	case 1: // without a byte
		return slices.Delete(data, at, at+1)
	case 2: // cut short
		return data[:at]
	case 3, 4: // something put in, at the start of a line or anywhere
		if m.IntN(2) == 0 {
			at = bytes.LastIndexByte(data[:at], '\n') + 1
		}
		return slices.Insert(data, at, []byte(tokens[m.IntN(len(tokens))])...)
	case 5: // a byte twice
		return slices.Insert(data, at, data[at])
	default: // lines repeated, dropped or swapped
		lines := bytes.SplitAfter(data, []byte("\n"))
		i, j := m.IntN(len(lines)), m.IntN(len(lines))
		switch m.IntN(3) {
		case 0:
			lines = slices.Insert(lines, j, lines[i])
		case 1:
			lines = slices.Delete(lines, i, i+1)
		default:
			lines[i], lines[j] = lines[j], lines[i]
		}
		return bytes.Join(lines, nil)
	}
	return data
}
