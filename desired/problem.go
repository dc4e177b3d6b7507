package desired

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxProblems bounds how many problems one answer lists. Problems are copied
// into status and the audit log, so their number must not follow the input.
const maxProblems = 100

// maxNotes bounds the notes of a deployment for the same reason.
const maxNotes = 1_000

// The bounds, in bytes, of a message and of a user's value within it.
const (
	maxMessage = 512
	maxQuoted  = 80
)

// Problem is one reason why files cannot become desired state.
type Problem struct {
	File    string // path inside the repository
	Line    int    // from 1; 0 when the place is the whole file
	Field   string // "services.web.privileged"; "" for the whole file
	Message string
}

// String prints the problem as "file:line: field: message".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	b.WriteString(": ")
	if p.Field != "" {
		b.WriteString(p.Field)
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems are all the reasons found in one go, sorted by file, line and
// field. Compile and ParseCluster return them as their error.
type Problems []Problem //nolint:errname // a list of problems that is handed around as a value too

// Error prints one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// report collects what is found in one file: problems, and notes about
// fields without effect.
type report struct {
	file     string // path inside the repository
	problems *Problems
	notes    *[]Note
}

func newReport(file string) *report {
	return &report{file: file, problems: &Problems{}, notes: &[]Note{}}
}

// in is a report about another file that collects into the same lists.
func (r *report) in(file string) *report {
	return &report{file: file, problems: r.problems, notes: r.notes}
}

func (r *report) addf(line int, field, format string, args ...any) {
	*r.problems = append(*r.problems, Problem{clean(r.file), line, clean(field), clean(fmt.Sprintf(format, args...))})
}

func (r *report) notef(line int, field, format string, args ...any) {
	*r.notes = append(*r.notes, Note{clean(r.file), line, clean(field), clean(fmt.Sprintf(format, args...))})
}

func (r *report) failed() bool { return len(*r.problems) > 0 }

// err returns the problems, sorted and bounded, or nil.
func (r *report) err() error {
	if !r.failed() {
		return nil
	}
	ps := slices.Clone(*r.problems)
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	ps = slices.Compact(ps)
	if more := len(ps) - maxProblems; more > 0 {
		ps = append(ps[:maxProblems:maxProblems], Problem{File: r.file, Message: fmt.Sprintf("and %d more problems", more)})
	}
	return ps
}

// sortedNotes returns the notes by file, line and field.
func (r *report) sortedNotes() []Note {
	if len(*r.notes) == 0 {
		return nil
	}
	notes := slices.Clone(*r.notes)
	slices.SortFunc(notes, func(a, b Note) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Field, b.Field), cmp.Compare(a.Message, b.Message))
	})
	notes = slices.Compact(notes)
	if more := len(notes) - maxNotes; more > 0 {
		notes = append(notes[:maxNotes:maxNotes], Note{File: r.file, Message: fmt.Sprintf("and %d more notes", more)})
	}
	return notes
}

// clean bounds a text and takes control characters out of it: it ends up in
// logs and on terminals, one problem a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '\uFFFD'
		}
		return r
	}, cut(s, maxMessage))
}

// cut shortens a text to about that many bytes, at the border of a character.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most] + "…"
}

// quoted is a user's value for a message: cut to a bounded length and printed
// without control characters.
func quoted(s string) string {
	return fmt.Sprintf("%q", cut(s, maxQuoted))
}
