package plan

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/scheduler/preview"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

func TestMain(m *testing.M) { rig.Main(m, "plan") }

// plan runs `jaco status plan` on the work tree, as it is before the commit.
func plan(t *testing.T, s *stage.Stage, code int) *preview.Plan {
	t.Helper()
	args := []string{"status", "plan", s.Repo.Dir, "-o", "json"}
	var out string
	if code == 0 {
		out = s.Jaco(args...)
	} else {
		out = s.JacoFails(code, args...)
	}
	p := new(preview.Plan)
	if err := json.NewDecoder(strings.NewReader(out)).Decode(p); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return p
}

// slots maps each slot to the id of the container that runs in it.
func slots(s *stage.Stage) map[string]string {
	held := map[string]string{}
	for _, c := range s.Containers() {
		if c.State == "running" {
			held[c.Labels["sh.jaco.deployment"]+"/"+c.Labels["sh.jaco.service"]+"."+c.Labels["sh.jaco.slot"]] = c.ID
		}
	}
	return held
}

// change writes files without committing, asks for the plan, pushes, waits, and
// holds the engine's containers against the plan.
func change(t *testing.T, s *stage.Stage, files map[string]string) *preview.Plan {
	t.Helper()
	s.Check(s.Repo.Write(files))
	p := plan(t, s, 0)
	before := slots(s)
	s.Commit(nil)
	s.Push()
	s.Converge()
	compare(t, s, p, before)
	return p
}

func compare(t *testing.T, s *stage.Stage, p *preview.Plan, before map[string]string) {
	t.Helper()
	var want []string
	for _, r := range p.Replicas {
		want = append(want, fmt.Sprintf("%s %s/%s.%d", r.Action, r.Deployment, r.Service, r.Slot))
	}
	slices.Sort(want)
	rig.Eventually(t, time.Minute, "the engine does what was planned", func(context.Context) (bool, string) {
		var got []string
		after := slots(s)
		for slot, id := range before {
			switch is, stays := after[slot]; {
			case !stays:
				got = append(got, "remove "+slot)
			case is != id:
				got = append(got, "replace "+slot)
			}
		}
		for slot := range after {
			if before[slot] == "" {
				got = append(got, "create "+slot)
			}
		}
		slices.Sort(got)
		diff := cmp.Diff(want, got)
		return diff == "", diff
	}, s.Daemon)
}

// hostConfig is the part of a container that says how isolated it is.
type hostConfig struct {
	Privileged           bool
	CapAdd, SecurityOpt  []string
	PidMode, IpcMode     string
	NetworkMode, UTSMode string
	Devices              []struct{ PathOnHost string }
	Mounts               []struct{ Type, Source, Target string }
}

func inspect(t *testing.T, s *stage.Stage, slot string) hostConfig {
	t.Helper()
	var out struct{ HostConfig hostConfig }
	s.Check(s.Node.Engine.Do(t.Context(), http.MethodGet, "/containers/"+slots(s)[slot]+"/json", nil, &out))
	return out.HostConfig
}

// volumes lists the engine's volumes of this cluster.
func volumes(ctx context.Context, s *stage.Stage) ([]string, error) {
	var out struct {
		Volumes []struct {
			Name   string
			Labels map[string]string
		}
	}
	if err := s.Node.Engine.Do(ctx, http.MethodGet, "/volumes", nil, &out); err != nil {
		return nil, err
	}
	var names []string
	for _, v := range out.Volumes {
		if v.Labels["sh.jaco.cluster"] != "" {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// trust returns the policy in the work tree with another version, and an `allow`.
func trust(t *testing.T, s *stage.Stage, version int, allow string) map[string]string {
	t.Helper()
	data := rig.Must[[]byte](t)(os.ReadFile(filepath.Join(s.Repo.Dir, "trust.yaml")))
	text, _, _ := strings.Cut(string(data), "allow:\n")
	text = strings.Replace(text, fmt.Sprintf("version: %d", version-1), fmt.Sprintf("version: %d", version), 1)
	return map[string]string{"trust.yaml": text + allow}
}

func shop(tag string, replicas int, extra string) map[string]string {
	return map[string]string{stage.Path("shop"): stage.Compose(stage.Service{Name: "api", Tag: tag, Replicas: replicas, Extra: extra})}
}

func TestPlan(t *testing.T) {
	s := stage.New(t, stage.Config{})
	s.Eventually(time.Minute, "the node to be ready: a plan places nothing before", func(status *cluster.Status) (bool, string) {
		return status.Cluster.Ready == 1, stage.Summary(status)
	})

	t.Run("a new deployment", func(t *testing.T) {
		p := change(t, s, shop("1", 2, ""))
		if len(p.Units) != 1 || p.Units[0].Unit != "shop" || len(p.Units[0].Needs) != 1 || !slices.Equal(p.Units[0].Needs[0].Eligible, []string{"alice"}) {
			t.Errorf("who has to sign: %+v", p.Units)
		}
		if out := s.Jaco("status", "plan", s.Repo.Dir); !strings.Contains(out, "Nothing changes.") {
			t.Errorf("once pushed the plan says\n%s", out)
		}
	})
	t.Run("an image, one replica more, and a reader from afar", func(t *testing.T) {
		s.Check(s.Repo.Write(shop("2", 3, "")))
		token := filepath.Join(t.TempDir(), "reader.token")
		s.Check(os.WriteFile(token, []byte(s.Member(0).Token("--read")), 0o600))
		out := s.Jaco("--server", s.Member(0).Server(), "--token-file", token, "status", "plan", s.Repo.Dir)
		if !strings.Contains(strings.Join(strings.Fields(out), " "), "shop/api 1 2 0 0 ") {
			t.Errorf("from afar the plan is\n%s", out)
		}
		change(t, s, shop("2", 3, ""))
	})

	isolation := "    pid: host\n    cap_add: [SYS_TIME]\n    devices: [\"/dev/null:/dev/planned\"]\n" +
		"    security_opt: [\"no-new-privileges:true\", \"seccomp:unconfined\"]\n    volumes: [\"/usr/share:/planned:ro\"]\n"
	const allowed = "allow:\n  - {deployment: shop, privileges: [\"bind:/usr/share\", \"cap:SYS_TIME\", devices, \"pid:host\", security_opt]}\n"
	t.Run("privileges are refused", func(t *testing.T) {
		s.Check(s.Repo.Write(shop("2", 1, isolation)))
		p := plan(t, s, 4)
		if len(p.Refused) != 5 || p.Whole || len(p.Replicas) > 0 {
			t.Errorf("the plan refuses %+v and has %+v", p.Refused, p.Replicas)
		}
		before := slots(s)
		s.Commit(nil)
		s.Push()
		s.Eventually(time.Minute, "shop is Invalid", func(status *cluster.Status) (bool, string) {
			d := stage.Deployment(status, "shop")
			return d != nil && d.Sync == cluster.AxisInvalid && strings.Contains(d.Reason, p.Refused[0].Message), stage.Summary(status)
		})
		compare(t, s, p, before)
	})
	t.Run("root allows them", func(t *testing.T) {
		p := change(t, s, trust(t, s, 2, allowed))
		if len(p.Replicas) != 3 { // one is replaced, two go
			t.Errorf("the plan of the policy alone has %+v", p.Replicas)
		}
		h := inspect(t, s, "shop/api.1")
		if h.PidMode != "host" || h.Privileged || !slices.ContainsFunc(h.CapAdd, func(c string) bool { return strings.TrimPrefix(c, "CAP_") == "SYS_TIME" }) ||
			len(h.Devices) != 1 || h.Devices[0].PathOnHost != "/dev/null" || len(h.Mounts) != 1 || h.Mounts[0].Type != "bind" || h.Mounts[0].Source != "/usr/share" ||
			!slices.Contains(h.SecurityOpt, "seccomp=unconfined") {
			t.Errorf("the engine made %+v", h)
		}
	})
	t.Run("the node's own network, which is no drift", func(t *testing.T) {
		s.Deploy(trust(t, s, 3, strings.Replace(allowed, "devices", "devices, \"network_mode:host\"", 1)))
		change(t, s, shop("1", 1, "    network_mode: host\n"))
		if h := inspect(t, s, "shop/api.1"); h.NetworkMode != "host" || h.PidMode == "host" {
			t.Errorf("the engine made %+v", h)
		}
		if out := s.Jaco("audit", "--type", string(cluster.EventDriftCorrected)); strings.Contains(out, "shop") {
			t.Errorf("it was taken for drift:\n%s", out)
		}
	})
	t.Run("volumes", func(t *testing.T) {
		change(t, s, map[string]string{
			stage.Path("kept"): stage.Compose(stage.Service{Name: "db", Tag: "1", Replicas: 1, Extra: "    volumes: [\"data:/data\"]\n"}) + "volumes: {data: {}}\n",
			stage.Path("gone"): stage.Compose(stage.Service{Name: "db", Tag: "1", Replicas: 1, Extra: "    volumes: [\"data:/data\"]\n"}) + "volumes: {data: {x-jaco-prune: true}}\n",
		})
		s.Check(s.Repo.Remove("deployments/gone"))
		p := change(t, s, nil)
		if len(p.Volumes) != 1 || p.Volumes[0].Engine != "jaco_gone_data" || p.Volumes[0].Action != preview.VolumePrune {
			t.Errorf("the plan says of volumes %+v", p.Volumes)
		}
		rig.Eventually(t, time.Minute, "the volume that was given up is gone", func(ctx context.Context) (bool, string) {
			names, err := volumes(ctx, s)
			return err == nil && slices.Equal(names, []string{"jaco_kept_data"}), fmt.Sprint(names, err)
		}, s.Daemon)
		rig.Eventually(t, time.Minute, "its end is audited", func(ctx context.Context) (bool, string) {
			out, err := s.Daemon.Run(ctx, "audit", "--type", string(cluster.EventVolumePruned))
			return err == nil && strings.Contains(out, "jaco_gone_data"), out
		}, s.Daemon)
	})
}
