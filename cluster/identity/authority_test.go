package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

func TestAuthorityIsReproducible(t *testing.T) {
	a, b := newTestAuthority(t, "0123456789abcdef"), newTestAuthority(t, "0123456789abcdef")
	if !bytes.Equal(a.CertificatePEM(), b.CertificatePEM()) {
		t.Error("two authorities of the same clock and randomness differ")
	}
	c, err := NewAuthority("0123456789abcdef", epoch, seeded("other"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a.CertificatePEM(), c.CertificatePEM()) {
		t.Error("the authority does not depend on the randomness that it is given")
	}
}

func TestAuthorityCertificate(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	cert, cluster, err := parseAuthorityCertificate(a.CertificatePEM())
	if err != nil {
		t.Fatal(err)
	}
	if cluster != "0123456789abcdef" {
		t.Errorf("cluster = %q", cluster)
	}
	if want := epoch.Add(-time.Hour); !cert.NotBefore.Equal(want) {
		t.Errorf("valid from %v, want %v", cert.NotBefore, want)
	}
	if want := epoch.Add(10 * 365 * 24 * time.Hour); !cert.NotAfter.Equal(want) {
		t.Errorf("valid until %v, want %v", cert.NotAfter, want)
	}
	if cert.KeyUsage != x509.KeyUsageCertSign || !cert.MaxPathLenZero {
		t.Errorf("usage %v, path length %d: want one that signs node certificates and nothing else", cert.KeyUsage, cert.MaxPathLen)
	}
}

func TestIssue(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	key, err := newKey(seeded("node"))
	if err != nil {
		t.Fatal(err)
	}
	data, err := a.Issue("node-1", key.Public().(ed25519.PublicKey), epoch, seeded("serial"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := parseCertificate(data)
	if err != nil {
		t.Fatal(err)
	}
	if got := cert.URIs[0].String(); got != "jaco://0123456789abcdef/node-1" {
		t.Errorf("URI = %s", got)
	}
	if cert.Subject.CommonName != "node-1" || len(cert.DNSNames) != 1 || cert.DNSNames[0] != "node-1" {
		t.Errorf("names %q %q", cert.Subject.CommonName, cert.DNSNames)
	}
	if want := epoch.Add(-time.Hour); !cert.NotBefore.Equal(want) {
		t.Errorf("valid from %v, want %v", cert.NotBefore, want)
	}
	if want := epoch.Add(90 * 24 * time.Hour); !cert.NotAfter.Equal(want) {
		t.Errorf("valid until %v, want %v", cert.NotAfter, want)
	}
	if cert.IsCA {
		t.Error("a node's certificate may sign others")
	}

	late := epoch.Add(authorityLifetime - time.Hour)
	if data, err = a.Issue("node-1", key.Public().(ed25519.PublicKey), late, seeded("serial")); err != nil {
		t.Fatal(err)
	}
	if cert, err = parseCertificate(data); err != nil {
		t.Fatal(err)
	}
	if cert.NotAfter.After(a.cert.NotAfter) {
		t.Errorf("valid until %v, longer than its authority (%v)", cert.NotAfter, a.cert.NotAfter)
	}
}

func TestIssueRefuses(t *testing.T) {
	a := newTestAuthority(t, "0123456789abcdef")
	public := a.key.Public().(ed25519.PublicKey)
	if _, err := a.Issue("Node 1", public, epoch, seeded("")); !errors.Is(err, ErrBadName) {
		t.Errorf("bad name: %v", err)
	}
	if _, err := a.Issue("node-1", public[:31], epoch, seeded("")); !errors.Is(err, ErrBadKey) {
		t.Errorf("short key: %v", err)
	}
	broken := errors.New("no entropy")
	if _, err := a.Issue("node-1", public, epoch, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("no randomness: %v", err)
	}
	if _, err := NewAuthority("0123456789abcdef", epoch, iotest.ErrReader(broken)); !errors.Is(err, broken) {
		t.Errorf("no randomness: %v", err)
	}
}

func TestParseAuthority(t *testing.T) {
	a, other := newTestAuthority(t, "0123456789abcdef"), newTestAuthority(t, "fedcba9876543210")
	keyPEM, err := a.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := other.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	node, err := a.Issue("node-1", a.key.Public().(ed25519.PublicKey), epoch, seeded(""))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := ParseAuthority(a.CertificatePEM(), keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Cluster() != a.Cluster() || !bytes.Equal(parsed.CertificatePEM(), a.CertificatePEM()) {
		t.Error("the authority changed on its way through PEM")
	}
	for name, c := range map[string]struct {
		cert, key []byte
		want      error
	}{
		"another authority's key": {a.CertificatePEM(), otherKey, ErrBadKey},
		"a node's certificate":    {node, keyPEM, ErrBadCertificate},
		"the key as certificate":  {keyPEM, keyPEM, ErrBadCertificate},
		"the certificate as key":  {a.CertificatePEM(), a.CertificatePEM(), ErrBadKey},
		"empty":                   {nil, nil, ErrBadCertificate},
		"two certificates":        {append(a.CertificatePEM(), other.CertificatePEM()...), keyPEM, ErrBadCertificate},
		"text before":             {append([]byte("x\n"), a.CertificatePEM()...), keyPEM, ErrBadCertificate},
	} {
		_, err := ParseAuthority(c.cert, c.key)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestCheckNodeName(t *testing.T) {
	for _, name := range []string{"a", "node-1", "1", "a.b-c.example", strings.Repeat("a", 63)} {
		if err := CheckNodeName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "a..b", ".a", "a.", "a.-b", "A", "a_b", "a/b", "a b", "ä", "a\n", strings.Repeat("a", 64)} {
		if err := CheckNodeName(name); !errors.Is(err, ErrBadName) {
			t.Errorf("%q: %v, want %v", name, err, ErrBadName)
		}
	}
}
