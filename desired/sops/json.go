package sops

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// readJSON reads one document, whose top is an object.
func readJSON(data []byte) (branch, error) {
	r := jsonReader{decoder: json.NewDecoder(bytes.NewReader(data))}
	r.decoder.UseNumber()
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	root, ok := v.(branch)
	if !ok {
		return nil, fmt.Errorf("%w: the document is no object", ErrMalformed)
	}
	if _, err := r.decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: something follows the document", ErrMalformed)
	}
	return root, nil
}

type jsonReader struct {
	decoder *json.Decoder
	counter counter
}

// token returns the next token. The decoder's own words may hold parts of the
// file and are left out.
func (r *jsonReader) token() (json.Token, error) {
	t, err := r.decoder.Token()
	if err != nil {
		return nil, fmt.Errorf("%w: it is not readable as JSON", ErrMalformed)
	}
	return t, nil
}

func (r *jsonReader) value(depth int) (any, error) {
	if err := r.counter.enter(depth); err != nil {
		return nil, err
	}
	t, err := r.token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '{' {
			return r.object(depth)
		}
		return r.list(depth)
	case json.Number:
		if n, err := t.Int64(); err == nil {
			return int(n), nil
		}
		f, err := t.Float64()
		if err != nil {
			return nil, fmt.Errorf("%w: a number that is out of range", ErrUnsupported)
		}
		return f, nil
	}
	return t, nil
}

func (r *jsonReader) object(depth int) (any, error) {
	out := branch{}
	seen := map[string]bool{}
	for r.decoder.More() {
		t, err := r.token()
		if err != nil {
			return nil, err
		}
		key, ok := t.(string)
		if !ok || seen[key] {
			return nil, fmt.Errorf("%w: a key stands there twice", ErrMalformed)
		}
		seen[key] = true
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, item{key, v})
	}
	_, err := r.token()
	return out, err
}

func (r *jsonReader) list(depth int) (any, error) {
	out := sequence{}
	for r.decoder.More() {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	_, err := r.token()
	return out, err
}

// writeJSON is readJSON's other direction, indented as SOPS does it.
func writeJSON(root branch) ([]byte, error) {
	var compact, out bytes.Buffer
	if err := appendJSON(&compact, root); err != nil {
		return nil, err
	}
	if err := json.Indent(&out, compact.Bytes(), "", "\t"); err != nil {
		return nil, fmt.Errorf("%w: it cannot be written as JSON", ErrMalformed)
	}
	return out.Bytes(), nil
}

func appendJSON(to *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case branch:
		to.WriteByte('{')
		for i, it := range v {
			if i > 0 {
				to.WriteByte(',')
			}
			if err := errors.Join(appendJSON(to, it.key), to.WriteByte(':'), appendJSON(to, it.value)); err != nil {
				return err
			}
		}
		to.WriteByte('}')
	case sequence:
		to.WriteByte('[')
		for i, e := range v {
			if i > 0 {
				to.WriteByte(',')
			}
			if err := appendJSON(to, e); err != nil {
				return err
			}
		}
		to.WriteByte(']')
	default:
		data, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%w: it cannot be written as JSON", ErrMalformed)
		}
		to.Write(data)
	}
	return nil
}
