package push

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// keepsSecrets looks for the repository's credential and the webhook's secret,
// in clear, in everything that jacod writes and says (guarantee G7), once it
// has unsealed the credential anew and used it.
func keepsSecrets(t *testing.T, s *stage.Stage) {
	t.Helper()
	s.Check(s.Daemon.Restart(t.Context()))
	s.Deploy(map[string]string{stage.Path("shop"): stage.Compose(services("2", nil)...)})

	said := t.TempDir()
	for name, out := range map[string]string{
		"status -o json": s.Jaco("status", "-o", "json"),
		"audit -o json":  s.Jaco("audit", "-o", "json"),
		"log":            rig.Must[string](t)(readText(filepath.Join(s.Node.Dir, "jacod.log"))),
	} {
		s.Check(os.WriteFile(filepath.Join(said, name), []byte(out), 0o600))
	}
	s.Jaco("audit", "export", "--output", filepath.Join(said, "bundle"))
	data := readAll(t, s.Daemon.DataDir)
	for _, want := range []string{"identity/node.key", "raft/raft.db", "objects.db", "trust/trust.json"} {
		if _, read := data[want]; !read {
			t.Errorf("the search does not know %s of the data directory", want)
		}
	}
	for _, where := range []struct {
		name  string
		files map[string][]byte
	}{{"data directory", data}, {"what jacod says", readAll(t, said)}} {
		// Where the repository's address is not found, nothing would be.
		if len(hits(where.files, map[string][]byte{"the URL": []byte(s.RepositoryURL())})) == 0 {
			t.Errorf("%s: the search does not find the repository's address", where.name)
		}
		for _, hit := range hits(where.files, secrets(t, s)) {
			t.Errorf("%s: %s", where.name, hit)
		}
	}
	planted := map[string][]byte{}
	for name, secret := range secrets(t, s) {
		planted[name] = append([]byte("before "), append(secret, " after"...)...)
	}
	if found := hits(planted, secrets(t, s)); len(found) < len(planted) {
		t.Errorf("the search finds only %v of what was planted", found)
	}
}

// secrets are what must not be found, in the forms that programs write.
func secrets(t *testing.T, s *stage.Stage) map[string][]byte {
	t.Helper()
	credential := s.Credential()
	found := map[string][]byte{
		"the webhook's secret":     []byte(stage.WebhookSecret),
		"the credential":           credential,
		"the credential in base64": []byte(base64.StdEncoding.EncodeToString(credential)),
		"the credential in hex":    []byte(hex.EncodeToString(credential)),
	}
	if _, password, isToken := bytes.Cut(credential, []byte(":")); isToken { // no key has a colon
		found["the password"] = password
		return found
	}
	lines := strings.Split(strings.TrimSpace(string(credential)), "\n")
	if len(lines) < 5 {
		t.Fatalf("the private key has %d lines", len(lines))
	}
	// The first line of the body is the same for every key.
	for i, line := range lines[2 : len(lines)-1] {
		found[fmt.Sprintf("line %d of the private key", i+3)] = []byte(line)
	}
	return found
}

// hits says which file holds which secret.
func hits(files, secrets map[string][]byte) []string {
	var found []string
	for path, data := range files {
		for name, secret := range secrets {
			if bytes.Contains(data, secret) {
				found = append(found, path+" holds "+name)
			}
		}
	}
	return found
}

// readAll reads the regular files below a directory, by their path in it.
func readAll(t *testing.T, root string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		files[name], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func readText(path string) (string, error) {
	data, err := os.ReadFile(path)
	return string(data), err
}
