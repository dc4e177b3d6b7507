package verifier

import (
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// TestMassDeletionWaits: a claim that removes too much is taken by no node, not
// even in part, and by all once root allows it.
func TestMassDeletionWaits(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"api", "shop", "web"} {
		b.claim(b.deploy(b.alice, name, "nginx:1"), nil)
	}
	accepted := b.Record().Position.Commit
	if err := b.repo.Remove("deployments/api", "deployments/shop"); err != nil {
		t.Fatal(err)
	}
	tip := b.deploy(b.alice, "web", "nginx:2")
	b.claim(tip, nil)
	if record := b.Record(); record.Position.Commit != accepted || record.Refusal == nil || record.Refusal.Reason != cluster.ReasonPrune {
		t.Fatalf("accepted %s, refusal %+v", record.Position.Commit, record.Refusal)
	}
	for _, name := range []string{"api", "shop", "web"} {
		if b.image(name) != "nginx:1" {
			t.Errorf("%s runs %q", name, b.image(name))
		}
	}
	if entry, _ := b.lastEntry(); !strings.Contains(entry.Detail, "api, shop") {
		t.Errorf("the journal says %q", entry.Detail)
	}

	text := rig.Must[string](t)(b.repo.CommitFiles(t.Context(), map[string]string{"README": "smaller"},
		rig.CommitOptions{Message: "Clean up\n\nAllow-Prune: 2", Key: b.alice}))
	b.claim(rig.Must[signing.Hash](t)(signing.ParseHash(text)), nil)
	if b.Record().Refusal != nil || b.image("web") != "nginx:2" || len(b.View().Deployments) != 1 {
		t.Errorf("refusal %+v, deployments %v", b.Record().Refusal, b.View().Deployments)
	}
}
