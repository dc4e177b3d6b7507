package mesh

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// status is what the report is made from.
type status struct {
	report cluster.EdgeReport // the last one

	names uint64 // the index that DNS follows
	host  uint64 // the index that kernel and engine follow

	refused string // why the last state was
	waiting string // why there is nothing to do yet
	tunnel  string // why WireGuard does not work
	isolate string // why the firewall does not
	engine  string // why nothing is known of the bridges

	mode       wireguard.Mode
	mtu        int // WireGuard's
	generation uint64

	slices []slice // of the last plan
	// bridges is BridgesResult.Ready, for networks with these subnets.
	bridges map[string]string
	subnets map[string]netip.Prefix
	// isolated are the interfaces, with their subnets, that the firewall had rules
	// for when it was read back after their bridges were looked at.
	isolated map[string]netip.Prefix

	peers   []cluster.PeerStatus
	peersAt int64 // Unix seconds
}

func newStatus(config Config) status {
	return status{
		mode: config.Mode, generation: config.Memory.Generation,
		waiting: "jacod has not said yet what this node's network is",
		tunnel:  "wireguard: not set up yet", isolate: "not loaded yet",
	}
}

// update changes the status, and tells whoever waits when the report is another
// one by that.
func (m *Mesh) update(change func(*status)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.status)
	next := m.build(listenerProblems(m.deps.DNS.Status()), m.journal.pending())
	if reflect.DeepEqual(next, m.status.report) {
		return
	}
	m.status.report = next
	m.broadcast.tell()
}

// publish makes the report anew of what did not go through update.
func (m *Mesh) publish() { m.update(func(*status) {}) }

// build makes the report, of which the events become a part. The caller holds mu.
func (m *Mesh) build(listeners map[netip.Addr]string, events []cluster.EdgeEvent) cluster.EdgeReport {
	s := &m.status
	report := cluster.EdgeReport{
		Version: m.config.Version, PID: m.config.PID,
		Applied:   min(s.names, s.host),
		PublicKey: slices.Clone(m.config.PublicKey[:]), Port: uint16(m.config.Local.Port), Mode: string(s.mode),
		Firewall: cluster.FirewallStatus{
			Reason: cmp.Or(s.waiting, s.isolate), Generation: s.generation,
		},
		Peers: s.peers, PeersAt: s.peersAt,
		Events: events,
	}
	if s.waiting == "" {
		report.Problem = cmp.Or(s.refused, s.tunnel)
	}
	if state := m.state.Load(); state != nil {
		for i := range events {
			events[i].Event.Node = state.Node
		}
	}
	report.Firewall.Ready = report.Firewall.Reason == ""
	for _, slice := range s.slices {
		why := cmp.Or(report.Problem, s.trouble(slice, listeners))
		report.Networks = append(report.Networks, cluster.EdgeReady{
			Network: slice.network, Serial: slice.serial, Prefix: slice.prefix, Ready: why == "", Reason: why,
		})
	}
	return report
}

// trouble is why no container may start on a slice, "" when one may.
func (s *status) trouble(slice slice, listeners map[netip.Addr]string) string {
	bridge, known := s.bridges[slice.engine]
	switch {
	case s.waiting != "":
		return s.waiting
	case s.isolate != "":
		return "firewall: " + s.isolate
	case s.engine != "":
		return s.engine
	case !known || s.subnets[slice.engine] != slice.prefix:
		return "its bridge was not made yet"
	case bridge != "":
		return bridge
	case s.isolated[slice.bridge] != slice.prefix:
		return "its firewall was not read back yet"
	}
	return listeners[slice.prefix.Addr().Next()]
}

// listenerProblems are the gateways that nobody answers names on, and why.
func listenerProblems(status dns.Status) map[netip.Addr]string {
	problems := map[netip.Addr]string{}
	for _, l := range status.Listeners {
		if !l.Serving {
			problems[l.Address] = "its names are not answered: " + l.Problem
		}
	}
	return problems
}
