package desired

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// service is a compose file whose only service has these lines.
func privileged(lines, rest string) string {
	return "services:\n  web:\n    image: web:1\n" + lines + rest
}

// TestPrivileges holds each privilege: without it the deployment is refused with
// its line and the entry that allows it, with it the container says what it got.
func TestPrivileges(t *testing.T) {
	for _, test := range []struct {
		lines     string
		privilege string
		field     string
		check     func(d *Deployment) bool
	}{
		{"    privileged: true\n", "privileged", "services.web.privileged", isolated(func(i Isolation) bool { return i.Privileged })},
		{"    network_mode: host\n", "network_mode:host", "services.web.network_mode", isolated(func(i Isolation) bool { return i.Network == HostNetwork })},
		{"    pid: host\n", "pid:host", "services.web.pid", isolated(func(i Isolation) bool { return i.HostPID })},
		{"    ipc: host\n", "ipc:host", "services.web.ipc", isolated(func(i Isolation) bool { return i.HostIPC })},
		{"    uts: host\n", "uts:host", "services.web.uts", isolated(func(i Isolation) bool { return i.HostUTS })},
		{"    userns_mode: host\n", "userns_mode:host", "services.web.userns_mode", isolated(func(i Isolation) bool { return i.HostUsers })},
		{"    cap_add: [CAP_SYS_TIME]\n", "cap:SYS_TIME", "services.web.cap_add[0]", isolated(func(i Isolation) bool { return slices.Equal(i.CapAdd, []string{"SYS_TIME"}) })},
		{"    cap_add: [chown, all]\n", "cap:ALL", "services.web.cap_add[1]", isolated(func(i Isolation) bool { return slices.Equal(i.CapAdd, []string{"ALL", "CHOWN"}) })},
		{"    security_opt: [\"apparmor:unconfined\"]\n", "security_opt", "services.web.security_opt[0]", isolated(func(i Isolation) bool { return slices.Equal(i.SecurityOpt, []string{"apparmor=unconfined"}) })},
		{"    devices: [\"/dev/fuse\"]\n", "devices", "services.web.devices[0]", isolated(func(i Isolation) bool {
			return slices.Equal(i.Devices, []Device{{"/dev/fuse", "/dev/fuse", "rwm"}})
		})},
		{"    volumes: [\"/srv/x:/x:ro\"]\n", "bind:/srv/x", "services.web.volumes[0]", mounted(Mount{Kind: BindMount, Source: "/srv/x", Target: "/x", ReadOnly: true})},
		{"    volumes: [{type: bind, source: /srv/x, target: /x, bind: {propagation: rshared, create_host_path: false}}]\n", "bind:/srv/x", "services.web.volumes[0]",
			mounted(Mount{Kind: BindMount, Source: "/srv/x", Target: "/x", Propagation: "rshared"})},
		{"    volumes: [\"vol:/x\"]\nvolumes: {vol: {name: shared}}\n", "volume:shared", "volumes.vol.name", func(d *Deployment) bool {
			return d.EngineVolume("vol") == "shared" && !d.Volumes[0].External
		}},
		{"    volumes: [\"vol:/x\"]\nvolumes: {vol: {external: true}}\n", "volume:vol", "volumes.vol.external", func(d *Deployment) bool {
			return d.EngineVolume("vol") == "vol" && d.Volumes[0].External
		}},
		{"    networks: [n]\nnetworks: {n: {external: true, name: proxy}}\n", "network:proxy", "networks.n.name", func(d *Deployment) bool {
			return d.EngineNetwork("n") == "proxy" && d.Networks[0].External
		}},
	} {
		t.Run(test.privilege, func(t *testing.T) {
			text := privileged(test.lines, "")
			_, err := compose(text)
			wantProblem(t, err, "compose.yaml:", test.field+": refused: ", "needs the privilege "+test.privilege+";",
				"- {deployment: shop, privileges: ["+yamlWord(test.privilege)+"]}")
			others := slices.DeleteFunc([]string{"privileged", "cap:SYS_ADMIN", "bind:/srv", "bind:/srv/x/y", "volume:sharedd", "network:prox", "devices"},
				func(p string) bool { return p == test.privilege })
			if _, err := CompileWith(files("compose.yaml", text), "shop", "deployments/shop", Options{Privileges: others}); err == nil {
				t.Errorf("allowed by %q", others)
			}
			d, err := CompileWith(files("compose.yaml", text), "shop", "deployments/shop", Options{Privileges: []string{test.privilege}})
			if err != nil {
				t.Fatalf("with the privilege: %v", err)
			}
			if !test.check(d) {
				t.Errorf("it got %+v, %+v, %+v", d.Services[0].Container, d.Volumes, d.Networks)
			}
			if d.Gate(Options{Privileges: []string{test.privilege}}) != nil || d.Gate(Options{Ungated: true}) != nil {
				t.Error("the gate refuses what was compiled")
			}
			if gate := d.Gate(Options{}); gate == nil || gate.Error() != errText(err2(compose(text))) {
				t.Errorf("the gate says %v, the compiler %v", gate, err2(compose(text)))
			}
			ungated, err := CompileWith(files("compose.yaml", text), "shop", "deployments/shop", Options{Ungated: true})
			if diff := cmp.Diff(d, ungated, cmpopts.EquateComparable(netip.Addr{})); err != nil || diff != "" {
				t.Errorf("the options change the result: %v %s", err, diff)
			}
		})
	}
}

func err2(_ *Deployment, err error) error { return err }

func isolated(check func(Isolation) bool) func(*Deployment) bool {
	return func(d *Deployment) bool { return check(d.Services[0].Container.Isolation) }
}

func mounted(want Mount) func(*Deployment) bool {
	return func(d *Deployment) bool { return cmp.Equal(d.Services[0].Container.Mounts, []Mount{want}) }
}

// TestHarmless needs no privilege.
func TestHarmless(t *testing.T) {
	for _, lines := range []string{
		"    privileged: false\n", "    cap_add: [CHOWN, CAP_NET_BIND_SERVICE]\n    cap_drop: [ALL]\n",
		"    security_opt: [\"no-new-privileges:true\", \"no-new-privileges\"]\n", "    network_mode: none\n",
	} {
		d, err := compose(privileged(lines, ""))
		if err != nil {
			t.Errorf("%q: %v", lines, err)
			continue
		}
		if err := d.Gate(Options{}); err != nil {
			t.Errorf("%q: %v", lines, err)
		}
	}
}

// TestRefusedIsolation is refused whatever is allowed.
func TestRefusedIsolation(t *testing.T) {
	for lines, want := range map[string]string{
		"    network_mode: bridge\n":                                                            "neither host nor none",
		"    network_mode: service:db\n":                                                        "neither host nor none",
		"    network_mode: host\n    networks: [default]\n":                                     "cannot stand beside networks",
		"    network_mode: host\n    ports: [\"80:80\"]\n":                                      "remove the ports",
		"    pid: service:db\n":                                                                 "is not host",
		"    ipc: shareable\n":                                                                  "is not host",
		"    cap_add: [\"NET ADMIN\"]\n":                                                        "is no capability",
		"    security_opt: [\"seccomp:./profile.json\"]\n":                                      "profile of your own",
		"    security_opt: [\"systempaths=unconfined\"]\n":                                      "none of no-new-privileges",
		"    devices: [\"vendor.com/gpu=all\"]\n":                                               "no absolute path of a device",
		"    devices: [\"/dev/../etc:/dev/x\"]\n":                                               "no absolute path of a device",
		"    devices: [\"/dev/fuse:/dev/fuse:rx\"]\n":                                           "not of the letters",
		"    volumes: [\"./conf:/c\"]\n":                                                        "no absolute path of the node",
		"    volumes: [\"/srv/../etc:/c\"]\n":                                                   "not written plainly",
		"    volumes: [\"/srv/x:/c:Z\"]\n":                                                      "label the path",
		"    volumes: [{type: bind, source: /a, target: /b, bind: {create_host_path: true}}]\n": "nothing is made on a node in silence",
		"    volumes: [\"vol:/x\"]\nvolumes: {vol: {name: jaco_blog_posts}}\n":                  "names that begin with jaco_",
		"    volumes: [\"vol:/x\"]\nvolumes: {vol: {external: true, driver: local}}\n":          "means nothing for an external one",
		"    volumes: [\"vol:/x\"]\nvolumes: {vol: {external: true, x-jaco-prune: true}}\n":     "an external volume is never removed",
		"    volumes: [\"vol:/x\"]\nvolumes: {vol: {name: \"a b\"}}\n":                          "no name that the engine takes",
	} {
		_, err := CompileWith(files("compose.yaml", privileged(lines, "")), "shop", "deployments/shop", Options{Ungated: true})
		wantProblem(t, err, "deployments/shop/compose.yaml:", want)
	}
}

// TestPinnedImages needs a digest where the policy says so.
func TestPinnedImages(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	text := "services:\n  a: {image: \"a:1\"}\n  b: {image: \"b:1" + digest + "\"}\n"
	d, err := compose(text)
	if err != nil {
		t.Fatal(err)
	}
	want := "deployments/shop/compose.yaml:2: services.a.image: refused: trust.yaml says `images: pinned`, and \"a:1\" has no digest; write it as NAME:TAG@sha256:…"
	if err := d.Gate(Options{ImagesPinned: true}); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

// TestOneEntry names everything that the deployment has and needs in the one
// entry that it can have.
func TestOneEntry(t *testing.T) {
	text := privileged("    pid: host\n    cap_add: [SYS_TIME]\n", "")
	_, err := CompileWith(files("compose.yaml", text), "shop", "deployments/shop", Options{Privileges: []string{"pid:host"}})
	wantProblem(t, err, `- {deployment: shop, privileges: ["cap:SYS_TIME", "pid:host"]}`)
	if strings.Contains(err.Error(), "services.web.pid") {
		t.Errorf("what is allowed is refused: %v", err)
	}
}

// named is a deployment that gives a volume a name of the engine's.
func named(deployment, volume string) *Deployment {
	d := &Deployment{Name: deployment}
	if volume != "" {
		d.Volumes = []Volume{{Name: "v", Engine: volume}}
		d.Needs = []Need{{Privilege: "volume:" + volume, File: "deployments/" + deployment + "/compose.yaml", Line: 7, Field: "volumes.v.name"}}
	}
	return d
}

func TestConflicts(t *testing.T) {
	set := func(ds ...*Deployment) map[string]*Deployment {
		m := map[string]*Deployment{}
		for _, d := range ds {
			m[d.Name] = d
		}
		return m
	}
	external := named("b", "x")
	external.Volumes[0].External = true
	for _, test := range []struct {
		name         string
		active, next map[string]*Deployment
		want         map[string]string // refused, and for whom
	}{
		{"alone", set(), set(named("a", "x")), nil},
		{"the later is refused", set(named("b", "x")), set(named("a", "x")), map[string]string{"a": "b"}},
		{"its own again", set(named("a", "x")), set(named("a", "x")), nil},
		{"of two new ones the first by name has it", set(), set(named("b", "x"), named("a", "x")), map[string]string{"b": "a"}},
		{"who has it keeps it", set(named("b", "x")), set(named("b", "x"), named("a", "x")), map[string]string{"a": "b"}},
		{"handed over in one commit", set(named("a", "x")), set(named("a", ""), named("b", "x")), nil},
		{"swapped in one commit", set(named("a", "x"), named("b", "y")), set(named("a", "y"), named("b", "x")), nil},
		{"who is refused keeps what it had", set(named("a", "x"), named("c", "z")), set(named("a", "z"), named("b", "x")), map[string]string{"a": "c", "b": "a"}},
		{"external is nobody's", set(named("a", "x")), set(external), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Conflicts(test.active, test.next)
			if len(got) != len(test.want) {
				t.Errorf("refused %v, want %v", got, test.want)
			}
			for name, holder := range test.want {
				if len(got[name]) != 1 || got[name][0].Line != 7 || !strings.Contains(got[name].Error(), "belongs to deployment "+holder) {
					t.Errorf("%s: %v, want a refusal for %s", name, got[name], holder)
				}
			}
		})
	}
}
