package desired

import (
	"errors"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/template"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// someVariables is what the tests of this file look up.
func someVariables(name string) (string, bool) {
	v, ok := map[string]string{"A": "alpha", "B": "", "LONG_1": "x y", "D": "$A"}[name]
	return v, ok
}

func TestExpand(t *testing.T) {
	tests := []struct{ in, want, problem string }{
		{in: "plain", want: "plain"},
		{in: "$A", want: "alpha"},
		{in: "${A}${LONG_1}.", want: "alphax y."},
		{in: "$$A $", want: "$A $"},
		{in: "$1 $-", want: "$1 $-"},
		{in: "$D", want: "$A"}, // values are not expanded again
		{in: "${B:-b} ${B-b} ${C:-c} ${C-c}", want: "b  c c"},
		{in: "${A:+one},${B:+two},${B+three},${C+four}", want: "one,,three,"},
		{in: "${C:-${B:-${A}}}", want: "alpha"},
		{in: `${C:-{"json": {"a": 1}}}`, want: `{"json": {"a": 1}}`},
		{in: "${A:?needed}", want: "alpha"},
		{in: "${B:?needed}", problem: `required variable B is missing a value: "needed"`},
		{in: "${B?needed}", want: ""},
		{in: "${C?}", problem: "required variable C is missing a value"},
		{in: "${", problem: "a ${ is not closed"},
		{in: "${}", problem: `invalid variable "${}"`},
		{in: "${A B}", problem: `invalid variable "${A B}"`},
		{in: "${A!x}", problem: `invalid variable "${A!x}"`},
		{in: "${A:x}", problem: `invalid variable "${A:x}"`},
		{in: "${C", problem: "a ${ is not closed"},
	}
	for _, test := range tests {
		got, _, err := (&expander{}).expand(test.in, someVariables)
		if test.problem != "" {
			wantProblem(t, err, test.problem)
		} else if err != nil || got != test.want {
			t.Errorf("%s: %q, %v, want %q", test.in, got, err, test.want)
		}
	}
	_, unset, err := (&expander{}).expand("$X ${Y} ${Z:-z} $A ${W+w}", someVariables)
	if diff := cmp.Diff([]string{"X", "Y"}, unset); diff != "" || err != nil {
		t.Errorf("unset variables (-want +got):\n%s%v", diff, err)
	}
}

// expression draws texts with references, of the forms that compose defines.
// A bare brace is left out: compose-go skips the character behind it.
func expression(depth int) *rapid.Generator[string] {
	name := rapid.SampledFrom([]string{"A", "B", "C", "LONG_1", "D", "_x"})
	return rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			switch rapid.IntRange(0, 5).Draw(t, "part") {
			case 0:
				b.WriteString(rapid.StringMatching(`[a-z :./=,?+-]{0,4}`).Draw(t, "text"))
			case 1:
				b.WriteString("$" + name.Draw(t, "name"))
			case 2:
				b.WriteString("$$")
			case 3:
				b.WriteString("${" + name.Draw(t, "name") + "}")
			default:
				if depth > 0 {
					operator := rapid.SampledFrom([]string{":-", "-", ":+", "+", ":?", "?"}).Draw(t, "operator")
					b.WriteString("${" + name.Draw(t, "name") + operator + expression(depth-1).Draw(t, "word") + "}")
				}
			}
		}
		return b.String()
	})
}

// TestExpandIsComposes holds expand to compose-go's own function.
func TestExpandIsComposes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := expression(3).Draw(t, "in")
		want, wantErr := template.SubstituteWithOptions(in, someVariables, template.WithoutLogging)
		got, _, err := (&expander{}).expand(in, someVariables)
		if (err == nil) != (wantErr == nil) || err == nil && got != want {
			t.Fatalf("%q: %q, %v; compose-go says %q, %v", in, got, err, want, wantErr)
		}
	})
}

// readEnvText parses an env file as Compile does.
func readEnvText(text string) (map[string]string, error) {
	rep := newReport("web.env")
	values := parseEnv([]byte(text), rep, &expander{}, someVariables)
	return values, rep.err()
}

func TestParseEnv(t *testing.T) {
	tests := []struct {
		name, in string
		want     map[string]string
		problem  string
	}{
		{name: "empty", want: map[string]string{}},
		{name: "plain", in: "X=1\nY = two words \nZ:colon", want: map[string]string{"X": "1", "Y": "two words", "Z": "colon"}},
		{name: "comments", in: "# one\n\n  # two\nX=1 # three\nY=a#b\nZ='q' # four\n", want: map[string]string{"X": "1", "Y": "a#b", "Z": "q"}},
		{name: "byte order mark and CRLF", in: "\ufeffX=1\r\nY='2'\r\n", want: map[string]string{"X": "1", "Y": "2"}},
		{name: "export", in: "export X=1\nexported=2\nexport\tY=3\n", want: map[string]string{"X": "1", "exported": "2", "Y": "3"}},
		{name: "empty values", in: "X=\nY=''\nZ=\"\"\n", want: map[string]string{"X": "", "Y": "", "Z": ""}},
		{name: "quotes", in: `X='a "b" \n \' $A'` + "\n" + `Y="a 'b' \n \" $A"` + "\n", want: map[string]string{"X": `a "b" \n ' $A`, "Y": "a 'b' \n \" alpha"}},
		{name: "escapes", in: `X="\t\\ \$A \0101 \q"`, want: map[string]string{"X": "\t\\ $A A \\q"}},
		{name: "many lines", in: "X=\"one\ntwo\"\nY=3\n", want: map[string]string{"X": "one\ntwo", "Y": "3"}},
		{name: "references", in: "X=1\nY=$X${A}\nZ='$X'\nA=own\nW=$A\n", want: map[string]string{"X": "1", "Y": "1alpha", "Z": "$X", "A": "own", "W": "alpha"}},
		{name: "bare names", in: "A\nC\nX=1", want: map[string]string{"A": "alpha", "X": "1"}},
		{name: "bare name at the end", in: "X=1\nA", want: map[string]string{"A": "alpha", "X": "1"}},
		{name: "last one wins", in: "X=1\nX=2\n", want: map[string]string{"X": "2"}},
		{name: "no name", in: "X=1\n=2\n", problem: "web.env:2: a variable name is missing"},
		{name: "bad name", in: "X=1\n\nA!B=2\n", problem: `web.env:3: unexpected character '!' in a variable name`},
		{name: "space in a name", in: "A B=2\n", problem: "web.env:1: a variable name cannot contain a space"},
		{name: "open quote", in: "X=1\nY=\"2\n3\n", problem: "web.env:2: a quoted value is not closed"},
		{name: "required", in: "X=1\nY=${C:?say it}\n", problem: `web.env:2: required variable C is missing a value: "say it"`},
		{name: "NUL", in: "X=1\nY=a\x00b\n", problem: `web.env:2: "Y": a value cannot hold a NUL character`},
		{name: "encrypted", in: "X=ENC[AES256_GCM,data:abc]\nsops_version=3.9.0\n", problem: "web.env: encrypted with SOPS"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := readEnvText(test.in)
			if test.problem != "" {
				wantProblem(t, err, test.problem)
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("(-want +got):\n%s%v", diff, err)
			}
		})
	}
}

// sameAsDotenv compares with compose-go's parser. Where the two may differ on
// purpose it says so and nothing is compared.
func sameAsDotenv(text string) error {
	want, wantErr := dotenv.UnmarshalWithLookup(text, someVariables)
	got, err := readEnvText(text)
	_, hasEmptyKey := want[""]
	switch {
	case hasEmptyKey:
		return nil // compose-go takes a name at the end of the file for a value
	case err != nil && (strings.Contains(err.Error(), "a variable name is missing") || strings.Contains(err.Error(), "cannot contain a space")):
		return nil // compose-go takes lines without a name for nothing, and tabs in one
	case wantErr != nil && err == nil:
		return wantErr
	case wantErr == nil && err != nil:
		return err
	case err == nil && !cmp.Equal(want, got):
		return errors.New(cmp.Diff(want, got))
	}
	return nil
}

// TestParseEnvIsComposes holds parseEnv to compose-go's parser on files that
// are made of the pieces both define.
func TestParseEnvIsComposes(t *testing.T) {
	piece := rapid.SampledFrom([]string{
		"A", "B", "X", "Y.Z", "=", "=", ":", "\n", "\n", " ", "\t", "#", " #", "'", `"`, `\`, `\"`, `\'`, `\n`, `\t`, `\$`, `\\`, `\0101`, `\q`,
		"$A", "${B:-x}", "$X", "$$", "export ", "word", "1", "-", "ä", ".", "=1\n", "='q'\n", "=\"q $A\"\n",
	})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(piece, 0, 16).Draw(t, "pieces"), "") + "\n"
		if err := sameAsDotenv(text); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
