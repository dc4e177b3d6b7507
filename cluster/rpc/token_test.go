package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// newTestToken makes the same token in every run.
func newTestToken(t testing.TB, kind cluster.TokenKind) Token {
	t.Helper()
	token, err := NewToken(rand.NewChaCha8([32]byte{7}), kind, [32]byte{1, 2}, [32]byte{3, 4})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// TestTokenText pins what is in the hands of people.
func TestTokenText(t *testing.T) {
	for kind, want := range map[cluster.TokenKind]string{
		cluster.TokenJoin: "jaco-join-1.",
		cluster.TokenRead: "jaco-read-1.",
	} {
		token := newTestToken(t, kind)
		text := token.Text()
		if !strings.HasPrefix(text, want) || strings.ContainsAny(text, " \n=+/") {
			t.Errorf("%s token: text %q", kind, text)
		}
		got, err := ParseToken("  " + text + "\r\n")
		if err != nil {
			t.Fatal(err)
		}
		if got != token {
			t.Errorf("%s token: parsed %+v, want %+v", kind, got, token)
		}
		if len(token.ID) != 16 || token.Secret == (Secret{}) || token.Authority != [32]byte{1, 2} {
			t.Errorf("token %+v", token)
		}
		if (token.Checkpoint == [32]byte{}) != (kind == cluster.TokenRead) {
			t.Errorf("%s token: checkpoint %x", kind, token.Checkpoint)
		}
	}
	const golden = "jaco-read-1.DkLUyuiGSQjguMdSDjYKpARCfJBT2aZnAQIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADZ1fqL"
	if got := newTestToken(t, cluster.TokenRead).Text(); got != golden {
		t.Errorf("the text of a token changed: %s, was %s", got, golden)
	}
	const hash = "7cc56cc98063f3b9f6e00940e1e0d6314df397c3b7fc893f92cf3ec9b500f1dc"
	if got := fmt.Sprintf("%x", newTestToken(t, cluster.TokenRead).Hash()); got != hash {
		t.Errorf("the hash of a secret changed: %s", got)
	}
}

func TestNewTokenRefuses(t *testing.T) {
	broken := errors.New("no entropy")
	if _, err := NewToken(iotest.ErrReader(broken), cluster.TokenJoin, [32]byte{}, [32]byte{}); !errors.Is(err, broken) {
		t.Errorf("no randomness: %v", err)
	}
	if _, err := NewToken(rand.NewChaCha8([32]byte{}), "write", [32]byte{}, [32]byte{}); !errors.Is(err, ErrTokenKind) {
		t.Errorf("unknown kind: %v", err)
	}
}

// TestAlteredToken changes and cuts a token in every place.
func TestAlteredToken(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for _, kind := range []cluster.TokenKind{cluster.TokenJoin, cluster.TokenRead} {
		text := newTestToken(t, kind).Text()
		for i := range text {
			for _, c := range alphabet {
				altered := text[:i] + string(c) + text[i+1:]
				if altered == text {
					continue
				}
				want := ErrAlteredToken
				if i < len(joinPrefix) {
					want = ErrNoToken
				}
				if _, err := ParseToken(altered); !errors.Is(err, want) {
					t.Fatalf("%s: %v, want %v", altered, err, want)
				}
			}
			if i < len(joinPrefix) {
				continue
			}
			for name, altered := range map[string]string{
				"cut":         text[:i],
				"without one": text[:i] + text[i+1:],
				"one twice":   text[:i] + text[i:i+1] + text[i:],
				"a line feed": text[:i] + "\n" + text[i+1:],
				"a space":     text[:i] + " " + text[i:],
			} {
				if _, err := ParseToken(altered); !errors.Is(err, ErrAlteredToken) {
					t.Fatalf("%s at %d: %v, want %v", name, i, err, ErrAlteredToken)
				}
			}
		}
	}
}

func TestNoToken(t *testing.T) {
	join := newTestToken(t, cluster.TokenJoin).Text()
	read := newTestToken(t, cluster.TokenRead).Text()
	for name, c := range map[string]struct {
		text string
		want error
		says string
	}{
		"empty":            {" \n", ErrNoToken, "it is empty"},
		"something else":   {"hunter2", ErrNoToken, "one starts with jaco-join-1. or jaco-read-1."},
		"a newer version":  {"jaco-join-2.AAAA", ErrNoToken, "made by a newer jacod"},
		"very long":        {join + strings.Repeat("A", maxTokenText), ErrNoToken, "characters"},
		"the prefix alone": {joinPrefix, ErrAlteredToken, "it has 12 characters and should have 135"},
		"two tokens":       {join + join, ErrAlteredToken, "copy all of it again"},
		"the other prefix": {joinPrefix + strings.TrimPrefix(read, readPrefix), ErrAlteredToken, "characters"},
		"line feeds":       {strings.Replace(join, "AAA", "\n\n\n", 1), ErrAlteredToken, "it holds a character that none has"},
		"quoted":           {`"` + join + `"`, ErrNoToken, "one starts with"},
	} {
		_, err := ParseToken(c.text)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %v with %q", name, err, c.want, c.says)
		}
		if err != nil && strings.Contains(err.Error(), strings.TrimPrefix(join, joinPrefix)) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
}

// TestSecretDoesNotPrint prints a token in every way that a log might.
func TestSecretDoesNotPrint(t *testing.T) {
	token := newTestToken(t, cluster.TokenJoin)
	request := &JoinRequest{TokenID: token.ID, Secret: token.Secret}
	_, encoded, _ := strings.Cut(token.Text(), ".")
	forbidden := []string{
		encoded, encoded[11:30], fmt.Sprintf("%x", token.Secret[:]), fmt.Sprintf("%X", token.Secret[:]),
		strings.Trim(fmt.Sprintf("%d", token.Secret[:]), "[]"), fmt.Sprintf("%q", token.Secret[:]), string(token.Secret[:]),
		fmt.Sprintf("%#v", token.Secret[:4])[7:],
	}
	var out bytes.Buffer
	for _, value := range []any{token, &token, token.Secret, &token.Secret, request, *request, []Token{token}, map[string]Token{"a": token}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%c", "%U", "%t"} {
			fmt.Fprintf(&out, verb+"\n", value)
		}
		if err := json.NewEncoder(&out).Encode(value); err != nil {
			t.Fatal(err)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("text", "value", value)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "value", value)
	}
	for _, text := range forbidden {
		if strings.Contains(out.String(), text) {
			t.Errorf("the secret is printed, as %q, in:\n%s", text, out.String())
		}
	}
	if got := fmt.Sprint(token); got != "join token "+token.ID {
		t.Errorf("a token prints as %q", got)
	}
}

func TestWantKind(t *testing.T) {
	join, read := newTestToken(t, cluster.TokenJoin), newTestToken(t, cluster.TokenRead)
	if err := errors.Join(join.WantKind(cluster.TokenJoin), read.WantKind(cluster.TokenRead)); err != nil {
		t.Error(err)
	}
	if err := read.WantKind(cluster.TokenJoin); !errors.Is(err, ErrTokenKind) || !strings.Contains(err.Error(), "`jaco bootstrap token` on a member") {
		t.Errorf("a read token to join with: %v", err)
	}
	if err := join.WantKind(cluster.TokenRead); !errors.Is(err, ErrTokenKind) || !strings.Contains(err.Error(), "`jaco bootstrap token --read`") {
		t.Errorf("a join token to read with: %v", err)
	}
}

func TestCheckTTL(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		kind cluster.TokenKind
		ttl  time.Duration
		good bool
	}{
		{cluster.TokenJoin, time.Second, true},
		{cluster.TokenJoin, 7 * day, true},
		{cluster.TokenJoin, 7*day + time.Second, false},
		{cluster.TokenJoin, 0, false},
		{cluster.TokenJoin, -time.Hour, false},
		{cluster.TokenRead, 366 * day, true},
		{cluster.TokenRead, 367 * day, false},
		{"write", time.Hour, false},
	} {
		if err := CheckTTL(c.kind, c.ttl); (err == nil) != c.good || err != nil && !errors.Is(err, cluster.ErrInvalid) {
			t.Errorf("a %s token for %s: %v", c.kind, c.ttl, err)
		}
	}
}

func TestCheckToken(t *testing.T) {
	token := newTestToken(t, cluster.TokenJoin)
	stored := func(change func(*cluster.Token)) *cluster.Token {
		s := &cluster.Token{ID: token.ID, Kind: cluster.TokenJoin, Hash: token.Hash(), ExpiresAt: noon.Add(time.Hour)}
		change(s)
		return s
	}
	same := func(*cluster.Token) {}
	wrong := token.Secret
	wrong[15] ^= 1
	for name, c := range map[string]struct {
		stored *cluster.Token
		secret Secret
		kind   cluster.TokenKind
		now    time.Time
		says   string // "" for a good one
	}{
		"good":              {stored(same), token.Secret, cluster.TokenJoin, noon, ""},
		"in its last sec":   {stored(same), token.Secret, cluster.TokenJoin, noon.Add(time.Hour - 1), ""},
		"expired":           {stored(same), token.Secret, cluster.TokenJoin, noon.Add(time.Hour), "expired at 2026-11-23T13:00:00Z: `jaco bootstrap token` on a member"},
		"used":              {stored(func(s *cluster.Token) { s.UsedBy = "node-2" }), token.Secret, cluster.TokenJoin, noon.Add(2 * time.Hour), ""},
		"unknown":           {nil, token.Secret, cluster.TokenJoin, noon, "knows no token " + token.ID},
		"unknown, no hash":  {&cluster.Token{}, token.Secret, cluster.TokenJoin, noon, "knows no token " + token.ID},
		"wrong secret":      {stored(same), wrong, cluster.TokenJoin, noon, "knows no token " + token.ID},
		"another's":         {stored(func(s *cluster.Token) { s.ID = "0000000000000000" }), token.Secret, cluster.TokenJoin, noon, "knows no token"},
		"of the other kind": {stored(same), token.Secret, cluster.TokenRead, noon, "is to join with: `jaco bootstrap token --read`"},
	} {
		err := CheckToken(c.stored, token.ID, c.secret, c.kind, c.now)
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" && (!errors.Is(err, cluster.ErrToken) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

func FuzzParseToken(f *testing.F) {
	f.Fuzz(func(t *testing.T, text string) {
		token, err := ParseToken(text)
		if err != nil {
			if !errors.Is(err, ErrNoToken) && !errors.Is(err, ErrAlteredToken) {
				t.Fatalf("an error of no kind: %v", err)
			}
			if token != (Token{}) {
				t.Fatal("a refused text still gave a token")
			}
			return
		}
		if got := token.Text(); got != strings.TrimSpace(text) {
			t.Fatalf("%q is taken for %q", text, got)
		}
	})
}
