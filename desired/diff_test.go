package desired

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

const diffBase = `
services:
  web:
    image: nginx:1
    environment: {A: "1", B: "2"}
    networks: [back]
    deploy: {replicas: 2}
  db: {image: db}
networks: {back: , other: }
`

var diffTests = []struct {
	name     string
	old, new string
	overlay  string
	want     []Change
}{
	{name: "nothing", old: diffBase, new: diffBase},
	{name: "comments", old: diffBase, new: "# hello\n" + diffBase},
	{name: "from nothing", new: "services: {a: {image: a}}", want: []Change{{Service: "a", Kind: Added}}},
	{name: "to nothing", old: "services: {a: {image: a}}", want: []Change{{Service: "a", Kind: Removed}}},
	{
		name: "renamed", old: "services: {a: {image: a}}", new: "services: {b: {image: a}}",
		want: []Change{{Service: "a", Kind: Removed}, {Service: "b", Kind: Added}},
	},
	{
		name: "replaced", old: diffBase,
		new: `
services:
  web:
    image: nginx:2
    environment: {A: "1", B: "3", C: ""}
    networks: [back]
    stop_signal: SIGINT
    deploy: {replicas: 2}
  db: {image: db}
networks: {back: {internal: true}, other: }
`,
		want: []Change{{"web", Replaced, []string{"environment.B", "environment.C", "image", "network", "stop_signal"}}},
	},
	{
		name: "scaled", old: diffBase, new: diffBase, overlay: "services: [{name: web, replicas: 5}, {name: db, placement: global}]",
		want: []Change{{"db", Scaled, []string{"mode", "replicas"}}, {"web", Scaled, []string{"replicas"}}},
	},
	{
		name: "moved", old: diffBase, new: diffBase, overlay: "services: [{name: web, placement: hosts, hosts: [n1]}]",
		want: []Change{{"web", Moved, []string{"placement.hosts", "placement.strategy"}}},
	},
	{
		name: "several at once", old: "services: {a: {image: a}, b: {image: b}}",
		new: "services: {a: {image: a2, restart: on-failure, depends_on: [b], deploy: {replicas: 3, update_config: {delay: 1s}, placement: {constraints: [node.hostname==n]}}}, b: {image: b}}",
		want: []Change{
			{"a", Replaced, []string{"image"}},
			{"a", Scaled, []string{"replicas"}},
			{"a", Moved, []string{"placement.constraints"}},
			{"a", UpdatedPolicy, []string{"depends_on", "restart_policy", "update_config"}},
		},
	},
}

func TestDiff(t *testing.T) {
	for _, test := range diffTests {
		t.Run(test.name, func(t *testing.T) {
			old := mustCompile(t, "compose.yaml", test.old)
			new := mustCompile(t, "compose.yaml", test.new, OverlayFile, test.overlay)
			if diff := cmp.Diff(test.want, Diff(old, new)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			replaced := false
			for _, c := range Diff(old, new) {
				replaced = replaced || c.Kind == Replaced
			}
			if old != nil && new != nil && replaced == (hashes(old) == hashes(new)) && len(old.Services) == len(new.Services) && test.name != "renamed" {
				t.Error("a service is replaced exactly when its hash changes")
			}
		})
	}
}

// mustCompile compiles files; no compose file at all is no deployment.
func mustCompile(t *testing.T, pairs ...string) *Deployment {
	t.Helper()
	fsys := files(pairs...)
	if len(fsys["compose.yaml"].Data) == 0 {
		return nil
	}
	d, err := Compile(fsys, "shop", "deployments/shop")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func hashes(d *Deployment) string {
	all := ""
	for _, s := range d.Services {
		all += s.SpecHash
	}
	return all
}
