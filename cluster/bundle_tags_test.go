package cluster

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/jaco-sh/jaco/signing"
)

// tag makes a signed tag of a commit.
func (h *history) tag(name string, of signing.Hash, key ed25519.PrivateKey) signing.Hash {
	h.t.Helper()
	payload := fmt.Sprintf("object %s\ntype commit\ntag %s\ntagger B <b@example.com> 1767225600 +0000\n\napprove\n", of, name)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	signature, err := sshsig.Sign(strings.NewReader(payload), signer, sshsig.HashSHA512, "git")
	if err != nil {
		h.t.Fatal(err)
	}
	armor := "-----BEGIN SSH SIGNATURE-----\n"
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(signature.Marshal())), 70) {
		armor += string(line) + "\n"
	}
	return h.add(signing.TagObject, []byte(payload+armor+"-----END SSH SIGNATURE-----\n"))
}

// twoPeople is a policy by which it takes alice and bob.
func twoPeople(t *testing.T) string {
	t.Helper()
	bob, err := sshLine("bob")
	if err != nil {
		t.Fatal(err)
	}
	return strings.NewReplacer("version: 1", "version: 2", "signers:\n", fmt.Sprintf("signers:\n  bob: {keys: [%q]}\n", bob),
		"approvals: 1", "approvals: 2").Replace(trustFile(t))
}

// approvedRig is a cluster in which bob approved alice's change by a tag.
func approvedRig(t *testing.T) (r *signedRig, tag signing.Hash) {
	t.Helper()
	r = newSignedRig(t)
	files := fleet(t, "shop:3")
	files["trust.yaml"] = twoPeople(t)
	r.pushFiles(files)
	files["deployments/shop/compose.yaml"] = "services:\n  api:\n    image: shop:4\n"
	r.pushFiles(files)
	if !waits(r.at, "shop") {
		t.Fatalf("the change does not wait: %+v", r.at.Units["shop"])
	}
	tag = r.history.tag("approve/shop/1", r.at.Commit, testKey("bob"))
	r.must(&PutObjects{Objects: r.history.taken()})
	return r, tag
}

func waits(p signing.Position, unit string) bool { return len(p.Units[unit].Vouched) > 0 }

// claimTags claims the accepted commit again, with the tags named and those that
// are judged by.
func (r *signedRig) claimTags(named, judged []signing.Hash) {
	r.t.Helper()
	verdict, err := signing.Verify(r.objects, r.at, r.at.Commit, signing.Options{Now: r.now, Tags: judged})
	if err != nil {
		r.t.Fatal(err)
	}
	digest, err := ContentDigest(r.objects, verdict.Position)
	if err != nil {
		r.t.Fatal(err)
	}
	last, _ := r.state.Read().LastClaim()
	r.must(&AdvanceRevision{Claim: Claim{
		Number: last.Number + 1, From: r.at.Commit, Commit: r.at.Commit, Digest: digest, Tags: named,
	}})
	r.at = verdict.Position
}

// TestBundleWithTags: an approval by tag verifies from the bundle alone, and is
// named in the report.
func TestBundleWithTags(t *testing.T) {
	r, tag := approvedRig(t)
	r.claimTags([]signing.Hash{tag}, []signing.Hash{tag})
	if waits(r.at, "shop") {
		t.Fatalf("the change still waits: %+v", r.at.Units["shop"])
	}
	report, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	if err != nil {
		t.Fatal(err)
	}
	last := report.Claims[len(report.Claims)-1]
	if diff := cmp.Diff([]BundleTag{{ID: tag, Name: "approve/shop/1"}}, last.Tags); diff != "" {
		t.Errorf("tags (-want +got):\n%s", diff)
	}
}

// TestBundleWithoutItsTag: a claim that says what only a tag makes true, and
// names another one or none, does not verify.
func TestBundleWithoutItsTag(t *testing.T) {
	for name, names := range map[string]func(r *signedRig) []signing.Hash{
		"none": func(*signedRig) []signing.Hash { return nil },
		"alice's": func(r *signedRig) []signing.Hash {
			own := r.history.tag("approve/shop/2", r.at.Commit, testKey("alice"))
			r.must(&PutObjects{Objects: r.history.taken()})
			return []signing.Hash{own}
		},
		"of another deployment": func(r *signedRig) []signing.Hash {
			other := r.history.tag("approve/blog/1", r.at.Commit, testKey("bob"))
			r.must(&PutObjects{Objects: r.history.taken()})
			return []signing.Hash{other}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, tag := approvedRig(t)
			r.claimTags(names(r), []signing.Hash{tag})
			_, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
			var failed *VerificationError
			if !errors.As(err, &failed) || !strings.Contains(failed.What, "digest") {
				t.Errorf("error %v", err)
			}
		})
	}
}
