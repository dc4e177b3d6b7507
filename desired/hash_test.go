package desired

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// sampleDeployment has every kind of thing that a spec hash covers.
func sampleDeployment() *Deployment {
	return &Deployment{
		Name:     "shop",
		Networks: []Network{{Name: "back", Internal: true, Labels: map[string]string{"tier": "back"}}, {Name: "default"}},
		Volumes:  []Volume{{Name: "data", Driver: "special", Labels: map[string]string{"keep": "yes"}}},
		Services: []Service{{Name: "web", Container: Container{
			Image:       "nginx:1.27",
			Command:     []string{"serve", "--port=80"},
			Entrypoint:  []string{},
			Environment: map[string]string{"A": "1", "B": ""},
			Labels:      map[string]string{"team": "shop"},
			Ports:       []Port{{Host: 80, Container: 80, Protocol: "tcp"}},
			Networks:    []Attachment{{Network: "back", Aliases: []string{"www"}}, {Network: "default"}},
			Mounts:      []Mount{{Kind: VolumeMount, Volume: "data", Target: "/data"}},
			Healthcheck: &Healthcheck{Test: []string{"CMD", "true"}, Interval: time.Second},
			StopGrace:   10 * time.Second,
			PullPolicy:  PullMissing,
		}}},
	}
}

func hashOf(d *Deployment) string { return specHash(d, &d.Services[0].Container) }

// TestSpecHashGolden pins hashes. When it fails, replicas of every cluster
// would be replaced by an upgrade: do not update the golden file, fix the
// encoding.
func TestSpecHashGolden(t *testing.T) {
	minimal := &Deployment{Services: []Service{{Container: Container{Image: "nginx"}}}}
	got := fmt.Sprintf("minimal %s\nsample  %s\nempty   %s\n",
		hashOf(minimal), hashOf(sampleDeployment()), specHash(&Deployment{}, &Container{}))
	checkGolden(t, "testdata/hash.golden", got)
}

// TestSpecHashCoversEveryField sets each field of Container, and of everything
// in it, to something else and expects another hash, so that no field can be
// added and forgotten.
func TestSpecHashCoversEveryField(t *testing.T) {
	d := sampleDeployment()
	seen := map[string]string{hashOf(d): "unchanged"}
	checked := 0
	var visit func(v reflect.Value, name string)
	visit = func(v reflect.Value, name string) {
		if _, ok := v.Interface().(netip.Addr); ok {
			return // changed as an item of its list
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Pointer:
			visit(v.Elem(), name)
			old := reflect.ValueOf(v.Interface())
			v.SetZero()
			expectNewHash(t, d, name+" nil", seen)
			v.Set(old)
			return
		case reflect.Slice:
			if v.Len() == 0 && v.Type().Elem() == reflect.TypeFor[netip.Addr]() {
				break
			}
			if v.Len() == 0 && v.Type().Elem().Kind() == reflect.Struct {
				v.Set(reflect.MakeSlice(v.Type(), 1, 1))
				expectNewHash(t, d, name+" grown", seen)
			}
			if v.Len() > 0 {
				visit(v.Index(0), name+"[0]")
			}
		default:
		}
		old := reflect.ValueOf(v.Interface())
		changeValue(t, v, name)
		checked++
		expectNewHash(t, d, name, seen)
		v.Set(old)
	}
	visit(reflect.ValueOf(&d.Services[0].Container).Elem(), "Container")
	if checked < 50 {
		t.Errorf("only %d fields were tried", checked)
	}
	d.Networks[0].Internal = false
	expectNewHash(t, d, "Network.Internal", seen)
	d.Networks[0].Labels = nil
	expectNewHash(t, d, "Network.Labels", seen)
	d.Volumes[0].Driver = ""
	expectNewHash(t, d, "Volume.Driver", seen)
}

func expectNewHash(t *testing.T, d *Deployment, name string, seen map[string]string) {
	t.Helper()
	got := hashOf(d)
	if other, ok := seen[got]; ok {
		t.Errorf("%s: the hash is that of %s", name, other)
	}
	seen[got] = name
}

// changeValue gives a value another one that no test value has.
func changeValue(t *testing.T, v reflect.Value, name string) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + name)
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + 7)
	case reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 7)
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Slice:
		if addresses, ok := v.Interface().([]netip.Addr); ok {
			v.Set(reflect.ValueOf(append(slices.Clone(addresses), netip.MustParseAddr("192.0.2.7"))))
		} else if v.Type().Elem().Kind() == reflect.Struct {
			v.Set(reflect.Append(v, v.Index(0)))
		} else {
			v.Set(reflect.Append(v, reflect.ValueOf(name)))
		}
	case reflect.Map:
		changed := reflect.MakeMap(v.Type())
		for _, key := range v.MapKeys() {
			changed.SetMapIndex(key, v.MapIndex(key))
		}
		changed.SetMapIndex(reflect.ValueOf(name), reflect.ValueOf("x"))
		v.Set(changed)
	default:
		t.Fatalf("%s: a kind that this test cannot change: %s", name, v.Kind())
	}
}

// TestSpecHashLeavesOutTheRest changes what does not replace a replica.
func TestSpecHashLeavesOutTheRest(t *testing.T) {
	text := func(deploy, rest string) string {
		return "services: {web: {image: nginx, volumes: ['vol:/v'], deploy: {" + deploy + "}" + rest +
			"}, db: {image: db}}\nvolumes: {vol: {labels: {l: \"1\"}}}\n"
	}
	base, err := compose(text("", ""))
	if err != nil {
		t.Fatal(err)
	}
	for name, changed := range map[string]string{
		"replicas":    text("replicas: 7", ""),
		"placement":   text("placement: {constraints: [node.labels.a == b]}", ""),
		"update":      text("update_config: {delay: 5s}", ""),
		"restart":     text("restart_policy: {condition: none}", ""),
		"depends_on":  text("", ", depends_on: [db]"),
		"volume":      strings.Replace(text("", ""), `"1"`, `"2"`, 1),
		"line breaks": "\n\n" + text("", ""),
	} {
		d, err := compose(changed)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d.Service("web").SpecHash != base.Service("web").SpecHash {
			t.Errorf("%s changes the hash", name)
		}
	}
}

// TestEncodingIsInjective holds that lists of fields with the same bytes are
// the same lists.
func TestEncodingIsInjective(t *testing.T) {
	fields := rapid.Custom(func(t *rapid.T) encodedFields {
		var f encodedFields
		f.texts("a", rapid.SliceOfN(rapid.StringN(0, 3, 6), 0, 3).Draw(t, "texts"))
		f.pairs("b", rapid.MapOfN(rapid.StringN(0, 2, 4), rapid.StringN(0, 2, 4), 0, 3).Draw(t, "pairs"))
		f.text(rapid.StringN(0, 2, 4).Draw(t, "name"), rapid.StringN(0, 2, 4).Draw(t, "text"))
		return f
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := fields.Draw(t, "a"), fields.Draw(t, "b")
		if same := reflect.DeepEqual(a, b); same != (string(a.encode()) == string(b.encode())) {
			t.Fatalf("equal is %v for %v and %v", same, a, b)
		}
	})
}
