package main

import (
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// colour is an ANSI foreground colour; plain is none.
type colour string

const (
	plain  colour = ""
	bold   colour = "1"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	grey   colour = "90"
)

// cell is one field of a table.
type cell struct {
	text   string
	colour colour
}

// table prints rows in aligned columns. Widths are counted before colours are
// added, which is why text/tabwriter does not do.
type table struct {
	out     io.Writer
	colours bool
	rows    [][]cell
}

// newTable makes a table with a header; colours are used when out is a
// terminal and NO_COLOR is not set (no-color.org).
func newTable(out io.Writer, header ...string) *table {
	t := &table{out: out, colours: isTerminal(out) && os.Getenv("NO_COLOR") == ""}
	row := make([]cell, len(header))
	for i, h := range header {
		row[i] = cell{h, bold}
	}
	t.rows = append(t.rows, row)
	return t
}

func (t *table) add(row ...cell) { t.rows = append(t.rows, row) }

// flush prints the table. The last column is not padded.
func (t *table) flush() error {
	var widths []int
	for _, row := range t.rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	var b strings.Builder
	for _, row := range t.rows {
		for i, c := range row {
			b.WriteString(paint(c.text, c.colour, t.colours))
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(t.out, b.String())
	return err
}

func paint(text string, c colour, on bool) string {
	if !on || c == plain || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// text is a cell without colour; an empty one shows a dash, so that a column
// can be told from a missing value.
func text(s string) cell {
	if s == "" {
		return cell{"-", grey}
	}
	return cell{s, plain}
}

// short shortens a commit hash or container id to 12 digits.
func short(id string) string {
	if len(id) > 12 {
		return id[:12]
	}
	return id
}
