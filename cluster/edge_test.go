package cluster

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// attached is a service on networks; "net:alias,alias" names aliases.
func attached(name string, networks ...string) desired.Service {
	s := desired.Service{Name: name, Mode: desired.Replicated, Replicas: 1, SpecHash: "spec-" + name}
	for _, text := range networks {
		network, aliases, _ := strings.Cut(text, ":")
		at := desired.Attachment{Network: network}
		if aliases != "" {
			at.Aliases = strings.Split(aliases, ",")
		}
		s.Container.Networks = append(s.Container.Networks, at)
	}
	return s
}

func declares(name string, networks []desired.Network, services ...desired.Service) *Accepted {
	return &Accepted{Name: name, Revision: signing.Hash{1}, Claim: 1, Desired: &desired.Deployment{Name: name, Services: services, Networks: networks}}
}

// edgeView is the view of the tests: shop, whose earlier revision had one more
// service and network, blog, which uses shop's front, and a network of the host.
func edgeView() *View {
	front := desired.Network{Name: "front", Engine: "front", Labels: map[string]string{"tier": "1"}}
	back := desired.Network{Name: "back", Internal: true}
	web := attached("web", "front:www,shop")
	web.Container.DNS = []netip.Addr{netip.MustParseAddr("192.0.2.53")}
	db := attached("db", "back")
	db.Container.Healthcheck = &desired.Healthcheck{Test: []string{"CMD", "true"}}
	shop := declares("shop", []desired.Network{back, front}, attached("api", "back:store", "front"), db, web)
	shop.Previous = declares("shop", []desired.Network{back, front, {Name: "old"}}, attached("api", "back:gone", "old"), attached("cron", "old"))
	blog := declares("blog", []desired.Network{
		{Name: "shopfront", Engine: "front", External: true}, {Name: "lan", Engine: "lan", External: true},
	}, attached("blog", "lan", "shopfront"), attached("local", "lan"), attached("alone"))
	return &View{Claim: 1, Deployments: map[string]*Accepted{
		"shop": shop, "blog": blog, "broken": {Name: "broken", Claim: 1},
	}}
}

// edgeRig is a state with three nodes and slices of shop's networks.
func edgeRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	init := testInit()
	init.Node.Address = "192.0.2.1:7000"
	init.Meta.Pool = netip.MustParsePrefix("10.32.0.0/12")
	r.must(init)
	for i, name := range []string{"node-2", "node-3", "node-4"} {
		n := testNode(name)
		n.Address = fmt.Sprintf("192.0.2.%d:7000", 2+i)
		if name == "node-3" {
			n.Address = "node-3.example.com:7000"
		}
		r.must(&UpdateNode{Node: n})
	}
	for i, name := range []string{"node-1", "node-2", "node-3", "node-4"} {
		r.must(&ReportMesh{Node: name, PublicKey: [32]byte{byte(1 + i)}, Port: uint16(51820 + i), Mode: "kernel"})
	}
	r.must(&ApplyPlan{
		Blocks: []NodeBlock{
			{"node-1", netip.MustParsePrefix("10.32.0.0/20")}, {"node-2", netip.MustParsePrefix("10.32.16.0/20")},
			{"node-3", netip.MustParsePrefix("10.32.32.0/20")},
		},
		Slices: []Slice{
			sliceOf("node-1", "front", 1, "10.32.0.64/28"), sliceOf("node-1", "front", 2, "10.32.0.16/28"),
			sliceOf("node-1", "jaco_shop_back", 1, "10.32.0.32/28"), sliceOf("node-1", "jaco_shop_old", 1, "10.32.0.48/28"),
			sliceOf("node-1", "unsigned", 1, "10.32.0.80/28"), sliceOf("node-1", "lan", 1, "10.32.0.96/28"),
			sliceOf("node-2", "front", 1, "10.32.16.16/28"), sliceOf("node-2", "jaco_shop_back", 1, "10.32.16.32/28"),
			sliceOf("node-3", "front", 1, "10.32.32.16/28"),
		},
	})
	return r
}

// running makes a replica that its node reports on; change may be nil.
func running(t *testing.T, r *rig, deployment, service string, slot int, node string, report ReplicaReport) string {
	t.Helper()
	id := ReplicaID("0123456789abcdef", deployment, service, slot, 1)
	r.must(&ApplyPlan{
		Services: []Service{{Deployment: deployment, Name: service, NextSerial: 2}},
		Create: []Replica{{
			ID: id, Deployment: deployment, Service: service, Slot: slot, Serial: 1, Node: node,
			Revision: signing.Hash{1}, SpecHash: "spec-" + service, Phase: Assigned,
		}},
	})
	report.ID = id
	if report.Phase.Live() && report.ContainerID == "" {
		report.ContainerID = "c-" + id
	}
	r.must(&ReportReplicas{Node: node, Reports: []ReplicaReport{report}})
	return id
}

func TestBuildEdge(t *testing.T) {
	r := edgeRig(t)
	running(t, r, "shop", "web", 2, "node-2", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.16.18"})
	running(t, r, "shop", "web", 1, "node-1", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.0.18"})
	running(t, r, "shop", "web", 3, "node-1", ReplicaReport{Phase: Preparing})
	running(t, r, "shop", "web", 4, "node-2", ReplicaReport{Phase: Failed, ContainerID: "c", Addresses: "front=10.32.16.20"})
	running(t, r, "shop", "web", 5, "node-3", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.32.18"})
	stopped := running(t, r, "shop", "api", 1, "node-2",
		ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.16.19 jaco_shop_back=10.32.16.34"})
	r.must(&ApplyPlan{Stop: []string{stopped}})
	// An address of another network, and one that is nobody's.
	running(t, r, "shop", "api", 2, "node-2",
		ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.16.35 jaco_shop_back=192.0.2.1"})
	// An address of the right network, on another node.
	running(t, r, "shop", "api", 3, "node-2", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.0.20"})
	running(t, r, "shop", "db", 1, "node-2", ReplicaReport{Phase: Healthy, Addresses: "jaco_shop_back=10.32.16.36"})
	running(t, r, "shop", "db", 2, "node-2", ReplicaReport{Phase: Running, Addresses: "jaco_shop_back=10.32.16.37"})
	cron := running(t, r, "shop", "cron", 1, "node-1", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "jaco_shop_old=10.32.0.50"})
	running(t, r, "blog", "blog", 1, "node-1", ReplicaReport{Phase: Unhealthy, Addresses: "front=10.32.0.66 lan=10.32.0.98"})
	suspect := testNode("node-3")
	suspect.Address, suspect.State = "node-3.example.com:7000", NodeSuspect
	r.must(&UpdateNode{Node: suspect})

	got, ok := BuildEdge(r.state.Read(), edgeView(), "node-1", nil)
	if !ok {
		t.Fatal("nothing can be told")
	}
	golden(t, "edge.json", got)

	again, _ := BuildEdge(r.state.Read(), edgeView(), "node-1", nil)
	if diff := cmp.Diff(got, again, addresses); diff != "" {
		t.Errorf("the second is another:\n%s", diff)
	}
	other, _ := BuildEdge(r.state.Read(), edgeView(), "node-3", nil)
	golden(t, "edge-node-3.json", other)

	// What the node says of its own replicas counts before the log has it; what it
	// says of another's does not.
	foreign := ReplicaID("0123456789abcdef", "shop", "web", 2, 1)
	overlay := []ReplicaReport{
		{ID: cron, Phase: Stopped},
		{ID: ReplicaID("0123456789abcdef", "shop", "web", 1, 1), Phase: Unhealthy},
		{ID: ReplicaID("0123456789abcdef", "shop", "web", 3, 1), Phase: Running, NoHealthcheck: true, ContainerID: "new", Addresses: "front=10.32.0.19"},
		{ID: foreign, Phase: Unhealthy},
	}
	said, _ := BuildEdge(r.state.Read(), edgeView(), "node-1", overlay)
	golden(t, "edge-overlay.json", onlyServices(said, "web", "cron"))
}

// onlyServices is what an edge knows of some services.
func onlyServices(e EdgeState, names ...string) []EdgeService {
	return slices.DeleteFunc(e.Services, func(s EdgeService) bool { return !slices.Contains(names, s.Name) })
}

// golden compares JSON with a file of testdata.
func golden(t *testing.T, name string, v any) {
	t.Helper()
	got, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("%s (-want +got), -update rewrites it:\n%s", path, diff)
	}
}

// TestBuildEdgeCannotTell: a node that does not know what it accepted keeps the
// networks that it has.
func TestBuildEdgeCannotTell(t *testing.T) {
	empty, r := newRig(t), edgeRig(t)
	fresh := &View{Deployments: map[string]*Accepted{}}
	for _, tt := range []struct {
		name  string
		state *Snapshot
		view  *View
		node  string
		want  bool
	}{
		{"no cluster", empty.state.Read(), edgeView(), "node-1", false},
		{"no view", r.state.Read(), nil, "node-1", false},
		{"a view from before any claim, on a node with networks", r.state.Read(), fresh, "node-1", false},
		{"the same, on a node that has none", r.state.Read(), fresh, "node-4", true},
		{"a view", r.state.Read(), edgeView(), "node-4", true},
	} {
		e, ok := BuildEdge(tt.state, tt.view, tt.node, nil)
		if ok != tt.want {
			t.Errorf("%s: it can be told: %t", tt.name, ok)
		}
		if ok && (len(e.Nodes) != 3 || e.Networks == nil || e.Services == nil || len(e.Networks) > 0) {
			t.Errorf("%s: %+v", tt.name, e)
		}
	}
}

// TestServingOnNodes: whether a replica is asked hangs on whether its node
// answers.
func TestServingOnNodes(t *testing.T) {
	for state, want := range map[NodeState]bool{NodeReady: true, NodeNotReady: true, NodeSuspect: false, NodeDown: false} {
		r := edgeRig(t)
		running(t, r, "shop", "web", 1, "node-2", ReplicaReport{Phase: Running, NoHealthcheck: true, Addresses: "front=10.32.16.18"})
		n := testNode("node-2")
		n.Address, n.State = "192.0.2.2:7000", state
		r.must(&UpdateNode{Node: n})
		e, _ := BuildEdge(r.state.Read(), edgeView(), "node-1", nil)
		if web := onlyServices(e, "web"); len(web) != 1 || len(web[0].Endpoints) != 1 || web[0].Endpoints[0].Ready != want {
			t.Errorf("on a node that is %s: %+v", state, web)
		}
	}
}
