package signing

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"
)

// ErrKeyNotYetValid is returned when a good signature was made by a key whose
// valid-after lies in the future.
var ErrKeyNotYetValid = errors.New("key not valid yet")

// allowedSigners is the base name, or the extension, of files in OpenSSH's
// format (ssh-keygen(1), ALLOWED SIGNERS).
const allowedSigners = "allowed_signers"

// maxPrincipals bounds the patterns of one line.
const maxPrincipals = 100

// isAllowedSigners reports whether a key file is in OpenSSH's format.
func isAllowedSigners(name string) bool {
	return path.Base(name) == allowedSigners || path.Ext(name) == "."+allowedSigners
}

// allowedKeys reads an allowed_signers file and returns the keys that it gives
// to a principal for git: lines of other principals and of other namespaces
// give none. Every line must be one that is understood, whomever it names.
// Errors begin with FILE:LINE.
func allowedKeys(name string, data []byte, principal string) ([]Key, error) {
	var keys []Key
	for number := 1; len(data) > 0; number++ {
		line, rest, _ := bytes.Cut(data, []byte("\n"))
		data = rest
		text := strings.TrimSpace(string(line))
		if text == "" || text[0] == '#' {
			continue
		}
		allowed, err := parseAllowed(text)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, number, err)
		}
		if matchList(allowed.principals, principal) && matchList(allowed.namespaces, sshNamespace) {
			keys = append(keys, allowed.key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: no line gives the principal %q a key for git", name, clip([]byte(principal)))
	}
	return keys, nil
}

// allowedLine is one line of an allowed_signers file.
type allowedLine struct {
	principals []string
	namespaces []string // patterns; "*" when the line has none
	key        Key
}

// parseAllowed reads "principals [options] type base64 [comment]".
func parseAllowed(text string) (*allowedLine, error) {
	principals, rest := cutQuoted(text)
	a := &allowedLine{principals: strings.Split(strings.Trim(principals, `"`), ","), namespaces: []string{"*"}}
	if len(a.principals) > maxPrincipals || strings.Contains(strings.Trim(principals, `"`), `"`) {
		return nil, fmt.Errorf("principals %q: want names with commas between", clip([]byte(principals)))
	}
	word, behind := cutQuoted(rest)
	if word == "" {
		return nil, errors.New("no key: want \"principals [options] type base64\"")
	}
	var notBefore, notAfter time.Time
	if !isSSHType(word) && refusedSSHType(word) == "" {
		rest = behind
		seen := make(map[string]bool)
		for option := range splitOptions(word) {
			name, value, err := parseOption(option)
			if err != nil {
				return nil, err
			}
			if seen[name] {
				return nil, fmt.Errorf("option %q stands twice", name)
			}
			seen[name] = true
			switch name {
			case "namespaces":
				a.namespaces = strings.Split(value, ",")
			case "valid-after":
				notBefore, err = parseStamp(value)
			case "valid-before":
				notAfter, err = parseStamp(value)
			}
			if err != nil {
				return nil, fmt.Errorf("option %s: %w", name, err)
			}
		}
	}
	if rest == "" {
		return nil, errors.New("no key behind the options")
	}
	if !notBefore.IsZero() && !notAfter.IsZero() && notAfter.Before(notBefore) {
		return nil, errors.New("valid-before lies before valid-after")
	}
	var err error
	if a.key, err = parseSSHKey(rest); err != nil {
		return nil, err
	}
	a.key.notBefore, a.key.notAfter = notBefore, notAfter
	return a, nil
}

// cutQuoted splits at the first blank outside double quotes.
func cutQuoted(text string) (word, rest string) {
	quoted := false
	for i := range len(text) {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\t'):
			return text[:i], strings.TrimLeft(text[i:], " \t")
		}
	}
	return text, ""
}

// splitOptions yields what stands between the commas outside double quotes.
func splitOptions(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		quoted, start := false, 0
		for i := range len(text) {
			switch {
			case text[i] == '"':
				quoted = !quoted
			case text[i] == ',' && !quoted:
				if !yield(text[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(text[start:])
	}
}

// parseOption reads one option. What is not implemented is refused: to pass
// over a restriction would widen what a key may do.
func parseOption(text string) (name, value string, err error) {
	name, quoted, hasValue := strings.Cut(text, "=")
	name = strings.ToLower(name)
	switch name {
	case "namespaces", "valid-after", "valid-before":
	case "cert-authority":
		return "", "", errors.New("option cert-authority is not supported: SSH certificates sign nothing here, list the keys themselves")
	default:
		return "", "", fmt.Errorf("option %q is not supported: there are namespaces, valid-after and valid-before", clip([]byte(text)))
	}
	if !hasValue || len(quoted) < 3 || quoted[0] != '"' || quoted[len(quoted)-1] != '"' || strings.Contains(quoted[1:len(quoted)-1], `"`) {
		return "", "", fmt.Errorf("option %s: want %s=\"…\"", name, name)
	}
	return name, quoted[1 : len(quoted)-1], nil
}

// parseStamp reads YYYYMMDD[Z] or YYYYMMDDHHMM[SS][Z]. OpenSSH takes a time
// without Z in the machine's own zone. A verdict may not depend on a machine:
// here every time is UTC.
func parseStamp(text string) (time.Time, error) {
	bare := strings.TrimSuffix(text, "Z")
	for _, layout := range []string{"20060102", "200601021504", "20060102150405"} {
		if len(bare) != len(layout) {
			continue
		}
		if when, err := time.Parse(layout, bare); err == nil {
			return when, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q: want YYYYMMDDZ or YYYYMMDDHHMM[SS]Z", clip([]byte(text)))
}

// matchList matches a name against OpenSSH's lists of patterns: * and ? as in
// a shell, and a pattern behind ! takes the name out whatever else matches
// (ssh_config(5), PATTERNS).
func matchList(patterns []string, name string) bool {
	found := false
	for _, p := range patterns {
		bare, negated := strings.CutPrefix(p, "!")
		if bare == "" || !matchWild(bare, name) {
			continue
		}
		if negated {
			return false
		}
		found = true
	}
	return found
}

// matchWild matches * and ?, byte by byte and without recursion.
func matchWild(pattern, text string) bool {
	at, offset := 0, 0
	star, mark := -1, 0
	for offset < len(text) {
		switch {
		case at < len(pattern) && pattern[at] == '*':
			star, mark = at, offset
			at++
		case at < len(pattern) && (pattern[at] == '?' || pattern[at] == text[offset]):
			at++
			offset++
		case star >= 0:
			mark++
			at, offset = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[at:], "*") == ""
}

// checkTime refuses a key outside the times that its allowed_signers line
// gives; both ends belong to it, as with ssh-keygen.
func (k Key) checkTime(now time.Time) error {
	switch {
	case !k.notBefore.IsZero() && now.Before(k.notBefore):
		return fmt.Errorf("%w: %s until %s (valid-after)", ErrKeyNotYetValid, k.Fingerprint, k.notBefore.Format(time.RFC3339))
	case !k.notAfter.IsZero() && now.After(k.notAfter):
		return fmt.Errorf("%w: %s since %s (valid-before)", ErrKeyExpired, k.Fingerprint, k.notAfter.Format(time.RFC3339))
	}
	return nil
}
