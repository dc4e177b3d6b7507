package desired

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
)

// parseEnv reads an env file in compose's format: NAME=value lines, quotes,
// escapes, comments, `export`, and variables in unquoted and double-quoted
// values. outer answers before the file's own earlier lines, as in compose.
//
// It is not compose-go's parser, whose variables can refer to variables until
// memory ends (A=$B$B thirty times over) and which recurses once a comment;
// a test holds the two equal on everything else.
func parseEnv(data []byte, rep *report, x *expander, outer lookup) map[string]string {
	p := &envParser{
		rest: strings.TrimPrefix(string(data), "\ufeff"), line: 1,
		rep: rep, expander: x, outer: outer, values: map[string]string{},
	}
	before := len(*rep.problems)
	for p.next() {
	}
	if len(*rep.problems) > before {
		return p.values
	}
	for _, key := range []string{"sops_mac", "sops_version"} {
		if _, ok := p.values[key]; ok {
			rep.addf(0, "", "encrypted with SOPS, and its values would end up in clear here: use secrets, or env_file with a file named *.sops.env")
			break
		}
	}
	return p.values
}

type envParser struct {
	rest     string
	line     int // of the start of rest
	rep      *report
	expander *expander
	outer    lookup
	values   map[string]string
}

func (p *envParser) take(n int) string {
	taken := p.rest[:n]
	p.line += strings.Count(taken, "\n")
	p.rest = p.rest[n:]
	return taken
}

func (p *envParser) fail(format string, args ...any) bool {
	p.rep.addf(p.line, "", format, args...)
	return false
}

// next reads one statement and says whether more may follow.
func (p *envParser) next() bool {
	p.take(len(p.rest) - len(strings.TrimLeftFunc(p.rest, unicode.IsSpace)))
	if p.rest == "" {
		return false
	}
	if p.rest[0] == '#' {
		p.take(lineLength(p.rest))
		return true
	}
	p.skipExport()
	key, separator, ok := p.key()
	if !ok {
		return false
	}
	if separator != '=' && separator != ':' {
		// A bare name takes the value of outside, if there is one.
		if v, ok := p.outer(key); ok {
			p.values[key] = v
		}
		return true
	}
	p.take(len(p.rest) - len(strings.TrimLeftFunc(p.rest, isBlank)))
	if len(p.values) >= MaxEntries {
		return p.fail("more than the limit of %d variables in one file", MaxEntries)
	}
	line := p.line
	v, ok := p.value()
	if !ok {
		return false
	}
	if strings.ContainsRune(v, 0) {
		p.line = line
		return p.fail("%s: a value cannot hold a NUL character", quoted(key))
	}
	p.values[key] = v
	return true
}

func (p *envParser) skipExport() {
	after, ok := strings.CutPrefix(p.rest, "export")
	if !ok || after == "" || !unicode.IsSpace(rune(after[0])) {
		return
	}
	trimmed := strings.TrimLeftFunc(after, isBlank)
	p.take(len(p.rest) - len(trimmed))
}

// key reads a name and the separator behind it: '=', ':', a line end, or 0 at
// the end of the file.
func (p *envParser) key() (key string, separator rune, ok bool) {
	end := len(p.rest)
	for i, r := range p.rest {
		if r == '=' || r == ':' || r == '\n' {
			end, separator = i, r
			break
		}
		if !isBlank(r) && !strings.ContainsRune("_.-[]", r) && !unicode.IsLetter(r) && !unicode.IsNumber(r) {
			return "", 0, p.fail("unexpected character %q in a variable name", r)
		}
	}
	key = strings.TrimRightFunc(p.rest[:end], unicode.IsSpace)
	if strings.ContainsFunc(key, unicode.IsSpace) {
		return "", 0, p.fail("a variable name cannot contain a space")
	}
	if key == "" {
		return "", 0, p.fail("a variable name is missing")
	}
	if separator != 0 {
		end++
	}
	p.take(end)
	return key, separator, true
}

// value reads what stands behind the separator.
func (p *envParser) value() (string, bool) {
	if p.rest == "" || p.rest[0] != '"' && p.rest[0] != '\'' {
		line := p.line
		text := strings.TrimSuffix(p.take(lineLength(p.rest)), "\n")
		text, _, _ = strings.Cut(text, " #")
		return p.expand(line, strings.TrimRightFunc(text, unicode.IsSpace))
	}
	line, quote := p.line, p.rest[0]
	text, length, ok := unquote(p.rest, quote)
	if !ok {
		return "", p.fail("a quoted value is not closed")
	}
	p.take(length)
	if quote == '\'' {
		if err := p.expander.spend(len(text)); err != nil {
			return "", p.fail("%s", err)
		}
		return text, true
	}
	return p.expand(line, unescape(text))
}

func (p *envParser) expand(line int, text string) (string, bool) {
	v, unset, err := p.expander.expand(text, func(name string) (string, bool) {
		if v, ok := p.outer(name); ok {
			return v, true
		}
		v, ok := p.values[name]
		return v, ok
	})
	if err != nil {
		p.line = line
		return "", p.fail("%s", err)
	}
	for _, name := range unset {
		p.rep.notef(line, "", "variable %s is not set and is empty here", cut(name, maxQuoted))
	}
	return v, true
}

// unquote returns the text between the quotes that s starts with, and the
// length of both and the text. A backslash keeps its place except before the
// quote.
func unquote(s string, quote byte) (text string, length int, ok bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return b.String(), i + 1, true
		case s[i] == '\\' && i+1 < len(s):
			i++
			if s[i] != quote {
				b.WriteByte('\\')
			}
		}
		b.WriteByte(s[i])
	}
	return "", 0, false
}

// unescape replaces the escapes of a double-quoted value; an escaped $ becomes
// the $$ that expand turns into a plain one.
func unescape(s string) string {
	var b strings.Builder
	for s != "" {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		if !found {
			break
		}
		s = after
		n := 0
		switch {
		case s == "" || strings.IndexByte(`abcfnrtv$"\0`, s[0]) < 0:
			b.WriteByte('\\')
			continue
		case s[0] == '$':
			b.WriteString("$$")
			s = s[1:]
			continue
		case s[0] == '0':
			// \0123 is octal 123; Go writes that \123.
			for s = s[1:]; n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '9'; {
				n++
			}
		default:
			n = 1
		}
		escape := `\` + s[:n]
		s = s[n:]
		if r, _, _, err := strconv.UnquoteChar(escape, '"'); err == nil {
			escape = string(r)
		}
		b.WriteString(escape)
	}
	return b.String()
}

// lineLength is the length of the first line with its end.
func lineLength(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

// isBlank is a space that does not end a line.
func isBlank(r rune) bool {
	return r != '\n' && (r == ' ' || r == '\t' || r == '\v' || r == '\f' || r == '\r' || r == 0x85 || r == 0xA0)
}

// envNameError says what is wrong with the name of an environment variable.
func envNameError(name string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("a variable name must not be empty or contain = or NUL")
	}
	return nil
}
