package signing

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// The files of a fleet repository that decide who may sign.
const (
	trustFile   = "trust.yaml"
	keysDir     = "keys"
	clusterFile = "cluster.yaml"
	deployDir   = "deployments"
)

// Class is the kind of a signer.
type Class string

// The classes of signers.
const (
	// Person is the default: counts wherever a rule names nobody.
	Person Class = "person"
	// Bot counts only where a rule names it.
	Bot Class = "bot"
	// Forge signs clean merges only, and never counts as an approval.
	Forge Class = "forge"
)

// Signer is one signer that trust.yaml lists.
type Signer struct {
	Name  string
	Class Class
	Keys  []Key
	// ValidUntil is the first instant at which the signer signs nothing new;
	// zero: no end.
	ValidUntil time.Time
}

// validAt reports whether the signer may sign at that time.
func (s *Signer) validAt(now time.Time) bool {
	return s.ValidUntil.IsZero() || now.Before(s.ValidUntil)
}

// Revocation is one entry of the revoked list. A revoked key signs nothing
// new, whatever Since says: that and Compromised only mark what was accepted
// before.
type Revocation struct {
	Key         string
	Since       time.Time
	Compromised bool
	Reason      string
}

// Trust is a parsed trust.yaml with its keys. It is immutable and safe for
// concurrent use.
type Trust struct {
	// Version counts up by one with every change.
	Version int
	// Digest is the SHA-256 over trust.yaml and the key files it names, byte
	// for byte.
	Digest [sha256.Size]byte
	// Root names who may change trust.yaml, keys/ and, unless a rule names it,
	// cluster.yaml. Sorted.
	Root []string
	// RootThreshold is how many of them it takes, from 1.
	RootThreshold int
	// Signers are sorted by name.
	Signers []Signer
	// Revoked stands in the file's order.
	Revoked []Revocation
	// FirstParent says that only the commits on the branch itself need a
	// signature: the signer of a merge vouches for what it merges.
	FirstParent bool
	// MergesApprove says that signing a merge on the branch approves what its
	// other parents bring in.
	MergesApprove bool
	// RequireTarget says that a change needs the signed trailer Deploy-Target
	// or an approve tag.
	RequireTarget bool
	// ImagesPinned says that only image references with a digest are taken.
	ImagesPinned bool
	// MaxAge is how long no new commit may come before there is an alert; 0:
	// for ever.
	MaxAge time.Duration

	rules      []rule
	privileges map[string][]string // by deployment, sorted
	owners     map[string]int      // fingerprint to index in Signers
	revoked    map[string]int      // fingerprint of a listed key to index in Revoked
	spent      map[string]bool     // fingerprints of keys that their own blocks revoke
	keyring    *Keyring
}

// rule says who may change the paths that its patterns match, and how many of
// them it takes.
type rule struct {
	patterns  []pattern
	signers   []string // sorted; nil: every person
	approvals int      // from 1
}

// LoadTrust reads the trust policy of a commit: its trust.yaml and the key
// files that this names. An error that wraps ErrNotFound says that evidence is
// missing; any other says that the commit holds no valid policy.
func LoadTrust(src Source, commit Hash) (*Trust, error) {
	c, err := ReadCommit(src, commit)
	if err != nil {
		return nil, fmt.Errorf("trust of commit %s: %w", commit.Short(), err)
	}
	trust, err := loadTrust(src, c.Tree)
	if err != nil {
		return nil, fmt.Errorf("trust of commit %s: %w", commit.Short(), err)
	}
	return trust, nil
}

// loadTrust is LoadTrust over a commit's tree. A file that the repository
// lacks is no missing evidence: its error wraps fs.ErrNotExist.
func loadTrust(src Source, tree Hash) (*Trust, error) {
	files := NewTreeFS(src, tree)
	data, err := fs.ReadFile(files, trustFile)
	if err != nil {
		return nil, err
	}
	return ParseTrust(data, func(path string) ([]byte, error) { return fs.ReadFile(files, path) })
}

// Anchor pins the trust of a named commit. It activates nothing: the first
// accepted descendant is judged as if every path in its tree had changed.
func Anchor(src Source, commit Hash) (Position, *Trust, error) {
	trust, err := LoadTrust(src, commit)
	if err != nil {
		return Position{}, nil, fmt.Errorf("anchor: %w", err)
	}
	return Position{Commit: commit, Anchor: true}, trust, nil
}

// signature judges one signature by the policy and names who made it. The
// error is a *refusalError that says why it does not count.
func (t *Trust) signature(payload, signature []byte, now time.Time) (Approval, error) {
	key, err := t.keyring.Verify(payload, signature, now)
	if err != nil {
		return Approval{}, signatureRefusal(err)
	}
	at, listed := t.owners[key.Fingerprint]
	if !listed {
		return Approval{}, refuse(ReasonUnknownSigner, "trust.yaml lists no key %s", key.Fingerprint)
	}
	signer := &t.Signers[at]
	if i, revoked := t.revoked[key.Fingerprint]; revoked {
		detail := fmt.Sprintf("key %s of %s is revoked", key.Fingerprint, signer.Name)
		if reason := t.Revoked[i].Reason; reason != "" {
			detail += ": " + reason
		}
		return Approval{}, refuse(ReasonRevoked, "%s", detail)
	}
	if !signer.validAt(now) {
		return Approval{}, refuse(ReasonExpired, "%s signs nothing new since %s (valid_until in trust.yaml)",
			signer.Name, signer.ValidUntil.Format(time.RFC3339))
	}
	return Approval{Signer: signer.Name, Key: key.Fingerprint}, nil
}

// signatureRefusal maps the keyring's answer to a reason. What it does not know
// counts as a bad signature.
func signatureRefusal(err error) error {
	switch {
	case errors.Is(err, ErrUnsigned):
		return refuse(ReasonUnsigned, "it carries no signature")
	case errors.Is(err, ErrUnknownKey):
		return refuse(ReasonUnknownSigner, "%v, which trust.yaml does not list", err)
	case errors.Is(err, ErrKeyExpired), errors.Is(err, ErrKeyNotYetValid):
		return refuse(ReasonExpired, "%v", err)
	case errors.Is(err, ErrKeyRevoked):
		return refuse(ReasonRevoked, "%v", err)
	}
	return refuse(ReasonBadSignature, "%v", err)
}

// stands reports whether an approval given earlier still counts: its key is
// still the signer's and not revoked, by the policy or by its own block.
func (t *Trust) stands(a Approval) bool {
	at, listed := t.owners[a.Key]
	_, revoked := t.revoked[a.Key]
	return listed && !revoked && !t.spent[a.Key] && t.Signers[at].Name == a.Signer
}

// rule returns the last rule that matches the path; nil when none does.
func (t *Trust) rule(path string) *rule {
	for i := len(t.rules) - 1; i >= 0; i-- {
		if t.rules[i].matches(path) {
			return &t.rules[i]
		}
	}
	return nil
}

// mayApprove reports whether a signer's approval of the path counts.
func (t *Trust) mayApprove(path, signer string) bool {
	r := t.rule(path)
	switch {
	case r == nil:
		return path == clusterFile && t.isRoot(signer)
	case r.signers != nil:
		_, found := slices.BinarySearch(r.signers, signer)
		return found
	}
	s := t.signer(signer)
	return s != nil && s.Class == Person
}

// needed is the number of approvals that the path asks for.
func (t *Trust) needed(path string) int {
	if r := t.rule(path); r != nil {
		return r.approvals
	}
	return t.RootThreshold
}

// approvers names who may approve the path now. Sorted.
func (t *Trust) approvers(path string, now time.Time) []string {
	var names []string
	for i := range t.Signers {
		if s := &t.Signers[i]; t.usable(s, now) && t.mayApprove(path, s.Name) {
			names = append(names, s.Name)
		}
	}
	return names
}

// usable reports whether the signer's time is not up and one of his keys is
// valid and not revoked.
func (t *Trust) usable(s *Signer, now time.Time) bool {
	return s.validAt(now) && slices.ContainsFunc(s.Keys, func(k Key) bool {
		_, revoked := t.revoked[k.Fingerprint]
		return !revoked && !t.spent[k.Fingerprint] && k.checkTime(now) == nil
	})
}

// usableRoot names the root signers who can sign now. Sorted.
func (t *Trust) usableRoot(now time.Time) []string {
	var names []string
	for _, name := range t.Root {
		if t.usable(t.signer(name), now) {
			names = append(names, name)
		}
	}
	return names
}

// isForge reports whether the signer is a forge, whose signature approves
// nothing.
func (t *Trust) isForge(signer string) bool {
	s := t.signer(signer)
	return s != nil && s.Class == Forge
}

// isRoot reports whether the signer belongs to root.
func (t *Trust) isRoot(signer string) bool {
	_, found := slices.BinarySearch(t.Root, signer)
	return found
}

// signer returns the signer of that name, nil when there is none.
func (t *Trust) signer(name string) *Signer {
	at, found := slices.BinarySearchFunc(t.Signers, name, func(s Signer, name string) int {
		return strings.Compare(s.Name, name)
	})
	if !found {
		return nil
	}
	return &t.Signers[at]
}
