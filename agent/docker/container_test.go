package docker

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/desired"
)

// unmapped are the fields of desired.Container that the engine is not told,
// each with its reason.
var unmapped = map[string]string{
	"PullPolicy":               "the agent pulls before it creates",
	"Resources.CPUReservation": "the scheduler places by it; the engine knows no reservation of cores",
	"Networks.Network":         "ContainerSpec.Networks carries the engine's names",
	"Networks.Aliases":         "ContainerSpec.Networks carries them, with the service's name",
	"Secrets.Name":             "a name of the file",
	"Secrets.File.Path":        "likewise",
	"Secrets.File.Data":        "ContainerSpec.Secrets carries the path of what the agent decrypted",
	"Secrets.Target":           "ContainerSpec.Secrets carries it",
	"Secrets.UID":              "the file has it",
	"Secrets.GID":              "likewise",
	"Secrets.Mode":             "likewise",

	"SecretEnvironment.File.Path": "a name of the file",
	"SecretEnvironment.File.Data": "ContainerSpec.Container.Environment carries what the agent decrypted",
	"SecretEnvironment.Names":     "likewise",

	"DNS": "the node's resolver asks them on behalf of the container",
}

// base is a container in which every field can be changed alone with effect.
func base(kind desired.MountKind) desired.Container {
	return desired.Container{
		Image:       "web:1",
		Healthcheck: &desired.Healthcheck{Test: []string{"CMD", "true"}},
		Ports:       []desired.Port{{Container: 80, Protocol: "tcp"}},
		Mounts:      []desired.Mount{{Kind: kind, Volume: "data", Target: "/data"}},
		Networks:    []desired.Attachment{{Network: "default"}},
		Ulimits:     []desired.Ulimit{{Name: "nofile"}},
		Isolation:   desired.Isolation{Devices: []desired.Device{{Source: "/dev/kvm"}}},

		Secrets:           []desired.Secret{{Name: "db"}},
		SecretEnvironment: []desired.SecretEnvironment{{}},
	}
}

// rendered is what the engine is asked to make of c, as it goes over the wire.
func rendered(t *testing.T, c desired.Container) string {
	t.Helper()
	options, err := createOptions(agent.ContainerSpec{
		Name: "x", Container: c, Volumes: map[string]string{"data": "jaco_shop_data"},
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := json.Marshal(container.CreateRequest{
		Config: options.Config, HostConfig: options.HostConfig, NetworkingConfig: options.NetworkingConfig,
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// TestEveryFieldIsMapped changes each field of desired.Container in turn. A
// change that the engine would not see is a promise that JACO does not keep.
func TestEveryFieldIsMapped(t *testing.T) {
	used := map[string]bool{}
	for _, path := range fieldPaths(reflect.TypeFor[desired.Container](), "") {
		seen := false
		for _, kind := range []desired.MountKind{desired.VolumeMount, desired.TmpfsMount, desired.BindMount} {
			before, after := base(kind), base(kind)
			change(t, reflect.ValueOf(&after).Elem(), strings.Split(path, "."))
			seen = seen || rendered(t, before) != rendered(t, after)
		}
		reason, excused := unmapped[path]
		used[path] = true
		switch {
		case !seen && !excused:
			t.Errorf("desired.Container.%s is not mapped: map it in createOptions, or name it in unmapped with the reason", path)
		case seen && excused:
			t.Errorf("desired.Container.%s is mapped, but listed as unmapped (%s)", path, reason)
		}
	}
	for path := range unmapped {
		if !used[path] {
			t.Errorf("unmapped names %s, which does not exist", path)
		}
	}
}

// fieldPaths lists the leaves of a struct, through pointers and slices.
func fieldPaths(typ reflect.Type, prefix string) (paths []string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		elem := f.Type
		for elem.Kind() == reflect.Pointer || elem.Kind() == reflect.Slice {
			elem = elem.Elem()
		}
		if elem.Kind() == reflect.Struct && elem != reflect.TypeFor[netip.Addr]() {
			paths = append(paths, fieldPaths(elem, prefix+f.Name+".")...)
		} else {
			paths = append(paths, prefix+f.Name)
		}
	}
	return paths
}

// change gives the field at path another value.
func change(t *testing.T, v reflect.Value, path []string) {
	t.Helper()
	if len(path) == 1 && v.Kind() == reflect.Struct && v.FieldByName(path[0]).Type() == reflect.TypeFor[[]netip.Addr]() {
		v.FieldByName(path[0]).Set(reflect.ValueOf([]netip.Addr{netip.IPv4Unspecified()}))
		return
	}
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Struct {
		if v.Kind() == reflect.Pointer {
			v = v.Elem()
		} else {
			v = v.Index(0)
		}
	}
	if len(path) > 0 {
		change(t, v.FieldByName(path[0]), path[1:])
		return
	}
	switch v.Kind() {
	case reflect.String:
		// A value that is also an address, for the field that must be one.
		v.SetString(netip.IPv4Unspecified().String())
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(7*time.Second))
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 7)
	case reflect.Slice:
		v.Set(reflect.ValueOf([]string{"changed"}))
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"changed": "yes"}))
	default:
		t.Fatalf("a field of kind %s: teach this test to change it", v.Kind())
	}
}

func TestCreateOptions(t *testing.T) {
	spec := agent.ContainerSpec{
		Name:   "jaco_shop_web_1_abc",
		Labels: map[string]string{agent.LabelCluster: "c0ffee"},
		Container: desired.Container{
			Image:       "web:1",
			Environment: map[string]string{"B": "2", "A": "1"},
			Labels:      map[string]string{"team": "shop", agent.LabelCluster: "forged"},
			Ports: []desired.Port{
				{Host: 8080, Container: 80, Protocol: "tcp", HostIP: "127.0.0.1"},
				{Host: 8081, Container: 80, Protocol: "tcp"},
				{Container: 53, Protocol: "udp"},
			},
			StopGrace: 1500 * time.Millisecond,
		},
		Networks: []desired.Attachment{{Network: "jaco_shop_a", Aliases: []string{"web"}}, {Network: "jaco_shop_b"}},
	}
	o, err := createOptions(spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := o.Config.Labels; got[agent.LabelCluster] != "c0ffee" || got["team"] != "shop" {
		t.Errorf("labels %v: JACO's must win and the user's must stay", got)
	}
	if !slices.Equal(o.Config.Env, []string{"A=1", "B=2"}) {
		t.Errorf("environment %v, want it sorted", o.Config.Env)
	}
	if *o.Config.StopTimeout != 2 {
		t.Errorf("stop timeout %d s, want 1.5 s rounded up", *o.Config.StopTimeout)
	}
	if o.HostConfig.RestartPolicy.Name != "no" || o.HostConfig.AutoRemove {
		t.Errorf("restart policy %+v: the engine must neither restart nor remove by itself", o.HostConfig.RestartPolicy)
	}
	tcp := o.HostConfig.PortBindings[network.MustParsePort("80/tcp")]
	if len(tcp) != 2 || tcp[0].HostPort != "8080" || tcp[0].HostIP != netip.MustParseAddr("127.0.0.1") || tcp[1].HostIP.IsValid() {
		t.Errorf("bindings of 80/tcp: %v", tcp)
	}
	if udp := o.HostConfig.PortBindings[network.MustParsePort("53/udp")]; len(udp) != 1 || udp[0].HostPort != "" {
		t.Errorf("bindings of 53/udp: %v, want a port of the engine's choice", udp)
	}
	if n := len(o.NetworkingConfig.EndpointsConfig); n != 1 || o.HostConfig.NetworkMode != "jaco_shop_a" {
		t.Errorf("%d networks at creation, mode %s: old engines take one", n, o.HostConfig.NetworkMode)
	}
	if diff := cmp.Diff(container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "10m", "max-file": "3"}},
		o.HostConfig.LogConfig); diff != "" {
		t.Errorf("log config (-want +got):\n%s", diff)
	}
	if o.Config.Healthcheck != nil || o.Config.Cmd != nil || o.Config.Entrypoint != nil || o.HostConfig.Init != nil {
		t.Error("what the user left out must stay the image's or the engine's")
	}
}

func TestCreateOptionsRefusesBadPorts(t *testing.T) {
	for _, p := range []desired.Port{
		{Container: 80, Protocol: "tcp", HostIP: "localhost"},
		{Container: 80, Protocol: "tcp", HostIP: "10.0.0.256"},
	} {
		_, err := createOptions(agent.ContainerSpec{Container: desired.Container{Ports: []desired.Port{p}}})
		if err == nil || !strings.Contains(err.Error(), "port 80/tcp") {
			t.Errorf("%+v: error %v, want one that names the port", p, err)
		}
	}
}

func TestObserved(t *testing.T) {
	grace := 3
	in := container.InspectResponse{
		ID: "id", Name: "/jaco_x", Image: "sha256:i",
		Config: &container.Config{Labels: map[string]string{"a": "b"}, StopTimeout: &grace},
		State: &container.State{
			Status: container.StateRunning, StartedAt: "2026-11-23T12:00:00.5Z",
			Health: &container.Health{Status: container.Unhealthy, FailingStreak: 3, Log: []*container.HealthcheckResult{
				{ExitCode: 1, Output: "refused"}, {ExitCode: 0, Output: "fine"},
			}},
		},
		NetworkSettings: &container.NetworkSettings{Networks: map[string]*network.EndpointSettings{
			"n": {IPAddress: netip.MustParseAddr("10.0.0.2")}, "m": nil,
		}},
	}
	want := agent.Container{
		ID: "id", Name: "jaco_x", ImageID: "sha256:i", Labels: map[string]string{"a": "b"},
		Status: agent.StatusRunning, Health: agent.HealthUnhealthy, HealthOutput: "refused",
		StartedAt: time.Date(2026, 11, 23, 12, 0, 0, 5e8, time.UTC),
		Networks:  map[string]netip.Addr{"n": netip.MustParseAddr("10.0.0.2"), "m": {}},
		StopGrace: 3 * time.Second,
	}
	want.HealthDue = want.StartedAt.Add(defaultInterval + maxCheckTime)
	if diff := cmp.Diff(want, observed(in), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("observed (-want +got):\n%s", diff)
	}
	last := time.Date(2026, 11, 23, 12, 1, 0, 0, time.UTC)
	in.Config.Healthcheck = &container.HealthConfig{Interval: 2 * time.Second, Timeout: time.Second}
	in.State.Health.Log[1].End = last
	if due := observed(in).HealthDue; !due.Equal(last.Add(3 * time.Second)) {
		t.Errorf("next answer due at %v, want an interval and a timeout after the last", due)
	}
	in.State.Health.Log = nil
	if due := observed(in).HealthDue; !due.Equal(want.StartedAt.Add(3 * time.Second)) {
		t.Errorf("first answer due at %v, want an interval and a timeout after the start", due)
	}
	never := observed(container.InspectResponse{State: &container.State{Status: container.StateCreated, StartedAt: "0001-01-01T00:00:00Z"}})
	if !never.StartedAt.IsZero() || never.Status != agent.StatusCreated || never.StopGrace != defaultGrace {
		t.Errorf("a container that never ran: %+v", never)
	}
	if bare := observed(container.InspectResponse{}); bare.Status != "" || bare.Networks == nil {
		t.Errorf("an answer without anything: %+v", bare)
	}
}

func TestStates(t *testing.T) {
	for in, want := range map[container.ContainerState]agent.Status{
		container.StateCreated: agent.StatusCreated, container.StateRunning: agent.StatusRunning,
		container.StatePaused: agent.StatusPaused, container.StateRestarting: agent.StatusRunning,
		container.StateRemoving: agent.StatusRemoving, container.StateDead: agent.StatusRemoving,
		container.StateExited: agent.StatusExited,
	} {
		if got := status(in); got != want {
			t.Errorf("state %s: %s, want %s", in, got, want)
		}
	}
}

// TestHealth has the engine's "unhealthy" believed only when the checks said so:
// it says the same while it does not check.
func TestHealth(t *testing.T) {
	passed, failed := &container.HealthcheckResult{Output: "fine"}, &container.HealthcheckResult{ExitCode: 1, Output: "refused"}
	twice := &container.HealthConfig{Retries: 2}
	for name, c := range map[string]struct {
		check  *container.HealthConfig
		in     container.Health
		want   agent.Health
		output string
	}{
		"no check":                    {nil, container.Health{Status: container.NoHealthcheck}, agent.HealthNone, ""},
		"starting":                    {nil, container.Health{Status: container.Starting}, agent.HealthStarting, ""},
		"healthy":                     {nil, container.Health{Status: container.Healthy}, agent.HealthHealthy, ""},
		"failed by default":           {nil, container.Health{Status: container.Unhealthy, FailingStreak: 3, Log: []*container.HealthcheckResult{passed, failed}}, agent.HealthUnhealthy, "refused"},
		"failed as often as declared": {twice, container.Health{Status: container.Unhealthy, FailingStreak: 2, Log: []*container.HealthcheckResult{failed, nil}}, agent.HealthUnhealthy, "refused"},
		"interrupted while starting":  {twice, container.Health{Status: container.Unhealthy, FailingStreak: 1, Log: []*container.HealthcheckResult{failed}}, agent.HealthStarting, ""},
		"interrupted before a check":  {nil, container.Health{Status: container.Unhealthy}, agent.HealthStarting, ""},
		"interrupted when healthy":    {nil, container.Health{Status: container.Unhealthy, FailingStreak: 2, Log: []*container.HealthcheckResult{passed, failed, failed}}, agent.HealthHealthy, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got, output := health(c.check, &c.in); got != c.want || output != c.output {
				t.Errorf("health %s %q, want %s %q", got, output, c.want, c.output)
			}
		})
	}
}

func TestDigestOf(t *testing.T) {
	known := []string{"localhost:5000/web@sha256:a", "nginx@sha256:b"}
	for ref, want := range map[string]string{
		"localhost:5000/web:1":         "localhost:5000/web@sha256:a",
		"localhost:5000/web":           "localhost:5000/web@sha256:a",
		"docker.io/library/nginx:1.27": "nginx@sha256:b",
		"nginx@sha256:b":               "nginx@sha256:b",
		"retagged:1":                   "localhost:5000/web@sha256:a",
	} {
		if got := digestOf(ref, "sha256:id", known); got != want {
			t.Errorf("%s: %s, want %s", ref, got, want)
		}
	}
	if got := digestOf("local:1", "sha256:id", nil); got != "sha256:id" {
		t.Errorf("an image of no registry: %s, want its id", got)
	}
}

func TestLines(t *testing.T) {
	var got []agent.LogLine
	w := &lineWriter{line: func(l agent.LogLine) error { got = append(got, l); return nil }}
	for _, piece := range []string{"2026-11-23T12:00:00Z he", "llo\r\nno stamp\n", "2026-11-23T12:00:01Z", " \n", "rest"} {
		if _, err := w.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.flush(); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := []agent.LogLine{{Time: at, Text: "hello"}, {Text: "no stamp"}, {Time: at.Add(time.Second)}, {Text: "rest"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	enough := errors.New("enough")
	w = &lineWriter{line: func(agent.LogLine) error { return enough }}
	var own *callerError
	if _, err := w.Write([]byte("x\n")); !errors.As(err, &own) || !errors.Is(own.err, enough) {
		t.Errorf("error %v, want the caller's own", err)
	}
	n := 0
	w = &lineWriter{line: func(agent.LogLine) error { n++; return nil }}
	if _, err := w.Write([]byte(strings.Repeat("x", 3*maxLine))); err != nil || n != 1 || len(w.rest) != 0 {
		t.Errorf("an endless line: %d pieces, %d bytes held, error %v", n, len(w.rest), err)
	}
}
