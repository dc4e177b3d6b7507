package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/jaco-sh/jaco/mesh"
	"github.com/jaco-sh/jaco/mesh/dns"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// edgeHost are the facilities of the host, as the mesh wants them.
type edgeHost struct {
	name      string // of the WireGuard interface
	wireguard *wireguard.Device
	firewall  edgeFirewall
	bridges   edgeBridges
	dns       *dns.Server
}

// edgeFirewall is the firewall, which can be taken away too.
type edgeFirewall interface {
	mesh.Firewall
	CleanUp(ctx context.Context) error
}

// edgeBridges are the engine's networks, likewise.
type edgeBridges interface {
	mesh.Bridges
	// CleanUp removes the networks of a cluster. It fails, and names them, for
	// those that containers use.
	CleanUp(ctx context.Context, cluster string) error
	Close() error
}

// newEdgeHost makes the facilities. They touch nothing yet.
func newEdgeHost(config Config, logger *slog.Logger) (*edgeHost, error) {
	bridges, err := newEdgeBridges(config.Engine, logger.With("component", "bridge"))
	if err != nil {
		return nil, err
	}
	return &edgeHost{
		name:      config.WireGuard.Interface,
		wireguard: wireguard.New(wireguard.Options{Logger: logger.With("component", "wireguard"), Interface: config.WireGuard.Interface}),
		firewall:  newEdgeFirewall(logger.With("component", "firewall")),
		bridges:   bridges,
		dns:       dns.New(dns.Options{Logger: logger.With("component", "dns")}),
	}, nil
}

func (h *edgeHost) deps() mesh.Deps {
	return mesh.Deps{
		WireGuard: edgeWireGuard{h.wireguard}, Firewall: h.firewall, Bridges: h.bridges, DNS: h.dns,
		Prober: edgeProber{&wireguard.Prober{Interface: h.name}},
	}
}

// close ends this process's part of them; a WireGuard in user space goes.
func (h *edgeHost) close() error { return errors.Join(h.wireguard.Close(), h.bridges.Close()) }

// edgeWireGuard is the interface as the mesh wants it.
type edgeWireGuard struct{ device *wireguard.Device }

func (w edgeWireGuard) Set(ctx context.Context, config wireguard.Config) (mesh.WireGuardResult, error) {
	result, err := w.device.Set(ctx, config)
	return mesh.WireGuardResult(result), err
}

func (w edgeWireGuard) Handshakes(ctx context.Context) (map[string]time.Time, error) {
	status, err := w.device.Read(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]time.Time, len(status.Peers))
	for _, p := range status.Peers {
		all[p.Name] = p.Handshake
	}
	return all, nil
}

func (w edgeWireGuard) Watch(ctx context.Context, changed func()) error {
	return w.device.Watch(ctx, changed)
}

// edgeProber is WireGuard's prober as the mesh wants it.
type edgeProber struct{ prober *wireguard.Prober }

func (p edgeProber) Probe(ctx context.Context, targets []mesh.Target, mtu int) ([]mesh.Probe, error) {
	asked := make([]wireguard.Target, len(targets))
	for i, t := range targets {
		asked[i] = wireguard.Target(t)
	}
	findings, err := p.prober.Round(ctx, asked, mtu)
	probes := make([]mesh.Probe, len(findings))
	for i := range findings {
		f := &findings[i]
		probes[i] = mesh.Probe{
			Answered: !f.Lost, RTT: f.RTT, MTU: f.MTU,
			// The peer's name stands beside it already.
			Reason: strings.TrimPrefix(f.Problem(mtu), f.Name+": "),
		}
	}
	return probes, err
}

// likelyMode is who will encrypt, as far as it can be known before the interface
// is made: the cluster wants to hear it before it gives the node addresses. It
// asks the kernel by having it make the interface, and takes that away again.
func likelyMode(asked wireguard.Mode, name string) wireguard.Mode {
	if asked != wireguard.Auto {
		return asked
	}
	link := &netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: name}}
	switch err := netlink.LinkAdd(link); {
	case err == nil:
		if err := netlink.LinkDel(link); err != nil {
			return wireguard.Kernel // the mesh will find and use it
		}
		return wireguard.Kernel
	case errors.Is(err, unix.EEXIST):
		if there, err := netlink.LinkByName(name); err == nil && there.Type() == link.Type() {
			return wireguard.Kernel
		}
	}
	return wireguard.Userspace
}
