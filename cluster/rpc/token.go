package rpc

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// The ways in which the text of a token is refused, by whoever was given it and
// before anything is sent.
var (
	// ErrNoToken is returned for a text that is not a token at all.
	ErrNoToken = errors.New("not a token")
	// ErrAlteredToken is returned for a token that was cut or altered on its way.
	ErrAlteredToken = errors.New("the token was cut or altered on its way")
	// ErrTokenKind is returned for a token that is good for something else.
	ErrTokenKind = errors.New("the token is of another kind")
)

// The prefixes that tokens start with, and what goes before a secret when it
// is hashed. They are in the hands of people and in state: never change one.
const (
	joinPrefix   = "jaco-join-1."
	readPrefix   = "jaco-read-1."
	secretPrefix = "jaco token secret 1\x00"
)

const (
	tokenIDBytes  = 8
	checksumBytes = 4
	// maxTokenText is far above any token; what is longer is not one.
	maxTokenText = 1 << 10
)

// How long tokens may live. Whoever has a join token can become a member.
const (
	maxJoinTTL = 7 * 24 * time.Hour
	maxReadTTL = 366 * 24 * time.Hour
)

// Secret is what makes a token worth something. It prints as no more than that
// it is one, whatever prints it.
type Secret [16]byte

// hidden stands for a secret.
const hidden = "[secret]"

// Format implements fmt.Formatter for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// MarshalText keeps secrets out of JSON.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Hash returns what state holds of a secret.
func (s Secret) Hash() [32]byte {
	return sha256.Sum256(append([]byte(secretPrefix), s[:]...))
}

// Token is what an operator carries from a member to a new node, or to whoever
// reads from afar: proof of having been let in, and all that is needed to know
// the cluster by.
type Token struct {
	ID     string // 16 hexadecimal digits; public
	Kind   cluster.TokenKind
	Secret Secret
	// Authority is the SHA-256 of the cluster authority's certificate, DER.
	Authority [32]byte
	// Checkpoint is the SHA-256 of what a joining node pins; zero in a read
	// token.
	Checkpoint [32]byte
}

// NewToken draws the id and the secret of a new token.
func NewToken(rand io.Reader, kind cluster.TokenKind, authority, checkpoint [32]byte) (Token, error) {
	t := Token{Kind: kind, Authority: authority}
	switch kind {
	case cluster.TokenJoin:
		t.Checkpoint = checkpoint
	case cluster.TokenRead:
	default:
		return Token{}, fmt.Errorf("new token: %w: %q", ErrTokenKind, kind)
	}
	var drawn [tokenIDBytes + len(t.Secret)]byte
	if _, err := io.ReadFull(rand, drawn[:]); err != nil {
		return Token{}, fmt.Errorf("draw a token: %w", err)
	}
	t.ID = hex.EncodeToString(drawn[:tokenIDBytes])
	copy(t.Secret[:], drawn[tokenIDBytes:])
	return t, nil
}

// Hash returns what state holds of the token's secret.
func (t Token) Hash() [32]byte { return t.Secret.Hash() }

// String names the token without its secret.
func (t Token) String() string { return string(t.Kind) + " token " + t.ID }

// GoString keeps %#v readable; the secret would not print.
func (t Token) GoString() string { return t.String() }

// LogValue implements slog.LogValuer.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Text returns the one line that is handed over. It reveals the secret.
func (t Token) Text() string {
	prefix := readPrefix
	body, _ := hex.DecodeString(t.ID) // hexadecimal in every token that was made or parsed
	body = append(body, t.Secret[:]...)
	body = append(body, t.Authority[:]...)
	if t.Kind == cluster.TokenJoin {
		prefix = joinPrefix
		body = append(body, t.Checkpoint[:]...)
	}
	sum := tokenChecksum(prefix, body)
	return prefix + base64.RawURLEncoding.EncodeToString(append(body, sum...))
}

// tokenChecksum is over the prefix too, so that one kind does not pass for the
// other. It guards against slips of a hand; the secret guards against malice.
func tokenChecksum(prefix string, body []byte) []byte {
	sum := sha256.Sum256(append([]byte(prefix), body...))
	return sum[:checksumBytes]
}

// ParseToken reads what Text wrote, with white space around it. Errors wrap
// ErrNoToken or ErrAlteredToken, and never hold the text.
func ParseToken(text string) (Token, error) {
	text = strings.TrimSpace(text)
	t := Token{Kind: cluster.TokenJoin}
	prefix, fields := joinPrefix, [][]byte{make([]byte, tokenIDBytes), t.Secret[:], t.Authority[:], t.Checkpoint[:]}
	switch {
	case text == "":
		return Token{}, fmt.Errorf("%w: it is empty", ErrNoToken)
	case len(text) > maxTokenText:
		return Token{}, fmt.Errorf("%w: it has %d characters", ErrNoToken, len(text))
	case strings.HasPrefix(text, joinPrefix):
	case strings.HasPrefix(text, readPrefix):
		t.Kind, prefix, fields = cluster.TokenRead, readPrefix, fields[:3]
	case strings.HasPrefix(text, "jaco-join-"), strings.HasPrefix(text, "jaco-read-"):
		return Token{}, fmt.Errorf("%w of this version: it was made by a newer jacod, or altered on its way", ErrNoToken)
	default:
		return Token{}, fmt.Errorf("%w: one starts with %s or %s", ErrNoToken, joinPrefix, readPrefix)
	}
	size := checksumBytes
	for _, field := range fields {
		size += len(field)
	}
	rest := text[len(prefix):]
	if want := base64.RawURLEncoding.EncodedLen(size); len(rest) != want {
		return Token{}, fmt.Errorf("%w: it has %d characters and should have %d: copy all of it again",
			ErrAlteredToken, len(text), len(prefix)+want)
	}
	data, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if err != nil || len(data) != size { // line breaks within are skipped by the decoder
		return Token{}, fmt.Errorf("%w: it holds a character that none has: copy all of it again", ErrAlteredToken)
	}
	body, sum := data[:size-checksumBytes], data[size-checksumBytes:]
	if !bytes.Equal(sum, tokenChecksum(prefix, body)) {
		return Token{}, fmt.Errorf("%w: its checksum does not fit: copy all of it again", ErrAlteredToken)
	}
	for _, field := range fields {
		body = body[copy(field, body):]
	}
	t.ID = hex.EncodeToString(fields[0])
	return t, nil
}

// WantKind returns an error that wraps ErrTokenKind and says where to get
// another, unless the token is of the given kind.
func (t Token) WantKind(kind cluster.TokenKind) error {
	switch {
	case t.Kind == kind:
		return nil
	case kind == cluster.TokenJoin:
		return fmt.Errorf("%w: it is to read with: `jaco bootstrap token` on a member makes one to join with", ErrTokenKind)
	default:
		return fmt.Errorf("%w: it is to join with: `jaco bootstrap token --read` on a member makes one to read with", ErrTokenKind)
	}
}

// CheckTTL returns an error that wraps cluster.ErrInvalid unless a token of
// the kind may live that long.
func CheckTTL(kind cluster.TokenKind, ttl time.Duration) error {
	longest := maxReadTTL
	if kind == cluster.TokenJoin {
		longest = maxJoinTTL
	}
	switch {
	case kind != cluster.TokenJoin && kind != cluster.TokenRead:
		return fmt.Errorf("%w: token of kind %q", cluster.ErrInvalid, kind)
	case ttl < time.Second:
		return fmt.Errorf("%w: a token that lives for %s is worth nothing: want a second at least", cluster.ErrInvalid, ttl)
	case ttl > longest:
		return fmt.Errorf("%w: a token to %s with lives for %s at most", cluster.ErrInvalid, kind, longest)
	}
	return nil
}

// CheckToken judges a token that somebody shows: stored is what state holds
// under its id, nil for nothing. Whether a join token was used is not looked at
// here, because the node that used it may ask again: AdmitNode decides that.
// Errors wrap cluster.ErrToken and say what to do.
func CheckToken(stored *cluster.Token, id string, secret Secret, kind cluster.TokenKind, now time.Time) error {
	var want [32]byte
	if stored != nil {
		want = stored.Hash
	}
	got := secret.Hash()
	// A wrong secret and an unknown id give the same answer after the same work.
	if same := subtle.ConstantTimeCompare(got[:], want[:]) == 1; !same || stored == nil || stored.ID != id {
		return fmt.Errorf("%w: this cluster knows no token %s, or forgot it when it expired: %s", cluster.ErrToken, id, another(kind))
	}
	if stored.Kind != kind {
		return fmt.Errorf("%w: token %s is to %s with: %s", cluster.ErrToken, id, stored.Kind, another(kind))
	}
	if stored.UsedBy == "" && !now.Before(stored.ExpiresAt) {
		return fmt.Errorf("%w: token %s expired at %s: %s", cluster.ErrToken, id, stored.ExpiresAt.UTC().Format(time.RFC3339), another(kind))
	}
	return nil
}

// another says where tokens come from.
func another(kind cluster.TokenKind) string {
	if kind == cluster.TokenRead {
		return "`jaco bootstrap token --read` on a member makes another"
	}
	return "`jaco bootstrap token` on a member makes another"
}
