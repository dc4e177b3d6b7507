package signing

import "strings"

// Trailers returns the values of the message's trailers with the given key, in
// their order; the key's case does not matter. The rules are git's
// (git-interpret-trailers): only the last paragraph counts, never the first,
// and it must consist of trailers, or hold one that git itself writes and be
// trailers by a quarter. They come from the message alone, which the signature
// covers.
func (c *Commit) Trailers(key string) []string {
	var values []string
	matches := false // the last trailer seen has the key
	for _, line := range trailerBlock(c.Message) {
		if isComment(line) {
			matches = false
			continue
		}
		if startsWithSpace(line) {
			if matches {
				last := &values[len(values)-1]
				*last = trimBlanks(*last + " " + trimBlanks(line))
			}
			continue
		}
		colon := trailerColon(line)
		matches = colon > 0 && strings.EqualFold(trimBlanks(line[:colon]), key)
		if matches {
			values = append(values, trimBlanks(line[colon+1:]))
		}
	}
	return values
}

// trailerBlock returns the lines of the last paragraph if it holds trailers.
func trailerBlock(message string) []string {
	lines := strings.Split(message, "\n")
	end := len(lines)
	for end > 0 && (isBlank(lines[end-1]) || isComment(lines[end-1])) {
		end--
	}
	title := 0
	for title < end && (!isBlank(lines[title]) || isComment(lines[title])) {
		title++
	}
	start := end
	for start > title && (!isBlank(lines[start-1]) || isComment(lines[start-1])) {
		start--
	}
	if start == title {
		return nil // the message has one paragraph only: its title
	}
	block := lines[start:end]
	if !isTrailerBlock(block) {
		return nil
	}
	return block
}

// isTrailerBlock counts the lines of a paragraph as git does.
func isTrailerBlock(block []string) bool {
	var trailers, others int
	known := false        // a line that git itself writes
	afterTrailer := false // a continuation here belongs to a trailer
	for _, line := range block {
		switch {
		case isComment(line):
			afterTrailer = false
		case strings.HasPrefix(line, "Signed-off-by: "), strings.HasPrefix(line, "(cherry picked from commit "):
			known, afterTrailer = true, true
			trailers++
		case !startsWithSpace(line) && trailerColon(line) > 0:
			afterTrailer = true
			trailers++
		case startsWithSpace(line) && afterTrailer:
		default:
			afterTrailer = false
			others++
		}
	}
	if known {
		return trailers*3 >= others
	}
	return trailers > 0 && others == 0
}

// trailerColon returns the position of the colon behind a trailer's key:
// letters, digits and hyphens, then blanks; -1 when the line has none.
func trailerColon(line string) int {
	gap := false
	for i := range len(line) {
		switch c := line[i]; {
		case c == ':':
			return i
		case c == ' ' || c == '\t':
			if i == 0 {
				return -1
			}
			gap = true
		case gap, !isKeyByte(c):
			return -1
		}
	}
	return -1
}

// isKeyByte reports whether c may stand in a trailer's key.
func isKeyByte(c byte) bool {
	return c == '-' || c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// blanks are the bytes that git takes for white space within a line.
const blanks = " \t\r"

func trimBlanks(s string) string { return strings.Trim(s, blanks) }

func isComment(line string) bool { return strings.HasPrefix(line, "#") }

func isBlank(line string) bool { return trimBlanks(line) == "" }

func startsWithSpace(line string) bool {
	return line != "" && strings.IndexByte(blanks, line[0]) >= 0
}
