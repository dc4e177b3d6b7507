package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
)

// Table is a whole table in the form in which it is compared and written. It
// prints as `nft -s list table` does, with one element of a set a line.
type Table struct {
	sets   []set
	chains []chain
}

// set is a set with its elements, sorted.
type set struct {
	name   string
	fields []field
	// interval says that the elements are ranges. Such a set has two fields.
	interval bool
	elements []element
}

// field is a part of a set's key.
type field struct {
	name  string
	bytes int
	magic uint32 // nft's number of the type, which only it reads
}

// The types of fields; the numbers are those of enum datatypes in nft's
// include/datatype.h.
func ifname() field      { return field{name: "ifname", bytes: 16, magic: 41} }
func ipv4Address() field { return field{name: "ipv4_addr", bytes: 4, magic: 7} }

// element is one of a set's: first and last key, which are the same but in an
// interval. They are strings so that elements compare.
type element struct {
	first, last string
	// extra is what an element of ours never has: a timeout, a flag, a statement.
	extra string
}

// chain is one chain with its rules.
type chain struct {
	name  string
	base  *base // nil: it is only jumped to
	rules []rule
}

// base is where the kernel calls a chain. All of ours let pass what they do not
// drop: other traffic is not our business.
type base struct {
	kind     string // filter or nat
	hook     hook
	priority priority
}

// hook is one of the kernel's, by its number in linux/netfilter.h.
type hook struct {
	name   string
	number uint32
}

// priority is an order in a hook, with the name that nft has for it.
type priority struct {
	name  string
	value int32
}

// rule is a rule: what nft calls it, what the kernel is given, and the normal
// form in which it is compared.
type rule struct {
	text   string
	exprs  []expr.Any
	normal string
}

func (s *set) keyBytes() int {
	n := 0
	for _, f := range s.fields {
		n += f.bytes
	}
	return n
}

func (s *set) typeName() string {
	names := make([]string, len(s.fields))
	for i, f := range s.fields {
		names[i] = f.name
	}
	return strings.Join(names, " . ")
}

// magic is nft's number of the whole key: six bits for each field.
func (s *set) magic() uint32 {
	m := uint32(0)
	for _, f := range s.fields {
		m = m<<6 | f.magic
	}
	return m
}

// print is an element as nft writes it.
func (s *set) print(e element) string {
	var parts []string
	at := 0
	for _, f := range s.fields {
		if at+f.bytes > len(e.first) || at+f.bytes > len(e.last) {
			return fmt.Sprintf("%x-%x", e.first, e.last)
		}
		first, last := e.first[at:at+f.bytes], e.last[at:at+f.bytes]
		at += f.bytes
		text := f.print(first)
		if f.name == ipv4Address().name && first != last {
			text = printRange(first, last)
		} else if first != last {
			text += "-" + f.print(last)
		}
		parts = append(parts, text)
	}
	text := strings.Join(parts, " . ")
	if e.extra != "" {
		text += " (" + e.extra + ")"
	}
	return text
}

func (f field) print(key string) string {
	if f.name == ipv4Address().name {
		return address(key).String()
	}
	return fmt.Sprintf("%q", strings.TrimRight(key, "\x00"))
}

func address(key string) netip.Addr {
	a, _ := netip.AddrFromSlice([]byte(key)) // only a wrong length is not one
	return a
}

// printRange prefers a prefix, as nft does.
func printRange(first, last string) string {
	a, b := binary.BigEndian.Uint32([]byte(first)), binary.BigEndian.Uint32([]byte(last))
	for bits := 31; bits > 0; bits-- {
		host := uint32(1)<<(32-bits) - 1
		if a&host == 0 && a|host == b {
			return netip.PrefixFrom(address(first), bits).String()
		}
	}
	return address(first).String() + "-" + address(last).String()
}

// nameKey is an interface as a key: padded, as the kernel compares all of it.
func nameKey(name string) string {
	return name + strings.Repeat("\x00", ifname().bytes-len(name))
}

// addressKey is an address as a key, in network order.
func addressKey(a netip.Addr) string { return string(a.AsSlice()) }

// point is an element that is one key.
func point(key string) element { return element{first: key, last: key} }

// span is an element of an interface and a prefix.
func span(name string, p netip.Prefix) element {
	p = p.Masked()
	last := binary.BigEndian.Uint32(p.Addr().AsSlice()) | (uint32(1)<<(32-p.Bits()) - 1)
	return element{
		first: nameKey(name) + addressKey(p.Addr()),
		last:  nameKey(name) + string(binary.BigEndian.AppendUint32(nil, last)),
	}
}

func compareElements(a, b element) int {
	if c := strings.Compare(a.first, b.first); c != 0 {
		return c
	}
	return strings.Compare(a.last, b.last)
}

// newSet sorts the elements and leaves out those that are there twice.
func newSet(name string, interval bool, fields []field, elements []element) set {
	slices.SortFunc(elements, compareElements)
	return set{name: name, fields: fields, interval: interval, elements: slices.Compact(elements)}
}

// String prints the table.
func (t Table) String() string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "table inet %s {\n", tableName)
	for i := range t.sets {
		s := &t.sets[i]
		fmt.Fprintf(&b, "\tset %s {\n\t\ttype %s\n", s.name, s.typeName())
		if s.interval {
			b.WriteString("\t\tflags interval\n")
		}
		for i, e := range s.elements {
			lead, end := "\t\t\t     ", ","
			if i == 0 {
				lead = "\t\telements = { "
			}
			if i == len(s.elements)-1 {
				end = " }"
			}
			b.WriteString(lead + s.print(e) + end + "\n")
		}
		b.WriteString("\t}\n\n")
	}
	for i, c := range t.chains {
		fmt.Fprintf(&b, "\tchain %s {\n", c.name)
		if c.base != nil {
			fmt.Fprintf(&b, "\t\ttype %s hook %s priority %s; policy accept;\n", c.base.kind, c.base.hook.name, c.base.priority.name)
		}
		for _, r := range c.rules {
			b.WriteString("\t\t" + r.text + "\n")
		}
		b.WriteString("\t}\n")
		if i < len(t.chains)-1 {
			b.WriteString("\n")
		}
	}
	b.WriteString("}\n")
	return b.String()
}
