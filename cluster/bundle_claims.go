package cluster

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/jaco-sh/jaco/signing"
)

// readSignature verifies a signature over the head: by a certificate that the
// cluster's authority issued, of a key that the log recorded for a node. The
// certificate's validity is not looked at: a bundle outlives it.
func (v *bundleVerifier) readSignature(body []byte) error {
	if v.head == nil {
		return v.fail("a signature without a head")
	}
	s, err := decodeSignatureRecord(body)
	if err != nil {
		return v.fail("%v", err)
	}
	authority, err := v.authority()
	if err != nil {
		return v.fail("the cluster's authority: %v", err)
	}
	certificate, err := parseCertificate(s.Certificate)
	if err != nil {
		return v.fail("the signer's certificate: %v", err)
	}
	if err := certificate.CheckSignatureFrom(authority); err != nil {
		return v.fail("the signer's certificate is not of this cluster's authority: %v", err)
	}
	fingerprint := sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	node, member := v.keys[fingerprint]
	if !member {
		return v.fail("the log records no node with the signer's key %x", fingerprint)
	}
	key, ok := certificate.PublicKey.(ed25519.PublicKey)
	if !ok || !ed25519.Verify(key, append([]byte(nodeSignaturePrefix), v.signed[:]...), s.Signature) {
		return v.fail("the signature of node %s over the head is wrong", node)
	}
	v.report.Signatures = append(v.report.Signatures, BundleSignature{Node: node, Key: hex.EncodeToString(fingerprint[:])})
	return nil
}

// authority parses the certificate authority and compares it with the hash
// that was asked for.
func (v *bundleVerifier) authority() (*x509.Certificate, error) {
	authority, err := parseCertificate(v.meta.CA)
	if err != nil {
		return nil, err
	}
	if _, ok := authority.PublicKey.(ed25519.PublicKey); !ok {
		return nil, errors.New("its key is not ed25519")
	}
	if err := authority.CheckSignatureFrom(authority); err != nil {
		return nil, fmt.Errorf("it did not sign itself: %w", err)
	}
	hash := sha256.Sum256(authority.Raw)
	if want := v.opts.CAHash; want != nil && *want != hash {
		return nil, fmt.Errorf("its hash is %x, not %x", hash, *want)
	}
	v.report.CA = hex.EncodeToString(hash[:])
	return authority, nil
}

// parseCertificate reads exactly one PEM certificate.
func parseCertificate(text []byte) (*x509.Certificate, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" || len(rest) > 0 {
		return nil, errors.New("want one PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

// finish verifies what needs the whole bundle.
func (v *bundleVerifier) finish() error {
	switch {
	case v.head == nil || uint64(len(v.report.Signatures)) != v.head.Signatures || v.head.Signatures == 0:
		return v.fail("the bundle ends before its signatures")
	case v.init == nil:
		return v.fail("the audit log does not initialize the cluster")
	case v.init.Meta.ID != v.meta.ID || v.init.Meta.Anchor != v.meta.Anchor || string(v.init.Meta.CA) != string(v.meta.CA),
		v.init.Meta.Repo.Branch != v.meta.Repo.Branch: // require_target is judged by it
		return &VerificationError{Record: 1, What: "the description of the cluster is not that of the audit log"}
	}
	v.report.Cluster, v.report.Name, v.report.Branch, v.report.Anchor = v.meta.ID, v.meta.Name, v.meta.Repo.Branch, v.meta.Anchor
	if v.opts.CAHash == nil {
		v.warn("the cluster's authority was taken from the bundle: compare %s with what a node shows", v.report.CA)
	}
	if v.opts.Anchor == nil {
		v.warn("consistent, root not checked: name the anchor that you trust")
	} else if *v.opts.Anchor != v.meta.Anchor {
		return &VerificationError{Record: 1, What: fmt.Sprintf("the anchor is %s, not %s", v.meta.Anchor, *v.opts.Anchor)}
	}
	v.report.RootChecked = v.opts.Anchor != nil
	return v.verifyClaims()
}

func (v *bundleVerifier) warn(format string, args ...any) {
	v.report.Warnings = append(v.report.Warnings, fmt.Sprintf(format, args...))
}

// verifyClaims judges every claim again, as every node did.
func (v *bundleVerifier) verifyClaims() error {
	v.report.Accepted = v.meta.Anchor
	if len(v.claims) == 0 {
		return nil
	}
	at, _, err := signing.Anchor(v.objects, v.meta.Anchor)
	if err != nil {
		return &VerificationError{Record: v.claims[0].record, Entry: v.claims[0].entry, What: err.Error()}
	}
	for i, claim := range v.claims {
		if claim.Number != uint64(i)+1 {
			return claim.fail("claim %d stands where claim %d must", claim.Number, i+1)
		}
		if at, err = v.verifyClaim(at, claim); err != nil {
			return err
		}
	}
	v.report.Accepted = at.Commit
	return nil
}

func (c *bundledClaim) fail(format string, args ...any) error {
	return &VerificationError{Record: c.record, Entry: c.entry, What: fmt.Sprintf(format, args...)}
}

// verifyClaim judges one claim and returns where the history stands behind it:
// where it stood before, when the nodes did not follow the claim either.
func (v *bundleVerifier) verifyClaim(at signing.Position, claim bundledClaim) (signing.Position, error) {
	reported := BundleClaim{
		Number: claim.Number, Index: claim.Index, Entry: claim.entry, Time: claim.Time, Commit: claim.Commit,
		Tags: v.tagsOf(claim.Claim),
	}
	verdict, problem := v.judge(at, claim.Claim)
	if problem != "" {
		elsewhere, untrusted := v.judgeMoved(at, claim.Claim, problem)
		if untrusted != "" {
			return at, claim.fail("claim %d: %s", claim.Number, untrusted)
		}
		if elsewhere != nil {
			verdict, problem, reported.Reanchored = elsewhere, "", true
		}
	}
	if problem == "" {
		problem = v.wrongTime(claim.Claim)
	}
	if problem != "" {
		said, refused := v.refusedBy[claim.Commit.String()]
		if !refused {
			return at, claim.fail("claim %d of commit %s: %s", claim.Number, claim.Commit, problem)
		}
		reported.Refused = problem
		v.warn("claim %d of commit %s does not hold (%s), and was refused by the nodes (%s)",
			claim.Number, claim.Commit.Short(), problem, said)
	} else {
		at = verdict.Position
		var signers set
		for _, c := range verdict.Commits {
			signers.add(c.Signer)
		}
		signers.join() // sorts
		reported.Commits, reported.Signers = len(verdict.Commits), signers
		reported.Reanchored = reported.Reanchored || verdict.Reanchored != nil
	}
	v.report.Claims = append(v.report.Claims, reported)
	return at, nil
}

// tagsOf names the tags of a claim.
func (v *bundleVerifier) tagsOf(claim Claim) []BundleTag {
	tags := []BundleTag{}
	for _, id := range claim.Tags {
		tag := BundleTag{ID: id}
		if data, err := signing.ReadObject(v.objects, id, signing.TagObject); err == nil {
			if decoded, err := signing.DecodeTag(data); err == nil {
				tag.Name = decoded.Name
			}
		}
		tags = append(tags, tag)
	}
	return tags
}

// ReasonWrongTime is why a node refuses a claim whose entry's time is not that at
// which it was made. The text is in journals and reports: never change it.
const ReasonWrongTime signing.Reason = "wrong-time"

// wrongTime returns what a node said that refused the claim for its time, or "".
// Only who follows live can tell, so its word is taken: if it lies, nothing is
// lost, as the next claim then covers the commits of this one too.
func (v *bundleVerifier) wrongTime(claim Claim) string {
	said, refused := v.untimely[fmt.Sprintf("%s claim %d refused (%s)", claim.Commit, claim.Number, ReasonWrongTime)]
	if !refused {
		return ""
	}
	_, why, _ := strings.Cut(said, ": ")
	return fmt.Sprintf("%s: %s", ReasonWrongTime, why)
}

// judge verifies one claim from a position and says what is wrong with it, or
// "".
func (v *bundleVerifier) judge(at signing.Position, claim Claim) (*signing.Verdict, string) {
	verdict, err := signing.Verify(v.objects, at, claim.Commit, signing.Options{Now: claim.Time, Branch: v.meta.Repo.Branch, Tags: claim.Tags})
	switch {
	case err != nil:
		return nil, err.Error()
	case verdict.Refusal != nil:
		return nil, fmt.Sprintf("%s: commit %s: %s", verdict.Refusal.Reason, verdict.Refusal.Commit, verdict.Refusal.Detail)
	case verdict.Position.Commit != claim.Commit:
		return nil, fmt.Sprintf("it is accepted up to %s only", verdict.Position.Commit)
	}
	guard, err := PruneGuard(v.objects, at, verdict, v.meta.Repo.Branch)
	if err != nil {
		return nil, err.Error()
	}
	if guard != nil {
		return nil, fmt.Sprintf("%s: %s", guard.Reason, guard.Detail)
	}
	digest, err := v.opts.Digest(v.objects, verdict.Position)
	if err != nil {
		return nil, err.Error()
	}
	if digest != claim.Digest {
		return nil, fmt.Sprintf("its content has the digest %x, the claim says %x", digest, claim.Digest)
	}
	return verdict, ""
}
