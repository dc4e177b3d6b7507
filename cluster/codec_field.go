package cluster

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

// encoder and decoder turn fields into their wire form and back. They keep the
// first error, so that conversions read as plain struct literals.
type (
	encoder struct{ err error }
	decoder struct{ err error }
)

func (w *encoder) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (r *decoder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// phases and expectKinds are indexed by their wire numbers.
var (
	phases = [...]Phase{
		"", Assigned, Preparing, Starting, Running, Healthy, Unhealthy,
		Stopping, Stopped, Failed, Rejected, Lost,
	}
	expectKinds = [...]ExpectKind{
		"", ExpectReplica, ExpectService, ExpectDeployment, ExpectNode, ExpectMesh,
	}
)

func (w *encoder) time(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	ts := timestamppb.New(t)
	if !ts.IsValid() {
		w.fail(fmt.Errorf("%w: time %v is out of range", ErrInvalid, t))
	}
	return ts
}

func (r *decoder) time(ts *timestamppb.Timestamp) time.Time {
	if ts == nil {
		return time.Time{}
	}
	if !ts.IsValid() {
		r.fail(fmt.Errorf("%w: time out of range", ErrInvalid))
		return time.Time{}
	}
	return ts.AsTime()
}

// hash gives nothing for the zero hash, so that absent and zero are the same
// on the wire too.
func (w *encoder) hash(h signing.Hash) []byte {
	if h.IsZero() {
		return nil
	}
	return h[:]
}

func (r *decoder) hash(b []byte) signing.Hash {
	switch len(b) {
	case 0:
		return signing.Hash{}
	case len(signing.Hash{}):
		return signing.Hash(b)
	}
	r.fail(fmt.Errorf("%w: object id of %d bytes", ErrInvalid, len(b)))
	return signing.Hash{}
}

func (w *encoder) digest(d [32]byte) []byte {
	if d == [32]byte{} {
		return nil
	}
	return d[:]
}

func (r *decoder) digest(b []byte) [32]byte {
	switch len(b) {
	case 0:
		return [32]byte{}
	case 32:
		return [32]byte(b)
	}
	r.fail(fmt.Errorf("%w: digest of %d bytes", ErrInvalid, len(b)))
	return [32]byte{}
}

// bytes makes absent and empty the same.
func (r *decoder) bytes(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// text makes s valid UTF-8, which protobuf demands and log lines, paths and
// commit messages are not always.
func (w *encoder) text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func (w *encoder) phase(p Phase) jacov1.Phase {
	i := slices.Index(phases[:], p)
	if i < 0 {
		w.fail(fmt.Errorf("%w: phase %q", ErrInvalid, p))
		return 0
	}
	return jacov1.Phase(i)
}

func (r *decoder) phase(p jacov1.Phase) Phase {
	if p < 0 || int(p) >= len(phases) {
		r.fail(fmt.Errorf("%w: phase %d", ErrUnknownCommand, p))
		return ""
	}
	return phases[p]
}

func (w *encoder) expectKind(k ExpectKind) jacov1.ExpectKind {
	i := slices.Index(expectKinds[:], k)
	if i < 0 {
		w.fail(fmt.Errorf("%w: expectation of %q", ErrInvalid, k))
		return 0
	}
	return jacov1.ExpectKind(i)
}

func (r *decoder) expectKind(k jacov1.ExpectKind) ExpectKind {
	if k < 0 || int(k) >= len(expectKinds) {
		r.fail(fmt.Errorf("%w: expectation of kind %d", ErrUnknownCommand, k))
		return ""
	}
	return expectKinds[k]
}

func (w *encoder) objectType(t signing.ObjectType) jacov1.ObjectType {
	if t > signing.TagObject {
		w.fail(fmt.Errorf("%w: object of type %d", ErrInvalid, t))
	}
	return jacov1.ObjectType(t)
}

func (r *decoder) objectType(t jacov1.ObjectType) signing.ObjectType {
	if t < 0 || t > jacov1.ObjectType_OBJECT_TYPE_TAG {
		r.fail(fmt.Errorf("%w: object of type %d", ErrUnknownCommand, t))
		return 0
	}
	return signing.ObjectType(t)
}

// prefix gives nothing for the zero prefix.
func (w *encoder) prefix(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}

// prefix takes the canonical form alone, so that equal prefixes are equal bytes.
func (r *decoder) prefix(s string) netip.Prefix {
	if s == "" {
		return netip.Prefix{}
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.String() != s {
		r.fail(fmt.Errorf("%w: prefix %q", ErrInvalid, s))
		return netip.Prefix{}
	}
	return p
}

func (w *encoder) address(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (r *decoder) address(s string) netip.Addr {
	if s == "" {
		return netip.Addr{}
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.String() != s {
		r.fail(fmt.Errorf("%w: address %q", ErrInvalid, s))
		return netip.Addr{}
	}
	return a
}

func (r *decoder) port(p uint32) uint16 {
	if p > math.MaxUint16 {
		r.fail(fmt.Errorf("%w: port %d", ErrInvalid, p))
		return 0
	}
	return uint16(p)
}

// each converts a list; an empty one becomes nil.
func each[A, B any](in []A, convert func(A) B) []B {
	if len(in) == 0 {
		return nil
	}
	out := make([]B, len(in))
	for i, v := range in {
		out[i] = convert(v)
	}
	return out
}
