package identity

import (
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"filippo.io/age"
)

// Identity is one node's own: its keys, its certificate and the authority that
// it trusts. It is safe for concurrent use; a renewed certificate takes effect
// with the next connection.
type Identity struct {
	cluster string
	node    string
	key     ed25519.PrivateKey
	seal    *age.X25519Identity
	roots   *x509.CertPool
	ca      *x509.Certificate
	clock   func() time.Time

	current atomic.Pointer[tls.Certificate]
}

// newIdentity puts together what the files hold and checks that it fits.
// An expired certificate loads, so that a node can be renewed after a long
// power-off.
func newIdentity(f files, clock func() time.Time) (*Identity, error) {
	ca, cluster, err := parseAuthorityCertificate(f.ca)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", caFile, err)
	}
	key, err := parseKey(f.key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyFile, err)
	}
	seal, err := parseSealKey(f.seal)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", sealFile, err)
	}
	id := &Identity{cluster: cluster, key: key, seal: seal, ca: ca, roots: x509.NewCertPool(), clock: clock}
	id.roots.AddCert(ca)
	leaf, err := parseCertificate(f.cert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if id.node, err = verifyNode(leaf, ca, cluster); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	if err := id.use(leaf); err != nil {
		return nil, fmt.Errorf("%s: %w", certFile, err)
	}
	return id, nil
}

// use makes leaf the certificate of the next connections.
func (i *Identity) use(leaf *x509.Certificate) error {
	if !i.key.Public().(ed25519.PublicKey).Equal(leaf.PublicKey) {
		return fmt.Errorf("%w: it belongs to another key than %s", ErrBadCertificate, keyFile)
	}
	i.current.Store(&tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: i.key, Leaf: leaf})
	return nil
}

// verifyNode checks that cert is a node certificate of the cluster, issued by
// ca, and returns the node's name. The time of day plays no part.
func verifyNode(cert, ca *x509.Certificate, cluster string) (string, error) {
	if err := cert.CheckSignatureFrom(ca); err != nil {
		return "", fmt.Errorf("%w: not issued by this cluster's authority: %w", ErrBadCertificate, err)
	}
	of, node, err := certificateNames(cert)
	if err != nil {
		return "", err
	}
	if of != cluster || node == "" || cert.IsCA {
		return "", fmt.Errorf("%w: it is not a node's of cluster %s", ErrBadCertificate, cluster)
	}
	return node, nil
}

// Cluster returns the id of the node's cluster.
func (i *Identity) Cluster() string { return i.cluster }

// Node returns the node's name.
func (i *Identity) Node() string { return i.node }

// KeyHash returns the hash of the node's public key, as it stands in the
// member table. Renewing the certificate does not change it.
func (i *Identity) KeyHash() [32]byte { return KeyHash(i.current.Load().Leaf) }

// Recipient returns the age recipient ("age1…") to which secrets for this
// node are sealed.
func (i *Identity) Recipient() string { return i.seal.Recipient().String() }

// CertificatePEM returns the node's present certificate.
func (i *Identity) CertificatePEM() []byte {
	return encodePEM(pemCertificate, i.current.Load().Certificate[0])
}

// AuthorityPEM returns the certificate of the authority that the node trusts.
func (i *Identity) AuthorityPEM() []byte { return encodePEM(pemCertificate, i.ca.Raw) }

// NotAfter returns the end of the present certificate.
func (i *Identity) NotAfter() time.Time { return i.current.Load().Leaf.NotAfter }

// NeedsRenewal reports whether less than 30 days of the present certificate
// are left at now, or none.
func (i *Identity) NeedsRenewal(now time.Time) bool {
	return now.After(i.NotAfter().Add(-renewBefore))
}

// String names the node without its keys.
func (i *Identity) String() string { return "node " + i.node + " of cluster " + i.cluster }

// GoString keeps the keys out of %#v.
func (i *Identity) GoString() string { return i.String() }

// KeyHash returns the SHA-256 of a certificate's public key
// (SubjectPublicKeyInfo, DER), by which members are known.
func KeyHash(cert *x509.Certificate) [32]byte { return sha256.Sum256(cert.RawSubjectPublicKeyInfo) }

// signaturePrefix keeps a signature over a digest apart from everything else
// that the node's key signs, TLS handshakes above all. It reaches disk: never
// change it.
const signaturePrefix = "jaco node signature 1\x00"

// ErrBadSignature is returned by Verify for a signature that does not stand.
var ErrBadSignature = errors.New("bad node signature")

// Sign signs the SHA-256 digest of something that leaves the cluster, such as
// an audit bundle, and returns the signature with the certificate to check it.
func (i *Identity) Sign(digest []byte) (signature, certPEM []byte, err error) {
	if len(digest) != sha256.Size {
		return nil, nil, fmt.Errorf("sign digest: want %d bytes, got %d", sha256.Size, len(digest))
	}
	return ed25519.Sign(i.key, append([]byte(signaturePrefix), digest...)), i.CertificatePEM(), nil
}

// Verify checks a signature that Sign made and returns the name of the node
// that made it. The certificate must have been issued by the authority; that
// it may have expired since plays no part, because what it signed stays on
// record for years. Errors wrap ErrBadSignature or ErrBadCertificate.
func Verify(authorityPEM, certPEM, digest, signature []byte) (string, error) {
	ca, cluster, err := parseAuthorityCertificate(authorityPEM)
	if err != nil {
		return "", fmt.Errorf("verify node signature: authority: %w", err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return "", fmt.Errorf("verify node signature: %w", err)
	}
	node, err := verifyNode(cert, ca, cluster)
	if err != nil {
		return "", fmt.Errorf("verify node signature: %w", err)
	}
	public, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("verify node signature: %w: not an ed25519 key", ErrBadCertificate)
	}
	if len(digest) != sha256.Size || !ed25519.Verify(public, append([]byte(signaturePrefix), digest...), signature) {
		return "", fmt.Errorf("verify node signature: %w of node %s", ErrBadSignature, node)
	}
	return node, nil
}
