package signing

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTrailers(t *testing.T) {
	const key = "Approves"
	tests := []struct {
		name, message string
		want          []string
	}{
		{"none", "subject\n\nbody\n", nil},
		{"the title is none", "Approves: x\n", nil},
		{"the title's paragraph is none", "subject\nApproves: x\n", nil},
		{"one", "subject\n\nApproves: x y\n", []string{"x y"}},
		{"no newline at the end", "subject\n\nApproves: x", []string{"x"}},
		{"case and space do not matter", "subject\n\napproves :x \n", []string{"x"}},
		{"several", "subject\n\nApproves: x\nOther: z\nApproves: y\n", []string{"x", "y"}},
		{"only the last paragraph", "subject\n\nApproves: x\n\nApproves: y\n", []string{"y"}},
		{"not in the middle", "subject\n\nApproves: x\n\nbody\n", nil},
		{"prose refuses the paragraph", "subject\n\nsome prose\nApproves: x\n", nil},
		{"a line of git's saves it", "subject\n\nsome prose\nApproves: x\nSigned-off-by: A <a>\n", []string{"x"}},
		{"a quarter of trailers", "s\n\na\nb\nc\nd\ne\nf\nApproves: x\nSigned-off-by: A <a>\n", []string{"x"}},
		{"less than a quarter", "s\n\na\nb\nc\nd\ne\nf\ng\nApproves: x\nSigned-off-by: A <a>\n", nil},
		{"three quarters of prose", "s\n\na\nb\nc\nd\nSigned-off-by: A <a>\n", nil},
		{"continued", "subject\n\nApproves: x\n  y\n", []string{"x y"}},
		{"blank lines behind", "subject\n\nApproves: x\n\n \n", []string{"x"}},
		{"another key", "subject\n\nApproves-not: x\n", nil},
		{"indented", "subject\n\n Approves: x\n", nil},
		{"other letters", "subject\n\nApprovés: x\n", nil},
		{"a divider is text", "subject\n\n---\nApproves: x\n", nil},
		{"quoted in a comment", "subject\n\n# Approves: y\nApproves: x\n", []string{"x"}},
		{"signature-like text", "subject\n\nApproves: x\n-----BEGIN PGP SIGNATURE-----\n", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := (&Commit{Message: tt.message}).Trailers(key)
			if !slices.Equal(got, tt.want) {
				t.Errorf("trailers %q, want %q", got, tt.want)
			}
			if git, ok := gitTrailers(t, tt.message, key); ok && !slices.Equal(git, tt.want) {
				t.Errorf("git finds %q, want %q", git, tt.want)
			}
		})
	}
}

// TestTrailersLikeGit makes messages out of lines that matter and asks git.
func TestTrailersLikeGit(t *testing.T) {
	lines := []string{
		"Approves: x", "Approves: y", "approves :z", "Approves:", "Other: o", " Approves: in", "  more", "\ttab",
		"prose", "", "", " ", "# note", "Signed-off-by: A <a@b>", "(cherry picked from commit 1234)", "a b: c", ": d", "---",
	}
	rapid.Check(t, func(r *rapid.T) {
		message := strings.Join(rapid.SliceOfN(rapid.SampledFrom(lines), 1, 9).Draw(r, "lines"), "\n") + "\n"
		git, ok := gitTrailers(t, message, "Approves")
		if !ok {
			t.Skip("git is not installed")
		}
		// Git keeps blanks at the end of a folded line, which we trim.
		got := (&Commit{Message: message}).Trailers("Approves")
		if !slices.Equal(got, git) {
			r.Fatalf("message %q: %q, git finds %q", message, got, git)
		}
	})
}

// gitTrailers asks git for the trailers with a key; false without git.
func gitTrailers(t *testing.T, message, key string) ([]string, bool) {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		return nil, false
	}
	cmd := exec.CommandContext(t.Context(), "git", "interpret-trailers", "--parse", "--no-divider")
	cmd.Env = []string{"GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "LC_ALL=C"}
	cmd.Dir = t.TempDir()
	cmd.Stdin = strings.NewReader(message)
	output, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	for line := range strings.Lines(string(output)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		if strings.EqualFold(name, key) {
			values = append(values, strings.TrimSpace(value))
		}
	}
	return values, true
}
