package desired

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/google/go-cmp/cmp"
)

// TestEveryFieldIsDecided fails when compose's schema knows a field that the
// table does not decide, which is how a newer compose-go announces itself.
func TestEveryFieldIsDecided(t *testing.T) {
	table := newFieldTable()
	paths := schema.AttributePaths()
	if len(paths) < 700 {
		t.Fatalf("compose's schema has only %d fields", len(paths))
	}
	for _, path := range paths {
		if err := decided(table, path.String()); err != nil {
			t.Error(err)
		}
	}
	for _, path := range []string{"services.*.brand_new", "services.*.env_file.[].brand_new", "brand_new", "networks.*.labels_new"} {
		if decided(table, path) == nil {
			t.Errorf("%s: a field without a row is not noticed", path)
		}
	}
}

// decided says whether a path has a row, or lies below a row that covers it.
func decided(table *fieldTable, path string) error {
	if table.rows[path] != nil {
		return nil
	}
	for at, last := cutLast(path); ; at, last = cutLast(at) {
		if f := table.rows[at]; f != nil && f.verdict != honoured {
			return nil
		} else if f != nil && last != "[]" || at == "" {
			return fmt.Errorf("%s: no row in the table", path)
		}
	}
}

// TestNoFieldIsInvented fails when a row of the table names something that
// compose does not have.
func TestNoFieldIsInvented(t *testing.T) {
	known := map[string]bool{
		"volumes.*.x-jaco-prune": true,
		"services.*.ports.[]":    true, // the short syntax
		"services.*.volumes.[]":  true,
	}
	for _, path := range schema.AttributePaths() {
		known[path.String()] = true
	}
	seen := map[string]bool{}
	for _, section := range fieldSections() {
		for _, f := range section.fields {
			if !known[f.path] {
				t.Errorf("%s: compose has no such field", f.path)
			}
			if seen[f.path] {
				t.Errorf("%s: two rows", f.path)
			}
			if f.verdict != honoured && f.note == "" {
				t.Errorf("%s: %s without a word why or what to do instead", f.path, f.verdict)
			}
			seen[f.path] = true
		}
	}
}

// TestRefusedFieldsAreRefused writes every refused field of a service, network
// or volume into a compose file and expects its name and its fate.
func TestRefusedFieldsAreRefused(t *testing.T) {
	for _, section := range fieldSections() {
		for _, f := range section.fields {
			if f.verdict == honoured || f.path == "services.*.build" {
				continue
			}
			text, name := writeField(f.path)
			d, err := compose(text)
			if f.verdict == ignored {
				if err != nil || len(d.Ignored) != 1 || d.Ignored[0].Field != name || d.Ignored[0].Line == 0 {
					t.Errorf("%s: want one note and no error, got %v, %v\n%s", f.path, d, err, text)
				}
				continue
			}
			want := fmt.Sprintf("%s: refused, %s: %s", name, f.verdict, f.note)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: error %v\ndoes not contain %q\n%s", f.path, err, want, text)
			}
		}
	}
}

// writeField is a compose file with that field in it, and the field's name.
func writeField(path string) (text, name string) {
	parts := strings.Split(path, ".")
	text = "null"
	for i := len(parts) - 1; i > 0; i-- {
		switch parts[i] {
		case "[]":
			text = "[" + text + "]"
			name = "[0]" + name
		case "*":
			text = "{some: " + text + "}"
			name = ".some" + name
		default:
			text = "{" + parts[i] + ": " + text + "}"
			name = "." + parts[i] + name
		}
	}
	if parts[0] == "services" {
		inner := strings.TrimSuffix(strings.TrimPrefix(text, "{some: {"), "}")
		return "services: {some: {image: nginx, " + inner + "}\n", "services" + name
	}
	return "services: {web: {image: nginx}}\n" + parts[0] + ": " + text + "\n", parts[0] + name
}

const (
	docsFile   = "../docs/compose.md"
	docsBegin  = "<!-- fields: written by `go test ./desired -run TestDocs -update` -->\n"
	docsEnding = "<!-- end of fields -->\n"
)

// TestDocs holds docs/compose.md to the table.
func TestDocs(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), docsBegin)
	got, after, ok2 := strings.Cut(rest, docsEnding)
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the tables", docsFile)
	}
	want := renderFields()
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+docsBegin+want+docsEnding+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s does not say what the table says; run go test ./desired -run TestDocs -update (-want +got):\n%s", docsFile, diff)
	}
}

// renderFields prints the table as Markdown, one table a section.
func renderFields() string {
	var b strings.Builder
	for _, section := range fieldSections() {
		fmt.Fprintf(&b, "\n### %s\n\n| field | here | note |\n|---|---|---|\n", section.title)
		for _, f := range section.fields {
			here := string(f.verdict)
			if f.verdict == planned || f.verdict == notPlanned {
				here = "**refused**, " + here
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", f.path, here, f.note)
		}
	}
	b.WriteString("\n")
	return b.String()
}

// TestLimitsAreDocumented fails when docs/compose.md does not name a limit.
func TestLimitsAreDocumented(t *testing.T) {
	data, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{MaxDepth, MaxNodes, MaxEntries, MaxKey, MaxReferences, MaxReferenceDepth, MaxServices, MaxPorts, MaxReplicas, MaxFiles, MaxName} {
		if text := grouped(n); !strings.Contains(string(data), "| "+text+" ") {
			t.Errorf("%s does not name the limit %s", docsFile, text)
		}
	}
}

// grouped prints 10000 as "10,000".
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
