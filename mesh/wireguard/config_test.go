package wireguard

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	"pgregory.net/rapid"
)

func validConfig() Config {
	return Config{
		Interface: "jaco0", PrivateKey: testKey(1), Port: 51820, Address: netip.MustParseAddr("10.64.0.1"),
		Peers: []Peer{
			{Name: "n2", PublicKey: testKey(2).Public(), Allowed: []netip.Prefix{block(1), netip.MustParsePrefix("10.64.16.1/32")}},
			{Name: "n3", PublicKey: testKey(3).Public(), Allowed: []netip.Prefix{block(2), block(4)}},
		},
	}
}

func TestValidate(t *testing.T) {
	valid := validConfig()
	if err := valid.validate(); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"wireguard.interface":               func(c *Config) { c.Interface = "" },
		"1 to 15 bytes":                     func(c *Config) { c.Interface = "sixteen-letters-" },
		"without blanks and slashes":        func(c *Config) { c.Interface = "../x" },
		"wireguard.mode":                    func(c *Config) { c.Mode = "both" },
		"no private key":                    func(c *Config) { c.PrivateKey = Key{} },
		"wireguard.port":                    func(c *Config) { c.Port = 65536 },
		"not an IPv4 address":               func(c *Config) { c.Address = netip.MustParseAddr("fd00::1") },
		"wireguard.mtu":                     func(c *Config) { c.MTU = 500 },
		"mtu 65500":                         func(c *Config) { c.MTU = 65500 },
		"pool fd00::/8":                     func(c *Config) { c.Pool = netip.MustParsePrefix("fd00::/8") },
		"the public key of this node":       func(c *Config) { c.Peers[0].PublicKey = c.PrivateKey.Public() },
		"peer n3 has the public key of n2":  func(c *Config) { c.Peers[1].PublicKey = c.Peers[0].PublicKey },
		"keepalive 1.5s":                    func(c *Config) { c.Peers[0].Keepalive = 1500 * time.Millisecond },
		"keepalive -1s":                     func(c *Config) { c.Peers[0].Keepalive = -time.Second },
		`"10.64.16.1/20" is not an IPv4`:    func(c *Config) { c.Peers[0].Allowed[0] = netip.MustParsePrefix("10.64.16.1/20") },
		"n2 and n3 both have addresses of ": func(c *Config) { c.Peers[1].Allowed[1] = netip.MustParsePrefix("10.64.16.1/32") },
		"both have addresses of 10.64.17.":  func(c *Config) { c.Peers[1].Allowed[1] = netip.MustParsePrefix("10.64.17.0/24") },
		"both have addresses of 10.64.16.0": func(c *Config) { c.Peers[1].Allowed[1] = netip.MustParsePrefix("10.64.0.0/16") },
	} {
		c := validConfig()
		spoil(&c)
		if err := c.validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
}

// play does to a tunnel what WireGuard does with a change: the configuration
// protocol of wireguard.com/xplatform, as far as changes use it.
func play(t *rapid.T, on tunnel, change wgtypes.Config) tunnel {
	next := tunnel{key: on.key, port: on.port, peers: maps.Clone(on.peers)}
	if change.PrivateKey != nil {
		next.key = Key(*change.PrivateKey).Public()
	}
	if change.ListenPort != nil {
		next.port = *change.ListenPort
	}
	for _, p := range change.Peers {
		key := Key(p.PublicKey)
		have, found := next.peers[key]
		if p.Remove {
			delete(next.peers, key)
			continue
		}
		if p.UpdateOnly && !found {
			t.Fatalf("peer %s is updated and not there", key)
		}
		if p.ReplaceAllowedIPs {
			have.allowed = nil
		}
		have.allowed = slices.Clone(have.allowed)
		for i := range p.AllowedIPs {
			prefix := prefixOf(&p.AllowedIPs[i])
			for other, peer := range next.peers { // an address has one peer
				if at := slices.Index(peer.allowed, prefix); at >= 0 && other != key {
					peer.allowed = slices.Delete(slices.Clone(peer.allowed), at, at+1)
					next.peers[other] = peer
				}
			}
			if !slices.Contains(have.allowed, prefix) {
				have.allowed = append(have.allowed, prefix)
			}
		}
		slices.SortFunc(have.allowed, netip.Prefix.Compare)
		if p.PersistentKeepaliveInterval != nil {
			have.keepalive = *p.PersistentKeepaliveInterval
		}
		next.peers[key] = have
	}
	return next
}

func genConfig(t *rapid.T, label string) Config {
	c := Config{Interface: "jaco0", PrivateKey: testKey(byte(rapid.IntRange(100, 101).Draw(t, label+" key"))), Port: rapid.IntRange(1, 2).Draw(t, label+" port"), Address: netip.MustParseAddr("10.64.0.1")}
	owner := rapid.SliceOfN(rapid.IntRange(0, 4), 8, 8).Draw(t, label+" owner of each block")
	for i := 1; i <= 4; i++ {
		p := Peer{Name: "n", PublicKey: testKey(byte(i)).Public(), Keepalive: time.Duration(rapid.IntRange(0, 1).Draw(t, label+" keepalive")) * 25 * time.Second}
		p.Endpoint = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 99, 0, byte(rapid.IntRange(1, 2).Draw(t, label+" endpoint"))}), 51820)
		for b, o := range owner {
			if o == i {
				p.Allowed = append(p.Allowed, block(b))
			}
		}
		if rapid.Bool().Draw(t, label+" there") {
			c.Peers = append(c.Peers, p)
		}
	}
	return c
}

// TestChangeReaches: whatever there was, the change leads to what is wanted,
// mentions no peer that is right already, and is none when everything is.
func TestChangeReaches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		before, after := genConfig(t, "before"), genConfig(t, "after")
		_, have := wanted(&before, kindKernel, 1420)
		_, want := wanted(&after, kindKernel, 1420)
		endpoints := map[Key]netip.AddrPort{}
		for _, p := range before.Peers {
			endpoints[p.PublicKey] = p.Endpoint
		}
		change, _ := tunnelChange(&after, &want, &have, endpoints)
		reached := play(t, have, change)
		if lines := want.differences(&reached); len(lines) > 0 {
			t.Fatalf("not reached: %v", lines)
		}
		mentioned := map[Key]bool{}
		for _, p := range change.Peers {
			mentioned[Key(p.PublicKey)] = true
		}
		for _, p := range after.Peers {
			old, found := have.peers[p.PublicKey]
			right := found && slices.Equal(old.allowed, want.peers[p.PublicKey].allowed) && old.keepalive == p.Keepalive && endpoints[p.PublicKey] == p.Endpoint
			if right && mentioned[p.PublicKey] {
				t.Fatalf("peer %s was right and is touched", p.PublicKey)
			}
			if moved := found && endpoints[p.PublicKey] != p.Endpoint; moved && !mentioned[p.PublicKey] {
				t.Fatalf("peer %s moved and is not told", p.PublicKey)
			}
			endpoints[p.PublicKey] = p.Endpoint
		}
		if again, any := tunnelChange(&after, &want, &reached, endpoints); any {
			t.Fatalf("the second time: %+v", again)
		}
	})
}

// TestMoreIsNoReplacement: a peer that only gets more addresses has them all at
// every moment.
func TestMoreIsNoReplacement(t *testing.T) {
	send, replace := allowedChange([]netip.Prefix{block(1)}, []netip.Prefix{block(1), block(2)})
	if replace || len(send) != 1 || prefixOf(&send[0]) != block(2) {
		t.Errorf("%v, %t", send, replace)
	}
	send, replace = allowedChange([]netip.Prefix{block(1), block(2)}, []netip.Prefix{block(2)})
	if !replace || len(send) != 1 || prefixOf(&send[0]) != block(2) {
		t.Errorf("%v, %t", send, replace)
	}
}
