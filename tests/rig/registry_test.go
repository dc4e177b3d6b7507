package rig_test

import (
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/tests/rig"
)

// TestImages brings an image from one engine to another, by copy and through
// the registry.
func TestImages(t *testing.T) {
	ctx := t.Context()
	r := rig.Start(t, rig.Config{Nodes: 2})
	one, two := r.Nodes[0].Engine.Docker, r.Nodes[1].Engine.Docker
	web := rig.Must[string](t)(rig.Bin("web"))
	text := rig.Must[string](t)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	id := text(one.Build(ctx, rig.WebImage("stage/web:1", "1", web)))
	check(one.CopyImages(ctx, []string{"stage/web:1"}, two))
	if got := text(two.ImageID(ctx, "stage/web:1")); got != id {
		t.Errorf("the copy is %s, the image %s", got, id)
	}

	registry := rig.StartRegistry(t, &r.LAN.Space)
	other := text(one.Build(ctx, rig.WebImage("stage/web:2", "2", web)))
	name := text(registry.Push(ctx, one, "stage/web:2"))
	if prefix := "10.190.0.254:5000/stage/web@sha256:"; !strings.HasPrefix(name, prefix) || len(name) != len(prefix)+64 {
		t.Errorf("pushed as %s", name)
	}
	if _, err := two.ImageID(ctx, name); !rig.NotFound(err) {
		t.Errorf("before the pull: %v", err)
	}
	for _, ref := range []string{name, registry.Name("stage/web:2")} {
		check(two.Pull(ctx, ref))
		if got := text(two.ImageID(ctx, ref)); got != other {
			t.Errorf("%s is %s, the image %s", ref, got, other)
		}
	}
	if err := two.Pull(ctx, registry.Name("stage/web:3")); err == nil || !strings.Contains(err.Error(), "manifest") {
		t.Errorf("pulled what is not there: %v", err)
	}
	check(registry.Protect(ctx, "deploy", "a password"))
	if err := two.Pull(ctx, registry.Name("stage/web:2")); err == nil || !strings.Contains(err.Error(), "auth") {
		t.Errorf("pulled by nobody: %v", err)
	}
	check(two.RemoveImage(ctx, registry.Name("stage/web:2")))
	if err := two.CopyImages(ctx, []string{"stage/web:3"}, one); err == nil {
		t.Error("copied what is not there")
	}
	check(registry.Close(ctx))
	if err := two.Pull(ctx, registry.Name("stage/web:2")); err == nil {
		t.Error("pulled from a registry that is down")
	}
}
