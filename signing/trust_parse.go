package signing

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The bounds of one policy and of what it refers to.
const (
	maxSigners  = 1_000
	maxKeys     = 4_000
	maxKeySize  = 256 << 10 // bytes of one key file
	maxRules    = 500
	maxPatterns = 2_000
	maxRevoked  = 1_000
)

// ParseTrust reads a trust.yaml. The schema is closed: what is unknown or not
// supported is refused with "trust.yaml:LINE: …". The file function gives the
// content of a key file of the same commit by its path in the repository.
func ParseTrust(data []byte, file func(path string) ([]byte, error)) (*Trust, error) {
	root, err := readYAML(data)
	if err != nil {
		return nil, err
	}
	r := trustReader{
		file:   file,
		files:  make(map[string][]byte),
		keyAt:  make(map[string]int),
		rootAt: root.Line,
		trust: &Trust{
			RootThreshold: 1,
			privileges:    make(map[string][]string),
			owners:        make(map[string]int),
			revoked:       make(map[string]int),
			spent:         make(map[string]bool),
		},
	}
	if err := r.document(root); err != nil {
		return nil, err
	}
	r.trust.Digest = r.digest(data)
	return r.trust, nil
}

// trustReader fills one Trust.
type trustReader struct {
	trust    *Trust
	file     func(path string) ([]byte, error)
	files    map[string][]byte // key files read, by path
	keyAt    map[string]int    // fingerprint to the line that lists it
	keys     int
	patterns int
	rootAt   int
}

// document reads the top level: signers first, since root and rules name them.
func (r *trustReader) document(n *yaml.Node) error {
	top, err := fields(n, trustFile, "version", "root", "signers", "rules", "revoked",
		"allow", "history", "merges_approve", "require_target", "images", "freshness")
	if err != nil {
		return err
	}
	for _, name := range []string{"version", "root", "signers"} {
		if top[name] == nil {
			return trustError(r.rootAt, "field %q is missing", name)
		}
	}
	if r.trust.Version, err = number(top["version"], "version"); err != nil {
		return err
	}
	if err := r.settings(top); err != nil {
		return err
	}
	if err := r.signers(top["signers"]); err != nil {
		return err
	}
	if err := r.root(top["root"]); err != nil {
		return err
	}
	if err := r.rules(top["rules"]); err != nil {
		return err
	}
	if err := r.allow(top["allow"]); err != nil {
		return err
	}
	return r.revocations(top["revoked"])
}

// signers reads the signers and their keys into one keyring.
func (r *trustReader) signers(n *yaml.Node) error {
	err := eachField(n, "signers", func(name, value *yaml.Node) error {
		if len(r.trust.Signers) == maxSigners {
			return trustError(name.Line, "more than %d signers", maxSigners)
		}
		if !isSignerName(name.Value) {
			return trustError(name.Line, "signer %q: want a name of a-z, 0-9, dot, underscore and hyphen",
				clip([]byte(name.Value)))
		}
		return r.signer(name, value)
	})
	if err != nil {
		return err
	}
	t := r.trust
	slices.SortFunc(t.Signers, func(a, b Signer) int { return strings.Compare(a.Name, b.Name) })
	var keys []Key
	for i, s := range t.Signers {
		for _, key := range s.Keys {
			t.owners[key.Fingerprint] = i
			if key.revokesItself() {
				t.spent[key.Fingerprint] = true
			}
			keys = append(keys, key)
		}
	}
	if t.keyring, err = NewKeyring(keys...); err != nil {
		return trustError(n.Line, "signers: %w", err)
	}
	return nil
}

// signer reads one signer.
func (r *trustReader) signer(name, n *yaml.Node) error {
	what := "signer " + name.Value
	f, err := fields(n, what, "class", "keys", "valid_until")
	if err != nil {
		return err
	}
	s := Signer{Name: name.Value, Class: Person}
	if class := f["class"]; class != nil {
		value, err := choice(class, what+": class", string(Person), string(Bot), string(Forge))
		if err != nil {
			return err
		}
		s.Class = Class(value)
	}
	if until := f["valid_until"]; until != nil {
		when, isDate, err := instant(until, what+": valid_until")
		if err != nil {
			return err
		}
		if isDate {
			when = when.AddDate(0, 0, 1) // the named day still counts
		}
		s.ValidUntil = when
	}
	if f["keys"] == nil {
		return trustError(name.Line, "%s: field \"keys\" is missing", what)
	}
	if s.Keys, err = r.signerKeys(f["keys"], name.Value); err != nil {
		return err
	}
	r.trust.Signers = append(r.trust.Signers, s)
	return nil
}

// signerKeys reads a list of keys: each a key file's path or a key itself.
func (r *trustReader) signerKeys(n *yaml.Node, signer string) ([]Key, error) {
	what := "signer " + signer
	nodes, err := items(n, what+": keys")
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, node := range nodes {
		value, err := text(node, what+": key")
		if err != nil {
			return nil, err
		}
		parsed, err := r.material(node, value, signer)
		if err != nil {
			return nil, err
		}
		for _, key := range parsed {
			if line, listed := r.keyAt[key.Fingerprint]; listed {
				return nil, trustError(node.Line, "%s: key %s is listed in line %d already", what, key.Fingerprint, line)
			}
			r.keyAt[key.Fingerprint] = node.Line
		}
		if r.keys += len(parsed); r.keys > maxKeys {
			return nil, trustError(node.Line, "more than %d keys", maxKeys)
		}
		keys = append(keys, parsed...)
	}
	if len(keys) == 0 {
		return nil, trustError(n.Line, "%s: no key", what)
	}
	return keys, nil
}

// material reads the keys that one entry of a signer's list stands for.
func (r *trustReader) material(n *yaml.Node, value, signer string) ([]Key, error) {
	what := "signer " + signer
	if !strings.HasPrefix(value, keysDir+"/") {
		keys, err := ParseKeys([]byte(value))
		if err != nil {
			return nil, trustError(n.Line, "%s: key %q: %w", what, clip([]byte(value)), err)
		}
		return keys, nil
	}
	name, principal, chosen := strings.Cut(value, "#")
	data, err := r.keyFile(n, name)
	if err != nil {
		return nil, err
	}
	if !isAllowedSigners(name) {
		if chosen {
			return nil, trustError(n.Line, "%s: key file %q: only allowed_signers files have principals", what, clip([]byte(value)))
		}
		keys, err := ParseKeys(data)
		if err != nil {
			return nil, trustError(n.Line, "%s: key file %s: %w", what, name, err)
		}
		return keys, nil
	}
	if !chosen {
		principal = signer
	}
	keys, err := allowedKeys(name, data, principal)
	if err != nil {
		return nil, trustError(n.Line, "%s: %w", what, err)
	}
	return keys, nil
}

// keyFile reads a key file of the repository, below keys/ and nowhere else.
func (r *trustReader) keyFile(n *yaml.Node, name string) ([]byte, error) {
	ext := path.Ext(name)
	if !filepath.IsLocal(name) || path.Clean(name) != name || (ext != ".asc" && ext != ".pub" && !isAllowedSigners(name)) {
		return nil, trustError(n.Line, "key file %q: want keys/NAME.asc, keys/NAME.pub or keys/allowed_signers", clip([]byte(name)))
	}
	if data, read := r.files[name]; read {
		return data, nil
	}
	data, err := r.file(name)
	if err != nil {
		return nil, trustError(n.Line, "key file %s: %w", name, err)
	}
	if len(data) > maxKeySize {
		return nil, trustError(n.Line, "key file %s of %d bytes: more than %d", name, len(data), maxKeySize)
	}
	r.files[name] = data
	return data, nil
}

// root reads who may change the policy.
func (r *trustReader) root(n *yaml.Node) error {
	f, err := fields(n, "root", "threshold", "signers")
	if err != nil {
		return err
	}
	if threshold := f["threshold"]; threshold != nil {
		if r.trust.RootThreshold, err = number(threshold, "root: threshold"); err != nil {
			return err
		}
	}
	if f["signers"] == nil {
		return trustError(n.Line, "root: field \"signers\" is missing")
	}
	if r.trust.Root, err = r.names(f["signers"], "root"); err != nil {
		return err
	}
	for _, name := range r.trust.Root {
		if r.trust.signer(name).Class != Person {
			return trustError(f["signers"].Line, "root: %s is no person", name)
		}
	}
	if want, have := r.trust.RootThreshold, len(r.trust.Root); want > have {
		return trustError(f["threshold"].Line, "root: threshold: %d of %d signers: nobody could change trust.yaml again", want, have)
	}
	return nil
}

// names reads a list of signers that must be listed. Sorted, never empty.
func (r *trustReader) names(n *yaml.Node, what string) ([]string, error) {
	names, err := texts(n, what+": signers")
	if err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, trustError(n.Line, "%s: signers: the list is empty", what)
	}
	for i, name := range names {
		if r.trust.signer(name) == nil {
			return nil, trustError(n.Content[i].Line, "%s: %q is no signer", what, clip([]byte(name)))
		}
	}
	slices.Sort(names)
	return names, nil
}

// rules reads the list of rules; none is a policy that deploys nothing.
func (r *trustReader) rules(n *yaml.Node) error {
	if n == nil {
		return nil
	}
	nodes, err := items(n, "rules")
	if err != nil {
		return err
	}
	if len(nodes) > maxRules {
		return trustError(n.Line, "more than %d rules", maxRules)
	}
	for _, node := range nodes {
		if err := r.rule(node); err != nil {
			return err
		}
	}
	return nil
}

// rule reads one rule.
func (r *trustReader) rule(n *yaml.Node) error {
	f, err := fields(n, "rule", "paths", "signers", "approvals")
	if err != nil {
		return err
	}
	if f["paths"] == nil {
		return trustError(n.Line, "rule: field \"paths\" is missing")
	}
	paths, err := texts(f["paths"], "rule: paths")
	if err != nil {
		return err
	}
	if len(paths) == 0 {
		return trustError(f["paths"].Line, "rule: paths: the list is empty")
	}
	if r.patterns += len(paths); r.patterns > maxPatterns {
		return trustError(n.Line, "more than %d patterns", maxPatterns)
	}
	var made rule
	for i, p := range paths {
		parsed, err := parsePattern(p)
		if err != nil {
			return trustError(f["paths"].Content[i].Line, "rule: %w", err)
		}
		made.patterns = append(made.patterns, parsed)
	}
	if f["signers"] != nil {
		if made.signers, err = r.names(f["signers"], "rule"); err != nil {
			return err
		}
	}
	for i, name := range made.signers {
		if r.trust.signer(name).Class == Forge {
			return trustError(f["signers"].Line, "rule: %s is a forge, which never counts as an approval", made.signers[i])
		}
	}
	made.approvals = 1
	if approvals := f["approvals"]; approvals != nil {
		if made.approvals, err = number(approvals, "rule: approvals"); err != nil {
			return err
		}
		if have := r.eligible(made); made.approvals > have {
			return trustError(approvals.Line, "rule: approvals: %d of %d who may approve: nobody could change these paths", made.approvals, have)
		}
	}
	r.trust.rules = append(r.trust.rules, made)
	return nil
}

// eligible counts who may approve by the rule, dates and revocations aside.
func (r *trustReader) eligible(made rule) int {
	if made.signers != nil {
		return len(made.signers)
	}
	people := 0
	for _, s := range r.trust.Signers {
		if s.Class == Person {
			people++
		}
	}
	return people
}

// revocations reads the list of revoked keys. A key may be revoked that no
// signer has any more. Revoking a subkey revokes the whole key.
func (r *trustReader) revocations(n *yaml.Node) error {
	if n == nil {
		return nil
	}
	nodes, err := items(n, "revoked")
	if err != nil {
		return err
	}
	if len(nodes) > maxRevoked {
		return trustError(n.Line, "more than %d revoked keys", maxRevoked)
	}
	seen := make(map[string]bool)
	for _, node := range nodes {
		made, err := revocation(node)
		if err != nil {
			return err
		}
		if seen[made.Key] {
			return trustError(node.Line, "revoked: key %s stands twice", made.Key)
		}
		seen[made.Key] = true
		for _, s := range r.trust.Signers {
			for _, key := range s.Keys {
				if key.Names(made.Key) {
					r.trust.revoked[key.Fingerprint] = len(r.trust.Revoked)
				}
			}
		}
		r.trust.Revoked = append(r.trust.Revoked, made)
	}
	return nil
}

// revocation reads one revoked key.
func revocation(n *yaml.Node) (Revocation, error) {
	var made Revocation
	f, err := fields(n, "revoked", "key", "since", "compromised", "reason")
	if err != nil {
		return made, err
	}
	if f["key"] == nil {
		return made, trustError(n.Line, "revoked: field \"key\" is missing")
	}
	if made.Key, err = text(f["key"], "revoked: key"); err != nil {
		return made, err
	}
	if made.Key = canonicalFingerprint(made.Key); made.Key == "" {
		return made, trustError(f["key"].Line, "revoked: key: want SHA256:… for SSH, all hexadecimal digits for OpenPGP")
	}
	if since := f["since"]; since != nil {
		if made.Since, _, err = instant(since, "revoked: since"); err != nil {
			return made, err
		}
	}
	if compromised := f["compromised"]; compromised != nil {
		if made.Compromised, err = flag(compromised, "revoked: compromised"); err != nil {
			return made, err
		}
	}
	if reason := f["reason"]; reason != nil {
		if made.Reason, err = text(reason, "revoked: reason"); err != nil {
			return made, err
		}
	}
	return made, nil
}

// canonicalFingerprint returns the form that Key.Fingerprint has, or "": a
// revocation with a typing error must not revoke nothing in silence.
func canonicalFingerprint(s string) string {
	if sum, isSSH := strings.CutPrefix(s, "SHA256:"); isSSH {
		raw, err := base64.RawStdEncoding.Strict().DecodeString(sum)
		if err != nil || len(raw) != sha256.Size {
			return ""
		}
		return s
	}
	s = strings.ReplaceAll(s, " ", "")
	raw, err := hex.DecodeString(s)
	if err != nil || (len(raw) != 20 && len(raw) != 32) {
		return ""
	}
	return strings.ToUpper(s)
}

// isSignerName reports whether the name matches [a-z0-9][a-z0-9._-]*.
func isSignerName(name string) bool {
	const alnum = "abcdefghijklmnopqrstuvwxyz0123456789"
	return name != "" && len(name) <= 64 && strings.IndexByte(alnum, name[0]) >= 0 &&
		strings.Trim(name, alnum+"._-") == ""
}

// digest covers the policy and its key files: each with its name and length,
// in the order of the names.
func (r *trustReader) digest(data []byte) [sha256.Size]byte {
	h := sha256.New()
	add := func(b []byte) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	add([]byte(trustFile))
	add(data)
	for _, name := range slices.Sorted(maps.Keys(r.files)) {
		add([]byte(name))
		add(r.files[name])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
