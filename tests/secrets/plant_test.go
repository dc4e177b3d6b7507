package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/desired/sops"
)

// The planted secrets were encrypted by SOPS to a key of the tests, for which
// the recipient of this run's cluster takes the place: `sops rotate --add-age`
// changes as much of a file. testdata is made by
// desired/sops/testdata/generate.sh.

const identityFile = "../../desired/sops/testdata/identity.txt"

// sealFor is a planted file, encrypted to a recipient alone.
func sealFor(t *testing.T, recipient, name string) string {
	t.Helper()
	data := read(t, filepath.Join("testdata", name))
	file, err := sops.Parse(name, []byte(data))
	if err != nil {
		t.Fatal(err)
	}
	wrapped := file.WrappedKeys()[0]
	lines := strings.Split(strings.TrimSpace(read(t, identityFile)), "\n")
	key, err := identity.ParseUnitKey(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	dataKey, err := key.Open(wrapped.Armored)
	if err != nil {
		t.Fatal(err)
	}
	// Both formats write a line end as \n.
	escape := func(s string) string { return strings.ReplaceAll(s, "\n", `\n`) }
	sealed := strings.ReplaceAll(data, wrapped.Recipient, recipient)
	sealed = strings.ReplaceAll(sealed, escape(wrapped.Armored), escape(encrypt(t, recipient, dataKey)))
	again, err := sops.Parse(name, []byte(sealed))
	if err != nil || again.WrappedKeys()[0].Recipient != recipient || again.WrappedKeys()[0].Armored == wrapped.Armored {
		t.Fatalf("%s was not encrypted to %s: %v", name, recipient, err)
	}
	return sealed
}

// encrypt makes an age file in armor.
func encrypt(t *testing.T, recipient string, plaintext []byte) string {
	t.Helper()
	r, err := age.ParseX25519Recipient(recipient)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	armored := armor.NewWriter(&out)
	w, err := age.Encrypt(armored, r)
	if err == nil {
		_, err = w.Write(plaintext)
	}
	if err := errors.Join(err, w.Close(), armored.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// plain is what a planted file says: the whole of a token, the message of a db.
func plain(t *testing.T, name string) string {
	t.Helper()
	return strings.TrimPrefix(strings.TrimSuffix(read(t, filepath.Join("testdata", name)), "\n"), "MESSAGE=")
}

// forms are how a secret may stand in a file: as it is, in hexadecimal digits,
// or in base64, at each of the three places within a group.
func forms(secret string) [][]byte {
	out := [][]byte{[]byte(secret), []byte(hex.EncodeToString([]byte(secret))), []byte(strings.ToUpper(hex.EncodeToString([]byte(secret))))}
	for shift := range 3 {
		// The first group holds what stands before, the last what comes after.
		text := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		out = append(out, []byte(text[4:len(text)-4]))
	}
	return out
}
