package signing

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// maxUnixTime is the last second of the year 9999: the last that the textual
// time formats can carry.
const maxUnixTime = 253402300799

// headerReader reads the headers of a commit or a tag, line by line.
type headerReader struct {
	data   []byte
	offset int // start of the next unread line
	line   int // number of the line read last, from 1
}

// at reports whether the next line is a header of the given key.
func (r *headerReader) at(key string) bool {
	rest := r.data[r.offset:]
	return len(rest) > len(key) && rest[len(key)] == ' ' && string(rest[:len(key)]) == key
}

// next returns the next line without its newline.
func (r *headerReader) next() ([]byte, error) {
	r.line++
	rest := r.data[r.offset:]
	end := bytes.IndexByte(rest, '\n')
	if end < 0 {
		return nil, malformed("headers end in the middle of a line")
	}
	r.offset += end + 1
	return rest[:end], nil
}

// value returns the value of the next line, which must be a header of the
// given key.
func (r *headerReader) value(key string) ([]byte, error) {
	matches := r.at(key)
	line, err := r.next()
	if err != nil {
		return nil, err
	}
	if !matches {
		name, _, _ := bytes.Cut(line, []byte(" "))
		return nil, malformed("want header %q, got %q", key, clip(name))
	}
	return line[len(key)+1:], nil
}

// hash reads a header whose value is an object id.
func (r *headerReader) hash(key string) (Hash, error) {
	value, err := r.value(key)
	if err != nil {
		return Hash{}, err
	}
	id, err := ParseHash(string(clip(value)))
	if err != nil {
		return Hash{}, malformed("%s: %v", key, err)
	}
	if id.IsZero() {
		return Hash{}, malformed("%s: the zero id", key)
	}
	return id, nil
}

// word reads a header whose value is one word of printable ASCII.
func (r *headerReader) word(key string) (string, error) {
	value, err := r.value(key)
	if err != nil {
		return "", err
	}
	if len(value) == 0 {
		return "", malformed("%s: empty", key)
	}
	for _, c := range value {
		if c <= ' ' || c > '~' {
			return "", malformed("%s: %q is not one word", key, clip(value))
		}
	}
	return string(value), nil
}

// folded reads a header whose further lines start with a space, and returns
// its lines, each with its newline.
func (r *headerReader) folded(key string) ([]byte, error) {
	first, err := r.value(key)
	if err != nil {
		return nil, err
	}
	out := append(make([]byte, 0, 512), first...)
	out = append(out, '\n')
	for r.offset < len(r.data) && r.data[r.offset] == ' ' {
		line, err := r.next()
		if err != nil {
			return nil, err
		}
		out = append(out, line[1:]...)
		out = append(out, '\n')
	}
	return out, nil
}

// blank reads the empty line that ends the headers.
func (r *headerReader) blank() error {
	line, err := r.next()
	if err != nil {
		return err
	}
	if len(line) != 0 {
		name, _, _ := bytes.Cut(line, []byte(" "))
		return malformed("unexpected header %q", clip(name))
	}
	return nil
}

// rest returns what stands behind the lines read so far.
func (r *headerReader) rest() []byte { return r.data[r.offset:] }

// ident reads an author, committer or tagger line:
// "Name <email> seconds +hhmm".
func (r *headerReader) ident(key string) (Ident, error) {
	value, err := r.value(key)
	if err != nil {
		return Ident{}, err
	}
	open := bytes.IndexByte(value, '<')
	end := bytes.IndexByte(value, '>')
	if open < 1 || end < open || value[open-1] != ' ' ||
		bytes.IndexByte(value[open+1:end], '<') >= 0 || bytes.IndexByte(value[end+1:], '>') >= 0 {
		return Ident{}, malformed(`%s: want "Name <email> seconds zone"`, key)
	}
	when, err := parseWhen(value[end+1:])
	if err != nil {
		return Ident{}, malformed("%s: %v", key, err)
	}
	return Ident{
		Name:  string(value[:open-1]),
		Email: string(value[open+1 : end]),
		Time:  when,
	}, nil
}

// parseWhen reads " seconds +hhmm" in its one canonical form.
func parseWhen(raw []byte) (time.Time, error) {
	// A space, one digit at least, a space and the five characters of a zone.
	if len(raw) < 8 || raw[0] != ' ' || raw[len(raw)-6] != ' ' {
		return time.Time{}, fmt.Errorf(`want " seconds +hhmm" behind the email`)
	}
	digits, zone := string(raw[1:len(raw)-6]), string(raw[len(raw)-5:])
	seconds, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || seconds > maxUnixTime || (digits[0] == '0' && digits != "0") {
		return time.Time{}, fmt.Errorf("time %q: want seconds since 1970", clip([]byte(digits)))
	}
	offset, err := strconv.ParseUint(zone[1:], 10, 16)
	if err != nil || (zone[0] != '+' && zone[0] != '-') || offset%100 > 59 || offset > 2359 {
		return time.Time{}, fmt.Errorf("zone %q: want +hhmm or -hhmm", zone)
	}
	east := int(offset/100*3600 + offset%100*60)
	if zone[0] == '-' {
		east = -east
	}
	return time.Unix(int64(seconds), 0).In(time.FixedZone(zone, east)), nil
}

// clip shortens bytes from an object for an error message.
func clip(b []byte) []byte {
	const most = 64
	if len(b) > most {
		return append(append([]byte{}, b[:most]...), "…"...)
	}
	return b
}
