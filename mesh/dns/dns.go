// Package dns answers the names of services on the gateway of every bridge, and
// forwards the rest.
//
// Its rules: a client only ever learns services that share one of its networks,
// by their addresses there; a name of theirs is never NXDOMAIN, whatever runs;
// what is answered comes from one immutable table behind an atomic pointer, so
// that no query waits for a lock or for another client; a name that is not the
// mesh's is forwarded like any other, also when some other network has it; and
// a client that is only on internal networks gets nothing forwarded, as a query
// is a way out too.
//
// Names, without regard to case and without a domain after them:
//
//	<service>                       of the client's own deployment
//	<alias>                         on a network of the client, own deployment first
//	<slot>.<service>                one slot
//	<service>.<deployment>          of any deployment on a network of the client
//	<slot>.<service>.<deployment>
//	_<port>._tcp.<any of these>     SRV, _udp likewise: the slots, with that port
package dns

import (
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"time"
)

// Config is one immutable snapshot of what is answered.
type Config struct {
	// Listeners are the addresses that are answered on, port 53, UDP and TCP.
	Listeners []Listener
	Services  []Service
	// Clients are this node's containers. A query from another address is
	// answered as Listener.Network's.
	Clients []Client
	// Upstreams are asked for all other names; empty: those of the node's
	// resolv.conf.
	Upstreams []netip.AddrPort
	// Internal are the networks without a way out of the cluster. Nothing is
	// forwarded for a client that is on no other.
	Internal []string
	// Pool is where the addresses of containers come from. No upstream in it is
	// asked: the node may reach containers that the client may not.
	Pool netip.Prefix
}

// Listener is the gateway of one bridge.
type Listener struct {
	Address netip.Addr
	Network string
}

// Client is a container that asks.
type Client struct {
	Address    netip.Addr
	Deployment string   // its own, whose services it names by one label
	Networks   []string // that it is attached to: only services on one of them are known to it
	// Upstreams are asked instead of Config's when there are any.
	Upstreams []netip.AddrPort
}

// Service is a service on its networks.
type Service struct {
	Deployment string
	Name       string
	Networks   []Attachment
	Endpoints  []Endpoint
}

// Attachment is a service on a network, with further names that it has there.
type Attachment struct {
	Network string
	Aliases []string
}

// Endpoint is one replica.
type Endpoint struct {
	Slot      int
	Addresses map[string]netip.Addr // by network
	Ready     bool                  // takes traffic
	Local     bool                  // on this node
}

// Options are what a server needs. The zero value works.
type Options struct {
	// Logger gets listeners and upstreams that come and go; nil: nothing is
	// logged.
	Logger *slog.Logger
	// Clock tells the time by which answers of upstreams expire; nil: time.Now.
	Clock func() time.Time
	// Random chooses which endpoint comes first, from 0 to n-1; nil: at random.
	// It is called from several goroutines.
	Random func(n int) int
	// ResolvConf names the upstreams of the node; "": /etc/resolv.conf. It is
	// read again when it changes.
	ResolvConf string
	// Port is listened on, UDP and TCP; 0: 53.
	Port uint16
}

// defaultPort is that of DNS, of listeners and upstreams alike.
const defaultPort = 53

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Random == nil {
		o.Random = rand.IntN
	}
	if o.ResolvConf == "" {
		o.ResolvConf = "/etc/resolv.conf"
	}
	if o.Port == 0 {
		o.Port = defaultPort
	}
	return o
}

// Status is what the server does at the moment.
type Status struct {
	Listeners []ListenerStatus // by address
	Upstreams []UpstreamStatus // that were asked lately, by address
}

// ListenerStatus is one listener's.
type ListenerStatus struct {
	Address netip.Addr
	Network string
	Serving bool   // UDP and TCP
	Problem string // why not: "address in use by dnsmasq (1234)"; it is tried again
}

// UpstreamStatus is one resolver's.
type UpstreamStatus struct {
	Address netip.AddrPort
	// Down says that it answers nothing at all. It is asked again by itself, and
	// by clients only once it answers.
	Down bool
}
