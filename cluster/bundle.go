package cluster

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// BundleSigner signs a bundle's head with a node's key.
type BundleSigner interface {
	// Sign returns the ed25519 signature over digest and the PEM certificate
	// of the key that made it.
	Sign(digest [32]byte) (signature, certPEM []byte, err error)
}

// WriteBundle writes all that is needed to verify the cluster's history
// offline.
func WriteBundle(w io.Writer, s *Snapshot, signer BundleSigner) error { return errors.ErrUnsupported }

// BundleOptions are what a bundle is verified against.
type BundleOptions struct {
	// Anchor is the commit that claims are re-verified from. Without it the
	// report says that the root was not checked.
	Anchor *signing.Hash
	// CAHash is the SHA-256 of the cluster authority's certificate (DER).
	CAHash *[32]byte
	// Digest computes a claim's content digest (verifier.ContentDigest); nil
	// leaves the digests unchecked.
	Digest func(src signing.Source, accepted signing.Position) ([32]byte, error)
}

// BundleReport is what VerifyBundle found.
type BundleReport struct {
	Cluster     string            `json:"cluster"`
	Index       uint64            `json:"index"`
	Time        time.Time         `json:"time"`
	Entries     uint64            `json:"entries"`
	Head        string            `json:"head"`
	Objects     int               `json:"objects"`
	Anchor      signing.Hash      `json:"anchor"`
	RootChecked bool              `json:"root_checked"`
	Accepted    signing.Hash      `json:"accepted"`
	Claims      []BundleClaim     `json:"claims"`
	Signatures  []BundleSignature `json:"signatures"`
	Warnings    []string          `json:"warnings"`
}

// BundleClaim is one claim that was verified again.
type BundleClaim struct {
	Number  uint64       `json:"number"`
	Index   uint64       `json:"index"`
	Entry   uint64       `json:"entry"`
	Commit  signing.Hash `json:"commit"`
	Commits int          `json:"commits"`
	Signers []string     `json:"signers"`
}

// BundleSignature is one valid signature over the bundle's head.
type BundleSignature struct {
	Node string `json:"node"`
	Key  string `json:"key"`
}

// VerificationError names what in a bundle does not verify.
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

// VerifyBundle reads a bundle and verifies all of it.
func VerifyBundle(r io.Reader, opts BundleOptions) (*BundleReport, error) {
	return nil, errors.ErrUnsupported
}
