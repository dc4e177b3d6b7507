package sops

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The names that SOPS itself uses in a file.
const (
	metadataKey       = "sops"
	dotenvPrefix      = "sops_"
	binaryKey         = "data"
	defaultClearRule  = "_unencrypted"
	unsupportedGroups = "key groups"
)

// metadata is what SOPS writes beside the values.
type metadata struct {
	age          []WrappedKey
	mac          string
	lastModified time.Time
	// onlyEncrypted leaves what stands in clear out of the MAC.
	onlyEncrypted bool
	encrypts      func(path []string) bool
}

// readMetadata reads the metadata of any format; those of a dotenv file were
// brought into the shape of the others.
func readMetadata(raw branch) (metadata, error) {
	var m metadata
	rules := map[string]string{}
	for _, it := range raw {
		var err error
		switch it.key {
		case "age":
			m.age, err = readWrapped(it.value)
		case "mac":
			m.mac, err = text(it)
		case "lastmodified":
			m.lastModified, err = readTime(it)
		case "mac_only_encrypted":
			m.onlyEncrypted, err = readFlag(it)
		case "unencrypted_suffix", "encrypted_suffix", "unencrypted_regex", "encrypted_regex":
			rules[it.key], err = text(it)
		case "unencrypted_comment_regex", "encrypted_comment_regex":
			err = fmt.Errorf("%w: %s: comments decide nothing here; use a suffix or %s", ErrUnsupported, it.key, strings.Replace(it.key, "comment_", "", 1))
		case "key_groups":
			if !empty(it.value) {
				err = fmt.Errorf("%w: %s: encrypt the file to single recipients", ErrUnsupported, unsupportedGroups)
			}
		case "shamir_threshold":
			if !slices.Contains([]any{nil, 0, 1, "", "0", "1"}, it.value) {
				err = fmt.Errorf("%w: %s: encrypt the file to single recipients", ErrUnsupported, unsupportedGroups)
			}
		case "version", "kms", "gcp_kms", "hckms", "azure_kv", "hc_vault", "pgp":
			// Whoever else can decrypt the file is of no interest here.
		default:
			err = fmt.Errorf("%w: metadata %q", ErrUnsupported, it.key[:min(len(it.key), maxName)])
		}
		if err != nil {
			return m, err
		}
	}
	switch {
	case m.mac == "" || m.lastModified.IsZero():
		return m, fmt.Errorf("%w: its metadata has no mac or no lastmodified", ErrMalformed)
	case len(m.age) == 0:
		return m, fmt.Errorf("%w: it is encrypted to no age recipient, and no other kind of key is consulted", ErrUnsupported)
	}
	var err error
	m.encrypts, err = readRule(rules)
	return m, err
}

// maxName bounds what of a name in the file an error repeats.
const maxName = 40

func text(it item) (string, error) {
	s, ok := it.value.(string)
	if it.value == nil {
		return "", nil
	}
	if !ok {
		return "", fmt.Errorf("%w: metadata %s is no text", ErrMalformed, it.key)
	}
	return s, nil
}

func readFlag(it item) (bool, error) {
	switch v := it.value.(type) {
	case bool:
		return v, nil
	case string:
		if b, err := strconv.ParseBool(v); err == nil {
			return b, nil
		}
	}
	return false, fmt.Errorf("%w: metadata %s is neither true nor false", ErrMalformed, it.key)
}

// readTime reads when the file was changed: the MAC is bound to it.
func readTime(it item) (time.Time, error) {
	if t, ok := it.value.(time.Time); ok {
		return t, nil
	}
	s, err := text(it)
	if err != nil {
		return time.Time{}, err
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: metadata %s is no time", ErrMalformed, it.key)
	}
	return t, nil
}

func readWrapped(v any) ([]WrappedKey, error) {
	if v == nil {
		return nil, nil
	}
	entries, ok := v.(sequence)
	if !ok {
		return nil, fmt.Errorf("%w: metadata age is no list", ErrMalformed)
	}
	var keys []WrappedKey
	for _, e := range entries {
		fields, _ := e.(branch)
		recipient, okRecipient := fields.get("recipient").(string)
		armored, okArmored := fields.get("enc").(string)
		if !okRecipient || !okArmored {
			return nil, fmt.Errorf("%w: metadata age has an entry without recipient or enc", ErrMalformed)
		}
		keys = append(keys, WrappedKey{Recipient: recipient, Armored: armored})
	}
	return keys, nil
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case sequence:
		return len(v) == 0
	}
	return false
}

// readRule returns which values are encrypted, by the names on the way to them.
func readRule(rules map[string]string) (func(path []string) bool, error) {
	for name, rule := range rules {
		if rule == "" {
			delete(rules, name)
		}
		if len(rule) > maxRule {
			return nil, fmt.Errorf("%w: metadata %s has more than %d bytes", ErrMalformed, name, maxRule)
		}
	}
	if len(rules) > 1 {
		return nil, fmt.Errorf("%w: its metadata has more than one rule of what is encrypted", ErrMalformed)
	}
	for name, rule := range rules {
		matches := func(s string) bool { return strings.HasSuffix(s, rule) }
		if strings.HasSuffix(name, "_regex") {
			expression, err := regexp.Compile(rule)
			if err != nil {
				return nil, fmt.Errorf("%w: metadata %s is no regular expression", ErrMalformed, name)
			}
			matches = expression.MatchString
		}
		wanted := strings.HasPrefix(name, "encrypted_")
		return func(path []string) bool { return slices.ContainsFunc(path, matches) == wanted }, nil
	}
	return func(path []string) bool {
		return !slices.ContainsFunc(path, func(s string) bool { return strings.HasSuffix(s, defaultClearRule) })
	}, nil
}
