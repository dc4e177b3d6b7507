package preview

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// FuzzPlan plans a tree with one file of any name and content beside a policy.
// Whatever it is, there is an error or a plan that can be printed, and it is the
// same twice.
func FuzzPlan(f *testing.F) {
	f.Add("deployments/shop/compose.yaml", []byte(one), "file")
	f.Add("deployments/shop/compose.yaml", []byte("services: {web: {image: a, privileged: true, volumes: [\"/:/host\"]}}\n"), "file")
	f.Add("deployments/shop", []byte("/etc"), "symlink")
	f.Add("deployments/../x", []byte(nil), "file")
	f.Add("deployments//x", []byte(nil), "executable")
	f.Add("cluster.yaml", []byte("nodes: {n: {availability: removed}}\n"), "file")
	f.Add("trust.yaml", []byte("version: 2\n"), "file")
	f.Add("keys/\x00\xff", []byte("k"), "file")
	before, err := NewTree([]File{{Path: "trust.yaml", Mode: Plain, Data: []byte(trust1)}})
	if err != nil {
		f.Fatal(err)
	}
	trust, err := signing.LoadTreeTrust(before, before.Root)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path string, data []byte, mode string) {
		files := []File{{Path: path, Mode: Mode(mode), Data: data}}
		if path != "trust.yaml" {
			files = append(files, File{Path: "trust.yaml", Mode: Plain, Data: []byte(trust1)})
		}
		plan := func() (string, string) {
			tree, err := NewTree(files)
			if err != nil {
				return "", err.Error()
			}
			p, err := Compute(t.Context(), Input{Tree: tree, Trust: trust, Accepted: before, Base: before.Root, Now: time.Unix(1, 0)})
			if err != nil {
				return "", err.Error()
			}
			out, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			return string(out), ""
		}
		out, text := plan()
		again, textAgain := plan()
		if out != again || text != textAgain || (out == "") == (text == "") {
			t.Errorf("%q %q, then %q %q", out, text, again, textAgain)
		}
	})
}
