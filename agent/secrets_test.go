package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/identity"
	"github.com/jaco-sh/jaco/desired"
)

// fakeKeys has the key of the fixtures of package sops, unless err is set.
type fakeKeys struct {
	mu    sync.Mutex // guards the fields below
	err   error
	key   Key
	asked []string
}

func (f *fakeKeys) Key(_ context.Context, unit string) (Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, unit)
	return f.key, f.err
}

func (f *fakeKeys) set(key Key, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.key, f.err = key, err
}

// fakeFiles is a tmpfs in memory.
type fakeFiles struct {
	mu   sync.Mutex // guards the fields below
	err  error
	held map[string][]SecretFile
}

func (f *fakeFiles) Put(replica string, files []SecretFile) (paths []string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return nil, f.err
	}
	f.held[replica] = files
	for i := range files {
		paths = append(paths, fmt.Sprintf("/secrets/%s/%d", replica, i))
	}
	return paths, nil
}

func (f *fakeFiles) Remove(replica string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.held, replica)
	return nil
}

func (f *fakeFiles) Replicas() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Sorted(maps.Keys(f.held)), nil
}

func (f *fakeFiles) set(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.err = err
}

func (h *fakeHandle) Pull(ctx context.Context, reference string, account *Account) error {
	what := reference
	if account != nil {
		what += " as " + account.Username
	}
	return serveErr(ctx, h, "pull", what, fakePull, func() error {
		h.pulledBy = account
		h.images[reference] = Image{ID: "sha256:" + reference, Digest: reference + "@sha256:pulled"}
		return nil
	})
}

const fixtures = "../desired/sops/testdata/"

// fixtureKey opens the fixtures of package sops.
func fixtureKey(t *testing.T) *identity.UnitKey {
	t.Helper()
	text, err := os.ReadFile(fixtures + "identity.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	key, err := identity.ParseUnitKey(lines[len(lines)-1])
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func encrypted(t *testing.T, fixture string) desired.EncryptedFile {
	t.Helper()
	data, err := os.ReadFile(fixtures + fixture)
	if err != nil {
		t.Fatal(err)
	}
	return desired.EncryptedFile{Path: "deployments/shop/" + fixture[strings.LastIndexByte(fixture, '/')+1:], Data: string(data)}
}

// inSecretWorld is inWorld, with a key and a service that has secrets.
func inSecretWorld(t *testing.T, c func(*desired.Container), play func(w *world)) {
	t.Helper()
	d := shop("1", 3)
	c(&d.Services[0].Container)
	key := fixtureKey(t)
	inWorld(t, "", func(w *world) {
		w.keys.set(key, nil)
		w.state.accept(accepted(rev1, d, nil))
		play(w)
	})
}

func withFile(t *testing.T, fixture string) func(*desired.Container) {
	t.Helper()
	file := encrypted(t, fixture)
	return func(c *desired.Container) {
		c.Secrets = []desired.Secret{{Name: "db", File: file, Target: "/run/secrets/db", UID: 7, GID: 8, Mode: 0o400}}
	}
}

func TestSecretsReachTheContainer(t *testing.T) {
	env := encrypted(t, "good/dotenv/db.sops.env")
	inSecretWorld(t, func(c *desired.Container) {
		withFile(t, "good/binary/token.sops.txt")(c)
		c.Environment = map[string]string{"LOG": "debug"}
		c.SecretEnvironment = []desired.SecretEnvironment{{File: env, Names: []string{"PASSWORD", "QUOTED"}}}
	}, func(w *world) {
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.expect("a=Running")
		spec := w.engine.created[ContainerName(assigned("a")[0])]
		want := map[string]string{"LOG": "debug", "PASSWORD": "correct horse battery staple", "QUOTED": "in quotes"}
		if diff := cmp.Diff(want, spec.Container.Environment); diff != "" {
			t.Errorf("environment (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff([]SecretMount{{Source: "/secrets/a/0", Target: "/run/secrets/db"}}, spec.Secrets); diff != "" {
			t.Errorf("mounts (-want +got):\n%s", diff)
		}
		file := SecretFile{Data: []byte("one value\nof two lines, without an end"), UID: 7, GID: 8, Mode: 0o400}
		if diff := cmp.Diff(map[string][]SecretFile{"a": {file}}, w.files.held); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
		if view := w.state.View().Deployments["shop"].Desired.Service("web").Container.Environment; len(view) != 1 {
			t.Errorf("the accepted state holds the environment %v", view)
		}
		w.kill()
		w.start()
		w.pass(time.Second)
		if len(w.files.held) != 1 {
			t.Error("a restart took the files of a replica that runs")
		}
		w.state.stop("a")
		w.pass(time.Second)
		w.expect("a=Stopped")
		if len(w.files.held) != 0 {
			t.Errorf("files outlive their replica: %v", w.files.held)
		}
	})
}

// TestSecretsOfOthers has a replica whose files are not for it, or not as they
// were: it has failed, and says why.
func TestSecretsOfOthers(t *testing.T) {
	recipient := fixtureKey(t).Recipient()
	altered := encrypted(t, "good/dotenv/db.sops.env")
	altered.Data = strings.Replace(altered.Data, "in clear", "in Clear", 1)
	for name, test := range map[string]struct {
		container func(*desired.Container)
		want      []string
	}{
		"another recipient": {withFile(t, "other-recipient/db.sops.env"), []string{
			"secret deployments/shop/db.sops.env of 010000000000: it is not encrypted to the recipient of deployment shop",
			"sops rotate --in-place --add-age " + recipient + " deployments/shop/db.sops.env",
		}},
		"altered": {func(c *desired.Container) {
			c.Secrets = []desired.Secret{{Name: "db", File: altered, Target: "/run/secrets/db"}}
		}, []string{"its MAC does not match", "take it back from git as it was"}},
		"altered environment": {func(c *desired.Container) {
			c.SecretEnvironment = []desired.SecretEnvironment{{File: altered, Names: []string{"PORT"}}}
		}, []string{"its MAC does not match"}},
	} {
		t.Run(name, func(t *testing.T) {
			inSecretWorld(t, test.container, func(w *world) {
				w.state.assign(assigned("a")...)
				w.pass(time.Second)
				w.expect("a=Failed")
				reason := w.state.get("a").Reason
				for _, part := range test.want {
					if !strings.Contains(reason, part) {
						t.Errorf("reason %q does not say %q", reason, part)
					}
				}
				if strings.Contains(reason, "ENC[") || strings.Contains(reason, "horse") {
					t.Errorf("reason %q", reason)
				}
				if len(w.engine.created)+len(w.files.held) != 0 {
					t.Errorf("created %v, held %v", w.engine.created, w.files.held)
				}
			})
		})
	}
}

// TestSecretsHaveToWait has nobody who gives the key, or no tmpfs: the replica
// starts when there is, and what runs goes on.
func TestSecretsHaveToWait(t *testing.T) {
	for name, test := range map[string]struct {
		fail, mend func(w *world, key Key)
		want       string
	}{
		"no voter": {
			func(w *world, _ Key) { w.keys.set(nil, errors.New("no voter answers")) },
			func(w *world, key Key) { w.keys.set(key, nil) }, "the key to the secrets of shop: no voter answers",
		},
		"no tmpfs": {
			func(w *world, _ Key) { w.files.set(errors.New("no tmpfs for secrets at /run")) },
			func(w *world, _ Key) { w.files.set(nil) }, "no tmpfs for secrets at /run",
		},
	} {
		t.Run(name, func(t *testing.T) {
			key := fixtureKey(t)
			inSecretWorld(t, withFile(t, "good/dotenv/db.sops.env"), func(w *world) {
				w.state.assign(assigned("a")...)
				w.pass(time.Second)
				test.fail(w, key)
				w.state.assign(assigned("a", "b")[1:]...)
				w.pass(time.Second)
				w.expect("a=Running b=Preparing")
				if reason := w.state.get("b").Reason; !strings.Contains(reason, test.want) {
					t.Errorf("reason %q", reason)
				}
				test.mend(w, key)
				w.pass(2 * time.Minute)
				w.expect("a=Running b=Running")
			})
		})
	}
}

// TestSecretsAreSweptUp begins with what a killed process left.
func TestSecretsAreSweptUp(t *testing.T) {
	inSecretWorld(t, withFile(t, "good/dotenv/db.sops.env"), func(w *world) {
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		w.kill()
		w.files.held["gone"] = []SecretFile{{Data: []byte("x")}}
		w.start()
		w.pass(time.Second)
		if held, _ := w.files.Replicas(); !slices.Equal(held, []string{"a"}) {
			t.Errorf("files of %v are held", held)
		}
	})
}

func TestPullAccount(t *testing.T) {
	key := fixtureKey(t)
	view := accepted(rev1, shop("1", 1), nil)
	view.Deployments["shop"].Desired.Services[0].Container.Image = "registry.example.com/team/web:1"
	view.Deployments["shop"].Desired.Services[0].Container.PullPolicy = desired.PullAlways
	view.Cluster.Registries = []desired.Registry{
		{Prefix: "registry.example.com", Username: "anybody", Password: "unused"},
		{Prefix: "registry.example.com/team", Username: "deploy", Password: armored(t, key, "correct horse")},
	}
	inWorld(t, "", func(w *world) {
		w.keys.set(nil, errors.New("no voter answers"))
		w.state.accept(view)
		w.state.assign(assigned("a")...)
		w.pass(time.Second)
		if reason := w.state.get("a").Reason; !strings.Contains(reason, "the key to the password for registry.example.com/team: no voter answers") {
			t.Errorf("reason %q", reason)
		}
		w.keys.set(key, nil)
		w.pass(2 * time.Minute)
		w.expect("a=Running")
		if got := w.engine.pulledBy; got == nil || *got != (Account{Username: "deploy", Password: "correct horse"}) {
			t.Errorf("pulled by %v", got)
		}
		if asked := slices.Compact(w.keys.asked); !slices.Equal(asked, []string{"cluster"}) {
			t.Errorf("asked for the keys of %v", asked)
		}
	})
}

// armored is an age file as cluster.yaml has it.
func armored(t *testing.T, key *identity.UnitKey, text string) string {
	t.Helper()
	r, err := age.ParseX25519Recipient(key.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	a := armor.NewWriter(&out)
	w, err := age.Encrypt(a, r)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err := errors.Join(err, w.Close(), a.Close()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestSecretsDoNotPrint(t *testing.T) {
	file, account := SecretFile{Data: []byte("horse")}, Account{Username: "deploy", Password: "horse"}
	text := fmt.Sprintf("%v %+v %#v %s %v %+v %#v %s", file, file, file, file, account, account, account, account)
	text += fmt.Sprint([]SecretFile{file}, &account, cluster.Replica{})
	if strings.Contains(text, "horse") || strings.Contains(text, "[104 111") {
		t.Error(text)
	}
}
