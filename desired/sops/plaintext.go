package sops

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Plaintext is a decrypted file. It prints as a placeholder.
type Plaintext struct {
	format Format
	root   branch
}

// String implements fmt.Stringer, so that no log gets to see a secret.
func (*Plaintext) String() string { return "(secret)" }

// GoString implements fmt.GoStringer, for the same reason.
func (*Plaintext) GoString() string { return "(secret)" }

// Bytes is the file as it was before it was encrypted, without its comments.
func (p *Plaintext) Bytes() ([]byte, error) {
	switch p.format {
	case Dotenv:
		return writeDotenv(p.root)
	case YAML:
		return writeYAML(p.root)
	case JSON:
		return writeJSON(p.root)
	case Binary:
	}
	value, ok := p.root[0].value.(string)
	if !ok {
		return nil, fmt.Errorf("%w: its one value is no text", ErrMalformed)
	}
	return []byte(value), nil
}

// Variables are the values of a dotenv file by name. A pair of quotes around a
// whole value is taken off; nothing else is interpreted.
func (p *Plaintext) Variables() (map[string]string, error) {
	if p.format != Dotenv {
		return nil, fmt.Errorf("%w: only *.sops.env holds variables", ErrUnsupported)
	}
	out := make(map[string]string, len(p.root))
	for _, it := range p.root {
		value, err := plainText(it.value)
		if err != nil {
			return nil, err
		}
		if strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("%w: a value holds a NUL character, which no variable can", ErrMalformed)
		}
		if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
			value = value[1 : n-1]
		}
		out[it.key] = value
	}
	return out, nil
}

// plainText is a scalar as a line of a dotenv file has it.
func plainText(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case int:
		return strconv.Itoa(v), nil
	case bool:
		return strconv.FormatBool(v), nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case time.Time:
		return v.Format(time.RFC3339), nil
	}
	return "", fmt.Errorf("%w: a mapping or list in a dotenv file", ErrMalformed)
}
