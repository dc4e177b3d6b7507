// Package dns answers the names of services on the gateway of every bridge, and
// forwards the rest.
package dns

import "net/netip"

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
