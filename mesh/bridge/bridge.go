// Package bridge keeps the engine's networks: one bridge for each slice of a
// network that this node has, and the engine's own rules out of their way.
//
// Its rules:
//   - It owns the engine's networks that carry the cluster's label
//     (sh.jaco.cluster), the interfaces that Interface names for them, and the
//     rules of the packet filter that carry its comment. It touches nothing else:
//     a foreign network in the way is named, and left.
//   - A network that exists otherwise than asked for is made anew, but never under
//     a container that runs: then the reason says so, and it is left as it is.
//   - What is lost of an interface (the link, its address, that it is up) is put
//     back under the containers, which notice nothing but the gap.
//   - It isolates nothing. The engine's networks are all open to each other here;
//     what may pass is for mesh/firewall to say.
//   - It works in the network namespace of the process, which is the engine's.
package bridge

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/moby/moby/client"
)

// LabelCluster is the label of everything that JACO makes on an engine; its
// value is the cluster's id. It is how a network is found again; never rename it.
const LabelCluster = "sh.jaco.cluster"

// Config is all the networks of one cluster on this node.
type Config struct {
	Cluster string // networks with another cluster's label are not touched
	Mesh    string // the WireGuard interface
	MTU     int    // of containers, bytes
	// Networks are by engine name.
	Networks []Network
}

// Network is one engine network.
type Network struct {
	Name    string // cluster.SliceNetwork
	Bridge  string // the interface, at most 15 bytes: Interface(Name)
	Subnet  netip.Prefix
	Gateway netip.Addr
	Labels  map[string]string // sh.jaco.* among them
}

// interfacePrefix begins the names that Interface makes; rules name bridges by it.
const interfacePrefix = "jb"

// maxName is the longest name of an interface, bytes.
const maxName = 15

// The least MTU of IPv4 (RFC 791) and the most that an IPv4 packet has.
const (
	minMTU = 68
	maxMTU = 65535
)

// validate says what is wrong with a Config before anything is changed.
func (c *Config) validate() error {
	switch {
	case c.Cluster == "":
		return errors.New("no cluster id")
	case c.Mesh == "" || len(c.Mesh) > maxName:
		return fmt.Errorf("mesh interface %q: 1 to %d bytes are wanted", c.Mesh, maxName)
	case c.MTU < minMTU || c.MTU > maxMTU:
		return fmt.Errorf("mtu %d: %d to %d is wanted", c.MTU, minMTU, maxMTU)
	}
	names, bridges := map[string]bool{}, map[string]string{}
	for i := range c.Networks {
		n := &c.Networks[i]
		if err := n.validate(); err != nil {
			return fmt.Errorf("network %q: %w", n.Name, err)
		}
		if names[n.Name] {
			return fmt.Errorf("network %q is there twice", n.Name)
		}
		if other, taken := bridges[n.Bridge]; taken {
			return fmt.Errorf("networks %q and %q have one bridge, %s", other, n.Name, n.Bridge)
		}
		for _, other := range c.Networks[:i] {
			if other.Subnet.Overlaps(n.Subnet) {
				return fmt.Errorf("networks %q and %q overlap: %s and %s", other.Name, n.Name, other.Subnet, n.Subnet)
			}
		}
		names[n.Name], bridges[n.Bridge] = true, n.Name
	}
	return nil
}

func (n *Network) validate() error {
	switch {
	case n.Name == "":
		return errors.New("it has no name")
	case n.Bridge == "" || len(n.Bridge) > maxName:
		return fmt.Errorf("bridge %q: 1 to %d bytes are wanted", n.Bridge, maxName)
	case !n.Subnet.IsValid() || !n.Subnet.Addr().Is4() || n.Subnet != n.Subnet.Masked():
		return fmt.Errorf("subnet %s is not a masked IPv4 prefix", n.Subnet)
	case !n.Subnet.Contains(n.Gateway):
		return fmt.Errorf("gateway %s is not in %s", n.Gateway, n.Subnet)
	}
	return nil
}

// address is the bridge's own: the gateway with the subnet's length.
func (n *Network) address() netip.Prefix { return netip.PrefixFrom(n.Gateway, n.Subnet.Bits()) }

// Result is what Set came to.
type Result struct {
	// Ready has each network of the Config by its engine name: "" when it is as it
	// should be, else why it is not.
	Ready   map[string]string
	Changed bool // something was made, mended or removed
	// Repaired is what somebody else had changed since the last Set, a line each.
	Repaired []string
}

// Options are what Bridges work with.
type Options struct {
	Host   string // the engine: "unix:///path" or "tcp://address:port"
	Logger *slog.Logger
}

// Bridges are the engine's networks on this node. Its methods are safe for
// concurrent use.
type Bridges struct {
	host     string
	logger   *slog.Logger
	tables   tables
	programs func() []string // that tables is asked for

	mu   sync.Mutex     // guards what follows and makes one Set of several at a time
	api  *client.Client // renewed when the engine has been away
	last memory
	mute bool // it was said that the packet filter cannot be looked at
}

// memory is what the last Set left.
type memory struct {
	set    bool // there was one
	config Config
	// ids are the engine's ids of the networks that were ready, by name.
	ids map[string]string
	// ports are the bridges as they were, by interface.
	ports map[string]port
	ruled bool // the rules were there
	// unsettled says that a network is not as it should be, or waits to be
	// removed, so that what happens to others may matter.
	unsettled bool
}

// port is a bridge as containers know it. When the link is another than before,
// they may be attached to none; its hardware address is in their neighbour
// tables.
type port struct {
	index    int
	hardware net.HardwareAddr
}

// New returns the bridges of the engine at Host. It does not connect: the engine
// may come up later.
func New(o Options) (*Bridges, error) {
	api, err := newClient(o.Host)
	if err != nil {
		return nil, err
	}
	logger := cmp.Or(o.Logger, slog.New(slog.DiscardHandler))
	return &Bridges{host: o.Host, api: api, logger: logger, tables: runTables, programs: programs}, nil
}

// newClient makes a client that agrees with the engine on a version of the API
// at its first call. No version is right for all: Engine 20.10 speaks up to 1.41,
// and Engine 29.0 wants at least 1.44 (its release notes).
func newClient(host string) (*client.Client, error) {
	api, err := client.New(client.WithHost(host))
	if err != nil {
		return nil, fmt.Errorf("docker client for %s: %w", host, err)
	}
	return api, nil
}

// Close drops idle connections. The networks stay.
func (b *Bridges) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.api.Close(); err != nil {
		return fmt.Errorf("close docker client: %w", err)
	}
	return nil
}

// renew forgets the version that was agreed on: the engine may be another one
// when it is back.
func (b *Bridges) renew() {
	b.mu.Lock()
	defer b.mu.Unlock()
	api, err := newClient(b.host)
	if err != nil {
		return // New has made one from the same host
	}
	_ = b.api.Close() // idle connections to what is gone
	b.api = api
}
