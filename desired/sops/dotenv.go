package sops

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readDotenv reads NAME=value lines as SOPS does: no quotes, and \n for a line
// end within a value. The metadata are lines too.
func readDotenv(data []byte) (values, meta branch, err error) {
	c := &counter{}
	seen := map[string]bool{}
	flat := map[string]string{}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if err := c.enter(0); err != nil {
			return nil, nil, err
		}
		key, value, found := strings.Cut(string(line), "=")
		if !found {
			return nil, nil, fmt.Errorf("%w: a line without =", ErrMalformed)
		}
		if seen[key] {
			return nil, nil, fmt.Errorf("%w: a name stands there twice", ErrMalformed)
		}
		seen[key] = true
		value = strings.ReplaceAll(value, `\n`, "\n")
		if name, isMeta := strings.CutPrefix(key, dotenvPrefix); isMeta {
			flat[name] = value
		} else {
			values = append(values, item{key, value})
		}
	}
	if len(flat) == 0 {
		return nil, nil, ErrNotEncrypted
	}
	meta, err = unflatten(flat)
	return values, meta, err
}

// flatAge is the name of one field of one entry for age.
var flatAge = regexp.MustCompile(`^age__list_([0-9]{1,4})__map_([a-z]+)$`)

// unflatten brings the metadata of a dotenv file into the shape of the others.
func unflatten(flat map[string]string) (branch, error) {
	var meta branch
	entries := map[int]branch{}
	for _, name := range slices.Sorted(maps.Keys(flat)) {
		if m := flatAge.FindStringSubmatch(name); m != nil {
			i, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, fmt.Errorf("%w: metadata age", ErrMalformed)
			}
			entries[i] = append(entries[i], item{m[2], flat[name]})
			continue
		}
		section, _, nested := strings.Cut(name, "__")
		var value any = flat[name]
		if nested {
			value = sequence{value} // of no interest but for its name
		}
		if meta.get(section) == nil {
			meta = append(meta, item{section, value})
		}
	}
	var age sequence
	for _, i := range slices.Sorted(maps.Keys(entries)) {
		age = append(age, entries[i])
	}
	return append(meta, item{"age", age}), nil
}

// writeDotenv is readDotenv's other direction.
func writeDotenv(root branch) ([]byte, error) {
	var b strings.Builder
	for _, it := range root {
		value, err := plainText(it.value)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%s=%s\n", it.key, strings.ReplaceAll(value, "\n", `\n`))
	}
	return []byte(b.String()), nil
}
