package verifier

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/signing"
)

// trusts commits a trust.yaml that allows something.
func (b *bench) trusts(version int, more string) signing.Hash {
	b.t.Helper()
	return b.commit(b.alice, map[string]string{"trust.yaml": strings.Replace(trustText, "version: 1", fmt.Sprintf("version: %d", version), 1) + more})
}

const (
	privilegedFile = "services:\n  web:\n    image: web:1\n    privileged: true\n"
	allowShop      = "allow:\n  - {deployment: shop, privileges: [privileged]}\n"
)

// TestPrivilegeComesAndGoes: what is not allowed is Invalid until root allows it;
// what is not allowed any more runs on, over a restart too, and changes no more.
func TestPrivilegeComesAndGoes(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:0"), nil)
	wish := b.commit(b.alice, map[string]string{"deployments/shop/compose.yaml": privilegedFile})
	b.claim(wish, nil)
	shop := b.View().Deployments["shop"]
	if b.image("shop") != "web:0" || shop.Invalid == nil || shop.Invalid.Revision != wish ||
		!strings.Contains(shop.Invalid.Reason, "deployments/shop/compose.yaml:4: services.web.privileged: refused") {
		t.Fatalf("without the privilege shop is %+v, %+v", shop, shop.Invalid)
	}

	b.claim(b.trusts(2, allowShop), nil)
	shop = b.View().Deployments["shop"]
	if b.image("shop") != "web:1" || shop.Invalid != nil || shop.Revision != wish || shop.Claim != 3 || len(shop.Signers) != 1 {
		t.Fatalf("once allowed shop is %+v, %+v", shop, shop.Invalid)
	}
	if shop.Previous == nil || shop.Previous.Desired.Service("web").Container.Image != "web:0" {
		t.Errorf("the revision before is %+v", shop.Previous)
	}

	gone := b.trusts(3, "")
	b.claim(gone, nil)
	for _, when := range []string{"after the policy changed", "after a restart"} {
		if shop = b.View().Deployments["shop"]; b.image("shop") != "web:1" || shop.Invalid != nil || shop.Desired == nil {
			t.Errorf("%s shop is %+v, %+v", when, shop, shop.Invalid)
		}
		trust, err := signing.LoadTrust(b.objects, b.Record().Position.Commit)
		if err != nil {
			t.Fatal(err)
		}
		if shop.Outdated == nil || shop.Outdated.Suspect || !strings.Contains(shop.Outdated.Reason, "compose.yaml:4: services.web.privileged") {
			t.Errorf("%s shop is outdated by %+v", when, shop.Outdated)
		}
		if err := Outdated(trust, shop.Desired); err == nil || !strings.Contains(err.Error(), "compose.yaml:4") {
			t.Errorf("%s the policy has nothing against shop: %v", when, err)
		}
		b.open()
		b.judgeAll()
	}

	b.claim(b.commit(b.alice, map[string]string{"deployments/shop/compose.yaml": privilegedFile + "    user: root\n"}), nil)
	if shop = b.View().Deployments["shop"]; shop.Invalid == nil || shop.Revision != wish {
		t.Errorf("a change without the privilege: %+v, %+v", shop, shop.Invalid)
	}
}

// TestImagesPinned refuses a tag once the policy says so.
func TestImagesPinned(t *testing.T) {
	b := newBench(t)
	b.claim(b.deploy(b.alice, "shop", "web:1"), nil)
	b.claim(b.trusts(2, "images: pinned\n"), nil)
	b.claim(b.deploy(b.alice, "shop", "web:2"), nil)
	if shop := b.View().Deployments["shop"]; b.image("shop") != "web:1" || shop.Invalid == nil || !strings.Contains(shop.Invalid.Reason, "compose.yaml:3: services.web.image") {
		t.Errorf("shop is %+v, %+v", shop, shop.Invalid)
	}
}

// volumeFile is a deployment with a volume of that name on the engine.
func volumeFile(more string) string {
	return "services:\n  web:\n    image: web:1\n    volumes: [\"data:/data\"]\nvolumes:\n  data: {" + more + "}\n"
}

// TestNamesAreHeldOnce: the later deployment that claims a name is refused, and
// gets it once the first has given it up.
func TestNamesAreHeldOnce(t *testing.T) {
	b := newBench(t)
	b.claim(b.trusts(2, "allow:\n  - {deployment: a, privileges: [\"volume:x\"]}\n  - {deployment: b, privileges: [\"volume:x\"]}\n"), nil)
	b.claim(b.commit(b.alice, map[string]string{"deployments/b/compose.yaml": volumeFile("name: x")}), nil)
	b.claim(b.commit(b.alice, map[string]string{"deployments/a/compose.yaml": volumeFile("name: x")}), nil)
	a := b.View().Deployments["a"]
	if a.Desired != nil || a.Invalid == nil || a.Invalid.Reason != `deployments/a/compose.yaml:6: volumes.data.name: refused: the volume "x" belongs to deployment b; choose another name` {
		t.Fatalf("a is %+v, %+v", a, a.Invalid)
	}
	b.claim(b.commit(b.alice, map[string]string{"deployments/b/compose.yaml": volumeFile("")}), nil)
	if a = b.View().Deployments["a"]; a.Desired == nil || a.Invalid != nil {
		t.Errorf("with the name given up a is %+v, %+v", a, a.Invalid)
	}
}

// TestPrune lists what a signed commit gave up, and nothing else.
func TestPrune(t *testing.T) {
	b := newBench(t)
	prunes := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range b.View().Prune {
			got = append(got, p.Deployment+" "+p.Volume+" "+p.Engine)
			if p.Revision.IsZero() {
				t.Errorf("%+v names no revision", p)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("prune (-want +got):\n%s", diff)
		}
	}
	const flagged = "x-jaco-prune: true"
	b.claim(b.commit(b.alice, map[string]string{
		"deployments/kept/compose.yaml": volumeFile(""), "deployments/gone/compose.yaml": volumeFile(flagged), "deployments/shop/compose.yaml": volumeFile(flagged),
		"deployments/x/compose.yaml": volumeFile(""), "deployments/y/compose.yaml": volumeFile(""), "deployments/z/compose.yaml": volumeFile(""),
	}), nil)
	prunes()
	b.remove("deployments/kept", "deployments/gone")
	b.claim(b.deploy(b.alice, "shop", "web:2"), nil) // drops its volume too
	prunes("gone data jaco_gone_data", "shop data jaco_shop_data")
	b.open()
	b.judgeAll()
	prunes("gone data jaco_gone_data", "shop data jaco_shop_data")
	b.claim(b.commit(b.alice, map[string]string{"deployments/gone/compose.yaml": volumeFile("")}), nil)
	prunes("shop data jaco_shop_data")
	b.remove("deployments/gone") // the wish to prune was taken back
	b.claim(b.deploy(b.alice, "blog", "web:2"), nil)
	prunes("shop data jaco_shop_data")
	checkpoint, err := b.Checkpoint(b.state.Read())
	if err != nil || strings.Contains(string(checkpoint), "jaco_shop_data") {
		t.Errorf("a node that joins would remove volumes (%v): %s", err, checkpoint)
	}
}

// remove takes folders out of the work tree; the next commit says so.
func (b *bench) remove(folders ...string) {
	b.t.Helper()
	for _, folder := range folders {
		if _, err := b.repo.Git(b.t.Context(), "rm", "-q", "-r", folder); err != nil {
			b.t.Fatal(err)
		}
	}
}
