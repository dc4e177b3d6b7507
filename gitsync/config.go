package gitsync

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// Credentials are what the repository asks of us. They are secrets except for
// KnownHosts; nothing in this package prints them.
type Credentials struct {
	// SSHKey is a private key in OpenSSH or PEM form without a passphrase.
	SSHKey []byte
	// Token is "user:token", or a token alone, sent as the password of
	// "x-access-token", which the common hosts take for any kind of token.
	Token []byte
	// KnownHosts are lines as in ~/.ssh/known_hosts. ssh needs one for the
	// host: an unknown host is refused, never learnt.
	KnownHosts []byte
}

// Repository names what is followed.
type Repository struct {
	// URL is https://…, http://…, ssh://…, user@host:path, or the absolute
	// path of a repository on this machine. It must not hold a password: it is
	// shown in status. A token over plain http is refused unless the host is
	// loopback or a private (RFC 1918) address: the content is signed and
	// needs no protection, the token has none.
	URL string
	// Branch is the branch's name without "refs/heads/"; default "main".
	Branch      string
	Credentials Credentials
}

// Limits bound what a fetch may bring; beyond one of them it ends with an error
// that wraps ErrTooLarge, and nothing of it is kept.
type Limits struct {
	// Bytes is the size of one received pack, default 256 MiB. Inflated, one
	// object may have as much and all together sixteen times as much.
	Bytes int64
	// Objects is the number of objects in one pack, default 200,000.
	Objects int
	// Commits is the number of commits in one pack, and the number that
	// Contains looks at, default 100,000.
	Commits int
	// Tags is the number of approval tags (refs/tags/approve/…) that the
	// repository may have, default 10,000. More than that stop the sync: those
	// that have approved something are evidence in the log and may be deleted.
	Tags int
	// ObjectBytes is the size of one object that can be read from the mirror,
	// default 16 MiB: the bound of all files of one revision.
	ObjectBytes int64
}

// Config configures a Mirror and a Syncer.
type Config struct {
	Repository Repository
	// Directory holds the mirror. It belongs to this package alone and may be
	// removed whenever nothing runs. A repository given by path needs none: it
	// is read in place.
	Directory string
	Limits    Limits
	// Interval gives the time between two polls, asked before each; default
	// 30 s, at least 1 s. Each wait is up to 10 % shorter or longer, so that
	// many clusters do not knock in step.
	Interval func() time.Duration
	// Logger takes what an operator may want to know; nil: nothing is logged.
	Logger *slog.Logger
}

const (
	defaultInterval = 30 * time.Second
	minInterval     = time.Second
	mebibyte        = 1 << 20
)

// DefaultConfig returns a configuration without a repository and a directory.
func DefaultConfig() Config {
	return Config{
		Repository: Repository{Branch: "main"},
		Limits:     Limits{Bytes: 256 * mebibyte, Objects: 200_000, Commits: 100_000, Tags: 10_000, ObjectBytes: 16 * mebibyte},
		Interval:   func() time.Duration { return defaultInterval },
		Logger:     slog.New(slog.DiscardHandler),
	}
}

// withDefaults fills in what was left zero.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.Repository.Branch == "" {
		c.Repository.Branch = d.Repository.Branch
	}
	if c.Limits.Bytes == 0 {
		c.Limits.Bytes = d.Limits.Bytes
	}
	if c.Limits.Objects == 0 {
		c.Limits.Objects = d.Limits.Objects
	}
	if c.Limits.Commits == 0 {
		c.Limits.Commits = d.Limits.Commits
	}
	if c.Limits.Tags == 0 {
		c.Limits.Tags = d.Limits.Tags
	}
	if c.Limits.ObjectBytes == 0 {
		c.Limits.ObjectBytes = d.Limits.ObjectBytes
	}
	if c.Interval == nil {
		c.Interval = d.Interval
	}
	if c.Logger == nil {
		c.Logger = d.Logger
	}
	return c
}

// Validate says what is wrong with the configuration; zero fields mean their
// defaults. It touches neither disk nor network.
func (c Config) Validate() error {
	if err := c.Repository.Validate(); err != nil {
		return err
	}
	if !c.Repository.Local() && !filepath.IsAbs(c.Directory) {
		return fmt.Errorf("directory of the mirror %q: want an absolute path", c.Directory)
	}
	if c.Limits.Bytes < 0 || c.Limits.Objects < 0 || c.Limits.Commits < 0 || c.Limits.Tags < 0 || c.Limits.ObjectBytes < 0 {
		return errors.New("limits of the repository must not be negative")
	}
	return nil
}

// Local says whether the repository is on this machine and read in place.
func (r Repository) Local() bool { return strings.HasPrefix(r.URL, "/") }

// Validate says what is wrong with the URL, the branch or the credentials.
func (r Repository) Validate() error {
	where, err := parseEndpoint(r.URL)
	if err != nil {
		return err
	}
	if err := validateBranch(r.Branch); err != nil {
		return err
	}
	switch where.scheme {
	case schemeSSH:
		return r.validateSSH(where)
	case schemeHTTP, schemeHTTPS:
		return r.validateHTTP(where)
	}
	return nil
}

func (r Repository) validateSSH(where endpoint) error {
	if len(r.Credentials.SSHKey) == 0 {
		return fmt.Errorf("repository %s: ssh needs a private key (--ssh-key FILE)", r.URL)
	}
	if _, err := parseSSHKey(r.Credentials.SSHKey); err != nil {
		return fmt.Errorf("repository %s: %w", r.URL, err)
	}
	if len(strings.TrimSpace(string(r.Credentials.KnownHosts))) == 0 {
		return fmt.Errorf("repository %s: ssh needs the host's key: %s", r.URL, where.keyscanAdvice())
	}
	if err := checkKnownHosts(r.Credentials.KnownHosts); err != nil {
		return fmt.Errorf("repository %s: %w", r.URL, err)
	}
	return nil
}

func (r Repository) validateHTTP(where endpoint) error {
	token := string(r.Credentials.Token)
	if strings.ContainsAny(strings.TrimSpace(token), "\r\n\x00") {
		return fmt.Errorf("repository %s: the token must be a single line", r.URL)
	}
	if token != "" && where.scheme == schemeHTTP && !where.private() {
		return fmt.Errorf("repository %s: a token would cross the network in clear; use https, or leave the token out (the content is signed and needs no protection)", r.URL)
	}
	return nil
}

func parseSSHKey(key []byte) (ssh.Signer, error) {
	signer, err := ssh.ParsePrivateKey(key)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, errors.New("the ssh key has a passphrase; make a deploy key without one (ssh-keygen -t ed25519 -N '' -f deploy)")
	}
	if err != nil {
		return nil, fmt.Errorf("read ssh private key: %w", err)
	}
	return signer, nil
}

// validateBranch follows git-check-ref-format as far as it guards us: the name
// becomes part of a path in a repository that is read in place.
func validateBranch(name string) error {
	if name == "" {
		return nil
	}
	bad := strings.HasPrefix(name, "-") || strings.HasPrefix(name, "refs/") || strings.HasSuffix(name, ".") ||
		name == "@" || strings.Contains(name, "..") || strings.Contains(name, "@{")
	for part := range strings.SplitSeq(name, "/") {
		bad = bad || part == "" || strings.HasPrefix(part, ".") || strings.HasSuffix(part, ".lock")
	}
	for _, r := range name {
		bad = bad || r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\", r)
	}
	if bad {
		return fmt.Errorf("branch %q: not a branch's name (as in \"main\", without refs/heads/)", name)
	}
	return nil
}
