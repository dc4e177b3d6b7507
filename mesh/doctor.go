package mesh

import (
	"context"
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

const (
	// probeEvery is the pause between two rounds of probes.
	probeEvery = 30 * time.Second
	// probeSoon is the pause before the first round after the peers have changed:
	// what is new gets a moment to be there.
	probeSoon = 2 * time.Second
	// probeLimit bounds one round.
	probeLimit = 10 * time.Second
	// neverShaken stands for the age of a handshake that never was.
	neverShaken = -1
)

// Prober finds out how well peers are reached.
type Prober interface {
	// Probe asks all targets at once, with small packets and with such as mtu
	// allows (bytes), and returns what it found of each, in their order. It takes a
	// few seconds at most.
	Probe(ctx context.Context, targets []Target, mtu int) ([]Probe, error)
}

// Target is a peer to probe.
type Target struct {
	Name    string
	Address netip.Addr // in the mesh
}

// Probe is what was found of one target.
type Probe struct {
	Answered bool
	RTT      time.Duration // of a small packet; 0 when none was answered
	MTU      int           // the size of the largest packet that was answered, bytes; 0: none
	Reason   string        // what is wrong, "" when nothing is
}

// aim says whom the doctor looks at from now on.
func (m *Mesh) aim(plan Plan) {
	targets := make([]Target, 0, len(plan.WireGuard.Peers))
	for i, p := range plan.WireGuard.Peers {
		// Build puts both into the same order.
		targets = append(targets, Target{Name: p.Name, Address: plan.Firewall.Peers[i]})
	}
	if old := m.targets.Swap(&targets); old == nil || !slices.Equal(*old, targets) {
		ring(m.newPeers)
	}
}

// diagnose is the doctor: it looks at every peer from time to time.
func (m *Mesh) diagnose(ctx context.Context) {
	timer := time.NewTimer(probeEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.newPeers:
			timer.Reset(probeSoon)
			continue
		case <-timer.C:
		}
		if targets, mtu := m.targets.Load(), m.currentMTU(); targets != nil && mtu > 0 {
			m.examine(ctx, *targets, mtu)
		}
		timer.Reset(probeEvery)
	}
}

// examine is one round.
func (m *Mesh) examine(ctx context.Context, targets []Target, mtu int) {
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	probes, err := m.deps.Prober.Probe(ctx, targets, mtu)
	if err != nil {
		m.deps.Logger.Warn("cannot probe the other nodes", "error", err)
	}
	// After the probes, which make a handshake where there was none.
	handshakes, err := m.deps.WireGuard.Handshakes(ctx)
	if err != nil {
		m.deps.Logger.Warn("cannot read WireGuard's handshakes", "error", err)
	}
	if ctx.Err() != nil && len(probes) < len(targets) {
		return // a half of a round says nothing
	}
	now := m.deps.Clock()
	peers := make([]cluster.PeerStatus, 0, len(targets))
	for i, t := range targets {
		peer := cluster.PeerStatus{Node: t.Name, HandshakeAge: neverShaken, Reason: "it could not be probed"}
		if at := handshakes[t.Name]; !at.IsZero() {
			peer.HandshakeAge = math.Max(0, math.Round(now.Sub(at).Seconds()))
		}
		if i < len(probes) {
			p := probes[i]
			peer.RTT, peer.MTU, peer.Reason = float64(p.RTT.Microseconds())/1000, p.MTU, p.Reason
			if !p.Answered && peer.Reason == "" {
				peer.Reason = "it does not answer"
			}
		}
		peers = append(peers, peer)
	}
	m.update(func(s *status) {
		for i := range peers {
			peers[i].Mode = string(s.mode)
		}
		s.peers, s.peersAt = peers, now.Unix()
	})
}
