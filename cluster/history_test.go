package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"github.com/jaco-sh/jaco/signing"
)

// testKey derives a key from a name, so that equal tests make equal bytes.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// history makes signed commits in memory.
type history struct {
	t       testing.TB
	objects []StoredObject
	made    map[signing.Hash]bool
}

func newHistory(t testing.TB) *history { return &history{t: t, made: make(map[signing.Hash]bool)} }

func (h *history) add(kind signing.ObjectType, data []byte) signing.Hash {
	o := testObject(kind, string(data))
	if !h.made[o.ID] {
		h.made[o.ID] = true
		h.objects = append(h.objects, o)
	}
	return o.ID
}

// taken returns the objects made since it was called last.
func (h *history) taken() []StoredObject {
	out := h.objects
	h.objects = nil
	return out
}

// tree makes the tree of files, by path.
func (h *history) tree(files map[string]string) signing.Hash {
	here, below := make(map[string]string), make(map[string]map[string]string)
	for path, content := range files {
		name, rest, nested := strings.Cut(path, "/")
		if !nested {
			here[name] = content
			continue
		}
		if below[name] == nil {
			below[name] = make(map[string]string)
		}
		below[name][rest] = content
	}
	entries := make(map[string]string) // by the name that git sorts by
	for name, content := range here {
		id := h.add(signing.BlobObject, []byte(content))
		entries[name] = "100644 " + name + "\x00" + string(id[:])
	}
	for name, content := range below {
		id := h.tree(content)
		entries[name+"/"] = "40000 " + name + "\x00" + string(id[:])
	}
	var data strings.Builder
	for _, name := range slices.Sorted(maps.Keys(entries)) {
		data.WriteString(entries[name])
	}
	return h.add(signing.TreeObject, []byte(data.String()))
}

// commit makes a commit; key nil leaves it unsigned, a zero parent makes it the
// first.
func (h *history) commit(parent signing.Hash, files map[string]string, message string, key ed25519.PrivateKey) signing.Hash {
	h.t.Helper()
	head := fmt.Sprintf("tree %s\n", h.tree(files))
	if !parent.IsZero() {
		head += fmt.Sprintf("parent %s\n", parent)
	}
	head += "author A <a@example.com> 1767225600 +0000\ncommitter A <a@example.com> 1767225600 +0000\n"
	body := "\n" + message + "\n"
	if key == nil {
		return h.add(signing.CommitObject, []byte(head+body))
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	signature, err := sshsig.Sign(strings.NewReader(head+body), signer, sshsig.HashSHA512, "git")
	if err != nil {
		h.t.Fatal(err)
	}
	armor := "gpgsig -----BEGIN SSH SIGNATURE-----\n"
	for line := range slices.Chunk([]byte(base64.StdEncoding.EncodeToString(signature.Marshal())), 70) {
		armor += " " + string(line) + "\n"
	}
	armor += " -----END SSH SIGNATURE-----\n"
	return h.add(signing.CommitObject, []byte(head+armor+body))
}

// sshLine is the public key of a name, as trust.yaml holds it.
func sshLine(name string) (string, error) {
	key, err := ssh.NewPublicKey(testKey(name).Public())
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

// trustFile is a policy whose only signer is alice.
func trustFile(t testing.TB) string {
	t.Helper()
	line, err := sshLine("alice")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`version: 1
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: ["%s"]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
`, line)
}

// fleet returns the files of a fleet repository with one deployment.
func fleet(t testing.TB, image string) map[string]string {
	t.Helper()
	return map[string]string{
		"trust.yaml":                    trustFile(t),
		"deployments/shop/compose.yaml": "services:\n  api:\n    image: " + image + "\n",
	}
}

// authority is a certificate authority for tests.
type authority struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{key: testKey(name)}
	a.cert, a.pem = a.issue(t, template, a.key.Public())
	return a
}

// issue signs a certificate; the authority's own when it has none yet.
func (a *authority) issue(t testing.TB, template *x509.Certificate, public any) (*x509.Certificate, []byte) {
	t.Helper()
	parent := a.cert
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(nil, template, parent, public, a.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// nodeSigner signs as a node does.
type nodeSigner struct {
	key  ed25519.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func (a *authority) node(t testing.TB, name string) *nodeSigner {
	t.Helper()
	s := &nodeSigner{key: testKey(name)}
	s.cert, s.pem = a.issue(t, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}, s.key.Public())
	return s
}

func (s *nodeSigner) fingerprint() [32]byte { return sha256.Sum256(s.cert.RawSubjectPublicKeyInfo) }

// Sign implements BundleSigner.
func (s *nodeSigner) Sign(digest [32]byte) (signature, certPEM []byte, err error) {
	return ed25519.Sign(s.key, append([]byte(nodeSignaturePrefix), digest[:]...)), s.pem, nil
}

// signedRig is a cluster whose claims hold: an anchor and two commits by
// alice.
type signedRig struct {
	*rig
	history *history
	ca      *authority
	signer  *nodeSigner
	at      signing.Position
}

func newSignedRig(t testing.TB) *signedRig {
	t.Helper()
	r := &signedRig{rig: newRig(t), history: newHistory(t), ca: newAuthority(t, "authority")}
	r.signer = r.ca.node(t, "node-1")
	anchor := r.history.commit(signing.Hash{}, fleet(t, "shop:1"), "first", testKey("alice"))
	init := testInit()
	init.Meta.CA, init.Meta.Anchor, init.Node.CertificateKey = r.ca.pem, anchor, r.signer.fingerprint()
	r.must(init)
	r.must(&PutObjects{Objects: r.history.taken()})
	at, _, err := signing.Anchor(r.objects, anchor)
	if err != nil {
		t.Fatal(err)
	}
	r.at = at
	r.push("shop:2")
	r.push("shop:3")
	return r
}

// push claims a signed commit that changes the image.
func (r *signedRig) push(image string) {
	r.t.Helper()
	tip := r.history.commit(r.at.Commit, fleet(r.t, image), "use "+image, testKey("alice"))
	r.must(&PutObjects{Objects: r.history.taken()})
	r.claim(tip)
}

// claim claims a tip as a leader does that judged it now.
func (r *signedRig) claim(tip signing.Hash) {
	r.t.Helper()
	verdict, err := signing.Verify(r.objects, r.at, tip, signing.Options{Now: r.now.Add(time.Second)})
	if err != nil {
		r.t.Fatal(err)
	}
	if verdict.Refusal != nil {
		r.t.Fatalf("commit %s is refused: %+v", tip, verdict.Refusal)
	}
	digest, err := ContentDigest(r.objects, verdict.Position)
	if err != nil {
		r.t.Fatal(err)
	}
	last, _ := r.state.Read().LastClaim()
	r.must(&AdvanceRevision{Claim: Claim{Number: last.Number + 1, From: r.at.Commit, Commit: tip, Digest: digest}})
	r.at = verdict.Position
}

func (r *signedRig) bundle() []byte {
	r.t.Helper()
	var out bytes.Buffer
	if err := WriteBundle(&out, r.state.Read(), r.signer); err != nil {
		r.t.Fatal(err)
	}
	return out.Bytes()
}
