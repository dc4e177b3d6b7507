package identity

import (
	"crypto/ed25519"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/url"
	"strings"
	"time"
)

const (
	// authorityLifetime is long because nothing renews the authority yet:
	// every node pins its certificate.
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// nodeLifetime bounds what a stolen backup of a node's key is worth.
	nodeLifetime = 90 * 24 * time.Hour
	// backdate makes a fresh certificate valid on nodes whose clock is behind.
	backdate = time.Hour
	// renewBefore leaves a month of failed renewals before anything breaks.
	renewBefore = 30 * 24 * time.Hour

	// uriScheme is that of the one URI name in every certificate.
	uriScheme = "jaco"
)

// The PEM types of what this package writes.
const (
	pemCertificate = "CERTIFICATE"
	pemPrivateKey  = "PRIVATE KEY"
)

// The ways in which certificate material is refused.
var (
	// ErrBadCertificate is returned for a certificate that does not parse, is
	// not one of this cluster's, or does not fit its key.
	ErrBadCertificate = errors.New("bad certificate")
	// ErrBadKey is returned for a private key that does not parse.
	ErrBadKey = errors.New("bad private key")
	// ErrBadName is returned for a node name that cannot stand in a certificate.
	ErrBadName = errors.New("bad node name")
)

// Authority is the cluster's certificate authority: the key that admits nodes.
// It exists in clear only in the memory of a voter; in state its key is a
// sealed item.
type Authority struct {
	cluster string
	cert    *x509.Certificate
	key     ed25519.PrivateKey
}

// NewAuthority makes the authority of the cluster with the given id: ed25519,
// self-signed, valid for ten years from an hour before now.
func NewAuthority(clusterID string, now time.Time, rand io.Reader) (*Authority, error) {
	if clusterID == "" {
		return nil, fmt.Errorf("new cluster authority: %w: the cluster's id is empty", ErrBadCertificate)
	}
	key, err := newKey(rand)
	if err != nil {
		return nil, fmt.Errorf("new cluster authority: %w", err)
	}
	template, err := newTemplate(pkix.Name{CommonName: "jaco cluster " + clusterID}, now, authorityLifetime, rand)
	if err != nil {
		return nil, fmt.Errorf("new cluster authority: %w", err)
	}
	template.URIs = []*url.URL{clusterURI(clusterID, "")}
	template.IsCA = true
	template.MaxPathLenZero = true
	template.KeyUsage = x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("new cluster authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("new cluster authority: %w", err)
	}
	return &Authority{cluster: clusterID, cert: cert, key: key}, nil
}

// ParseAuthority reads what CertificatePEM and KeyPEM wrote. The two must
// belong together.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	cert, cluster, err := parseAuthorityCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("parse cluster authority: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("parse cluster authority: %w", err)
	}
	if !key.Public().(ed25519.PublicKey).Equal(cert.PublicKey) {
		return nil, fmt.Errorf("parse cluster authority: %w: the key belongs to another certificate", ErrBadKey)
	}
	return &Authority{cluster: cluster, cert: cert, key: key}, nil
}

// Cluster returns the id of the authority's cluster.
func (a *Authority) Cluster() string { return a.cluster }

// CertificatePEM returns the authority's certificate, which is public.
func (a *Authority) CertificatePEM() []byte { return encodePEM(pemCertificate, a.cert.Raw) }

// KeyPEM returns the private key, for sealing and nothing else.
func (a *Authority) KeyPEM() ([]byte, error) { return encodeKey(a.key) }

// String names the authority without its key.
func (a *Authority) String() string { return "authority of cluster " + a.cluster }

// GoString keeps the key out of %#v.
func (a *Authority) GoString() string { return a.String() }

// Issue makes a node's certificate as PEM: valid for 90 days from an hour
// before now, for both ends of a connection, with the node's name as common
// name and DNS name, and the name that binds it to the cluster as URI.
func (a *Authority) Issue(node string, public ed25519.PublicKey, now time.Time, rand io.Reader) ([]byte, error) {
	if err := CheckNodeName(node); err != nil {
		return nil, fmt.Errorf("issue certificate: %w", err)
	}
	if len(public) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("issue certificate of node %s: %w: want an ed25519 public key", node, ErrBadKey)
	}
	template, err := newTemplate(pkix.Name{CommonName: node}, now, nodeLifetime, rand)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of node %s: %w", node, err)
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	template.DNSNames = []string{node}
	template.URIs = []*url.URL{clusterURI(a.cluster, node)}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand, template, a.cert, public, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue certificate of node %s: %w", node, err)
	}
	return encodePEM(pemCertificate, der), nil
}

// CheckNodeName returns an error that wraps ErrBadName unless name can stand
// in a certificate: 1 to 63 lower-case letters, digits, dots and hyphens, with
// a letter or digit at both ends of each part.
func CheckNodeName(name string) error {
	if name == "" || len(name) > 63 {
		return fmt.Errorf("%w %q: want 1 to 63 characters", ErrBadName, name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if part == "" || part[0] == '-' || part[len(part)-1] == '-' {
			return fmt.Errorf("%w %q: want a letter or digit at both ends of each part", ErrBadName, name)
		}
	}
	for i := range len(name) {
		c := name[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return fmt.Errorf("%w %q: want lower-case letters, digits, dots and hyphens only", ErrBadName, name)
		}
	}
	return nil
}

// newTemplate fills in what both kinds of certificate have.
func newTemplate(subject pkix.Name, now time.Time, lifetime time.Duration, rand io.Reader) (*x509.Certificate, error) {
	serial := make([]byte, 16)
	if _, err := io.ReadFull(rand, serial); err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	serial[0] = serial[0]&0x7f | 0x40 // positive, and of full length
	start := now.UTC().Truncate(time.Second)
	return &x509.Certificate{
		SerialNumber:          new(big.Int).SetBytes(serial),
		Subject:               subject,
		NotBefore:             start.Add(-backdate),
		NotAfter:              start.Add(lifetime),
		BasicConstraintsValid: true,
	}, nil
}

// newKey draws the seed itself: ed25519.GenerateKey does not promise to use
// the reader that it is given.
func newKey(rand io.Reader) (ed25519.PrivateKey, error) {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return nil, fmt.Errorf("draw a private key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// parseAuthorityCertificate reads an authority's certificate and the id of its
// cluster, and checks that it signed itself.
func parseAuthorityCertificate(certPEM []byte) (*x509.Certificate, string, error) {
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, "", err
	}
	cluster, node, err := certificateNames(cert)
	if err != nil {
		return nil, "", err
	}
	if !cert.IsCA || node != "" {
		return nil, "", fmt.Errorf("%w: not a cluster authority", ErrBadCertificate)
	}
	if err := cert.CheckSignatureFrom(cert); err != nil {
		return nil, "", fmt.Errorf("%w: not signed by itself: %w", ErrBadCertificate, err)
	}
	return cert, cluster, nil
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	der, err := decodePEM(pemCertificate, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadCertificate, err)
	}
	return cert, nil
}

// parseKey never repeats what it read: the input is a secret.
func parseKey(data []byte) (ed25519.PrivateKey, error) {
	der, err := decodePEM(pemPrivateKey, data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%w: not in PKCS #8 form", ErrBadKey)
	}
	key, ok := parsed.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%w: not an ed25519 key", ErrBadKey)
	}
	return key, nil
}

func encodeKey(key ed25519.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode private key: %w", err)
	}
	return encodePEM(pemPrivateKey, der), nil
}

func encodePEM(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// decodePEM wants exactly one block: pem.Decode by itself skips what stands
// before a block and ignores what follows it.
func decodePEM(kind string, data []byte) ([]byte, error) {
	block, rest := pem.Decode(data)
	switch {
	case block == nil:
		return nil, errors.New("no PEM block")
	case block.Type != kind:
		return nil, fmt.Errorf("want a PEM block of type %s", kind)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("data after the PEM block")
	case !strings.HasPrefix(string(data), "-----BEGIN "):
		return nil, errors.New("data before the PEM block")
	}
	return block.Bytes, nil
}

// clusterURI is the name that binds a certificate to a cluster and a node, as
// in jaco://0123456789abcdef/node-1; an authority's has no node.
func clusterURI(cluster, node string) *url.URL {
	return &url.URL{Scheme: uriScheme, Host: cluster, Path: "/" + node}
}

// certificateNames reads the cluster's id and the node's name (empty for an
// authority) off a certificate. All names in it must agree.
func certificateNames(cert *x509.Certificate) (cluster, node string, err error) {
	if len(cert.URIs) != 1 || cert.URIs[0].Scheme != uriScheme || cert.URIs[0].Host == "" {
		return "", "", fmt.Errorf("%w: it names no cluster", ErrBadCertificate)
	}
	cluster = cert.URIs[0].Host
	node = strings.TrimPrefix(cert.URIs[0].Path, "/")
	if node == "" {
		return cluster, "", nil
	}
	if cert.Subject.CommonName != node || len(cert.DNSNames) != 1 || cert.DNSNames[0] != node {
		return "", "", fmt.Errorf("%w: its names disagree", ErrBadCertificate)
	}
	return cluster, node, nil
}
