package signing

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestJudge judges what is active again after the policy changed.
func TestJudge(t *testing.T) {
	r, from := rooted(t)
	text := r.rootText(2, 2, "alice", "bob")
	revoked := func(name, fields string) string {
		return text + fmt.Sprintf("revoked: [{key: %q%s}]\n", r.fingerprint(name), fields)
	}
	head, _, _ := strings.Cut(text, "rules:")
	toShop, _, _ := strings.Cut(text, `  - {paths: ["deployments/*/images`)
	cases := []struct {
		name, text, unit  string
		outdated, suspect bool
		reason            string
	}{
		{"the same", text, "shop", false, false, ""},
		{"a revoked key", revoked("alice", ""), "shop", true, false,
			"deployments/shop/compose.yaml: 1 of 2 approvals by the trust.yaml in force: it was approved by alice, bob"},
		{"another's revoked key", revoked("alice", ""), "blog", false, false, ""},
		{"a compromised key", revoked("bob", ", compromised: true, reason: stolen"), "blog", true, true,
			"approved by bob with the key " + r.fingerprint("bob") + ", which is compromised (stolen); deployments/blog/compose.yaml: 0 of 1 approvals"},
		{"compromised before", revoked("bob", ", compromised: true, since: 2026-01-01"), "blog", true, true, "approved by bob with"},
		{"compromised at that time", revoked("bob", ", compromised: true, since: 2026-11-23T12:00:00Z"), "blog", true, true, "approved by bob with"},
		{"compromised later", revoked("bob", ", compromised: true, since: 2026-11-24"), "blog", true, false, "deployments/blog/compose.yaml: 0 of 1"},
		{"compromised and listed no more", strings.Replace(revoked("bob", ", compromised: true"), fmt.Sprintf("%q, ", r.public("bob")), "", 1),
			"blog", true, true, "approved by bob with"},
		{"the other key of one who signed", revoked("bob-laptop", ", compromised: true"), "blog", false, false, ""},
		{"a removed key", strings.Replace(text, fmt.Sprintf("%q, ", r.public("bob")), "", 1), "blog", true, false, "deployments/blog/compose.yaml: 0 of 1"},
		{"a higher number", strings.Replace(text, "deployments/*/**\"]", "deployments/*/**\"], approvals: 2", 1), "blog", true, false,
			"deployments/blog/compose.yaml: 1 of 2 approvals by the trust.yaml in force: it was approved by bob"},
		{"a lower number", strings.Replace(text, "approvals: 2", "approvals: 1", 1), "shop", false, false, ""},
		{"another rule", toShop + "  - {paths: [\"deployments/blog/**\"], signers: [carol]}\n",
			"blog", true, false, "deployments/blog/compose.yaml: 0 of 1"},
		{"no rule", head, "blog", true, false, "deployments/blog/compose.yaml: no rule of trust.yaml matches it any more"},
		{"expired since", strings.Replace(text, "bob: {", "bob: {valid_until: 2026-11-01, ", 1), "blog", false, false, ""},
	}
	for _, c := range cases {
		trust, err := ParseTrust([]byte(c.text), trustFiles(r))
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := trust.Judge(c.unit, from.Units[c.unit])
		if got.Outdated != c.outdated || got.Suspect != c.suspect || !strings.HasPrefix(got.Reason, c.reason) || (c.reason == "") != (got.Reason == "") {
			t.Errorf("%s: %+v", c.name, got)
		}
	}
}

// TestJudgeOld judges a unit from before its grounds were kept, and one that
// was never approved.
func TestJudgeOld(t *testing.T) {
	r, from := rooted(t)
	unit := from.Units["blog"]
	unit.Grounds, unit.At = nil, time.Time{}
	for text, outdated := range map[string]bool{
		r.rootText(2, 2, "alice", "bob"): false,
		r.rootText(2, 2, "alice", "bob") + fmt.Sprintf("revoked: [{key: %q, compromised: true, since: 2027-01-01}]\n", r.fingerprint("bob")): true,
	} {
		trust, err := ParseTrust([]byte(text), trustFiles(r))
		if err != nil {
			t.Fatal(err)
		}
		if got := trust.Judge("blog", unit); got.Outdated != outdated || got.Suspect != outdated {
			t.Errorf("%+v", got)
		}
		if got := trust.Judge("new", Unit{Vouched: unit.Vouched}); got != (Standing{}) {
			t.Errorf("never approved: %+v", got)
		}
	}
}

// TestGrounds remembers the first hundred paths, by who approved them.
func TestGrounds(t *testing.T) {
	r, from := rooted(t)
	change := edits{"deployments/new/images.env": "1"}
	for i := range 2 * maxGroundPaths {
		change[fmt.Sprintf("deployments/new/%03d", i)] = "1"
	}
	two := r.commit("alice", "Two", change, from.Commit)
	v := r.verifyTags(from, two, r.tag("ci", "approve/new/1", two, "yes"))
	u := v.Position.Units["new"]
	total := 0
	for _, g := range u.Grounds {
		total += len(g.Paths)
	}
	if total != maxGroundPaths || len(u.Grounds) != 1 || u.Grounds[0].Paths[0] != "deployments/new/000" || len(u.Signers) != 2 || !u.At.Equal(testNow) {
		t.Errorf("%d paths, %+v", total, u)
	}
	three := r.commit("ci", "Three", edits{"deployments/blog/images.env": "1"}, two)
	three = r.commit("alice", "Four", edits{"deployments/blog/x": "1"}, three)
	if g := r.verify(v.Position, three).Position.Units["blog"].Grounds; len(g) != 3 || g[0].Signers[0] != "alice" || len(g[0].Approvals) != 0 ||
		g[1].Signers[0] != "ci" || g[2].Signers[0] != "bob" || len(g[2].Approvals) != 1 || g[2].Approvals[0].Key != r.fingerprint("bob") {
		t.Errorf("grounds %+v", g)
	}
}

// TestJudgeKept: who approved what is still there is not forgotten because
// somebody else changed another file of the deployment since.
func TestJudgeKept(t *testing.T) {
	const evil = "deployments/blog/compose.yaml"
	for name, c := range map[string]struct {
		later   edits
		suspect bool
	}{
		"another file":       {edits{"deployments/blog/.env": "2"}, true},
		"the same file":      {edits{evil: "2"}, false},
		"the file is gone":   {edits{evil: gone, "deployments/blog/docker-compose.yaml": "2"}, false},
		"another deployment": {shop("2"), true},
	} {
		r, from := rooted(t)
		at := r.verify(from, r.commit("carol", "Evil", edits{evil: "evil"}, from.Commit)).Position
		tip := r.commit("alice", "Later", c.later, at.Commit)
		at = r.verifyTags(at, tip, r.tag("bob", "approve/all/1", tip, "yes")).Position
		tip = r.commit("alice", "Again", edits{"deployments/blog/more": "3"}, tip) // twice removed
		v := r.verify(at, tip)
		text := r.rootText(2, 2, "alice", "bob") + fmt.Sprintf("revoked: [{key: %q, since: 2026-01-01T00:00:00Z, compromised: true}]\n", r.fingerprint("carol"))
		trust, err := ParseTrust([]byte(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		s := trust.Judge("blog", v.Position.Units["blog"])
		if s.Suspect != c.suspect || s.Outdated || c.suspect && !strings.Contains(s.Reason, "approved by carol") {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
