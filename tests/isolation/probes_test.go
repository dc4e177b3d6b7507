package isolation

import (
	"net/netip"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/rig/packet"
	"github.com/jaco-sh/jaco/tests/stage"
)

// betweenContainers has each container send to each other: with its own address,
// and where that must not pass with every address that could be trusted there.
func (w *world) betweenContainers() []probe {
	var probes []probe
	for _, from := range w.endpoints {
		for _, to := range w.endpoints {
			if from == to {
				continue
			}
			p := probe{
				what: from.String() + " to " + to.String(), send: w.senders[from].Send,
				from: addressOf(from), to: addressOf(to), port: stage.EchoPort, allowed: len(from.Shared(to)) > 0,
			}
			probes = append(probes, p)
			for what, source := range w.spoofed(from, to) {
				q := p
				q.what, q.from, q.allowed = p.what+" with "+what, source, false
				probes = append(probes, q)
			}
		}
	}
	return probes
}

// spoofed are sources that are not the sender's: those that the receiver trusts
// or is near to. Between members a spoofed source must not pass either, unless
// it is of the sender's own bridge, which nobody can tell apart.
func (w *world) spoofed(from, to *stage.Endpoint) map[string]netip.Addr {
	sources := map[string]netip.Addr{
		"a source outside": netip.MustParseAddr("192.0.2.1"),
		"the LAN's source": w.rig.LAN.Address,
	}
	if len(from.Shared(to)) > 0 {
		return sources
	}
	sources["its gateway's source"] = gatewayOf(to)
	for _, other := range w.endpoints {
		if other == to || len(other.Shared(to)) == 0 {
			continue
		}
		what := "the source of a member elsewhere"
		if other.Node == from.Node {
			what = "the source of a member beside it"
		}
		sources[what] = addressOf(other)
	}
	return sources
}

// toHosts has each container send to services of hosts: its own and others, by
// every address that they have.
func (w *world) toHosts() []probe {
	var probes []probe
	for _, from := range w.endpoints {
		targets := map[netip.Addr]string{gatewayOf(from): "its own gateway"}
		for _, node := range w.rig.Nodes {
			targets[node.Address] = "host " + node.Name
		}
		for _, other := range w.endpoints {
			if len(from.Shared(other)) == 0 {
				targets[gatewayOf(other)] = "the gateway of " + other.String()
			}
		}
		if from.Service != "aa" || from.Deployment != "north" {
			probes = append(probes, probe{ // by the way back through its own host
				what: from.String() + " to a port published for north/aa", send: w.senders[from].Send,
				from: addressOf(from), to: from.Node.Address, port: published, only: packet.TCP,
			})
		}
		for address, what := range targets {
			if from.Node.Address != address && w.isLAN(address) {
				continue // the world outside is open to containers
			}
			probes = append(probes, probe{
				what: from.String() + " to " + what, send: w.senders[from].Send,
				from: addressOf(from), to: address, port: hostPort, only: packet.UDP,
			})
		}
	}
	return probes
}

func (w *world) isLAN(address netip.Addr) bool {
	for _, node := range w.rig.Nodes {
		if node.Address == address {
			return true
		}
	}
	return false
}

// fromHosts has each node's own processes send to containers, here and
// elsewhere: by the bridge of the container's own network that may pass on its
// own node, by any other bridge's address it must not.
func (w *world) fromHosts() []probe {
	var probes []probe
	for _, node := range w.rig.Nodes {
		sources := map[netip.Addr]string{node.Address: "its address in the LAN"}
		for _, e := range w.endpoints {
			if e.Node == node {
				sources[gatewayOf(e)] = "the bridge of " + e.String()
			}
		}
		for _, to := range w.endpoints {
			for source, what := range sources {
				own := to.Node == node && source == gatewayOf(to)
				if to.Node == node && source == node.Address {
					continue // the node's own processes may reach what runs on it
				}
				probes = append(probes, probe{
					what: "host " + node.Name + " with " + what + " to " + to.String(), send: w.hosts[node].Send,
					from: source, to: addressOf(to), port: stage.EchoPort, allowed: own,
				})
			}
		}
	}
	return probes
}

// fromLAN has a machine of the LAN send to containers through the node that they
// run on, with its own address and with those of the containers' members.
func (w *world) fromLAN() []probe {
	var probes []probe
	hardware := map[*rig.Node]func(packet.Packet) error{}
	for _, node := range w.rig.Nodes {
		address, err := node.Hardware()
		w.check(err)
		hardware[node] = func(p packet.Packet) error { return w.lan.SendTo(address, p) }
		probes = append(probes, probe{ // the host's own services are its own business
			what: "the LAN to host " + node.Name, send: hardware[node], from: w.rig.LAN.Address, to: node.Address, port: hostPort,
			allowed: !node.Off(), only: packet.UDP,
		})
	}
	for _, to := range w.endpoints {
		sources := map[string]netip.Addr{"its own address": w.rig.LAN.Address, "the gateway's": gatewayOf(to), "the node's": to.Node.Address}
		for _, other := range w.endpoints {
			if other != to && len(other.Shared(to)) > 0 {
				sources["the address of "+other.String()] = addressOf(other)
			}
		}
		for what, source := range sources {
			probes = append(probes, probe{
				what: "the LAN with " + what + " to " + to.String(), send: hardware[to.Node], from: source, to: addressOf(to), port: stage.EchoPort,
			})
		}
	}
	return probes
}
