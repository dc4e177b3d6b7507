package signing

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// encodeCommit writes a decoded commit as git would.
func encodeCommit(c *Commit) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "tree %s\n", c.Tree)
	for _, parent := range c.Parents {
		fmt.Fprintf(&b, "parent %s\n", parent)
	}
	fmt.Fprintf(&b, "author %s\ncommitter %s\n", encodeIdent(c.Author), encodeIdent(c.Committer))
	if c.Encoding != "" {
		fmt.Fprintf(&b, "encoding %s\n", c.Encoding)
	}
	for _, tag := range c.MergeTags {
		b.WriteString(fold("mergetag", tag))
	}
	if c.Signature != nil {
		b.WriteString(fold("gpgsig", c.Signature))
	}
	return append(append(b.Bytes(), '\n'), c.Message...)
}

// encodeTag writes a decoded tag as git would.
func encodeTag(t *Tag) []byte {
	return fmt.Appendf(nil, "object %s\ntype %s\ntag %s\ntagger %s\n\n%s%s",
		t.Object, t.Type, t.Name, encodeIdent(t.Tagger), t.Message, t.Signature)
}

// encodeTree writes decoded entries as git would.
func encodeTree(entries []TreeEntry) []byte {
	var b bytes.Buffer
	for _, e := range entries {
		fmt.Fprintf(&b, "%o %s\x00%s", e.Mode, e.Name, e.ID[:])
	}
	return b.Bytes()
}

func encodeIdent(i Ident) string {
	zone, _ := i.Time.Zone()
	return fmt.Sprintf("%s <%s> %d %s", i.Name, i.Email, i.Time.Unix(), zone)
}

func fold(key string, lines []byte) string {
	text := strings.TrimSuffix(string(lines), "\n")
	return key + " " + strings.ReplaceAll(text, "\n", "\n ") + "\n"
}

// TestRoundTrip decodes every fixture that decodes and expects the same bytes
// back: nothing in an object is overlooked.
func TestRoundTrip(t *testing.T) {
	decoded := 0
	for _, name := range fixtureNames(t, "commits") {
		data := readFixture(t, "commits/"+name)
		if c, err := DecodeCommit(data); err == nil {
			decoded++
			if diff := cmp.Diff(string(data), string(encodeCommit(c))); diff != "" {
				t.Errorf("commit %s:\n%s", name, diff)
			}
		}
	}
	for _, name := range fixtureNames(t, "tags") {
		data := readFixture(t, "tags/"+name)
		tag, err := DecodeTag(data)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(data), string(encodeTag(tag))); diff != "" {
			t.Errorf("tag %s:\n%s", name, diff)
		}
	}
	for id, object := range loadObjects(t) {
		if object.Type != TreeObject {
			continue
		}
		if entries, err := DecodeTree(object.Data); err == nil {
			decoded++
			if !bytes.Equal(object.Data, encodeTree(entries)) {
				t.Errorf("tree %s does not come back", id)
			}
		}
	}
	if decoded < 40 {
		t.Errorf("only %d fixtures decode", decoded)
	}
}

func TestDecodeCommit(t *testing.T) {
	commit, err := DecodeCommit(readFixture(t, "commits/mergetag"))
	if err != nil {
		t.Fatal(err)
	}
	want := Ident{Name: "Alice", Email: "alice@example.com", Time: time.Unix(1777636800, 0)}
	if commit.Author.Name != want.Name || commit.Author.Email != want.Email || !commit.Author.Time.Equal(want.Time) {
		t.Errorf("author %+v, want %+v", commit.Author, want)
	}
	if zone, offset := commit.Author.Time.Zone(); zone != "+0200" || offset != 7200 {
		t.Errorf("zone %s %d, want +0200 7200", zone, offset)
	}
	if len(commit.Parents) != 2 || len(commit.MergeTags) != 1 || commit.Signature == nil {
		t.Fatalf("%d parents, %d mergetags, signature %q", len(commit.Parents), len(commit.MergeTags), commit.Signature)
	}
	if want := readFixture(t, "tags/openpgp-ed25519"); !bytes.Equal(commit.MergeTags[0], want) {
		t.Errorf("the mergetag is\n%s\nwant the tag\n%s", commit.MergeTags[0], want)
	}
	if bytes.Contains(commit.Payload, []byte("gpgsig")) || !bytes.Contains(commit.Payload, []byte("mergetag")) {
		t.Errorf("the payload is not the commit minus its signature:\n%s", commit.Payload)
	}
	latin, err := DecodeCommit(readFixture(t, "commits/encoding"))
	if err != nil || latin.Encoding != "ISO-8859-1" {
		t.Errorf("encoding %q, %v", latin.Encoding, err)
	}
}

// plainCommit is a commit that decodes, for tests that spoil it.
const plainCommit = `tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904
parent 1111111111111111111111111111111111111111
author A U Thor <a@example.com> 1777636800 +0200
committer C O Mitter <c@example.com> 0 -0000
gpgsig one
 two
 

subject

body
`

func TestDecodeCommitRefuses(t *testing.T) {
	if _, err := DecodeCommit([]byte(plainCommit)); err != nil {
		t.Fatalf("the commit to be spoilt: %v", err)
	}
	parents := strings.Repeat("parent 1111111111111111111111111111111111111111\n", 33)
	tests := []struct{ name, old, new, want string }{
		{"empty", plainCommit, "", "end in the middle"},
		{"cut off", "\n\nsubject\n\nbody\n", "", "end in the middle"},
		{"no blank line", " \n\nsubject\n\nbody\n", " \n", "end in the middle"},
		{"NUL", "body", "bo\x00dy", "NUL byte at offset"},
		{"too long", "body", strings.Repeat("x", 1<<20), "more than 1048576"},
		{"many parents", "parent 1111111111111111111111111111111111111111\n", parents, "more than 32 parents"},
		{"tree in capitals", "4b825dc6", "4B825DC6", "lower-case"},
		{"long tree", "8fbee4904", "8fbee49040", "want 40"},
		{"zero parent", strings.Repeat("1", 40), strings.Repeat("0", 40), "zero id"},
		{"sha256 tree", "4b825dc642cb6eb9a060e54bf8d69288fbee4904", strings.Repeat("ab", 32), "want 40"},
		{"tab for a space", "tree 4b", "tree\t4b", `want header "tree"`},
		{"carriage return", "4904\n", "4904\r\n", "want 40"},
		{"parent behind author", "parent 1111111111111111111111111111111111111111\nauthor A U Thor <a@example.com> 1777636800 +0200\n",
			"author A U Thor <a@example.com> 1777636800 +0200\nparent 1111111111111111111111111111111111111111\n", `want header "committer"`},
		{"two authors", "committer C", "author A <a> 1 +0000\ncommitter C", `want header "committer"`},
		{"no name or space", "A U Thor <", "<", "author"},
		{"no space before the email", "Thor <", "Thor<", "author"},
		{"no email", "A U Thor <a@example.com>", "A U Thor", "author"},
		{"angle in name", "A U Thor", "A > Thor", "author"},
		{"angle in email", "a@example.com", "a<b", "author"},
		{"second email", "Thor <a@example.com>", "Thor <a@example.com> <b>", "author"},
		{"no date", " 1777636800 +0200", "", "author"},
		{"two spaces", "> 1777636800", ">  1777636800", "seconds"},
		{"negative date", "1777636800", "-5", "seconds"},
		{"signed date", "1777636800", "+5", "seconds"},
		{"padded date", "1777636800", "01777636800", "seconds"},
		{"far date", "1777636800", "253402300800", "seconds"},
		{"hex date", "1777636800", "0x10", "seconds"},
		{"short zone", "+0200", "+200", "author"},
		{"zone without sign", "+0200", "00200", "zone"},
		{"zone minutes", "+0200", "+0260", "zone"},
		{"zone hours", "+0200", "+2400", "zone"},
		{"text behind zone", "+0200", "+0200 x", "author"},
		{"empty encoding", "gpgsig one", "encoding \ngpgsig one", "empty"},
		{"encoding of two words", "gpgsig one", "encoding a b\ngpgsig one", "not one word"},
		{"two encodings", "gpgsig one", "encoding a\nencoding b\ngpgsig one", `unexpected header "encoding"`},
		{"folded encoding", "gpgsig one", "encoding a\n b\ngpgsig one", `unexpected header ""`},
		{"signature first", "tree 4b825", "gpgsig x\ntree 4b825", `got "gpgsig"`},
		{"mergetag behind signature", " two\n \n", " two\nmergetag x\n", `unexpected header "mergetag"`},
		{"other header", " two\n \n", " two\nchange-id x\n", `unexpected header "change-id"`},
		{"long header is clipped", " two\n \n", strings.Repeat("x", 500) + "\n", "xxx…"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(plainCommit, tt.old) {
				t.Fatalf("the commit does not contain %q", tt.old)
			}
			_, err := DecodeCommit([]byte(strings.Replace(plainCommit, tt.old, tt.new, 1)))
			checkMalformed(t, err, tt.want)
		})
	}
}

func checkMalformed(t *testing.T, err error, want string) {
	t.Helper()
	if !errors.Is(err, ErrMalformed) {
		t.Fatalf("error %v, want one that wraps ErrMalformed", err)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error %q, want it to contain %q", err, want)
	}
	if len(err.Error()) > 300 {
		t.Errorf("error of %d bytes: an object must not fill the log", len(err.Error()))
	}
}

func TestDecodeTag(t *testing.T) {
	for _, name := range fixtureNames(t, "tags") {
		tag, err := DecodeTag(readFixture(t, "tags/"+name))
		if err != nil {
			t.Fatal(err)
		}
		if tag.Type != CommitObject || !strings.HasPrefix(tag.Name, "approve/shop/") || tag.Tagger.Name != "Alice" {
			t.Errorf("%s: %+v", name, tag)
		}
		key, err := fixtureKeyring(t).Verify(tag.Payload, tag.Signature, fixtureNow)
		if name == "unsigned" {
			if !errors.Is(err, ErrUnsigned) {
				t.Errorf("%s: %v", name, err)
			}
		} else if err != nil || !strings.HasSuffix(key.Kind, "ed25519") {
			t.Errorf("%s: key %q, %v", name, key.Kind, err)
		}
	}
}

func TestDecodeTagRefuses(t *testing.T) {
	plain := string(readFixture(t, "tags/ssh-ed25519"))
	tests := []struct{ name, old, new, want string }{
		{"empty", plain, "", "end in the middle"},
		{"NUL", "A signed", "A\x00signed", "NUL byte"},
		{"too long", "A signed", strings.Repeat("x", 256<<10), "more than"},
		{"unknown type", "type commit", "type comet", "unknown object type"},
		{"two types", "type commit", "type commit\ntype commit", `want header "tag"`},
		{"no name", "tag approve/shop/2", "tag ", "empty"},
		{"name with a space", "approve/shop/2", "approve shop", "not one word"},
		{"zone", "+0200", "0200", "tagger"},
		{"other header", "\n\n", "\ngpgsig x\n\n", "unexpected header"},
		{"quoted signature", "A signed", "-----BEGIN PGP SIGNATURE-----\nA signed", "more than one armored block"},
		{"two signatures", "-----BEGIN SSH", "-----BEGIN PGP SIGNATURE-----\n-----BEGIN SSH", "more than one armored block"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(plain, tt.old) {
				t.Fatalf("the tag does not contain %q", tt.old)
			}
			_, err := DecodeTag([]byte(strings.Replace(plain, tt.old, tt.new, 1)))
			checkMalformed(t, err, tt.want)
		})
	}
}

func TestSubject(t *testing.T) {
	for message, want := range map[string]string{
		"":                         "",
		"\n\n":                     "",
		"one\n":                    "one",
		"\n  one \ntwo\n\nthree\n": "one two",
	} {
		if got := (&Commit{Message: message}).Subject(); got != want {
			t.Errorf("subject of %q: %q, want %q", message, got, want)
		}
	}
}
