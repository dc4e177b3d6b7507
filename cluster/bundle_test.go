package cluster

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/jaco-sh/jaco/signing"
)

// options are those of somebody who knows the anchor and the authority.
func (r *signedRig) options() BundleOptions {
	anchor := r.state.Read().Meta().Anchor
	hash := sha256.Sum256(r.ca.cert.Raw)
	return BundleOptions{Anchor: &anchor, CAHash: &hash}
}

func TestBundleVerifies(t *testing.T) {
	r := newSignedRig(t)
	report, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	if err != nil {
		t.Fatal(err)
	}
	s := r.state.Read()
	claims := s.ClaimsAfter(0)
	head := s.AuditHead()
	want := &BundleReport{
		Cluster: "0123456789abcdef", Name: "test", CA: fmt.Sprintf("%x", sha256.Sum256(r.ca.cert.Raw)),
		Index: s.Index(), Time: s.Time(), Entries: head.Number, Head: fmt.Sprintf("%x", head.Hash),
		Objects: len(knownObjects().list(s.tx, keyIndex)), Branch: "main", Anchor: s.Meta().Anchor, RootChecked: true, Accepted: r.at.Commit,
		Claims: []BundleClaim{
			{Number: 1, Index: 4, Entry: 4, Time: claims[0].Time, Commit: claims[0].Commit, Commits: 1, Signers: []string{"alice"}, Tags: []BundleTag{}},
			{Number: 2, Index: 6, Entry: 6, Time: claims[1].Time, Commit: claims[1].Commit, Commits: 1, Signers: []string{"alice"}, Tags: []BundleTag{}},
		},
		Signatures: []BundleSignature{{Node: "node-1", Key: fmt.Sprintf("%x", r.signer.fingerprint())}},
		Warnings:   []string{},
	}
	if diff := cmp.Diff(want, report); diff != "" {
		t.Errorf("report (-want +got):\n%s", diff)
	}
}

func TestBundleWithoutARootSaysSo(t *testing.T) {
	r := newSignedRig(t)
	report, err := VerifyBundle(bytes.NewReader(r.bundle()), BundleOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if report.RootChecked || !strings.Contains(strings.Join(report.Warnings, "\n"), "consistent, root not checked") {
		t.Errorf("root checked %v, warnings %q", report.RootChecked, report.Warnings)
	}
}

// bundlePart is one record of a bundle.
type bundlePart struct {
	kind  bundleKind
	body  []byte
	start int // of the record in the bundle
	end   int
	entry uint64 // of the audit entry that it holds
}

// parts takes a bundle apart.
func parts(t *testing.T, bundle []byte) []bundlePart {
	t.Helper()
	var out []bundlePart
	for at := len(bundleMagic); at < len(bundle); {
		length := int(binary.BigEndian.Uint32(bundle[at+1:]))
		p := bundlePart{kind: bundleKind(bundle[at]), body: bundle[at+5 : at+5+length], start: at, end: at + 5 + length + 32}
		if p.kind == bundleAudit {
			p.entry = binary.BigEndian.Uint64(p.body)
		}
		out = append(out, p)
		at = p.end
	}
	return out
}

// checkFlip flips bits of one byte and checks that the record is named.
func checkFlip(t testing.TB, opts BundleOptions, bundle []byte, records []bundlePart, at int, mask byte) {
	t.Helper()
	damaged := bytes.Clone(bundle)
	damaged[at] ^= mask
	_, err := VerifyBundle(bytes.NewReader(damaged), opts)
	var failed *VerificationError
	if !errors.As(err, &failed) {
		t.Fatalf("byte %d ^ %#x: %v", at, mask, err)
	}
	record, entry := 0, uint64(0)
	for i, p := range records {
		if at >= p.start && at < p.end {
			record = i + 1
			if at > p.start { // a changed kind is no audit entry's any more
				entry = p.entry
			}
		}
	}
	if failed.Record != record || entry != 0 && failed.Entry != entry {
		t.Fatalf("byte %d ^ %#x is of record %d, entry %d: %v", at, mask, record, entry, err)
	}
}

// TestEveryFlippedByteIsFound changes every byte of a bundle.
func TestEveryFlippedByteIsFound(t *testing.T) {
	r := newSignedRig(t)
	bundle := r.bundle()
	records, opts := parts(t, bundle), r.options()
	for at := range bundle {
		checkFlip(t, opts, bundle, records, at, 1<<(at%8))
	}
}

// TestFlippedBytesOfALargerBundle samples a bundle that has segments.
func TestFlippedBytesOfALargerBundle(t *testing.T) {
	r := newSignedRig(t)
	for r.state.Read().AuditHead().Number <= recentAudit+10 {
		r.must(&RecordEvents{Events: []Event{{Type: EventConverged, Deployment: "shop"}}})
	}
	bundle := r.bundle()
	if _, err := VerifyBundle(bytes.NewReader(bundle), r.options()); err != nil {
		t.Fatal(err)
	}
	records, opts := parts(t, bundle), r.options()
	rapid.Check(t, func(rt *rapid.T) {
		at := rapid.IntRange(0, len(bundle)-1).Draw(rt, "byte")
		checkFlip(t, opts, bundle, records, at, rapid.ByteRange(1, 255).Draw(rt, "mask"))
	})
}

func TestBundleCutOrExtended(t *testing.T) {
	r := newSignedRig(t)
	bundle := r.bundle()
	records, opts := parts(t, bundle), r.options()
	damaged := [][]byte{nil, append(bytes.Clone(bundle), 0), append(bytes.Clone(bundle), bundle[len(bundleMagic):]...)}
	for _, p := range records {
		damaged = append(damaged, bundle[:p.start], bundle[:p.start+3], bundle[:p.end-1])
	}
	for _, d := range damaged {
		_, err := VerifyBundle(bytes.NewReader(d), opts)
		var failed *VerificationError
		if !errors.As(err, &failed) {
			t.Errorf("%d of %d bytes: %v", len(d), len(bundle), err)
		}
	}
}

// forge rebuilds a bundle after change: every audit entry chained and hashed
// again, every record chained again, the head right again. The signature is
// kept when signer is nil.
func forge(t *testing.T, bundle []byte, signer BundleSigner, change func(p bundlePart) []bundlePart) []byte {
	t.Helper()
	var out bytes.Buffer
	out.WriteString(bundleMagic)
	bw := &bundleWriter{w: &out, chain: bundleStart()}
	var audit AuditHead
	var objects uint64
	for _, original := range parts(t, bundle) {
		for _, p := range change(original) {
			body := p.body
			switch p.kind {
			case bundleAudit:
				e, err := decodeAuditEntry(p.body)
				if err != nil {
					t.Fatal(err)
				}
				e.Number, e.Previous = audit.Number+1, audit.Hash
				e.Hash = e.sum()
				audit = AuditHead{Number: e.Number, Hash: e.Hash}
				body = e.encode()
			case bundleObject:
				objects++
			case bundleHead:
				head, err := decodeHeadRecord(p.body)
				if err != nil {
					t.Fatal(err)
				}
				head.Audit, head.Objects = audit, objects
				body = head.encode()
			case bundleSignature:
				if signer == nil {
					break
				}
				signature, certificate, err := signer.Sign(bundleDigest(bw.chain))
				if err != nil {
					t.Fatal(err)
				}
				body = signatureRecord{Certificate: certificate, Signature: signature}.encode()
			default:
			}
			if err := bw.record(p.kind, body); err != nil {
				t.Fatal(err)
			}
		}
	}
	return out.Bytes()
}

// keep changes nothing.
func keep(p bundlePart) []bundlePart { return []bundlePart{p} }

// changeCommands returns a change of the commands in the audit log.
func changeCommands(t *testing.T, change func(c Command)) func(bundlePart) []bundlePart {
	return func(p bundlePart) []bundlePart {
		if p.kind != bundleAudit {
			return keep(p)
		}
		e, err := decodeAuditEntry(p.body)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := decodeAudited(e.Received)
		if err != nil {
			t.Fatal(err)
		}
		change(entry.Command)
		if e.Received, err = Encode(entry); err != nil {
			t.Fatal(err)
		}
		p.body = e.encode()
		return keep(p)
	}
}

// lastClaimTo returns a change that makes the last claim one of commit.
func lastClaimTo(t *testing.T, commit signing.Hash, digest [32]byte) func(bundlePart) []bundlePart {
	return changeCommands(t, func(c Command) {
		if a, ok := c.(*AdvanceRevision); ok && a.Claim.Number == 2 {
			a.Claim.Commit, a.Claim.Digest = commit, digest
		}
	})
}

// forgery is a change of a bundle that is chained and hashed right again.
type forgery struct {
	name   string
	signer BundleSigner // nil keeps the signature
	change func(bundlePart) []bundlePart
	entry  uint64
	want   string // in the error; "": it verifies
}

func TestForgedBundles(t *testing.T) {
	r := newSignedRig(t)
	// Commits and their objects are stored, as a git host could bring them; they
	// are never claimed.
	unsigned := r.history.commit(r.at.Commit, fleet(t, "evil:1"), "no signature", nil)
	stranger := r.history.commit(r.at.Commit, fleet(t, "evil:2"), "by mallory", testKey("mallory"))
	r.must(&PutObjects{Objects: r.history.taken()})
	bundle := r.bundle()
	tests := append(forgedForms(), forgedEntries(t, r)...)
	for _, test := range append(tests, forgedClaims(t, r, unsigned, stranger)...) {
		t.Run(test.name, func(t *testing.T) {
			_, err := VerifyBundle(bytes.NewReader(forge(t, bundle, test.signer, test.change)), r.options())
			if test.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var failed *VerificationError
			if !errors.As(err, &failed) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if failed.Record == 0 || failed.Entry != test.entry {
				t.Errorf("record %d, entry %d, want entry %d", failed.Record, failed.Entry, test.entry)
			}
		})
	}
}

// without returns a change that leaves the nth record of a kind out.
func without(kind bundleKind, n int) func(bundlePart) []bundlePart {
	return func(p bundlePart) []bundlePart {
		if p.kind == kind {
			if n--; n == 0 {
				return nil
			}
		}
		return keep(p)
	}
}

// withoutAll returns a change that leaves all records of a kind out.
func withoutAll(kind bundleKind) func(bundlePart) []bundlePart {
	return func(p bundlePart) []bundlePart {
		if p.kind == kind {
			return nil
		}
		return keep(p)
	}
}

// forgedForms are bundles that are put together wrong.
func forgedForms() []forgery {
	return []forgery{
		{"no signature", nil, withoutAll(bundleSignature), 0, "ends before its signatures"},
		{"no head", nil, withoutAll(bundleHead), 0, "a signature without a head"},
		{"no description", nil, withoutAll(bundleMeta), 0, "starts with one description"},
		{"two descriptions", nil, func(p bundlePart) []bundlePart {
			if p.kind == bundleMeta {
				return []bundlePart{p, p}
			}
			return keep(p)
		}, 0, "starts with one description"},
		{"a record of a newer kind", nil, func(p bundlePart) []bundlePart {
			if p.kind == bundleHead {
				return []bundlePart{p, {kind: 9}}
			}
			return keep(p)
		}, 0, "unknown kind"},
	}
}

// forgedEntries are bundles with another history: by somebody who kept the
// signature, by another cluster's node, by a node that never joined, and by a
// member that signs what it likes.
func forgedEntries(t *testing.T, r *signedRig) []forgery {
	other := newAuthority(t, "other").node(t, "node-1")
	outcome := func(p bundlePart) []bundlePart {
		if p.entry == 3 {
			e, err := decodeAuditEntry(p.body)
			if err != nil {
				t.Fatal(err)
			}
			e.Outcome = "invalid: never happened"
			p.body = e.encode()
		}
		return keep(p)
	}
	return []forgery{
		{"nothing changed, signed again", r.signer, keep, 0, ""},
		{"an outcome, signature kept", nil, outcome, 0, "signature of node node-1 over the head is wrong"},
		{"an entry left out, signature kept", nil, without(bundleAudit, 3), 0, "signature of node node-1"},
		{"an outcome, by another cluster's node", other, outcome, 0, "not of this cluster's authority"},
		{"by a key that never joined", r.ca.node(t, "node-9"), keep, 0, "records no node"},
		{"another anchor, by a member", r.signer, changeCommands(t, func(c Command) {
			if init, ok := c.(*InitCluster); ok {
				init.Meta.Anchor = signing.Hash{1}
			}
		}), 0, "not that of the audit log"},
		{"another branch, by a member", r.signer, changeCommands(t, func(c Command) {
			if init, ok := c.(*InitCluster); ok {
				init.Meta.Repo.Branch = "staging"
			}
		}), 0, "not that of the audit log"},
		{"initialized twice, by a member", r.signer, func(p bundlePart) []bundlePart {
			if p.entry == 1 {
				return []bundlePart{p, p}
			}
			return keep(p)
		}, 2, "initialized twice"},
		{"no initialization, by a member", r.signer, without(bundleAudit, 1), 0, "no node"},
		{"an object changed, by a member", r.signer, func(p bundlePart) []bundlePart {
			if p.kind == bundleObject {
				p.body = append(bytes.Clone(p.body), ' ')
			}
			return keep(p)
		}, 0, "the bytes are those of"},
	}
}

// forgedClaims are bundles whose claims a member changed and signed.
func forgedClaims(t *testing.T, r *signedRig, unsigned, stranger signing.Hash) []forgery {
	last, _ := r.state.Read().LastClaim()
	first, _ := r.state.Read().Claim(1)
	at := last.Index // the number of its audit entry: one an index
	return []forgery{
		{"a claim of an unsigned commit", r.signer, lastClaimTo(t, unsigned, last.Digest), at, "unsigned"},
		{"a claim of a stranger's commit", r.signer, lastClaimTo(t, stranger, last.Digest), at, "unknown-signer"},
		{"a claim of no stored commit", r.signer, lastClaimTo(t, signing.Hash{7}, last.Digest), at, "not found"},
		{"a claim of an old commit", r.signer, lastClaimTo(t, r.state.Read().Meta().Anchor, last.Digest), at, "rewritten"},
		{"another digest", r.signer, lastClaimTo(t, last.Commit, [32]byte{1}), at, "digest"},
		{"the first claim left out", r.signer, without(bundleAudit, int(first.Index)), at - 1, "stands where claim 1 must"},
		{"no objects", r.signer, withoutAll(bundleObject), first.Index, "not found"},
	}
}

func TestBundleAgainstOtherRoots(t *testing.T) {
	r := newSignedRig(t)
	other, hash := signing.Hash{1}, [32]byte{1}
	digest := func(signing.Source, signing.Position) ([32]byte, error) { return hash, nil }
	for want, opts := range map[string]BundleOptions{
		"not " + other.String():     {Anchor: &other},
		fmt.Sprintf("not %x", hash): {CAHash: &hash},
		"has the digest":            {Digest: digest},
	} {
		_, err := VerifyBundle(bytes.NewReader(r.bundle()), opts)
		var failed *VerificationError
		if !errors.As(err, &failed) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// TestRefusedClaimsAreReported: a bad leader's claim that the nodes refused and
// reported does not spoil the history; one that nobody refused does.
func TestRefusedClaimsAreReported(t *testing.T) {
	r := newSignedRig(t)
	unsigned := r.history.commit(r.at.Commit, fleet(t, "evil:1"), "no signature", nil)
	r.must(&PutObjects{Objects: r.history.taken()})
	r.must(&AdvanceRevision{Claim: Claim{Number: 3, From: r.at.Commit, Commit: unsigned}})
	_, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	var failed *VerificationError
	if !errors.As(err, &failed) || failed.Entry != r.index {
		t.Fatalf("a bad claim: %v", err)
	}
	r.must(&RecordEvents{Events: []Event{{Type: EventLeaderMisbehaviour, Node: "node-1", Revision: unsigned, Message: "claim 3 refused"}}})
	r.push("shop:4") // from the commit that was accepted
	report, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Claims) != 4 || !strings.Contains(report.Claims[2].Refused, "unsigned") || report.Claims[3].Refused != "" {
		t.Errorf("claims %+v", report.Claims)
	}
	if report.Accepted != r.at.Commit || len(report.Warnings) != 1 || !strings.Contains(report.Warnings[0], "claim 3 refused") {
		t.Errorf("accepted %s, warnings %q", report.Accepted, report.Warnings)
	}
}

// TestClaimsRefusedForTheirTime: a claim that is right but for the time of its
// entry, which nodes that followed live refused, is not what later ones are
// judged from.
func TestClaimsRefusedForTheirTime(t *testing.T) {
	r := newSignedRig(t)
	at := r.at
	r.push("shop:3")
	refused := r.at.Commit
	r.at = at
	r.push("shop:4") // beside it
	_, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	var failed *VerificationError
	if !errors.As(err, &failed) || failed.Entry != r.index {
		t.Fatalf("two claims of which one is beside the other: %v", err)
	}
	report := func(message string) {
		r.must(&RecordEvents{Events: []Event{{Type: EventLeaderMisbehaviour, Node: "node-1", Revision: refused, Message: message}}})
	}
	report("claim 4 refused (wrong-time): of another claim")
	report("claim 3 refused (unsigned): not for its time")
	if _, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options()); !errors.As(err, &failed) {
		t.Fatalf("refused for what is not so: %v", err)
	}
	report("claim 3 refused (wrong-time): its time is back-dated: by 9 min")
	got, err := VerifyBundle(bytes.NewReader(r.bundle()), r.options())
	if err != nil {
		t.Fatal(err)
	}
	if want := "wrong-time: its time is back-dated: by 9 min"; got.Claims[2].Refused != want || got.Claims[3].Refused != "" || got.Accepted != r.at.Commit {
		t.Errorf("claims %+v, accepted %s", got.Claims, got.Accepted)
	}
}

func TestWriteBundleErrors(t *testing.T) {
	r := newSignedRig(t)
	if err := WriteBundle(failingWriter{}, r.state.Read(), r.signer); !errors.Is(err, errFull) {
		t.Errorf("a full disk: %v", err)
	}
	if err := WriteBundle(&bytes.Buffer{}, newRig(t).state.Read(), r.signer); !errors.Is(err, ErrNotFound) {
		t.Errorf("no cluster: %v", err)
	}
	r.state.objects = NewMemoryObjects()
	if err := WriteBundle(&bytes.Buffer{}, r.state.Read(), r.signer); !errors.Is(err, signing.ErrNotFound) {
		t.Errorf("lost objects: %v", err)
	}
}

func TestVerifyBundleReportsReadErrors(t *testing.T) {
	bundle := newSignedRig(t).bundle()
	for _, cut := range []int{5, len(bundleMagic) + 2, len(bundle) / 2} {
		_, err := VerifyBundle(&slow{data: bundle[:cut], err: errFull}, BundleOptions{})
		var failed *VerificationError
		if !errors.Is(err, errFull) || errors.As(err, &failed) {
			t.Errorf("after %d bytes: %v", cut, err)
		}
	}
}
