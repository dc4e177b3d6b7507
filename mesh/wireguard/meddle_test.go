package wireguard

import (
	"fmt"
	"net"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// meddle changes WireGuard as a person with wg(8) would.
func meddle(o order) error {
	client, err := wgctrl.New()
	if err != nil {
		return err
	}
	defer client.Close()
	peer := wgtypes.PeerConfig{PublicKey: wgtypes.Key(o.Peer)}
	change := wgtypes.Config{}
	switch o.Meddle {
	case "remove peer":
		peer.Remove = true
		change.Peers = []wgtypes.PeerConfig{peer}
	case "add peer":
		peer.AllowedIPs = []net.IPNet{{IP: net.IPv4(10, 64, 240, 0), Mask: net.CIDRMask(20, 32)}}
		change.Peers = []wgtypes.PeerConfig{peer}
	case "allow more":
		peer.UpdateOnly, peer.AllowedIPs = true, []net.IPNet{{IP: net.IPv4(10, 64, 224, 0), Mask: net.CIDRMask(20, 32)}}
		change.Peers = []wgtypes.PeerConfig{peer}
	case "change port":
		port := 4711
		change.ListenPort = &port
	case "change key":
		change.PrivateKey = (*wgtypes.Key)(&o.Peer)
	default:
		return fmt.Errorf("no meddling %q", o.Meddle)
	}
	return client.ConfigureDevice(o.Name, change)
}

// plain is wireguard-go as its own program sets it up, configured by hand: what
// a Device's throughput is compared with.
func plain(c Config) error {
	wire, err := tun.CreateTUN(c.Interface, c.MTU)
	if err != nil {
		return err
	}
	d := device.NewDevice(wire, conn.NewDefaultBind(), device.NewLogger(device.LogLevelSilent, ""))
	text := fmt.Sprintf("private_key=%x\nlisten_port=%d\n", c.PrivateKey[:], c.Port)
	for _, p := range c.Peers {
		text += fmt.Sprintf("public_key=%x\nendpoint=%s\n", p.PublicKey[:], p.Endpoint)
		for _, a := range p.Allowed {
			text += fmt.Sprintf("allowed_ip=%s\n", a)
		}
	}
	if err := d.IpcSet(text); err != nil {
		return err
	}
	return d.Up()
}
