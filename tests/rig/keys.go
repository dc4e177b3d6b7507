package rig

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Key signs commits and tags.
type Key struct {
	Name string
	// Public is what trust.yaml takes: an authorized_keys line, or an armored
	// OpenPGP key for a file in keys/.
	Public string
	// Fingerprint is "SHA256:…" for SSH, 40 hex digits for OpenPGP.
	Fingerprint string
	// Private is the private key's file, SSH only.
	Private string
	// OpenPGP says which of the two it is.
	OpenPGP bool
}

// gitConfig are the settings with which git signs by this key.
func (k *Key) gitConfig() []string {
	if k.OpenPGP {
		return []string{"-c", "gpg.format=openpgp", "-c", "user.signingkey=" + k.Fingerprint + "!"}
	}
	return []string{"-c", "gpg.format=ssh", "-c", "user.signingkey=" + k.Private}
}

// NewSSHKey makes a key of a type that ssh-keygen knows: ed25519, ecdsa (P-256)
// or rsa (3072 bits).
func (g *Git) NewSSHKey(ctx context.Context, name, kind string) (*Key, error) {
	k := &Key{Name: name, Private: filepath.Join(g.Dir, "ssh", name)}
	if _, err := output(g.command(ctx, "", "ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", k.Private)); err != nil {
		return nil, err
	}
	pub, err := os.ReadFile(k.Private + ".pub")
	if err != nil {
		return nil, fmt.Errorf("read public key of %s: %w", name, err)
	}
	k.Public = strings.TrimSpace(string(pub))
	line, err := output(g.command(ctx, "", "ssh-keygen", "-l", "-f", k.Private+".pub"))
	if err != nil {
		return nil, err
	}
	if f := strings.Fields(line); len(f) > 1 {
		k.Fingerprint = f[1]
	}
	return k, nil
}

// NewOpenPGPKey makes a signing key of a type that gpg knows, ed25519 or
// rsa3072. It expires at that time; zero means never. For one that has expired
// already give a time in the past: the key is then made a year before it.
func (g *Git) NewOpenPGPKey(ctx context.Context, name, kind string, expires time.Time) (*Key, error) {
	uid := name + " <" + name + "@example.com>"
	args := []string{"--batch", "--pinentry-mode", "loopback", "--passphrase", ""}
	until := "never"
	if !expires.IsZero() {
		made := expires.AddDate(-1, 0, 0)
		args = append(args, "--faked-system-time", made.UTC().Format("20060102T150405!"))
		until = expires.UTC().Format("20060102T150405")
	}
	args = append(args, "--quick-gen-key", uid, kind, "sign", until)
	if _, err := output(g.command(ctx, "", "gpg", args...)); err != nil {
		return nil, err
	}
	k := &Key{Name: name, OpenPGP: true}
	var err error
	if k.Public, err = output(g.command(ctx, "", "gpg", "--armor", "--export", "="+uid)); err != nil {
		return nil, err
	}
	k.Public += "\n"
	list, err := output(g.command(ctx, "", "gpg", "--with-colons", "--list-keys", "="+uid))
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(list) {
		if f := strings.Split(line, ":"); f[0] == "fpr" && k.Fingerprint == "" && len(f) > 9 {
			k.Fingerprint = f[9]
		}
	}
	if k.Fingerprint == "" {
		return nil, fmt.Errorf("find fingerprint of %s: gpg printed none", name)
	}
	return k, nil
}
