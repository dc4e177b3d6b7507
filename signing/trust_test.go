package signing

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// trustFiles is the file function over a folder of key files in memory: the
// public keys of the test repository's people.
func trustFiles(r *testRepo) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		switch name := strings.TrimSuffix(strings.TrimPrefix(path, "keys/"), ".pub"); name {
		case "alice", "bob", "carol", "ci", "team/dave":
			return []byte(r.public(name) + "\n"), nil
		case "both":
			return []byte("# two keys\n" + r.public("erin") + "\n\n" + r.public("frank") + "\n"), nil
		case "allowed_signers":
			return []byte("# the team\nbob@example.com " + r.public("bob") + "\n" +
				"carol,carol@example.com namespaces=\"git\" " + r.public("carol") + "\n"), nil
		case "empty":
			return nil, nil
		}
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
}

// TestParseTrust reads a policy that uses every field.
func TestParseTrust(t *testing.T) {
	r := newTestRepo(t)
	data := readTrustFile(t, "valid/full.yaml")
	trust, err := ParseTrust(data, trustFiles(r))
	if err != nil {
		t.Fatal(err)
	}
	if trust.Version != 7 || !slices.Equal(trust.Root, []string{"alice", "bob"}) {
		t.Errorf("version %d, root %v", trust.Version, trust.Root)
	}
	var signers []string
	for _, s := range trust.Signers {
		signers = append(signers, fmt.Sprintf("%s %s %d keys until %s", s.Name, s.Class, len(s.Keys), s.ValidUntil.Format(time.RFC3339)))
	}
	want := []string{
		"a.b_c-1 person 2 keys until 0001-01-01T00:00:00Z",
		"alice person 1 keys until 2028-01-01T00:00:00Z",
		"bob person 1 keys until 2027-12-31T16:00:00Z",
		"ci bot 1 keys until 0001-01-01T00:00:00Z",
		"dave person 1 keys until 0001-01-01T00:00:00Z",
	}
	if diff := cmp.Diff(want, signers); diff != "" {
		t.Errorf("signers (-want +got):\n%s", diff)
	}
	revoked := []Revocation{
		{Key: "SHA256:" + strings.Repeat("A", 43), Since: time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC), Compromised: true, Reason: "laptop lost"},
		{Key: strings.Repeat("ABCD", 10)},
	}
	if diff := cmp.Diff(revoked, trust.Revoked); diff != "" {
		t.Errorf("revoked (-want +got):\n%s", diff)
	}
}

// TestTrustWhole reads the settings, thresholds and privileges of a policy.
func TestTrustWhole(t *testing.T) {
	r := newTestRepo(t)
	trust, err := ParseTrust(readTrustFile(t, "valid/whole.yaml"), trustFiles(r))
	if err != nil {
		t.Fatal(err)
	}
	if trust.RootThreshold != 2 || !trust.FirstParent || !trust.MergesApprove || !trust.RequireTarget ||
		!trust.ImagesPinned || trust.MaxAge != 72*time.Hour {
		t.Errorf("settings: %+v", trust)
	}
	if got := trust.Privileges("backup"); !slices.Equal(got, []string{"bind:/srv/backup", "privileged"}) {
		t.Errorf("backup: %q", got)
	}
	if got := trust.Privileges("web"); len(got) != 14 || !slices.IsSorted(got) {
		t.Errorf("web: %q", got)
	}
	if got := trust.Privileges("shop"); got != nil {
		t.Errorf("shop: %q", got)
	}
	if s := trust.signer("bob"); s.Keys[0].Fingerprint != r.fingerprint("bob") {
		t.Errorf("bob has %+v", s.Keys)
	}
	if s := trust.signer("hub"); s.Class != Forge {
		t.Errorf("hub is %s", s.Class)
	}
	least, err := ParseTrust(readTrustFile(t, "valid/least.yaml"), trustFiles(r))
	if err != nil {
		t.Fatal(err)
	}
	if least.RootThreshold != 1 || least.FirstParent || least.MergesApprove || least.RequireTarget ||
		least.ImagesPinned || least.MaxAge != 0 || least.Privileges("backup") != nil {
		t.Errorf("defaults: %+v", least)
	}
}

// TestApprovers asks who may approve which path.
func TestApprovers(t *testing.T) {
	trust, err := ParseTrust(readTrustFile(t, "valid/full.yaml"), trustFiles(newTestRepo(t)))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"deployments/web/compose.yaml":      "a.b_c-1 alice bob dave",
		"deployments/shop/compose.yaml":     "bob",
		"deployments/shop/images.env":       "ci",
		"deployments/web/images.env":        "ci",
		"deployments/shop/sub/images.env":   "bob",
		"deployments/web/a/b/secret":        "alice",
		"deployments/web/secret":            "alice",
		"deployments/web/public/a/x.html":   "a.b_c-1 alice bob dave",
		"cluster.yaml":                      "alice ci",
		"trust.yaml":                        "",
		"keys/alice.pub":                    "",
		"deployments":                       "",
		"README.md":                         "",
		"deployments/shop/../web/x":         "bob",
		"deployments/shop\xff/compose.yaml": "a.b_c-1 alice bob dave",
	} {
		if got := strings.Join(trust.approvers(path, testNow), " "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
	later := time.Date(2029, 1, 1, 0, 0, 0, 0, time.UTC)
	if got := trust.approvers("deployments/shop/compose.yaml", later); got != nil {
		t.Errorf("expired signers may approve: %v", got)
	}
}

// TestTrustRefuses reads the policies in testdata/trust/refused. The first
// line of each is a comment that holds the error.
func TestTrustRefuses(t *testing.T) {
	r := newTestRepo(t)
	for _, name := range trustFileNames(t, "refused") {
		data := readTrustFile(t, name)
		first, _, _ := strings.Cut(string(data), "\n")
		want := strings.TrimPrefix(first, "# ")
		trust, err := ParseTrust(data, trustFiles(r))
		if err == nil {
			t.Errorf("%s: accepted: %+v", name, trust)
			continue
		}
		if !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", name, err, want)
		}
	}
}

// TestTrustAccepts reads the policies in testdata/trust/valid.
func TestTrustAccepts(t *testing.T) {
	for _, name := range trustFileNames(t, "valid") {
		if _, err := ParseTrust(readTrustFile(t, name), trustFiles(newTestRepo(t))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTrustBounds are policies too large to write down.
func TestTrustBounds(t *testing.T) {
	r := newTestRepo(t)
	head := fmt.Sprintf("version: 1\nroot: {signers: [alice]}\nsigners:\n  alice: {keys: [%q]}\n", r.public("alice"))
	cases := map[string]string{
		"file of":                     head + strings.Repeat("#", maxTrustSize),
		"more than 20000 values":      head + "rules: [" + strings.Repeat("[],", maxTrustNodes) + "]\n",
		"nested more than 8 deep":     head + "rules: " + strings.Repeat("[", 2_000) + strings.Repeat("]", 2_000) + "\n",
		"exceeded max depth":          head + "rules: " + strings.Repeat("[", 20_000),
		"more than 1000 signers":      head + manyLines(1001, func(i int) string { return fmt.Sprintf("  s%d: {keys: [%q]}", i, r.public(fmt.Sprint(i))) }),
		"more than 500 rules":         head + "rules:\n" + manyLines(501, func(i int) string { return fmt.Sprintf("  - {paths: [deployments/%d/x]}", i) }),
		"more than 2000 patterns":     head + "rules:\n  - paths:\n" + manyLines(2001, func(i int) string { return fmt.Sprintf("    - deployments/%d/x", i) }),
		"more than 1000 revoked keys": head + "revoked:\n" + manyLines(1001, func(i int) string { return fmt.Sprintf("  - {key: \"%040x\"}", i) }),
		"pattern of 269 bytes":        head + "rules: [{paths: [deployments/" + strings.Repeat("a", 257) + "]}]\n",
		"not UTF-8 text":              head + "# \xff\n",
	}
	for want, text := range cases {
		start := time.Now()
		_, err := ParseTrust([]byte(text), trustFiles(r))
		if err == nil || !strings.HasPrefix(err.Error(), "trust.yaml:") || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("%s: took %s", want, took)
		}
	}
}

func manyLines(n int, line func(i int) string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintln(&b, line(i))
	}
	return b.String()
}

// TestTrustDigest changes with every byte of the policy and of its key files.
func TestTrustDigest(t *testing.T) {
	r := newTestRepo(t)
	text := r.trustText(1)
	digest := func(text, key string) [32]byte {
		trust, err := ParseTrust([]byte(text), func(string) ([]byte, error) { return []byte(key), nil })
		if err != nil {
			t.Fatal(err)
		}
		return trust.Digest
	}
	first := digest(text, r.public("bob"))
	if digest(text, r.public("bob")) != first {
		t.Error("the same policy has two digests")
	}
	if digest(text+" ", r.public("bob")) == first || digest(text, r.public("bob")+"\n") == first {
		t.Error("a change leaves the digest as it was")
	}
}

// TestTrustFileErrors keeps missing evidence apart from a file that is not
// there.
func TestTrustFileErrors(t *testing.T) {
	r := newTestRepo(t)
	for _, sentinel := range []error{ErrNotFound, ErrTampered, fs.ErrNotExist} {
		_, err := ParseTrust([]byte(r.trustText(1)), func(string) ([]byte, error) { return nil, sentinel })
		if !errors.Is(err, sentinel) || !strings.HasPrefix(err.Error(), "trust.yaml:5: key file keys/bob.pub: ") {
			t.Errorf("%v: got %v", sentinel, err)
		}
	}
}

// TestTrustBadKeyFile names the file and the line in it, and quotes nothing of
// the other lines: a reader of status is no reader of the repository.
func TestTrustBadKeyFile(t *testing.T) {
	r := newTestRepo(t)
	for name, c := range map[string]struct{ keys, content, want string }{
		"second line":   {"keys/bob.pub", r.public("bob") + "\nssh-ed25519 AAAA bob\n", "key file keys/bob.pub: line 2: ssh-ed25519 key: "},
		"behind blanks": {"keys/bob.pub", "# private note\n\n\nssh-ed25519\n", "key file keys/bob.pub: line 4: ssh-ed25519 key without"},
		"armored":       {"keys/bob.asc", "# private note\n" + pgpKeyBegin + "\n", "key file keys/bob.asc: line 2: openpgp key block: "},
		"nothing in it": {"keys/bob.asc", "# private note\n", "key file keys/bob.asc: no key: want"},
		"inline":        {`"ssh-ed25519 AAAA bob"`, "", `key "ssh-ed25519 AAAA bob": line 1: ssh-ed25519 key: `},
		"long inline":   {`"ssh-ed25519 ` + strings.Repeat("A", 1000) + `"`, "", `key "ssh-ed25519 ` + strings.Repeat("A", 52) + `…": line 1: `},
	} {
		t.Run(name, func(t *testing.T) {
			text := "version: 1\nroot: {signers: [bob]}\nsigners:\n  bob: {keys: [" + c.keys + "]}\n"
			_, err := ParseTrust([]byte(text), func(string) ([]byte, error) { return []byte(c.content), nil })
			if err == nil || !strings.HasPrefix(err.Error(), "trust.yaml:4: signer bob: "+c.want) {
				t.Fatalf("got %v\nwant trust.yaml:4: signer bob: %s", err, c.want)
			}
			if strings.Contains(err.Error(), "private note") || strings.Contains(err.Error(), r.public("bob")[:20]) {
				t.Errorf("it quotes the file: %v", err)
			}
		})
	}
}

// TestTrustRevokedSubkey revokes an OpenPGP key by its signing subkey.
func TestTrustRevokedSubkey(t *testing.T) {
	keys, err := ParseKeys(readFixture(t, "keys/openpgp-subkey.asc"))
	if err != nil {
		t.Fatal(err)
	}
	payload, signature := fixtureSignature(t, "openpgp-subkey")
	for _, fingerprint := range []string{keys[0].Fingerprint, keys[0].openpgp[len(keys[0].openpgp)-1].fingerprint} {
		text := "version: 1\nroot: {signers: [alice]}\nsigners:\n  alice: {keys: [keys/a.asc]}\n" +
			fmt.Sprintf("revoked: [{key: %q, reason: gone}]\n", strings.ToLower(fingerprint))
		trust, err := ParseTrust([]byte(text), func(string) ([]byte, error) { return readFixture(t, "keys/openpgp-subkey.asc"), nil })
		if err != nil {
			t.Fatal(err)
		}
		_, err = trust.signature(payload, signature, fixtureNow)
		var refusal *refusalError
		if !errors.As(err, &refusal) || refusal.reason != ReasonRevoked {
			t.Errorf("revoked %s: %v", fingerprint, err)
		}
	}
}

// TestTrustSpentKey: who revokes a key in its own block takes back what it
// approved and what waits still, and is not asked for more.
func TestTrustSpentKey(t *testing.T) {
	for name, stands := range map[string]bool{"openpgp-ed25519": true, "openpgp-revoked": false} {
		keys, err := ParseKeys(readFixture(t, "keys/"+name+".asc"))
		if err != nil {
			t.Fatal(err)
		}
		text := "version: 1\nroot: {signers: [alice]}\nsigners:\n  alice: {keys: [keys/a.asc]}\nrules: [{paths: [\"deployments/**\"]}]\n"
		trust, err := ParseTrust([]byte(text), func(string) ([]byte, error) { return readFixture(t, "keys/"+name+".asc"), nil })
		if err != nil {
			t.Fatal(err)
		}
		given := []Approval{{Signer: "alice", Key: keys[0].Fingerprint}}
		if counts := len(trust.counting("deployments/shop/compose.yaml", given)) == 1; counts != stands {
			t.Errorf("%s: what it approved counts: %v", name, counts)
		}
		if asked := len(trust.approvers("deployments/shop/compose.yaml", fixtureNow)) == 1; asked != stands {
			t.Errorf("%s: its owner is asked for more: %v", name, asked)
		}
	}
}

func readTrustFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "trust", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func trustFileNames(t testing.TB, folder string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", "trust", folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatal(err, "no files in", folder)
	}
	for i, path := range paths {
		paths[i] = folder + "/" + filepath.Base(path)
	}
	return paths
}

// FuzzParseTrust parses anything without a panic, twice the same, and never
// accepts what has no root.
func FuzzParseTrust(f *testing.F) {
	for _, folder := range []string{"valid", "refused"} {
		for _, name := range trustFileNames(f, folder) {
			f.Add(readTrustFile(f, name))
		}
	}
	files := trustFiles(newTestRepo(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		trust, err := ParseTrust(data, files)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "trust.yaml:") {
				t.Fatalf("error without a line: %v", err)
			}
			return
		}
		if trust.Version < 1 || len(trust.Root) == 0 || len(trust.Signers) == 0 {
			t.Fatalf("accepted a policy without version, root or signers: %+v", trust)
		}
		again, err := ParseTrust(data, files)
		if err != nil || again.Digest != trust.Digest {
			t.Fatalf("the second time: %v", err)
		}
		for _, name := range trust.Root {
			if s := trust.signer(name); s == nil || s.Class != Person {
				t.Fatalf("root %q is no person", name)
			}
		}
		for _, path := range []string{"trust.yaml", "keys/alice.pub", "README.md"} {
			if who := trust.approvers(path, testNow); who != nil {
				t.Fatalf("%v may approve %s", who, path)
			}
		}
	})
}
