package desired

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestSameAsCompose loads every compose file of testdata that compiles a
// second time, with compose-go's whole loader as docker compose uses it, and
// compares what reaches the container: the same file must run the same there.
func TestSameAsCompose(t *testing.T) {
	cases, err := filepath.Glob("testdata/compile/*/want.json")
	if err != nil || len(cases) < 8 {
		t.Fatalf("only %d cases (%v)", len(cases), err)
	}
	for _, name := range cases {
		dir := filepath.Join(filepath.Dir(name), "in")
		if _, err := os.Stat(filepath.Join(dir, OverlayFile)); err == nil {
			continue // docker compose does not read it
		}
		if _, err := os.Stat(filepath.Join(dir, "compose.yaml")); err != nil {
			continue
		}
		if filepath.Base(filepath.Dir(name)) == "timestamps" {
			continue // compose-go prints a date as a point in time; ours stays as written
		}
		t.Run(filepath.Base(filepath.Dir(name)), func(t *testing.T) {
			d, err := Compile(os.DirFS(dir), "shop", "deployments/shop")
			if err != nil {
				t.Fatal(err)
			}
			project := loadAsCompose(t, dir)
			for _, s := range d.Services {
				compareService(t, &s.Container, project.Services[s.Name])
			}
		})
	}
}

func loadAsCompose(t *testing.T, dir string) *types.Project {
	t.Helper()
	env, err := dotenv.ReadFile(filepath.Join(dir, ".env"), nil)
	if err != nil {
		env = map[string]string{}
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	project, err := loader.LoadWithContext(context.Background(), types.ConfigDetails{
		WorkingDir:  absolute,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(absolute, "compose.yaml")}},
		Environment: env,
	}, func(o *loader.Options) { o.SetProjectName("shop", true) })
	if err != nil {
		t.Fatalf("docker compose would refuse it: %v", err)
	}
	return project
}

// compareService compares what compose's service and our container both say.
func compareService(t *testing.T, c *Container, svc types.ServiceConfig) {
	t.Helper()
	networks := []string{}
	for _, a := range c.Networks {
		networks = append(networks, a.Network)
	}
	targets := []string{}
	for _, m := range c.Mounts {
		targets = append(targets, m.Target)
	}
	wantTargets := []string{}
	for _, v := range svc.Volumes {
		wantTargets = append(wantTargets, v.Target)
	}
	for _, text := range svc.Tmpfs {
		m, _ := parseTmpfs(text)
		wantTargets = append(wantTargets, m.Target)
	}
	slices.Sort(wantTargets)
	pairs := map[string][2]any{
		"image":       {svc.Image, c.Image},
		"command":     {[]string(svc.Command), c.Command},
		"entrypoint":  {[]string(svc.Entrypoint), c.Entrypoint},
		"environment": {map[string]string(svc.Environment.RemoveEmpty().ToMapping()), c.Environment},
		"labels":      {map[string]string(svc.Labels), c.Labels},
		"user":        {svc.User, c.User},
		"working_dir": {svc.WorkingDir, c.WorkingDir},
		"hostname":    {svc.Hostname, c.Hostname},
		"networks":    {sortedKeys(svc.Networks), networks},
		"mounts":      {wantTargets, targets},
		"shm_size":    {int64(svc.ShmSize), c.ShmSize},
		"sysctls":     {map[string]string(svc.Sysctls), c.Sysctls},
		"read_only":   {svc.ReadOnly, c.ReadOnly},
		"dns_search":  {[]string(svc.DNSSearch), c.DNSSearch},
	}
	for _, name := range sortedKeys(pairs) {
		if diff := cmp.Diff(pairs[name][0], pairs[name][1], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s (-compose +ours):\n%s", svc.Name, name, diff)
		}
	}
}
