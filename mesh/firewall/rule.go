package firewall

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// builder puts a rule together, as nft would and in shapes that it can print:
// each match adds its words and its expressions. The zero value is a rule that
// matches everything.
type builder struct {
	words []string
	exprs []expr.Any
	// ipv4 and transport are what was asked for already: nft writes neither down
	// but puts both in front of what depends on them.
	ipv4      bool
	transport byte
}

// Registers of the kernel: the second begins where the first, of 16 bytes, ends,
// so that a name in one and an address in the other are one key.
const (
	register1 = unix.NFT_REG_1
	register2 = unix.NFT_REG_2
)

// side is the interface that a packet comes in or goes out by.
type side struct {
	name string
	key  expr.MetaKey
}

func in() side  { return side{"iifname", expr.MetaKeyIIFNAME} }
func out() side { return side{"oifname", expr.MetaKeyOIFNAME} }

// place is an address in the header of IPv4 (RFC 791, section 3.1).
type place struct {
	name   string
	offset uint32
}

func source() place      { return place{"saddr", 12} }
func destination() place { return place{"daddr", 16} }

func when() *builder { return &builder{} }

func (b *builder) add(words string, exprs ...expr.Any) *builder {
	b.words = append(b.words, words)
	b.exprs = append(b.exprs, exprs...)
	return b
}

// needIPv4 is what a match of an address begins with in a table that sees both
// families.
func (b *builder) needIPv4() {
	if !b.ipv4 {
		b.ipv4 = true
		b.exprs = append(b.exprs, meta(expr.MetaKeyNFPROTO), equal(expr.CmpOpEq, unix.NFPROTO_IPV4))
	}
}

func (b *builder) needTransport(protocol byte) {
	if b.transport != protocol {
		b.transport = protocol
		b.exprs = append(b.exprs, meta(expr.MetaKeyL4PROTO), equal(expr.CmpOpEq, protocol))
	}
}

func meta(key expr.MetaKey) expr.Any { return &expr.Meta{Key: key, Register: register1} }

func equal(op expr.CmpOp, data ...byte) expr.Any {
	return &expr.Cmp{Op: op, Register: register1, Data: data}
}

func load(base expr.PayloadBase, offset, length, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: base, Offset: offset, Len: length}
}

func lookup(set string, not bool) expr.Any {
	return &expr.Lookup{SourceRegister: register1, SetName: set, Invert: not}
}

// masked keeps some bits of register 1.
func masked(mask []byte) expr.Any {
	return &expr.Bitwise{SourceRegister: register1, DestRegister: register1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))}
}

// native is a number as the kernel has it in a register.
func native(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

func negation(not bool) (words string, op expr.CmpOp) {
	if not {
		return "!= ", expr.CmpOpNeq
	}
	return "", expr.CmpOpEq
}

// interfaceIs matches one interface.
func (b *builder) interfaceIs(s side, name string) *builder {
	return b.add(fmt.Sprintf("%s %q", s.name, name), meta(s.key), equal(expr.CmpOpEq, []byte(nameKey(name))...))
}

// interfaceNot matches all others.
func (b *builder) interfaceNot(s side, name string) *builder {
	return b.add(fmt.Sprintf("%s != %q", s.name, name), meta(s.key), equal(expr.CmpOpNeq, []byte(nameKey(name))...))
}

// interfaceIn matches the interfaces of a set.
func (b *builder) interfaceIn(s side, set string) *builder {
	return b.add(s.name+" @"+set, meta(s.key), lookup(set, false))
}

// interfaceNotIn matches all others.
func (b *builder) interfaceNotIn(s side, set string) *builder {
	return b.add(s.name+" != @"+set, meta(s.key), lookup(set, true))
}

// address matches the addresses of a prefix, or all others.
func (b *builder) address(p place, not bool, prefix netip.Prefix) *builder {
	prefix = prefix.Masked()
	words, op := negation(not)
	b.needIPv4()
	exprs := []expr.Any{load(expr.PayloadBaseNetworkHeader, p.offset, 4, register1)}
	text := prefix.Addr().String()
	if prefix.Bits() < 32 {
		text = prefix.String()
		exprs = append(exprs, masked(binary.BigEndian.AppendUint32(nil, ^(uint32(1)<<(32-prefix.Bits())-1))))
	}
	exprs = append(exprs, equal(op, prefix.Addr().AsSlice()...))
	return b.add(fmt.Sprintf("ip %s %s%s", p.name, words, text), exprs...)
}

func (b *builder) addressIs(p place, prefix netip.Prefix) *builder {
	return b.address(p, false, prefix)
}

func (b *builder) addressNot(p place, prefix netip.Prefix) *builder {
	return b.address(p, true, prefix)
}

// addressIn matches the addresses of a set.
func (b *builder) addressIn(p place, set string) *builder {
	b.needIPv4()
	return b.add("ip "+p.name+" @"+set, load(expr.PayloadBaseNetworkHeader, p.offset, 4, register1), lookup(set, false))
}

// pairIn matches an interface together with an address.
func (b *builder) pairIn(s side, p place, set string) *builder {
	b.needIPv4()
	return b.add(s.name+" . ip "+p.name+" @"+set,
		meta(s.key), load(expr.PayloadBaseNetworkHeader, p.offset, 4, register2), lookup(set, false))
}

// ipv6 matches what is not IPv4.
func (b *builder) ipv6() *builder {
	return b.add("meta nfproto ipv6", meta(expr.MetaKeyNFPROTO), equal(expr.CmpOpEq, unix.NFPROTO_IPV6))
}

// port matches where a packet of UDP or TCP is for.
func (b *builder) port(name string, protocol byte, number uint16) *builder {
	b.needTransport(protocol)
	return b.add(fmt.Sprintf("%s dport %d", name, number),
		load(expr.PayloadBaseTransportHeader, 2, 2, register1), equal(expr.CmpOpEq, binary.BigEndian.AppendUint16(nil, number)...))
}

// echoRequest matches a ping, type 8 of RFC 792. It comes after a match of an
// IPv4 address.
func (b *builder) echoRequest() *builder {
	b.needTransport(unix.IPPROTO_ICMP)
	return b.add("icmp type echo-request", load(expr.PayloadBaseTransportHeader, 0, 1, register1), equal(expr.CmpOpEq, 8))
}

// icmp matches all of ICMP.
func (b *builder) icmp() *builder {
	b.needIPv4()
	return b.add("ip protocol icmp", load(expr.PayloadBaseNetworkHeader, 9, 1, register1), equal(expr.CmpOpEq, unix.IPPROTO_ICMP))
}

// state matches any of the states that the bits say.
func (b *builder) state(words string, bits uint32) *builder {
	return b.add("ct state "+words, &expr.Ct{Key: expr.CtKeySTATE, Register: register1}, masked(native(bits)), equal(expr.CmpOpNeq, native(0)...))
}

// answer matches what answers a connection that the other side began, and errors
// that are about such an answer.
func (b *builder) answer() *builder {
	b.add("ct direction reply", &expr.Ct{Key: expr.CtKeyDIRECTION, Register: register1}, equal(expr.CmpOpEq, 1))
	return b.state("established,related", expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// published matches what goes to a published port, from the side that asks.
func (b *builder) published() *builder {
	b.add("ct direction original", &expr.Ct{Key: expr.CtKeyDIRECTION, Register: register1}, equal(expr.CmpOpEq, 0))
	return b.add("ct status dnat", &expr.Ct{Key: expr.CtKeySTATUS, Register: register1}, masked(native(statusDNAT)), equal(expr.CmpOpNeq, native(0)...))
}

// clampMSS sets the largest segment of a TCP connection that begins to what its
// way takes (option kind 2 of RFC 9293, section 3.2; it is never raised).
func (b *builder) clampMSS() rule {
	b.needTransport(unix.IPPROTO_TCP)
	const syn, rst = 2, 4
	b.add("tcp flags syn / syn,rst", load(expr.PayloadBaseTransportHeader, 13, 1, register1), masked([]byte{syn | rst}), equal(expr.CmpOpEq, syn))
	b.add("tcp option maxseg size set rt mtu",
		&expr.Rt{Register: register1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: register1, DestRegister: register1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: register1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt})
	return b.rule()
}

func (b *builder) accept() rule {
	return b.add("accept", &expr.Verdict{Kind: expr.VerdictAccept}).rule()
}

// drop counts what it drops, for people who look for a lost packet.
func (b *builder) drop() rule {
	return b.add("counter drop", &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop}).rule()
}

// continueIn goes on in another chain for good: after its end the policy holds.
func (b *builder) continueIn(chain string) rule {
	return b.add("goto "+chain, &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}).rule()
}

func (b *builder) masquerade() rule { return b.add("masquerade", &expr.Masq{}).rule() }

func (b *builder) rule() rule {
	return rule{text: strings.Join(b.words, " "), exprs: b.exprs}
}
