package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// attachment is one network of a service as this node has it.
type attachment struct {
	network string // the engine's name
	// managed says that it is the mesh's: it is made by that, and may have several
	// bridges here. The node's own ones are only looked for.
	managed bool
	aliases []string // of the node's own; the mesh's DNS knows those of the others
}

// attachmentsOf are the networks of s, in its order. A network that s only names
// is the mesh's when another accepted deployment declares it.
func attachmentsOf(mesh cluster.Networks, d *desired.Deployment, s *desired.Service) []attachment {
	out := make([]attachment, 0, len(s.Container.Networks))
	for _, at := range s.Container.Networks {
		a := attachment{network: d.EngineNetwork(at.Network)}
		_, declared := mesh[a.network]
		a.managed = declared || !isExternal(d, at.Network)
		if !a.managed {
			a.aliases = at.Aliases
		}
		out = append(out, a)
	}
	return out
}

func isExternal(d *desired.Deployment, network string) bool {
	return slices.ContainsFunc(d.Networks, func(n desired.Network) bool { return n.Name == network && n.External })
}

// holds reports whether a container that has a network of the engine is attached
// to a: to any of its bridges.
func (a *attachment) holds(engineName string) bool {
	if a.managed {
		return cluster.NetworkOfSlice(engineName) == a.network
	}
	return engineName == a.network
}

// find returns the engine's name of the network by which a container is attached
// to a; "" when by none.
func (a *attachment) find(networks map[string]netip.Addr) string {
	for _, name := range sortedKeys(networks) {
		if a.holds(name) {
			return name
		}
	}
	return ""
}

// addresses are those of a container in the networks of the mesh.
func addresses(attachments []attachment, networks map[string]netip.Addr) cluster.NetworkAddresses {
	found := map[string]netip.Addr{}
	for i := range attachments {
		if a := &attachments[i]; a.managed {
			found[a.network] = networks[a.find(networks)]
		}
	}
	return cluster.NewNetworkAddresses(found)
}

// The bounds of one wait for the mesh. When the first has passed, the replica says
// what it waits for, and goes on waiting; the second is for a look at what was
// open a moment ago.
const (
	gateWait   = 5 * time.Second
	gateGlance = 500 * time.Millisecond
)

// closedError says why the mesh holds a container back.
type closedError struct{ err error }

func (e *closedError) Error() string { return e.err.Error() }
func (e *closedError) Unwrap() error { return e.err }

// passGate waits until the mesh lets containers of the networks start, and
// returns their bridges. What it says is a *laterError that is due at once, or
// as soon as a gate that did not wait may be asked again.
func (x *executor) passGate(ctx context.Context, attachments []attachment, limit time.Duration) (map[string][]Bridge, error) {
	var managed []string
	for _, a := range attachments {
		if a.managed {
			managed = append(managed, a.network)
		}
	}
	if len(managed) == 0 {
		return nil, nil
	}
	again := time.Now().Add(min(x.cfg.BackoffMin, limit))
	bridges, err := call(ctx, limit, func(ctx context.Context) (map[string][]Bridge, error) { return x.gate.Await(ctx, managed) })
	switch {
	case err == nil:
		return bridges, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, &laterError{at: again, err: &closedError{err}}
}

// stillOpen looks once more, right before a start: the container may have waited
// for its turn, and was made in between.
func (x *executor) stillOpen(ctx context.Context, attachments []attachment, spec *ContainerSpec) error {
	bridges, err := x.passGate(ctx, attachments, gateGlance)
	if err != nil {
		return err
	}
	for i, a := range attachments {
		chosen := spec.Networks[i].Network
		if a.managed && !slices.ContainsFunc(bridges[a.network], func(b Bridge) bool { return b.Network == chosen }) {
			return &laterError{at: time.Now(), err: &closedError{fmt.Errorf("network %s is no longer ready on this node", chosen)}}
		}
	}
	return nil
}

// rooms knows which replicas are on which bridge: those whose containers were
// seen, and those whose start has chosen one. It is safe for concurrent use.
type rooms struct {
	mu     sync.Mutex                 // guards the fields below
	seen   map[string]map[string]bool // replicas by the engine's network
	chosen map[string][]string        // the engine's networks by replica
}

func newRooms() *rooms { return &rooms{chosen: map[string][]string{}} }

// look takes in what there is. starting are the replicas whose start is under
// way; what others had chosen is forgotten.
func (r *rooms) look(containers map[string]Container, starting func(replica string) bool) {
	seen := map[string]map[string]bool{}
	for id, c := range containers {
		if c.Status == StatusExited || c.Status == StatusRemoving {
			continue // it has no address any more
		}
		key := c.Labels[LabelReplica]
		if key == "" {
			key = "container:" + id
		}
		for name := range c.Networks {
			if seen[name] == nil {
				seen[name] = map[string]bool{}
			}
			seen[name][key] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = seen
	for replica := range r.chosen {
		if !starting(replica) {
			delete(r.chosen, replica)
		}
	}
}

// errFull is why a replica has no room in a network here.
var errFull = errors.New("every address that the network has on this node is taken")

// choose gives a replica a bridge in each network, the first that has room, and
// keeps it until look is told that the start is over.
func (r *rooms) choose(replica string, attachments []attachment, bridges map[string][]Bridge) ([]Bridge, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.chosen, replica)
	var out []Bridge
	var names []string
	for _, a := range attachments {
		if !a.managed {
			out = append(out, Bridge{Network: a.network})
			continue
		}
		at := slices.IndexFunc(bridges[a.network], func(b Bridge) bool { return r.takenLocked(b.Network, replica) < b.Capacity })
		if at < 0 {
			return nil, fmt.Errorf("network %s: %w", a.network, errFull)
		}
		out = append(out, bridges[a.network][at])
		names = append(names, bridges[a.network][at].Network)
	}
	r.chosen[replica] = names
	return out, nil
}

// takenLocked counts the others on a bridge.
func (r *rooms) takenLocked(bridge, replica string) int {
	others := map[string]bool{}
	for other := range r.seen[bridge] {
		others[other] = true
	}
	for other, names := range r.chosen {
		if slices.Contains(names, bridge) {
			others[other] = true
		}
	}
	delete(others, replica)
	return len(others)
}

// attach waits for the mesh and gives the spec its networks, and the resolver of
// the first one that is the mesh's.
func (x *executor) attach(ctx context.Context, a *action, spec *ContainerSpec) error {
	open, err := x.passGate(ctx, a.attachments, gateWait)
	if err != nil {
		return err
	}
	bridges, err := x.rooms.choose(a.replica.ID, a.attachments, open)
	if err != nil {
		// The leader gives a full network more addresses, and others end.
		return &laterError{at: time.Now().Add(x.cfg.BackoffMin), err: err}
	}
	for i, b := range bridges {
		spec.Networks = append(spec.Networks, desired.Attachment{Network: b.Network, Aliases: a.attachments[i].aliases})
		if b.Gateway.IsValid() && len(spec.DNS) == 0 {
			spec.DNS = []netip.Addr{b.Gateway}
		}
	}
	return nil
}
