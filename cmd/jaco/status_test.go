package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
)

// TestStatusJSON pins every field of the status document by name: the golden
// file may gain lines, and must never lose one.
func TestStatusJSON(t *testing.T) {
	status := fullStatus()
	states["refused"](status)
	states["awaiting"](status)
	states["invalid-cluster"](status)
	states["fragile"](status)
	var out bytes.Buffer
	if _, err := encodeOutput(&out, "json", status); err != nil {
		t.Fatal(err)
	}
	golden(t, "status.json", out.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.WriteFile(path, got, 0o644))
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", path, diff)
	}
}

// TestStatusFieldsAreDocumented holds the field list of docs/cli.md against
// the type, both ways.
func TestStatusFieldsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "cli.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## JSON\n")
	_, block, _ := strings.Cut(section, "```\n")
	block, _, found := strings.Cut(block, "```")
	if !found {
		t.Fatal("docs/cli.md has no block of fields below ## JSON")
	}
	documented := fieldsOfText(t, block)
	if len(documented) < 60 {
		t.Fatalf("only %d fields were found in docs/cli.md: %q", len(documented), documented)
	}
	declared := fieldsOfType(reflect.TypeFor[cluster.Status](), "")
	slices.Sort(documented)
	slices.Sort(declared)
	if diff := cmp.Diff(declared, documented); diff != "" {
		t.Errorf("cluster.Status and docs/cli.md differ (-type +docs):\n%s", diff)
	}
}

// later are values whose fields are not documented before the ingress and the
// mesh fill them.
var later = []string{"nodes[].firewall", "nodes[].peers[]", "routes[]", "certificates[]"}

// fieldsOfType lists the JSON paths of a struct's fields, a list's with [].
func fieldsOfType(kind reflect.Type, prefix string) []string {
	var fields []string
	for i := range kind.NumField() {
		name, _, _ := strings.Cut(kind.Field(i).Tag.Get("json"), ",")
		path, inner := prefix+name, kind.Field(i).Type
		if inner.Kind() == reflect.Slice {
			path, inner = path+"[]", inner.Elem()
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		fields = append(fields, path)
		if inner.Kind() == reflect.Struct && inner != reflect.TypeFor[time.Time]() && !slices.Contains(later, path) {
			fields = append(fields, fieldsOfType(inner, path+".")...)
		}
	}
	return fields
}

// fieldsOfText reads the notation of docs/cli.md: "name{…}" is an object,
// "name[]" a list, "name[{…}]" a list of objects.
func fieldsOfText(t *testing.T, text string) []string {
	t.Helper()
	text = strings.NewReplacer(" ", "", "\n", "", ":", "").Replace(text)
	var fields, within []string
	name := ""
	flush := func(suffix string) {
		if name != "" {
			fields = append(fields, strings.Join(append(slices.Clone(within), name+suffix), "."))
		}
	}
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '{':
			flush("")
			within, name = append(within, name), ""
		case '[':
			flush("[]")
			if i++; text[i] == '{' {
				within, name = append(within, name+"[]"), ""
			} else {
				name = ""
			}
		case '}':
			flush("")
			if len(within) == 0 {
				t.Fatalf("docs/cli.md: a brace too many before %q", text[i:])
			}
			within, name = within[:len(within)-1], ""
			if i+1 < len(text) && text[i+1] == ']' {
				i++
			}
		case ',':
			flush("")
			name = ""
		default:
			name += text[i : i+1]
		}
	}
	for i := range fields { // the document itself has no name
		fields[i] = strings.TrimPrefix(fields[i], ".")
	}
	return fields
}

func TestTableColours(t *testing.T) {
	render := func(colours bool) string {
		var out bytes.Buffer
		table := newTable(&out, "NAME", "STATE")
		if table.colours {
			t.Error("a buffer is taken for a terminal")
		}
		table.colours = colours
		table.add(text("café"), cell{"Healthy", green})
		table.add(text(""), cell{"Failed", red})
		check(t, table.flush())
		return out.String()
	}
	if want := "NAME  STATE\ncafé  Healthy\n-     Failed\n"; render(false) != want {
		t.Errorf("without colours:\n%q, want\n%q", render(false), want)
	}
	want := "\x1b[1mNAME\x1b[0m  \x1b[1mSTATE\x1b[0m\ncafé  \x1b[32mHealthy\x1b[0m\n\x1b[90m-\x1b[0m     \x1b[31mFailed\x1b[0m\n"
	if render(true) != want {
		t.Errorf("with colours:\n%q, want\n%q", render(true), want)
	}
}

func TestTableReportsWriteErrors(t *testing.T) {
	broken := errors.New("broken pipe")
	if err := newTable(writerFunc(func([]byte) (int, error) { return 0, broken }), "A").flush(); !errors.Is(err, broken) {
		t.Errorf("flush returned %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestReasonCell(t *testing.T) {
	long := strings.Repeat("é", 61)
	for _, test := range []struct {
		reason string
		wide   bool
		want   string
	}{
		{"", false, "-"},
		{"short", false, "short"},
		{"two\nlines", false, "two…"},
		{"two\nlines", true, "two…"},
		{"ends with a line\n", false, "ends with a line"},
		{strings.Repeat("é", 60), false, strings.Repeat("é", 60)},
		{long, false, strings.Repeat("é", 57) + "…"},
		{long, true, long},
	} {
		if got := reasonCell(test.reason, test.wide).text; got != test.want {
			t.Errorf("reason %q, wide %v: %q, want %q", test.reason, test.wide, got, test.want)
		}
	}
}

func TestYAMLKeepsTypes(t *testing.T) {
	var out bytes.Buffer
	value := map[string]any{"a": "true", "b": true, "c": "12", "d": 12, "e": "1e5", "f": "", "g": nil, "h": "two\nlines", "i": "null", "j": []string{}}
	if _, err := encodeOutput(&out, "yaml", value); err != nil {
		t.Fatal(err)
	}
	want := "a: \"true\"\nb: true\nc: \"12\"\nd: 12\ne: \"1e5\"\nf: \"\"\ng: null\nh: |-\n    two\n    lines\ni: \"null\"\nj: []\n"
	if out.String() != want {
		t.Errorf("yaml:\n%s\nwant:\n%s", out.String(), want)
	}
}

// TestJudgeWait tries the head against what is accepted and refused; the
// states of deployments are tried by the scripts.
func TestJudgeWait(t *testing.T) {
	for _, test := range []struct {
		name                   string
		head, accepted, newest string
		refused                string // head of a refusal
		want                   waitOutcome
	}{
		{"accepted", commitB, commitB, commitB, "", waitOutcome{done: true, converged: true}},
		{"a newer one is accepted", commitB, commitA, commitA, "", waitOutcome{done: true, converged: true}},
		{"not judged yet", commitB, commitA, commitB, "", waitOutcome{message: "head b2b2b2b2b2b2 is not accepted yet"}},
		{"refused", commitB, commitA, commitB, commitB, waitOutcome{done: true, message: "commit c3c3c3c3c3c3 was refused: bad\ndrop it"}},
		{"another was refused", commitB, commitB, commitB, commitA, waitOutcome{done: true, converged: true}},
		{"refused once, accepted now", commitB, commitB, commitB, commitB, waitOutcome{done: true, converged: true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			status := fullStatus()
			status.Sync.Accepted, status.Sync.Head = test.accepted, test.newest
			if test.refused != "" {
				status.Sync.Refused = []cluster.RefusalStatus{{Head: test.refused, Revision: commitC, Reason: "bad", Advice: "drop it"}}
			}
			if got := judgeWait(status, test.head, target{}); got != test.want {
				t.Errorf("outcome %+v, want %+v", got, test.want)
			}
		})
	}
}
