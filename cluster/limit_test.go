package cluster

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/desired"
)

func limited(replicas int, change func(*desired.Service)) *desired.Service {
	s := &desired.Service{
		Name: "api", Mode: desired.Replicated, Replicas: replicas,
		Update: desired.Update{Order: desired.StartFirst, Parallelism: 1},
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestLimitOf(t *testing.T) {
	for name, test := range map[string]struct {
		spec *desired.Service
		want Limit
	}{
		"one at a time": {limited(3, nil), Limit{Replicas: 4, Slot: 2}},
		"none":          {limited(0, nil), Limit{Slot: 2}},
		"two at a time": {limited(3, func(s *desired.Service) { s.Update.Parallelism = 2 }), Limit{Replicas: 5, Slot: 2}},
		"all at once":   {limited(3, func(s *desired.Service) { s.Update.Parallelism = 0 }), Limit{Replicas: 6, Slot: 2}},
		// A slot has one replacement, however many may be replaced at a time.
		"more at a time than there are": {limited(3, func(s *desired.Service) { s.Update.Parallelism = 9 }), Limit{Replicas: 6, Slot: 2}},
		"some may fail":                 {limited(3, func(s *desired.Service) { s.Update.MaxFailureRatio = 0.1 }), Limit{Replicas: 4, Slot: 2}},
		"failures are ignored":          {limited(3, func(s *desired.Service) { s.Update.FailureAction = desired.Continue }), Limit{Replicas: 4, Slot: 2}},
		"no order is start first":       {limited(3, func(s *desired.Service) { s.Update.Order = "" }), Limit{Replicas: 4, Slot: 2}},
		"stop first":                    {limited(3, func(s *desired.Service) { s.Update.Order = desired.StopFirst }), Limit{Replicas: 3, Slot: 1}},
		"a host port":                   {limited(3, func(s *desired.Service) { s.Container.Ports = []desired.Port{{Host: 80}} }), Limit{Replicas: 3, Slot: 1}},
		"a port of its own":             {limited(3, func(s *desired.Service) { s.Container.Ports = []desired.Port{{Container: 80}} }), Limit{Replicas: 4, Slot: 2}},
		"a volume": {limited(3, func(s *desired.Service) {
			s.Container.Mounts = []desired.Mount{{Kind: desired.VolumeMount, Volume: "data"}}
		}), Limit{Replicas: 3, Slot: 1}},
		"on each node": {limited(7, func(s *desired.Service) { s.Mode = desired.Global }), Limit{Global: true, Replicas: 2, Slot: 2}},
		"on each node, stop first": {limited(7, func(s *desired.Service) { s.Mode, s.Update.Order = desired.Global, desired.StopFirst }),
			Limit{Global: true, Replicas: 1, Slot: 1}},
	} {
		if got := LimitOf(test.spec); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

// crowd makes replicas from words "id.slot@node", each an entry later than the
// one before; "!" marks one that is told to stop, "+" one that has ended.
func crowd(words string) []Replica {
	var out []Replica
	for i, word := range strings.Fields(words) {
		r := Replica{ID: word[:1], Slot: int(word[2] - '0'), Node: "n1", CreateIndex: uint64(i + 1), Phase: Running}
		if _, node, ok := strings.Cut(word, "@"); ok {
			r.Node = strings.Trim(node, "!+")
		}
		r.Stop = strings.HasSuffix(word, "!")
		if strings.HasSuffix(word, "+") {
			r.Phase = Lost
		}
		out = append(out, r)
	}
	return out
}

func TestExcess(t *testing.T) {
	global := func(s *desired.Service) { s.Mode = desired.Global }
	accepted := func(index uint64, spec *desired.Service) *Accepted {
		return &Accepted{ClaimIndex: index, Desired: &desired.Deployment{Services: []desired.Service{*spec}}}
	}
	for _, test := range []struct {
		name          string
		active        *Accepted
		before        *Accepted
		replicas      string
		excess, wrong string
	}{
		{"as declared, and one surge", accepted(0, limited(2, nil)), nil, "a.1 b.2 c.1", "", ""},
		{"one more", accepted(0, limited(2, nil)), nil, "a.1 b.2 c.1 d.2", "d", "d"},
		{"those that stop or ended do not count", accepted(0, limited(2, nil)), nil, "a.1! b.2+ c.1 d.2 e.1", "", ""},
		{"a third in a slot", accepted(0, limited(5, nil)), nil, "a.1 b.1 c.1 d.2", "c", "c"},
		{"one that is beyond takes no place", accepted(0, limited(2, nil)), nil, "a.1 b.1 c.1 d.2", "c", "c"},
		{"on all nodes together", accepted(0, limited(2, nil)), nil, "a.1@n1 b.2@n2 c.1@n3 d.2@n4", "d", "d"},
		{"on each node", accepted(0, limited(1, global)), nil, "a.1@n1 b.2@n2 c.3@n3 d.1@n1 e.4@n1", "e", "e"},
		{"the revision before declared more", accepted(9, limited(1, nil)), accepted(0, limited(3, nil)), "a.1 b.2 c.3 d.1", "", ""},
		{"more than either", accepted(9, limited(1, nil)), accepted(0, limited(3, nil)), "a.1 b.2 c.3 d.1 e.2", "e", "e"},
		{"what was assigned before they were known", accepted(9, limited(1, nil)), accepted(4, limited(1, nil)), "a.1 b.2 c.3 d.4 e.5 f.6", "c d e f", ""},
		{"too many since they are known", accepted(9, limited(1, nil)), accepted(2, limited(1, nil)), "a.1 b.2 c.3 d.4 e.5", "c d e", "e"},
		{"replicated before, on each node now", accepted(9, limited(1, global)), accepted(0, limited(3, nil)), "a.1@n1 b.2@n1 c.3@n1 d.4@n2 e.5@n2", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.active.Previous = test.before
			view := &View{Deployments: map[string]*Accepted{"shop": test.active}}
			excess, wrong := view.Excess("shop", "api", crowd(test.replicas))
			if diff := cmp.Diff([2]string{test.excess, test.wrong}, [2]string{ids(excess), ids(wrong)}); diff != "" {
				t.Errorf("excess and wrong (-want +got):\n%s", diff)
			}
		})
	}
}

func ids(set map[string]bool) string { return strings.Join(slices.Sorted(maps.Keys(set)), " ") }

func TestKnownFrom(t *testing.T) {
	view := &View{ClaimIndex: 30, Deployments: map[string]*Accepted{
		"one": {ClaimIndex: 20}, "two": {ClaimIndex: 20, Previous: &Accepted{ClaimIndex: 10}},
	}}
	for name, want := range map[string]uint64{"one": 20, "two": 10, "removed": 30} {
		if got := view.KnownFrom(name); got != want {
			t.Errorf("%s is known from %d on, want %d", name, got, want)
		}
	}
}
