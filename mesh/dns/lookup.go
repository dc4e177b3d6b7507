package dns

import (
	"net/netip"
	"strconv"
	"strings"
)

// found is what a name means to a client.
type found struct {
	known bool // the name is the mesh's: never NXDOMAIN
	// unsure says that it may be one of several, and which is not known before
	// the client is.
	unsure bool
	group  *group // nil without endpoints
}

// lookup finds a name in lower case and without its last dot. Own names come
// before those that another deployment on the same network chose, so that it
// cannot take them.
func (c *client) lookup(name string) found {
	if f := c.service(name); f.known || f.unsure {
		return f
	}
	slot, rest, isSlot := cutSlot(name)
	if isSlot {
		if f := c.service(rest); f.known || f.unsure {
			return f.only(slot)
		}
	}
	if f := c.qualified(name); f.known {
		return f
	}
	if isSlot {
		if f := c.qualified(rest); f.known {
			return f.only(slot)
		}
	}
	return c.first(func(n *network) *group { return n.aliases[key{"", name}] })
}

// service finds a service or an alias of the client's own deployment.
func (c *client) service(name string) found {
	if !c.known {
		return c.anyones(name)
	}
	if f := c.first(func(n *network) *group { return n.services[key{c.deployment, name}] }); f.known {
		return f
	}
	return c.first(func(n *network) *group { return n.aliases[key{c.deployment, name}] })
}

// anyones finds a service for a client whose deployment is not known: the only
// one of that name.
func (c *client) anyones(name string) found {
	for _, n := range c.networks {
		if s := n.byName[name]; s != nil {
			return found{known: !s.ambiguous, unsure: s.ambiguous, group: s.group}
		}
	}
	return found{}
}

// qualified finds "<service>.<deployment>". Names of deployments have no dots.
func (c *client) qualified(name string) found {
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return found{}
	}
	k := key{name[i+1:], name[:i]}
	return c.first(func(n *network) *group { return n.services[k] })
}

// first is the answer of the first network that has a ready endpoint, in the
// client's own order.
func (c *client) first(find func(*network) *group) found {
	var f found
	for _, n := range c.networks {
		g := find(n)
		if g == nil {
			continue
		}
		f.known = true
		if !g.empty() {
			f.group = g
			return f
		}
	}
	return f
}

// only narrows an answer to one slot.
func (f found) only(slot int) found {
	if f.group != nil {
		f.group = f.group.slot(slot)
	}
	return f
}

// cutSlot splits "2.web" into 2 and "web".
func cutSlot(name string) (slot int, rest string, ok bool) {
	number, rest, ok := strings.Cut(name, ".")
	if !ok || number == "" || len(number) > 6 || number[0] < '0' || number[0] > '9' {
		return 0, "", false
	}
	slot, err := strconv.Atoi(number)
	if err != nil || strconv.Itoa(slot) != number {
		return 0, "", false
	}
	return slot, rest, true
}

// cutPort splits "_8080._tcp.web" into 8080 and "web". There are no names of
// ports: compose has none that its containers would know.
func cutPort(name string) (port uint16, rest string, ok bool) {
	number, rest, ok := strings.Cut(name, ".")
	if !ok || !strings.HasPrefix(number, "_") {
		return 0, "", false
	}
	protocol, rest, ok := strings.Cut(rest, ".")
	if !ok || protocol != "_tcp" && protocol != "_udp" {
		return 0, "", false
	}
	n, err := strconv.ParseUint(number[1:], 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != number[1:] {
		return 0, "", false
	}
	return uint16(n), rest, true
}

// reverseZone is where PTR records of IPv4 are (RFC 1035, section 3.5).
const reverseZone = ".in-addr.arpa"

// cutReverse reads the address of "5.0.64.10.in-addr.arpa".
func cutReverse(name string) (netip.Addr, bool) {
	digits, ok := strings.CutSuffix(name, reverseZone)
	if !ok {
		return netip.Addr{}, false
	}
	parts := strings.Split(digits, ".")
	if len(parts) != 4 {
		return netip.Addr{}, false
	}
	address, err := netip.ParseAddr(parts[3] + "." + parts[2] + "." + parts[1] + "." + parts[0])
	return address, err == nil
}

// owner is the name of the replica that has an address on one of the client's
// networks.
func (c *client) owner(address netip.Addr) (string, bool) {
	for _, n := range c.networks {
		if o, ok := n.owners[address]; ok {
			return o, true
		}
	}
	return "", false
}

// mayBecomeKnown says whether a name that means nothing to an unknown client
// may mean something once the state knows it: then it is on further networks,
// and has a deployment. Other names are nobody's here.
func (c *client) mayBecomeKnown(name string) bool {
	if c.known || name == "" || len(c.networks) == 0 {
		return false
	}
	if _, rest, ok := cutPort(name); ok {
		name = rest
	}
	if _, rest, ok := cutSlot(name); ok {
		name = rest
	}
	i := strings.LastIndexByte(name, '.')
	return i < 0 || c.networks[0].deployments[name[i+1:]]
}
