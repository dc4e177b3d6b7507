package desired

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// The longest domain name and label that DNS carries, in bytes (RFC 1035,
// section 2.3.4; the name without the length of its root).
const (
	maxDomain = 253
	maxLabel  = 63
)

// resolvers are the addresses of dns, in their order: the first is asked first.
// The node asks them, so an address that means the asker itself is refused.
func (b *builder) resolvers(svc types.ServiceConfig) []netip.Addr {
	var out []netip.Addr
	for i, text := range svc.DNS {
		address, err := netip.ParseAddr(text)
		place := b.itemSteps(svc.Name, "dns", i)
		switch {
		case err != nil || address.Zone() != "":
			b.failf(place, "%s is no address", quoted(text))
		case address.IsLoopback() || address.IsUnspecified() || address.IsMulticast():
			b.failf(place, "%s is not the address of one resolver that the node can ask", quoted(text))
		case !slices.Contains(out, address.Unmap()):
			out = append(out, address.Unmap())
		}
	}
	return out
}

// searchDomains are the domains of dns_search, in their order.
func (b *builder) searchDomains(svc types.ServiceConfig) []string {
	var out []string
	for i, domain := range svc.DNSSearch {
		place := b.itemSteps(svc.Name, "dns_search", i)
		switch {
		case domain == "." && len(svc.DNSSearch) > 1:
			b.failf(place, "\".\" is no search domain at all, and stands alone")
		case domain != "." && !isDomain(domain):
			b.failf(place, "%s is no domain name", quoted(domain))
		case !slices.Contains(out, domain):
			out = append(out, domain)
		}
	}
	return out
}

// itemSteps lead to an item of a field that is a list or a single value.
func (b *builder) itemSteps(service, field string, i int) []string {
	steps := []string{"services", service, field, strconv.Itoa(i)}
	if locate(b.tree, steps[:3]).found && !locate(b.tree, steps).found {
		steps = steps[:3]
	}
	return steps
}

// isDomain says whether a resolver can append the name: labels of letters,
// digits, - and _, which services of directories begin with.
func isDomain(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > maxDomain {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > maxLabel || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}
