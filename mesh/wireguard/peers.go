package wireguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// tunnelChange is what brings WireGuard from what it has to what is wanted, and
// whether that is anything. Peers that are right are not in it, so that nothing
// happens to their sessions. endpoints are those of the last Set by peer: an
// endpoint that stayed the same in the configuration is left as the peer has
// moved it.
func tunnelChange(c *Config, want, got *tunnel, endpoints map[Key]netip.AddrPort) (wgtypes.Config, bool) {
	var change wgtypes.Config
	if got.key != want.key {
		key := wgtypes.Key(c.PrivateKey)
		change.PrivateKey = &key
	}
	if got.port != want.port {
		change.ListenPort = &c.Port
	}
	// Those that go are first, so that their addresses are free.
	for key := range got.peers {
		if _, stays := want.peers[key]; !stays {
			change.Peers = append(change.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(key), Remove: true})
		}
	}
	for _, p := range c.Peers {
		have, found := got.peers[p.PublicKey]
		w := want.peers[p.PublicKey]
		pc := wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), UpdateOnly: found}
		if p.Endpoint.IsValid() && (!found || endpoints[p.PublicKey] != p.Endpoint) {
			pc.Endpoint = net.UDPAddrFromAddrPort(p.Endpoint)
		}
		if !found || have.keepalive != w.keepalive {
			pc.PersistentKeepaliveInterval = &w.keepalive
		}
		pc.AllowedIPs, pc.ReplaceAllowedIPs = allowedChange(have.allowed, w.allowed)
		if !found || pc.Endpoint != nil || pc.PersistentKeepaliveInterval != nil || pc.ReplaceAllowedIPs || len(pc.AllowedIPs) > 0 {
			change.Peers = append(change.Peers, pc)
		}
	}
	return change, change.PrivateKey != nil || change.ListenPort != nil || len(change.Peers) > 0
}

// allowedChange is what to send for a peer's addresses. Where it only gets more
// of them, nothing is replaced: wireguard-go has a moment without any then, and
// drops packets.
func allowedChange(have, want []netip.Prefix) (send []net.IPNet, replace bool) {
	for _, p := range have {
		if !slices.Contains(want, p) {
			replace = true
		}
	}
	for _, p := range want {
		if replace || !slices.Contains(have, p) {
			send = append(send, *ipNet(p))
		}
	}
	return send, replace
}

// configure hands a change to WireGuard.
func configure(client *wgctrl.Client, c *Config, change wgtypes.Config) error {
	err := client.ConfigureDevice(c.Interface, change)
	switch {
	case err == nil:
		return nil
	case portTaken(err):
		return portError(c.Port, err)
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("configure WireGuard of %s: it is gone: %w", c.Interface, err)
	}
	return fmt.Errorf("configure WireGuard of %s: %w", c.Interface, err)
}

// portTaken also knows the error of wireguard-go, which comes as text.
func portTaken(err error) bool {
	return errors.Is(err, unix.EADDRINUSE) || strings.Contains(err.Error(), fmt.Sprintf("errno=-%d", int(unix.EADDRINUSE)))
}

func portError(port int, err error) error {
	return fmt.Errorf("listen on UDP port %d: another program has it; end it, or set wireguard.port: %w", port, err)
}

// greetInterval is any keepalive: switching one on sends a packet at once.
const greetInterval = 25 * time.Second

// greet starts a handshake with every peer by switching keepalives on and off
// again. An interface that was just made has no sessions, while its peers may
// still have theirs with the one before, and would notice only after 15 s
// without an answer (KEEPALIVE-TIMEOUT and REKEY-TIMEOUT of WireGuard's paper).
func greet(name string, peers []Peer) (err error) {
	client, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("open WireGuard: %w", err)
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	var on, off wgtypes.Config
	for _, p := range peers {
		if !p.Endpoint.IsValid() || p.Keepalive != 0 {
			continue // those with a keepalive were greeted when the interface went up
		}
		interval, none := greetInterval, time.Duration(0)
		on.Peers = append(on.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), UpdateOnly: true, PersistentKeepaliveInterval: &interval})
		off.Peers = append(off.Peers, wgtypes.PeerConfig{PublicKey: wgtypes.Key(p.PublicKey), UpdateOnly: true, PersistentKeepaliveInterval: &none})
	}
	if len(on.Peers) == 0 {
		return nil
	}
	if err := client.ConfigureDevice(name, on); err != nil {
		return fmt.Errorf("greet peers: %w", err)
	}
	if err := client.ConfigureDevice(name, off); err != nil {
		return fmt.Errorf("greet peers: %w", err)
	}
	return nil
}
