package signing

import (
	"errors"
	"strings"
	"testing"
	"time"
)

// TestAllowedKeys reads lines of OpenSSH's allowed_signers format.
func TestAllowedKeys(t *testing.T) {
	r := newTestRepo(t)
	bob, carol := r.public("bob"), r.public("carol")
	cases := map[string]struct {
		text, principal string
		want            string // names of the keys, or the error
	}{
		"one":                   {"bob " + bob, "bob", "bob"},
		"comment and blanks":    {"# team\n\n  bob " + bob + " bob@laptop\n", "bob", "bob"},
		"several principals":    {"alice,bob " + bob, "bob", "bob"},
		"quoted principals":     {`"bob,alice" ` + bob, "alice", "bob"},
		"another's line":        {"bob " + bob + "\ncarol " + carol, "carol", "carol"},
		"two lines":             {"bob " + bob + "\nbob,carol " + carol, "bob", "bob carol"},
		"pattern":               {"*@example.com " + bob, "bob@example.com", "bob"},
		"question mark":         {"b?b " + bob, "bob", "bob"},
		"negated":               {"*@example.com,!bob@example.com " + bob, "bob@example.com", `f:`},
		"pattern elsewhere":     {"*@example.com " + bob, "bob@example.org", "f: no line gives"},
		"case matters":          {"Bob " + bob, "bob", `f: no line gives the principal "bob" a key for git`},
		"namespace":             {`bob namespaces="git" ` + bob, "bob", "bob"},
		"namespaces":            {`bob namespaces="file,git" ` + bob, "bob", "bob"},
		"namespace pattern":     {`bob namespaces="g*" ` + bob, "bob", "bob"},
		"option in capitals":    {`bob NAMESPACES="git" ` + bob, "bob", "bob"},
		"other namespace":       {`bob namespaces="file" ` + bob, "bob", "f: no line gives"},
		"not for git":           {`bob namespaces="*,!git" ` + bob, "bob", "f: no line gives"},
		"all options":           {`bob namespaces="git",valid-after="20260101Z",valid-before="202701011200Z" ` + bob, "bob", "bob"},
		"cert-authority":        {"bob cert-authority " + bob, "bob", "f:1: option cert-authority is not supported"},
		"of another":            {"bob " + bob + "\ncarol cert-authority " + carol, "bob", "f:2: option cert-authority is not supported"},
		"unknown option":        {"bob no-touch-required " + bob, "bob", `f:1: option "no-touch-required" is not supported`},
		"unquoted":              {"bob namespaces=git " + bob, "bob", `f:1: option namespaces: want namespaces="…"`},
		"half quoted":           {`bob namespaces="git ` + bob, "bob", "f:1: option"},
		"twice":                 {`bob namespaces="git",namespaces="file" ` + bob, "bob", `f:1: option "namespaces" stands twice`},
		"bad time":              {`bob valid-after="yesterday" ` + bob, "bob", `f:1: option valid-after: "yesterday": want YYYYMMDDZ`},
		"no such day":           {`bob valid-after="20260230Z" ` + bob, "bob", `f:1: option valid-after: "20260230Z": want`},
		"ends before it begins": {`bob valid-after="20260102Z",valid-before="20260101Z" ` + bob, "bob", "f:1: valid-before lies before valid-after"},
		"no key":                {"bob", "bob", "f:1: no key"},
		"no key behind":         {`bob namespaces="git"`, "bob", "f:1: no key behind the options"},
		"bad key":               {"# x\nbob ssh-ed25519 AAAA", "bob", "f:2: ssh-ed25519 key"},
		"dsa":                   {"bob ssh-dss AAAA", "bob", "f:1: key refused"},
		"empty":                 {"", "bob", "f: no line gives"},
		"wildcards do not eat":  {strings.Repeat("*a", 60) + " " + bob, strings.Repeat("a", 59), "f: no line gives"},
	}
	names := map[string]string{r.fingerprint("bob"): "bob", r.fingerprint("carol"): "carol"}
	for name, c := range cases {
		keys, err := allowedKeys("f", []byte(c.text), c.principal)
		if err != nil {
			if !strings.HasPrefix(c.want, "f:") || !strings.HasPrefix(err.Error(), c.want) {
				t.Errorf("%s: error %v, want %s", name, err, c.want)
			}
			continue
		}
		var got []string
		for _, key := range keys {
			got = append(got, names[key.Fingerprint])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

// TestAllowedTimes judges valid-after and valid-before at the entry's time.
// Both ends belong to it; a time without Z is UTC.
func TestAllowedTimes(t *testing.T) {
	r := newTestRepo(t)
	payload := []byte("payload")
	signature := r.sign("bob", payload)
	keys, err := allowedKeys("f", []byte(`bob valid-after="20260101",valid-before="20261231235959Z" `+r.public("bob")), "bob")
	if err != nil {
		t.Fatal(err)
	}
	ring, err := NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	for now, want := range map[string]error{
		"2025-12-31T23:59:59Z": ErrKeyNotYetValid,
		"2026-01-01T00:00:00Z": nil,
		"2026-12-31T23:59:59Z": nil,
		"2027-01-01T00:00:00Z": ErrKeyExpired,
	} {
		at, err := time.Parse(time.RFC3339, now)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ring.Verify(payload, signature, at); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", now, err, want)
		}
	}
}

// FuzzAllowedKeys reads anything without a panic, and gives no principal a key
// that the same line refuses when it is asked for by its own words.
func FuzzAllowedKeys(f *testing.F) {
	r := newTestRepo(f)
	for _, seed := range []string{
		"bob " + r.public("bob"), `*@x,!b "a b" namespaces="git",valid-after="20260101Z" ` + r.public("bob"),
		`"b,c" cert-authority ` + r.public("bob"), "bob\tnamespaces=\"git\"\t" + r.public("bob"), "bob ssh-ed25519",
	} {
		f.Add([]byte(seed), "bob")
	}
	f.Fuzz(func(t *testing.T, data []byte, principal string) {
		keys, err := allowedKeys("f", data, principal)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Fatalf("error without its file: %v", err)
			}
			return
		}
		for _, key := range keys {
			if key.ssh == nil || key.Fingerprint == "" {
				t.Fatalf("no key: %+v", key)
			}
		}
		if len(keys) == 0 {
			t.Fatal("neither keys nor an error")
		}
	})
}
