package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"
	yaml "go.yaml.in/yaml/v3"
)

// testIdentity is the key of the fixtures.
func testIdentity(t testing.TB) *age.X25519Identity {
	t.Helper()
	text, err := os.ReadFile("testdata/identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	id, err := age.ParseX25519Identity(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// dataKey unwraps the data key of a fixture.
func dataKey(t testing.TB, f *File) []byte {
	t.Helper()
	id := testIdentity(t)
	for _, wrapped := range f.WrappedKeys() {
		if wrapped.Recipient != id.Recipient().String() {
			continue
		}
		r, err := age.Decrypt(armor.NewReader(strings.NewReader(wrapped.Armored)), id)
		if err != nil {
			t.Fatal(err)
		}
		var key bytes.Buffer
		if _, err := key.ReadFrom(r); err != nil {
			t.Fatal(err)
		}
		return key.Bytes()
	}
	t.Fatal("the fixture is for somebody else")
	return nil
}

// encryptedFile finds the encrypted file of a fixture.
func encryptedFile(t testing.TB, dir string) (name string, data []byte) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "*.sops.*"))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %v, %v", dir, found, err)
	}
	data, err = os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	return found[0], data
}

func decryptAll(t testing.TB, name string, data []byte) (*Plaintext, error) {
	t.Helper()
	f, err := Parse(name, data)
	if err != nil {
		return nil, err
	}
	return f.Decrypt(dataKey(t, f))
}

// TestReadsWhatSOPSWrote holds every fixture against what SOPS decrypts it to.
func TestReadsWhatSOPSWrote(t *testing.T) {
	dirs, err := filepath.Glob("testdata/good/*")
	if err != nil || len(dirs) < 10 {
		t.Fatalf("only %d fixtures (%v)", len(dirs), err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			name, data := encryptedFile(t, dir)
			plain, err := decryptAll(t, name, data)
			if err != nil {
				t.Fatal(err)
			}
			got, err := plain.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join(dir, "want"))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(meaning(t, name, want), meaning(t, name, got)); diff != "" {
				t.Errorf("(-SOPS +got):\n%s", diff)
			}
		})
	}
}

// meaning is a plain file without its layout and comments.
func meaning(t *testing.T, name string, data []byte) any {
	t.Helper()
	var v any
	var err error
	switch format, _ := FormatOf(name); format {
	case YAML:
		err = yaml.Unmarshal(data, &v)
	case JSON:
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.UseNumber()
		err = decoder.Decode(&v)
	case Dotenv:
		var lines []string
		for line := range strings.Lines(string(data)) {
			if !strings.HasPrefix(line, "#") {
				lines = append(lines, line)
			}
		}
		v = lines
	default:
		v = string(data)
	}
	if err != nil {
		t.Fatalf("%v in:\n%s", err, data)
	}
	return v
}

func TestVariables(t *testing.T) {
	plain, err := decryptAll(t, "db.sops.env", fixture(t, "good/dotenv"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := plain.Variables()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"PASSWORD": "correct horse battery staple", "URL": "postgres://user:pa=ss@db/shop?x=1&y=#2", "EMPTY": "",
		"QUOTED": "in quotes", "LINES": "one\ntwo", "DOLLAR": "$NOT_A_VARIABLE ${NOR_THIS}", "UNICODE": "pässwörd ☃",
		"PORT": "5432", "NAME_unencrypted": "in clear",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	file, err := Parse("db.sops.env", fixture(t, "good/dotenv"))
	if err != nil || len(file.Keys()) != len(want) {
		t.Errorf("keys %v, %v", file.Keys(), err)
	}
	other, err := decryptAll(t, "all.sops.yaml", fixture(t, "good/yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := other.Variables(); !errors.Is(err, ErrUnsupported) {
		t.Errorf("variables of YAML: %v", err)
	}
	for _, printed := range []string{fmt.Sprint(plain), fmt.Sprintf("%+v %#v %s", plain, plain, plain)} {
		if strings.Contains(printed, "horse") {
			t.Errorf("it prints %s", printed)
		}
	}
}

func fixture(t testing.TB, dir string) []byte {
	t.Helper()
	_, data := encryptedFile(t, "testdata/"+dir)
	return data
}

// TestTampered changes files without SOPS.
func TestTampered(t *testing.T) {
	env, doc := string(fixture(t, "good/dotenv")), string(fixture(t, "good/yaml"))
	line := func(text, prefix string) string {
		for l := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(l), prefix) {
				return strings.TrimSuffix(l, "\n")
			}
		}
		t.Fatalf("no line %s", prefix)
		return ""
	}
	value := func(l string) string { _, v, _ := strings.Cut(l, "="); return v }
	password, port := line(env, "PASSWORD="), line(env, "PORT=")
	for name, text := range map[string]string{
		"a value moved":              strings.Replace(env, port, "PORT="+value(password), 1),
		"a value in clear":           strings.Replace(env, port, "PORT=5433", 1),
		"an empty value":             strings.Replace(env, port, "PORT=", 1),
		"a line removed":             strings.Replace(env, port+"\n", "", 1),
		"a line added":               "MORE_unencrypted=x\n" + env,
		"a value made a comment":     strings.Replace(env, port, strings.Replace(port, "type:str", "type:comment", 1), 1),
		"a clear value changed":      strings.Replace(env, "in clear", "in Clear", 1),
		"something after a value":    strings.Replace(env, port, port+"x", 1),
		"another time":               strings.Replace(env, line(env, "sops_lastmodified="), "sops_lastmodified=2020-01-01T00:00:00Z", 1),
		"the MAC of nothing":         strings.Replace(env, line(env, "sops_mac="), "sops_mac="+value(password), 1),
		"a MAC in clear":             strings.Replace(env, line(env, "sops_mac="), "sops_mac=ABCD", 1),
		"another rule":               strings.Replace(env, "sops_unencrypted_suffix=_unencrypted", "sops_unencrypted_suffix=PORT", 1),
		"the MAC of encrypted alone": env + "sops_mac_only_encrypted=true\n",
	} {
		if text == env {
			t.Fatalf("%s: nothing was changed", name)
		}
		plain, err := decryptAll(t, "db.sops.env", []byte(text))
		if err == nil || plain != nil || !errors.Is(err, ErrTampered) {
			t.Errorf("%s: %v, %v", name, plain, err)
		}
		noSecretIn(t, err)
	}
	clear := strings.Replace(doc, line(doc, "number_unencrypted"), "number_unencrypted: 18", 1)
	if _, err := decryptAll(t, "all.sops.yaml", []byte(clear)); !errors.Is(err, ErrTampered) {
		t.Errorf("a clear number changed: %v", err)
	}
	number := strings.Replace(env, password, strings.Replace(password, "type:str", "type:int", 1), 1)
	_, err := decryptAll(t, "db.sops.env", []byte(number))
	if !errors.Is(err, ErrMalformed) {
		t.Errorf("a text that says it is a number: %v", err)
	}
	noSecretIn(t, err)
	f, err := Parse("db.sops.env", []byte(env))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Decrypt(make([]byte, keyBytes)); !errors.Is(err, ErrTampered) {
		t.Errorf("another data key: %v", err)
	}
	if _, err := f.Decrypt(make([]byte, 16)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a short data key: %v", err)
	}
}

// noSecretIn holds an error against what the fixtures hold.
func noSecretIn(t *testing.T, err error) {
	t.Helper()
	for _, part := range []string{"horse", "ENC[", "5432", "postgres"} {
		if err != nil && strings.Contains(err.Error(), part) {
			t.Errorf("an error holds a value: %v", err)
		}
	}
}

func TestRefuses(t *testing.T) {
	env := string(fixture(t, "good/dotenv"))
	for name, test := range map[string]struct {
		file, text string
		want       error
	}{
		"clear dotenv":       {"db.sops.env", "PASSWORD=correct horse\n", ErrNotEncrypted},
		"clear YAML":         {"db.sops.yaml", "password: correct horse\n", ErrNotEncrypted},
		"clear JSON":         {"db.sops.json", `{"password": "correct horse"}`, ErrNotEncrypted},
		"nothing":            {"db.sops.yaml", "", ErrNotEncrypted},
		"no JSON":            {"token.sops.txt", "correct horse", ErrMalformed},
		"a list":             {"db.sops.json", "[]", ErrMalformed},
		"more than JSON":     {"db.sops.json", "{} {}", ErrMalformed},
		"cut JSON":           {"db.sops.json", `{"a": [1, {"b": "horse`, ErrMalformed},
		"no YAML":            {"db.sops.yaml", "a: [horse", ErrMalformed},
		"a scalar":           {"db.sops.yaml", "horse", ErrMalformed},
		"an alias to itself": {"db.sops.yaml", "a: &a [*a]\n", ErrMalformed},
		"a number as key":    {"db.sops.yaml", "1: x\nsops: {}\n", ErrUnsupported},
		"a key twice":        {"db.sops.json", `{"a": 1, "a": 2}`, ErrMalformed},
		"a name twice":       {"db.sops.env", "A=1\nA=2\n", ErrMalformed},
		"no equals sign":     {"db.sops.env", "horse\n", ErrMalformed},
		"another name":       {"db.env", env, ErrUnsupported},
		"too large":          {"db.sops.env", "A=" + strings.Repeat("x", MaxBytes), ErrMalformed},
		"deep JSON":          {"db.sops.json", strings.Repeat(`{"a":`, 40) + "1" + strings.Repeat("}", 40), ErrMalformed},
		"no metadata in it":  {"db.sops.yaml", "sops: {}\n", ErrMalformed},
		"metadata as text":   {"db.sops.yaml", "sops: x\n", ErrMalformed},
		"unknown metadata":   {"db.sops.env", env + "sops_new_rule=x\n", ErrUnsupported},
		"two rules":          {"db.sops.env", env + "sops_encrypted_regex=x\n", ErrMalformed},
		"no regex":           {"db.sops.env", strings.Replace(env, "sops_unencrypted_suffix=_unencrypted", "sops_encrypted_regex=(", 1), ErrMalformed},
		"no time":            {"db.sops.env", strings.Replace(env, "sops_lastmodified=2", "sops_lastmodified=x", 1), ErrMalformed},
		"no age":             {"db.sops.env", strings.ReplaceAll(env, "sops_age__list_0__map_", "sops_kms__list_0__map_"), ErrUnsupported},
		"half an age entry":  {"db.sops.env", strings.ReplaceAll(env, "_map_recipient", "_map_receiver"), ErrMalformed},
		"two values in one":  {"x.sops.txt", strings.Replace(string(fixture(t, "good/binary")), `"data":`, `"more": 1, "data":`, 1), ErrMalformed},
	} {
		f, err := Parse(test.file, []byte(test.text))
		if f != nil || !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
		noSecretIn(t, err)
	}
	dirs, err := filepath.Glob("testdata/refused/*")
	if err != nil || len(dirs) < 4 {
		t.Fatalf("only %d fixtures (%v)", len(dirs), err)
	}
	for _, dir := range dirs {
		name, data := encryptedFile(t, dir)
		if _, err := Parse(name, data); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{
		"db.sops.env": Dotenv, "a/b.sops.yaml": YAML, "b.sops.yml": YAML, "c.sops.json": JSON, "t.sops.txt": Binary, "k.sops.pem": Binary,
		".sops.env": Dotenv, ".env": "", "db.env": "", "sops.env": "", "db.sops": "", "db.sops.": "", "a.sops.d/x.env": "",
	} {
		if got, ok := FormatOf(name); got != want || ok != (want != "") {
			t.Errorf("%s: %s, %v", name, got, ok)
		}
	}
}

// FuzzParse holds that no file makes the reader panic, and that none decrypts
// with a key that it was not encrypted with.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/good/*", "testdata/refused/*"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, dir := range dirs {
			name, data := encryptedFile(f, dir)
			f.Add(filepath.Base(name), data)
		}
	}
	f.Fuzz(func(t *testing.T, name string, data []byte) {
		file, err := Parse(name, data)
		if err != nil {
			return
		}
		if plain, err := file.Decrypt(make([]byte, keyBytes)); err == nil || plain != nil {
			t.Fatalf("decrypted with a wrong key: %q", data)
		}
	})
}
