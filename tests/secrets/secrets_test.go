package secrets

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "secrets") }

// nodes are one more than vote: what the last of them runs needs the key of a
// voter.
const nodes = 4

// patience bounds what a busy machine takes for any single step.
const patience = 90 * time.Second

// trust lets the deployment shop have secrets in its environment, and nobody
// else.
const trust = `version: 2
root: {threshold: 1, signers: [alice]}
signers:
  alice: {keys: [keys/alice.pub]}
rules:
  - {paths: ["deployments/**"], approvals: 1}
allow:
  - {deployment: shop, privileges: [env-secrets]}
`

// shop says on each node what is in a file, and what is in its environment.
func shop() string {
	return stage.Compose(
		stage.Service{Name: "file", Tag: "1", Replicas: nodes, Env: map[string]string{"MESSAGE_FILE": "/etc/web/token"}, Extra: fileSecret},
		stage.Service{Name: "env", Tag: "1", Replicas: 1, Extra: "    env_file: db.sops.env\n"},
	) + "secrets:\n  token: {file: token.sops.txt}\n"
}

const fileSecret = "    secrets: [{source: token, target: /etc/web/token, uid: \"1000\", mode: 0440}]\n"

// shopFiles are the deployment's, with one of the two planted versions.
func shopFiles(t *testing.T, recipient, version string) map[string]string {
	t.Helper()
	return map[string]string{
		stage.Path("shop"):                shop(),
		"deployments/shop/token.sops.txt": sealFor(t, recipient, version+"/token.sops.txt"),
		"deployments/shop/db.sops.env":    sealFor(t, recipient, version+"/db.sops.env"),
	}
}

// TestSecrets goes through the life of a secret.
func TestSecrets(t *testing.T) {
	c := stage.NewCluster(t, stage.ClusterConfig{Nodes: nodes, Registry: true})
	files := map[string]string{"the first token": plain(t, "one/token"), "the second token": plain(t, "two/token"), "the password": password}
	variables := map[string]string{"the first variable": plain(t, "one/db"), "the second variable": plain(t, "two/db")}
	recipient := recipientOf(t, c, "shop")

	t.Run("reach their containers", func(t *testing.T) {
		c.Commit(map[string]string{"trust.yaml": trust})
		c.Deploy(shopFiles(t, recipient, "one"))
		says(t, c, "one")
		inMemory(t, c)
		handedOver(t, c)
	})
	t.Run("roll", func(t *testing.T) {
		before := containers(c, "shop")
		c.Deploy(shopFiles(t, recipient, "two"))
		says(t, c, "two")
		for _, id := range containers(c, "shop") {
			if slices.Contains(before, id) {
				t.Errorf("container %s outlives the change of its secret", id)
			}
		}
		inMemory(t, c)
	})
	t.Run("of another deployment", func(t *testing.T) { copied(t, c, recipient) })
	t.Run("altered", func(t *testing.T) { altered(t, c) })
	t.Run("registry", func(t *testing.T) { registry(t, c) })
	t.Run("outlive jacod", func(t *testing.T) {
		before := containers(c, "shop")
		c.Kill()
		says(t, c, "two")
		c.Start()
		c.Settle(patience)
		says(t, c, "two")
		if after := containers(c, "shop"); !slices.Equal(before, after) {
			t.Errorf("containers before and after: %v, %v", before, after)
		}
		inMemory(t, c)
	})
	t.Run("stand nowhere in clear", func(t *testing.T) { nowhere(t, c, files, variables) })
	t.Run("go with their replicas", func(t *testing.T) {
		c.Deploy(map[string]string{stage.Path("shop"): stage.Compose(stage.Service{Name: "file", Tag: "1", Replicas: 1})})
		c.Settle(patience)
		rig.Eventually(t, patience, "the files to be gone", func(context.Context) (bool, string) {
			left := kept(t, c)
			return len(left) == 0, fmt.Sprint(left)
		})
	})
}

// recipientOf asks every node, before there is such a deployment.
func recipientOf(t *testing.T, c *stage.Cluster, unit string) string {
	t.Helper()
	recipient := c.Any().Jaco("status", "recipient", unit)
	for _, m := range c.Members() {
		if got := m.Jaco("status", "recipient", unit); got != recipient || !strings.HasPrefix(got, "age1") {
			t.Errorf("%s says the recipient of %s is %q, another %q", m.Name(), unit, got, recipient)
		}
	}
	if other := c.Any().Jaco("status", "recipient", unit+"2"); other == recipient {
		t.Errorf("two deployments have the recipient %s", other)
	}
	return recipient
}

// handedOver holds that a node which does not vote got the key of the shop from
// one that does.
func handedOver(t *testing.T, c *stage.Cluster) {
	t.Helper()
	var said []string
	for _, m := range c.Members() {
		for line := range strings.Lines(read(t, filepath.Join(m.Node.Dir, "jacod.log"))) {
			if strings.Contains(line, "handed over the identity of a unit") {
				said = append(said, line)
			}
		}
	}
	if !slices.ContainsFunc(said, func(line string) bool { return strings.Contains(line, "unit=shop") }) {
		t.Errorf("no voter handed over a key: %q", said)
	}
}

// containers are the ids of a deployment's, on all nodes, sorted.
func containers(c *stage.Cluster, deployment string) []string {
	c.T.Helper()
	var ids []string
	for _, placed := range c.Containers() {
		if placed.Labels["sh.jaco.deployment"] == deployment && placed.State == "running" {
			ids = append(ids, placed.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

// says asks every container of the shop over HTTP.
func says(t *testing.T, c *stage.Cluster, version string) {
	t.Helper()
	want := map[string]string{"file": plain(t, version+"/token"), "env": plain(t, version+"/db")}
	on := map[string]bool{}
	for _, placed := range c.Containers() {
		if placed.Labels["sh.jaco.deployment"] != "shop" || placed.State != "running" {
			continue
		}
		service, node := placed.Labels["sh.jaco.service"], c.Named(placed.Node).Node
		details := rig.Must[rig.Details](t)(node.Engine.Inspect(t.Context(), placed.ID))
		for _, network := range details.NetworkSettings.Networks {
			said := get(t, node, "http://"+network.IPAddress+":8080/")
			if !strings.HasPrefix(said, want[service]+"\n") {
				t.Errorf("%s on %s says %q, want %q", service, placed.Node, said, want[service])
			}
			on[service+" "+placed.Node] = true
		}
	}
	if len(on) != nodes+1 {
		t.Errorf("only these were asked: %v", on)
	}
}

func get(t *testing.T, node *rig.Node, url string) string {
	t.Helper()
	request := rig.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil))
	response := rig.Must[*http.Response](t)(node.NetNS.HTTPClient().Do(request))
	defer func() { _ = response.Body.Close() }()
	return string(rig.Must[[]byte](t)(io.ReadAll(response.Body)))
}

// secretsDirectory is where a node keeps decrypted files.
func secretsDirectory(m stage.Member) string { return filepath.Join(filepath.Dir(m.Socket), "secrets") }

// kept are all decrypted files.
func kept(t *testing.T, c *stage.Cluster) []string {
	t.Helper()
	var all []string
	for _, m := range c.Members() {
		found, err := filepath.Glob(filepath.Join(secretsDirectory(m), "*", "*", "*"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	return all
}

// inMemory holds that each node has the one file of its one replica, on a tmpfs,
// with the owner and mode that the compose file says.
func inMemory(t *testing.T, c *stage.Cluster) {
	t.Helper()
	rig.Eventually(t, patience, "one file on each node", func(context.Context) (bool, string) {
		left := kept(t, c)
		return len(left) == nodes, fmt.Sprint(left)
	})
	mounts := read(t, "/proc/self/mountinfo")
	for _, path := range kept(t, c) {
		directory := filepath.Dir(filepath.Dir(path))
		if !strings.Contains(mounts, " "+directory+" ") || !strings.Contains(mounts, "- tmpfs jaco-secrets") {
			t.Errorf("%s is on no tmpfs of jacod's", path)
		}
		info := rig.Must[os.FileInfo](t)(os.Stat(path))
		above := rig.Must[os.FileInfo](t)(os.Stat(directory))
		if info.Mode().Perm() != 0o440 || above.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, its directory %v", path, info.Mode(), above.Mode())
		}
	}
}

// copied has a deployment with the shop's file: it does not start, and what it
// says to do helps.
func copied(t *testing.T, c *stage.Cluster, recipient string) {
	blog := stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 1, Extra: fileSecret}) + "secrets:\n  token: {file: token.sops.txt}\n"
	own := recipientOf(t, c, "blog")
	c.Commit(map[string]string{
		stage.Path("blog"): blog, "deployments/blog/token.sops.txt": sealFor(t, recipient, "two/token.sops.txt"),
	})
	c.Push()
	c.Eventually(patience, "blog to say what is wrong", func(status *cluster.Status) (bool, string) {
		service := stage.FindService(status, "blog", "web")
		said := ""
		if service != nil {
			said = service.Reason
			for _, r := range service.Replicas {
				said += " " + r.Reason
			}
		}
		return strings.Contains(said, "it is not encrypted to the recipient of deployment blog") &&
			strings.Contains(said, "sops rotate --in-place --add-age "+own+" deployments/blog/token.sops.txt"), stage.Summary(status)
	}, c.Any())
	if running := containers(c, "blog"); len(running) > 0 {
		t.Errorf("containers of blog run: %v", running)
	}
	c.Deploy(map[string]string{"deployments/blog/token.sops.txt": sealFor(t, own, "two/token.sops.txt")})
	c.Deploy(map[string]string{"deployments/blog/token.sops.txt": "", stage.Path("blog"): stage.Compose(stage.Service{Name: "web", Tag: "1", Replicas: 1})})
}

// altered has a file whose values were changed without SOPS: the shop goes on
// with what it had.
func altered(t *testing.T, c *stage.Cluster) {
	before := containers(c, "shop")
	path := "deployments/shop/token.sops.txt"
	good := rig.Must[string](t)(c.Repo.Git(t.Context(), "show", "HEAD:"+path))
	bad := strings.Replace(good, `"lastmodified": "2`, `"lastmodified": "1`, 1)
	if bad == good {
		t.Fatal("nothing was altered")
	}
	commit := c.Commit(map[string]string{path: bad})
	c.Push()
	c.Eventually(patience, "shop to say what is wrong", func(status *cluster.Status) (bool, string) {
		d := stage.Deployment(status, "shop")
		said := ""
		for _, s := range d.Services {
			said += s.Reason
			for _, r := range s.Replicas {
				said += " " + r.Reason
			}
		}
		said += d.Reason
		return d.Revision != commit && strings.Contains(said, "its MAC does not match"), stage.Summary(status)
	}, c.Any())
	for _, id := range before {
		if !slices.Contains(containers(c, "shop"), id) {
			t.Errorf("container %s was stopped", id)
		}
	}
	c.Deploy(map[string]string{path: good})
}

const password = "planted password 8f1c6c8a2f3b4a7d"

// registry pulls from one that asks for an account.
func registry(t *testing.T, c *stage.Cluster) {
	c.Check(c.Registry.Protect(t.Context(), "deploy", password))
	private := "services:\n  web:\n    image: " + c.Digests["2"] + "\n    pull_policy: always\n"
	c.Commit(map[string]string{stage.Path("private"): private})
	c.Push()
	c.Eventually(patience, "the pull to be refused", func(status *cluster.Status) (bool, string) {
		service := stage.FindService(status, "private", "web")
		return service != nil && len(service.Replicas) > 0 && strings.Contains(service.Replicas[0].Reason, "auth"), stage.Summary(status)
	}, c.Any())
	sealed := encrypt(t, recipientOf(t, c, "cluster"), []byte(password))
	c.Deploy(map[string]string{"cluster.yaml": "registries:\n  " + c.Registry.Name("jaco-stage") + ":\n    username: deploy\n    password: |\n" +
		"      " + strings.ReplaceAll(strings.TrimSpace(sealed), "\n", "\n      ") + "\n"})
}
