package stage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// PeerImage is the reference of the image that Peers run: tests/rig/cmd/peer.
const PeerImage = "jaco-stage/peer:1"

// EchoPort is where a peer answers over TCP and UDP with what it was sent.
const EchoPort = 7007

// NewPeerImage is what ClusterConfig.Images needs for PeerCompose. The suite
// builds the program:
//
//	//rig:program peer ./tests/rig/cmd/peer
func NewPeerImage(t rig.TB) rig.Image {
	t.Helper()
	return rig.Image{Ref: PeerImage, Binary: rig.Must[string](t)(rig.Bin("peer"))}
}

// Peers is a service of peers.
type Peers struct {
	Name     string
	Image    string // instead of PeerImage
	Replicas int
	Networks []string
	Check    time.Duration // between two healthchecks; 0: there is none
	Publish  int           // the host's port for the health page; 0: none
	Extra    string        // more lines of the service, indented by four
}

// PeerCompose renders a compose file of peers.
func PeerCompose(services ...Peers) string {
	var b strings.Builder
	b.WriteString("services:\n")
	networks := map[string]bool{}
	for _, s := range services {
		fmt.Fprintf(&b, "  %s:\n    image: %s\n    pull_policy: never\n    stop_grace_period: 1s\n", s.Name, cmp.Or(s.Image, PeerImage))
		fmt.Fprintf(&b, "    networks: [%s]\n    deploy: {replicas: %d}\n", strings.Join(s.Networks, ", "), s.Replicas)
		if s.Check > 0 {
			b.WriteString("    healthcheck:\n      test: [CMD, /peer, -probe, \"http://127.0.0.1:8080/healthz\"]\n")
			fmt.Fprintf(&b, "      interval: %s\n      timeout: 2s\n      retries: 1\n", s.Check)
		}
		if s.Publish > 0 {
			fmt.Fprintf(&b, "    ports: [\"%d:8080\"]\n", s.Publish)
		}
		b.WriteString(s.Extra)
		for _, n := range s.Networks {
			networks[n] = true
		}
	}
	b.WriteString("networks:\n")
	for _, n := range slices.Sorted(maps.Keys(networks)) {
		fmt.Fprintf(&b, "  %s: {}\n", n)
	}
	return b.String()
}

// Endpoint is the running container of a replica, as its packets see it.
type Endpoint struct {
	Node                *rig.Node
	Deployment, Service string
	Slot                int
	ID                  string // the container's
	// NetNS is the container's own network: what a test opens there is, for the
	// kernel, the container's. It ends with the container.
	NetNS rig.NetNS
	// Addresses are by network (cluster.Slice.Network).
	Addresses map[string]netip.Addr
	// Gateways are the bridges' own addresses, by network.
	Gateways map[string]netip.Addr
}

// String names it for failures.
func (e *Endpoint) String() string {
	return fmt.Sprintf("%s/%s/%d on %s", e.Deployment, e.Service, e.Slot, e.Node.Name)
}

// Shared are the networks that two endpoints have in common, sorted.
func (e *Endpoint) Shared(other *Endpoint) []string {
	var shared []string
	for _, network := range slices.Sorted(maps.Keys(e.Addresses)) {
		if other.Addresses[network].IsValid() {
			shared = append(shared, network)
		}
	}
	return shared
}

// Endpoints asks the engines for every container of the cluster that runs on a
// node with power, in the order of deployment, service and slot.
func (c *Cluster) Endpoints() []*Endpoint {
	c.T.Helper()
	endpoints, err := c.TryEndpoints(c.T.Context())
	c.Check(err)
	return endpoints
}

// TryEndpoints is Endpoints for engines that may be down.
func (c *Cluster) TryEndpoints(ctx context.Context) ([]*Endpoint, error) {
	placed, err := c.TryContainers(ctx)
	if err != nil {
		return nil, err
	}
	nodes := map[string]*rig.Node{}
	for _, node := range c.Rig.Nodes {
		nodes[node.Name] = node
	}
	var endpoints []*Endpoint
	var errs error
	for _, p := range placed {
		if p.State != "running" {
			continue
		}
		endpoint, err := inspect(ctx, nodes[p.Node], p.Container)
		if rig.NotFound(err) {
			continue
		}
		errs = errors.Join(errs, err)
		endpoints = append(endpoints, endpoint)
	}
	slices.SortFunc(endpoints, func(a, b *Endpoint) int {
		return cmp.Or(cmp.Compare(a.Deployment, b.Deployment), cmp.Compare(a.Service, b.Service), cmp.Compare(a.Slot, b.Slot), cmp.Compare(a.ID, b.ID))
	})
	return endpoints, errs
}

func inspect(ctx context.Context, node *rig.Node, container rig.Container) (*Endpoint, error) {
	details, err := node.Engine.Inspect(ctx, container.ID)
	if err != nil {
		return nil, err
	}
	e := &Endpoint{
		Node: node, ID: container.ID, NetNS: rig.NetNSOf(details.State.Pid), Addresses: map[string]netip.Addr{}, Gateways: map[string]netip.Addr{},
		Deployment: details.Config.Labels["sh.jaco.deployment"], Service: details.Config.Labels["sh.jaco.service"],
	}
	if e.Slot, err = strconv.Atoi(details.Config.Labels["sh.jaco.slot"]); err != nil {
		return nil, fmt.Errorf("container %.12s: slot: %w", container.ID, err)
	}
	for name, network := range details.NetworkSettings.Networks {
		if address, err := netip.ParseAddr(network.IPAddress); err == nil {
			e.Addresses[cluster.NetworkOfSlice(name)] = address
		}
		if gateway, err := netip.ParseAddr(network.Gateway); err == nil {
			e.Gateways[cluster.NetworkOfSlice(name)] = gateway
		}
	}
	return e, nil
}

// PeersOf are the endpoints of a deployment's service.
func PeersOf(endpoints []*Endpoint, deployment, service string) []*Endpoint {
	var found []*Endpoint
	for _, e := range endpoints {
		if e.Deployment == deployment && e.Service == service {
			found = append(found, e)
		}
	}
	return found
}
