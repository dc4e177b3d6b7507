package preview

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

const (
	aliceKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILnD073/LaAZGfGollySDp+0KxgKGpTLRmdpbBSpb/Q6 alice"
	bobKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH2+y8y5f5h4spoSBE8erAi5xNSH+Ut+EWHsETMn6HrE bob"
	trust1   = `version: 1
root: {threshold: 2, signers: [alice, bob]}
signers:
  alice: {keys: ["` + aliceKey + `"], valid_until: 2030-01-01}
  bob: {keys: ["` + bobKey + `"]}
rules:
  - {paths: ["deployments/shop/**", "deployments/blog/**", "deployments/all/**", "deployments/CAPS/**"], approvals: 1}
  - {paths: ["deployments/shop/*.env"], signers: [bob], approvals: 1}
`
)

// fileTree makes a tree from "path", "text" pairs.
func fileTree(t *testing.T, pairs ...string) *Tree {
	t.Helper()
	var files []File
	for i := 0; i+1 < len(pairs); i += 2 {
		files = append(files, File{Path: pairs[i], Mode: Plain, Data: []byte(pairs[i+1])})
	}
	return mustTree(t, files...)
}

func mustTree(t *testing.T, files ...File) *Tree {
	t.Helper()
	tree, err := NewTree(files)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// offline plans a tree against another one that counts as accepted.
func offline(t *testing.T, before, after *Tree, edit func(*Input)) *Plan {
	t.Helper()
	in := Input{Tree: after, Accepted: before, Base: before.Root, Now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	var err error
	if in.Trust, err = signing.LoadTreeTrust(before, before.Root); err != nil {
		t.Fatal(err)
	}
	if in.Units, err = signing.UnitsOfTree(before, before.Root); err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(&in)
	}
	p, err := Compute(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// gitTree is what git write-tree said of TestTreeIsGits.
const gitTree = "64d0ba1cc8829a85276455c0be2b17828717d9f1"

const one = "services: {web: {image: \"web:1\"}}\n"

// TestWhoHasToSign holds the requirements of each kind of change.
func TestWhoHasToSign(t *testing.T) {
	base := []string{"trust.yaml", trust1, "deployments/shop/compose.yaml", one, "deployments/shop/a.env", "A=1\n", "README.md", "x"}
	for _, test := range []struct {
		name  string
		files []string // instead of or beside the base's
		want  []string
	}{
		{"nothing", nil, nil},
		{"a file that deploys nothing", []string{"README.md", "y"}, nil},
		{"one path", []string{"deployments/shop/compose.yaml", one + "#\n"}, []string{"shop changed: 1 of alice, bob for deployments/shop/compose.yaml"}},
		{"two rules", []string{"deployments/shop/compose.yaml", one + "#\n", "deployments/shop/a.env", "A=2\n"}, []string{
			"shop changed: 1 of bob for deployments/shop/a.env", "shop changed: 1 of alice, bob for deployments/shop/compose.yaml",
		}},
		{"a new deployment", []string{"deployments/blog/compose.yaml", one}, []string{"blog added: 1 of alice, bob for deployments/blog/compose.yaml"}},
		{"the cluster's settings, by root", []string{"cluster.yaml", "sync: {interval: 10s}\n"}, []string{"cluster added: 2 of alice, bob for cluster.yaml"}},
		{"the policy, by root of both", []string{"trust.yaml", strings.NewReplacer("version: 1", "version: 2", "threshold: 2, signers: [alice, bob]", "threshold: 1, signers: [bob]").Replace(trust1)}, []string{
			"trust changed: 2 of alice, bob for trust.yaml", "trust changed: 1 of bob for trust.yaml",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			after := slices.Clone(base)
			for i := 0; i+1 < len(test.files); i += 2 {
				if at := slices.Index(after, test.files[i]); at >= 0 {
					after[at+1] = test.files[i+1]
				} else {
					after = append(after, test.files[i], test.files[i+1])
				}
			}
			p := offline(t, fileTree(t, base...), fileTree(t, after...), nil)
			var got []string
			for _, u := range p.Units {
				for _, n := range u.Needs {
					got = append(got, u.Unit+" "+string(u.Change)+": "+string(rune('0'+n.Need))+" of "+strings.Join(n.Eligible, ", ")+" for "+strings.Join(n.Files, ", "))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" || p.WouldRefuse() {
				t.Errorf("(-want +got):\n%s%+v", diff, p.Refused)
			}
		})
	}
}

// TestSignedAlready knows who signed the waiting content, and only that content.
func TestSignedAlready(t *testing.T) {
	before := fileTree(t, "trust.yaml", trust1, "deployments/shop/compose.yaml", one)
	after := fileTree(t, "trust.yaml", trust1, "deployments/shop/compose.yaml", one+"#\n")
	trust, err := signing.LoadTreeTrust(before, before.Root)
	if err != nil {
		t.Fatal(err)
	}
	content, err := after.put(signing.BlobObject, []byte(one+"#\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		content signing.Hash
		want    []string
	}{{content, []string{"alice"}}, {signing.Hash{1}, []string{}}} {
		p := offline(t, before, after, func(in *Input) {
			u := in.Units["shop"]
			u.Vouched = []signing.Vouch{{
				Path: "deployments/shop/compose.yaml", Content: test.content, Mode: signing.ModeFile,
				Signers: []signing.Approval{{Signer: "alice", Key: trust.Signers[0].Keys[0].Fingerprint, Commit: signing.Hash{9}}},
			}}
			in.Units["shop"] = u
		})
		if diff := cmp.Diff(test.want, p.Units[0].Needs[0].Have); diff != "" {
			t.Errorf("signed already (-want +got):\n%s", diff)
		}
	}
}

// TestRefusedWhole is what no signature makes acceptable.
func TestRefusedWhole(t *testing.T) {
	before := fileTree(t, "trust.yaml", trust1)
	plain := func(path, text string) File { return File{Path: path, Mode: Plain, Data: []byte(text)} }
	for _, test := range []struct {
		name   string
		files  []File
		reason signing.Reason
		text   string
	}{
		{"a symlink", []File{plain("trust.yaml", trust1), {Path: "deployments/shop/x", Mode: Symlink, Data: []byte("/etc/passwd")}}, signing.ReasonMalformed, "symbolic link"},
		{"deployments is a symlink", []File{plain("trust.yaml", trust1), {Path: "deployments", Mode: Symlink, Data: []byte("/")}}, signing.ReasonMalformed, "symbolic link"},
		{"a file beside the folders", []File{plain("trust.yaml", trust1), plain("deployments/x", "")}, signing.ReasonNoRule, "no rule matches"},
		{"a path without a rule", []File{plain("trust.yaml", trust1), plain("deployments/other/compose.yaml", one)}, signing.ReasonNoRule, "no rule matches"},
		{"a name that is taken", []File{plain("trust.yaml", trust1), plain("deployments/all/compose.yaml", one)}, signing.ReasonMalformed, "approve/all"},
		{"a name that is none", []File{plain("trust.yaml", trust1), plain("deployments/CAPS/compose.yaml", one)}, signing.ReasonMalformed, "a-z, 0-9 and hyphens"},
		{"a policy with the same version", []File{plain("trust.yaml", trust1+"#\n")}, signing.ReasonTrust, "version is 1, want 2"},
		{"a policy that is none", []File{plain("trust.yaml", "version: 2\n")}, signing.ReasonTrust, "trust.yaml:1"},
		{"no policy", []File{plain("cluster.yaml", "")}, signing.ReasonTrust, "trust.yaml"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := offline(t, before, mustTree(t, test.files...), nil)
			if !p.Whole || len(p.Refused) != 1 || p.Refused[0].Reason != string(test.reason) || !strings.Contains(p.Refused[0].Message, test.text) {
				t.Errorf("refused whole: %t, %+v", p.Whole, p.Refused)
			}
		})
	}
}

// TestOwnPolicyDecidesNothing: what the tree's trust.yaml allows is refused as
// long as another policy is in force.
func TestOwnPolicyDecidesNothing(t *testing.T) {
	before := fileTree(t, "trust.yaml", trust1, "deployments/shop/compose.yaml", one)
	mine := strings.Replace(trust1, "version: 1", "version: 2", 1) + "allow:\n  - {deployment: shop, privileges: [privileged]}\n"
	after := fileTree(t, "trust.yaml", mine, "deployments/shop/compose.yaml", "services: {web: {image: \"web:1\", privileged: true}}\n")
	p := offline(t, before, after, nil)
	if len(p.Refused) != 1 || p.Refused[0].Unit != "shop" || len(p.Warnings) != 1 || p.Units[len(p.Units)-1].Needs[0].Need != 2 {
		t.Errorf("refused %+v, units %+v, warnings %q", p.Refused, p.Units, p.Warnings)
	}
}

// TestTreeIsGits compares ids with those that git gave (git hash-object, git
// write-tree).
func TestTreeIsGits(t *testing.T) {
	tree := mustTree(t,
		File{Path: "deployments/a/run", Mode: Executable, Data: []byte("#!/bin/sh\n")},
		File{Path: "deployments/a.b/x", Mode: Plain, Data: []byte("hello\n")},
		File{Path: "deployments/a-b", Mode: Symlink, Data: []byte("a")},
		File{Path: "README", Mode: Plain, Data: []byte("not looked at")},
	)
	if got := tree.Root.String(); got != gitTree {
		t.Errorf("the tree is %s, git's is %s", got, gitTree)
	}
}

func TestTreeRefuses(t *testing.T) {
	for name, files := range map[string][]File{
		"twice":               {{Path: "keys/a"}, {Path: "keys/a"}},
		"a file and a folder": {{Path: "keys/a"}, {Path: "keys/a/b"}},
		"a folder and a file": {{Path: "keys/a/b"}, {Path: "keys/a"}},
		"too deep":            {{Path: "keys/" + strings.Repeat("a/", maxDepth) + "b"}},
		"a file too large":    {{Path: "keys/a", Data: make([]byte, desired.MaxFileBytes+1)}},
		"too many files":      slices.Repeat([]File{{Path: "keys/a"}}, maxFiles+1),
	} {
		if _, err := NewTree(files); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	// Names that git forbids are found when the tree is read.
	tree := mustTree(t, File{Path: "trust.yaml", Data: []byte(trust1)}, File{Path: "deployments/../x"})
	in := Input{Tree: tree, Now: time.Unix(1, 0)}
	in.Trust, _ = signing.LoadTreeTrust(tree, tree.Root)
	if _, err := Compute(t.Context(), in); !errors.Is(err, signing.ErrMalformed) {
		t.Errorf("a path with ..: %v", err)
	}
}

// TestStalled says that nothing of it happens as long as the branch is stalled.
func TestStalled(t *testing.T) {
	before := fileTree(t, "trust.yaml", trust1)
	p := offline(t, before, before, func(in *Input) { in.Stalled = "trust change 0123 awaits bob\nmore" })
	if len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "trust change 0123 awaits bob (jaco status sync)") {
		t.Errorf("warnings %q", p.Warnings)
	}
}

// TestPolicyOutdates names what a new policy would not take any more.
func TestPolicyOutdates(t *testing.T) {
	pinned := "services: {web: {image: \"web:1@sha256:" + strings.Repeat("a", 64) + "\"}}\n"
	files := []string{"deployments/shop/compose.yaml", one, "deployments/blog/compose.yaml", pinned}
	before := fileTree(t, append(files, "trust.yaml", trust1)...)
	after := fileTree(t, append(files, "trust.yaml", strings.Replace(trust1, "version: 1", "version: 2", 1)+"images: pinned\n")...)
	p := offline(t, before, after, nil)
	if len(p.Warnings) != 1 || !strings.HasPrefix(p.Warnings[0], "shop becomes PolicyOutdated, and runs on: deployments/shop/compose.yaml:1: services.web.image: refused") || p.WouldRefuse() {
		t.Errorf("warnings %q, refused %+v", p.Warnings, p.Refused)
	}
}
