package cluster

import (
	"fmt"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// BundleOptions are what a bundle is verified against. What is left out is
// taken from the bundle itself and so proves consistency only.
type BundleOptions struct {
	// Anchor is the commit that was pinned at init. Without it claims are
	// verified from the anchor that the bundle names, and the report says that
	// the root was not checked.
	Anchor *signing.Hash
	// Reanchors are the commits to which operators moved the pins of nodes by
	// hand, as far as the caller trusts them.
	Reanchors []signing.Hash
	// CAHash is the SHA-256 of the cluster authority's certificate (DER).
	CAHash *[32]byte
	// Digest computes a claim's content digest; default ContentDigest.
	Digest func(src signing.Source, accepted signing.Position) ([32]byte, error)
}

// BundleReport is what VerifyBundle found.
type BundleReport struct {
	Cluster     string            `json:"cluster"` // id
	Name        string            `json:"name"`
	CA          string            `json:"ca"` // SHA-256 of the authority's certificate (DER), hexadecimal
	Index       uint64            `json:"index"`
	Time        time.Time         `json:"time"`
	Entries     uint64            `json:"entries"`
	Head        string            `json:"head"` // of the audit chain, hexadecimal
	Objects     int               `json:"objects"`
	Branch      string            `json:"branch"` // of the repository that was followed
	Anchor      signing.Hash      `json:"anchor"`
	RootChecked bool              `json:"root_checked"` // Anchor is the one that was asked for
	Accepted    signing.Hash      `json:"accepted"`
	Claims      []BundleClaim     `json:"claims"`
	Signatures  []BundleSignature `json:"signatures"`
	Warnings    []string          `json:"warnings"`
}

// BundleClaim is one claim that was verified again.
type BundleClaim struct {
	Number  uint64       `json:"number"`
	Index   uint64       `json:"index"`
	Entry   uint64       `json:"entry"` // number of its audit entry
	Time    time.Time    `json:"time"`
	Commit  signing.Hash `json:"commit"`
	Commits int          `json:"commits"` // that it brought
	Signers []string     `json:"signers"` // of those commits, sorted
	// Tags are the approval tags that the claim relies on.
	Tags []BundleTag `json:"tags"`
	// Reanchored says that the claim left the history before it: root vouched for
	// a rewritten one.
	Reanchored bool `json:"reanchored,omitempty"`
	// Refused says why the cluster's nodes did not follow the claim; "" when
	// they did.
	Refused string `json:"refused,omitempty"`
}

// BundleTag is an approval tag that stands in a bundle.
type BundleTag struct {
	ID   signing.Hash `json:"id"`
	Name string       `json:"name"` // without "refs/tags/"; "" of an object that is no tag
}

// BundleSignature is one valid signature over the bundle's head.
type BundleSignature struct {
	Node string `json:"node"`
	Key  string `json:"key"` // SHA-256 of the public key, hexadecimal
}

// VerificationError names what in a bundle does not verify. Every other error
// of VerifyBundle is one of reading.
type VerificationError struct {
	Record int    // from 1; 0 is the header
	Entry  uint64 // audit entry; 0 when it is not about one
	What   string
}

// Error implements error.
func (e *VerificationError) Error() string {
	if e.Entry != 0 {
		return fmt.Sprintf("record %d (audit entry %d): %s", e.Record, e.Entry, e.What)
	}
	return fmt.Sprintf("record %d: %s", e.Record, e.What)
}
