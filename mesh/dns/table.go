package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// table is a Config in the form in which it is asked. It never changes once it
// is built; names in it are in lower case.
type table struct {
	listeners map[netip.Addr]string // to the network
	clients   map[netip.Addr]*client
	networks  map[string]*network
	upstreams []netip.AddrPort
	pool      netip.Prefix
	// replaced is closed when there is a newer table.
	replaced chan struct{}
}

// client is a Client, or what stands in for an unknown one.
type client struct {
	known      bool
	deployment string
	networks   []*network // at least one unless the listener's is unknown too
	upstreams  []netip.AddrPort
	confined   bool // on internal networks only
}

// network is one network with the names on it.
type network struct {
	internal bool
	services map[key]*group
	aliases  map[key]*group // those with deployment "" are all deployments' together
	// byName finds services without their deployment, for clients whose own is
	// not known.
	byName      map[string]*candidates
	deployments map[string]bool
	owners      map[netip.Addr]string // names of replicas, ready or not, for PTR
}

// key is a name in a deployment.
type key struct{ deployment, name string }

// candidates are the services of one name on a network.
type candidates struct {
	group     *group
	ambiguous bool // several deployments have it
}

// group are the endpoints of a service, or of several with one alias, that can
// be asked for on one network.
type group struct {
	service, deployment string // "" for several
	local, remote       []endpoint
}

// endpoint is a ready replica on one network.
type endpoint struct {
	address netip.Addr
	slot    int
	name    string // "<slot>.<service>.<deployment>.", for SRV and PTR
}

// newTable indexes a Config. It keeps nothing of it.
func newTable(c Config) *table {
	t := &table{
		listeners: make(map[netip.Addr]string, len(c.Listeners)),
		clients:   make(map[netip.Addr]*client, len(c.Clients)),
		networks:  map[string]*network{},
		upstreams: slices.Clone(c.Upstreams),
		pool:      c.Pool,
		replaced:  make(chan struct{}),
	}
	for _, l := range c.Listeners {
		t.listeners[l.Address.Unmap()] = l.Network
		t.network(l.Network)
	}
	for i := range c.Services {
		t.addService(&c.Services[i])
	}
	for _, name := range c.Internal {
		t.network(name).internal = true
	}
	for i := range c.Clients {
		t.addClient(&c.Clients[i])
	}
	return t
}

func (t *table) network(name string) *network {
	n := t.networks[name]
	if n == nil {
		n = &network{
			services: map[key]*group{}, aliases: map[key]*group{}, byName: map[string]*candidates{},
			deployments: map[string]bool{}, owners: map[netip.Addr]string{},
		}
		t.networks[name] = n
	}
	return n
}

func (t *table) addClient(c *Client) {
	out := &client{known: true, deployment: strings.ToLower(c.Deployment), confined: len(c.Networks) > 0}
	for _, name := range c.Networks {
		n := t.network(name)
		out.networks = append(out.networks, n)
		out.confined = out.confined && n.internal
	}
	for _, u := range c.Upstreams {
		// The node reaches what the container may not: its own loopback and,
		// where it serves ingress, every container.
		if !t.pool.Contains(u.Addr().Unmap()) && !u.Addr().IsLoopback() {
			out.upstreams = append(out.upstreams, u)
		}
	}
	if len(c.Upstreams) > 0 && out.upstreams == nil {
		out.upstreams = []netip.AddrPort{} // none of them: not the node's instead
	}
	t.clients[c.Address.Unmap()] = out
}

func (t *table) addService(s *Service) {
	service, deployment := strings.ToLower(s.Name), strings.ToLower(s.Deployment)
	for _, at := range s.Networks {
		n := t.network(at.Network)
		n.deployments[deployment] = true
		ready := n.endpoints(s, at.Network)
		g := n.services[key{deployment, service}]
		if g == nil {
			g = &group{service: service, deployment: deployment}
			n.services[key{deployment, service}] = g
		}
		g.add(ready)
		switch other := n.byName[service]; {
		case other == nil:
			n.byName[service] = &candidates{group: g}
		case other.group != g:
			other.ambiguous = true
		}
		for _, alias := range at.Aliases {
			n.addAlias(deployment, strings.ToLower(strings.TrimSuffix(alias, ".")), ready)
		}
	}
}

// addAlias gives endpoints a further name, which other services may have too.
func (n *network) addAlias(deployment, alias string, ready *group) {
	for _, k := range []key{{deployment, alias}, {"", alias}} {
		g := n.aliases[k]
		if g == nil {
			g = &group{}
			n.aliases[k] = g
		}
		g.add(ready)
	}
}

// endpoints are the ready ones of a service on a network. The owners of all
// addresses, ready or not, are noted.
func (n *network) endpoints(s *Service, name string) *group {
	ready := &group{}
	for _, e := range s.Endpoints {
		address := e.Addresses[name].Unmap()
		if !address.Is4() {
			continue // there is no IPv6 in the mesh
		}
		full := strconv.Itoa(e.Slot) + "." + s.Name + "." + s.Deployment + "."
		n.owners[address] = full
		switch at := (endpoint{address, e.Slot, full}); {
		case !e.Ready:
		case e.Local:
			ready.local = append(ready.local, at)
		default:
			ready.remote = append(ready.remote, at)
		}
	}
	return ready
}

func (g *group) add(other *group) {
	g.local = append(g.local, other.local...)
	g.remote = append(g.remote, other.remote...)
}

func (g *group) empty() bool { return len(g.local)+len(g.remote) == 0 }

// slot is the part of a group that is one slot.
func (g *group) slot(slot int) *group {
	out := &group{service: g.service, deployment: g.deployment}
	for _, e := range g.local {
		if e.slot == slot {
			out.local = append(out.local, e)
		}
	}
	for _, e := range g.remote {
		if e.slot == slot {
			out.remote = append(out.remote, e)
		}
	}
	return out
}

// client is who asks from source on listener. An unknown one may be a container
// that the state does not have yet, or one that somebody made by hand: it is on
// the listener's network, where the bridge has let it in.
func (t *table) client(source, listener netip.Addr) *client {
	if c := t.clients[source]; c != nil {
		return c
	}
	c := &client{confined: true} // on a listener that is just going
	if n := t.networks[t.listeners[listener]]; n != nil {
		c.networks, c.confined = []*network{n}, n.internal
	}
	return c
}
