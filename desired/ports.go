package desired

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// publishedPort is a fixed host port and the service that has it.
type publishedPort struct {
	Port
	service string
}

// ports are the published ports of a service, sorted, each once.
func (b *builder) ports(svc types.ServiceConfig) []Port {
	place := []string{"services", svc.Name, "ports"}
	var out []Port
	for _, p := range svc.Ports {
		port, err := readPort(p)
		if err != nil {
			b.failf(place, "%s", err)
			continue
		}
		if !slices.Contains(out, port) {
			out = append(out, port)
		}
	}
	slices.SortFunc(out, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Container, b.Container), cmp.Compare(a.Protocol, b.Protocol),
			cmp.Compare(a.Host, b.Host), cmp.Compare(a.HostIP, b.HostIP))
	})
	for _, port := range out {
		b.publish(port, svc.Name)
	}
	return out
}

// publish remembers a fixed host port and reports a second holder: the two
// could never run on one node, and under docker compose not at all.
func (b *builder) publish(port Port, service string) {
	if port.Host == 0 {
		return
	}
	for _, other := range b.published {
		if other.Host == port.Host && other.Protocol == port.Protocol && sameAddress(other.HostIP, port.HostIP) {
			b.failf([]string{"services", service, "ports"}, "host port %d/%s is already published by service %s",
				port.Host, port.Protocol, quoted(other.service))
			return
		}
	}
	b.published = append(b.published, publishedPort{port, service})
}

// sameAddress says whether two listeners on these addresses collide.
func sameAddress(a, b string) bool {
	return a == b || anyAddress(a) || anyAddress(b)
}

func anyAddress(ip string) bool {
	addr, err := netip.ParseAddr(ip)
	return ip == "" || err == nil && addr.IsUnspecified()
}

func readPort(p types.ServicePortConfig) (Port, error) {
	port := Port{HostIP: p.HostIP, Protocol: strings.ToLower(p.Protocol)}
	switch port.Protocol {
	case "":
		port.Protocol = "tcp"
	case "tcp", "udp":
	default:
		return Port{}, fmt.Errorf("refused, not planned: protocol %s is neither tcp nor udp", quoted(p.Protocol))
	}
	if p.Mode != "" && p.Mode != "host" && p.Mode != "ingress" {
		return Port{}, fmt.Errorf("mode %s is neither host nor ingress", quoted(p.Mode))
	}
	if p.HostIP != "" {
		if _, err := netip.ParseAddr(p.HostIP); err != nil {
			return Port{}, fmt.Errorf("%s is no address", quoted(p.HostIP))
		}
	}
	if p.Target < 1 || p.Target > 65535 {
		return Port{}, fmt.Errorf("container port %d is not between 1 and 65535", p.Target)
	}
	port.Container = uint16(p.Target)
	if p.Published == "" {
		return port, nil
	}
	if strings.Contains(p.Published, "-") {
		return Port{}, fmt.Errorf("refused, not planned: %s is a range for one container port; name one host port", quoted(p.Published))
	}
	host, err := strconv.ParseUint(p.Published, 10, 16)
	if err != nil {
		return Port{}, fmt.Errorf("host port %s is not between 1 and 65535", quoted(p.Published))
	}
	port.Host = uint16(host)
	return port, nil
}

// fixedPort says whether a container has a host port that no other one on its
// node can have.
func (c *Container) fixedPort() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.Host != 0 })
}

// namedVolume says whether a container holds data that outlives it.
func (c *Container) namedVolume() bool {
	return slices.ContainsFunc(c.Mounts, func(m Mount) bool { return m.Volume != "" || m.Kind == BindMount && !m.ReadOnly })
}
