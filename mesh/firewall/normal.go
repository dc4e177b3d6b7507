package firewall

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Rules are compared in a normal form that is made in the same way of what we
// would send and of what the kernel dumps: for each expression its name and its
// attributes by number, whatever they mean. So an attribute that nobody here
// knows makes a difference too. Left out is what differs without a meaning:
// zeros of 32 bits, which the kernel adds or leaves out as its defaults, what a
// counter has counted, and the number by which a transaction finds its own sets.

// normalised gives rules their normal form.
func normalised(rules []rule) []rule {
	for i := range rules {
		rules[i].normal = normalOf(rules[i].exprs)
	}
	return rules
}

// normalOf is the form of expressions of ours. All of them can be written: a
// test renders every one.
func normalOf(exprs []expr.Any) string {
	parts := make([]string, len(exprs))
	for i, e := range exprs {
		data, err := expr.Marshal(unix.NFPROTO_INET, e)
		if err == nil {
			parts[i], err = normalExpr(data)
		}
		if err != nil {
			parts[i] = "unwritable: " + err.Error()
		}
	}
	return strings.Join(parts, " ")
}

// normalRule is the form of the attribute NFTA_RULE_EXPRESSIONS.
func normalRule(data []byte) (string, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return "", fmt.Errorf("decode a rule's expressions: %w", err)
	}
	parts := make([]string, len(attributes))
	for i, a := range attributes {
		if parts[i], err = normalExpr(a.Data); err != nil {
			return "", err
		}
	}
	return strings.Join(parts, " "), nil
}

// normalExpr is the form of one expression.
func normalExpr(data []byte) (string, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return "", fmt.Errorf("decode an expression: %w", err)
	}
	name := ""
	var content []netlink.Attribute
	var parts []string
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_EXPR_NAME:
			name = text(a.Data)
		case unix.NFTA_EXPR_DATA:
			if content, err = netlink.UnmarshalAttributes(a.Data); err != nil {
				return "", fmt.Errorf("decode expression %s: %w", name, err)
			}
		default:
			parts = append(parts, fmt.Sprintf("?%d=%x", kind(a), a.Data))
		}
	}
	slices.SortStableFunc(content, func(a, b netlink.Attribute) int { return int(kind(a)) - int(kind(b)) })
	for _, a := range content {
		value := hex.EncodeToString(a.Data)
		switch {
		case name == "counter", name == "lookup" && kind(a) == unix.NFTA_LOOKUP_SET_ID, isZero(a.Data):
			continue
		case name == "lookup" && kind(a) == unix.NFTA_LOOKUP_SET:
			value = "@" + text(a.Data)
		case holdsData(name, kind(a)):
			if value, err = normalData(a.Data); err != nil {
				return "", fmt.Errorf("decode expression %s: %w", name, err)
			}
		}
		parts = append(parts, strconv.Itoa(int(kind(a)))+"="+value)
	}
	if name == "immediate" && len(parts) == 1 { // register 0, which is a zero, is the verdict
		return strings.TrimPrefix(parts[0], strconv.Itoa(unix.NFTA_IMMEDIATE_DATA)+"="), nil
	}
	if len(parts) == 0 {
		return name, nil
	}
	return name + "(" + strings.Join(parts, ",") + ")", nil
}

// holdsData reports whether an attribute is of type nft_data, with an attribute
// of its own inside.
func holdsData(name string, attribute uint16) bool {
	switch name {
	case "cmp":
		return attribute == unix.NFTA_CMP_DATA
	case "bitwise":
		return attribute == unix.NFTA_BITWISE_MASK || attribute == unix.NFTA_BITWISE_XOR
	case "immediate":
		return attribute == unix.NFTA_IMMEDIATE_DATA
	}
	return false
}

// normalData is the form of a value or a verdict.
func normalData(data []byte) (string, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return "", err
	}
	var parts []string
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_DATA_VALUE:
			parts = append(parts, hex.EncodeToString(a.Data))
		case unix.NFTA_DATA_VERDICT:
			verdict, err := normalVerdict(a.Data)
			if err != nil {
				return "", err
			}
			parts = append(parts, verdict)
		default:
			parts = append(parts, fmt.Sprintf("?%d=%x", kind(a), a.Data))
		}
	}
	return strings.Join(parts, "+"), nil
}

func normalVerdict(data []byte) (string, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return "", err
	}
	code, target := "", ""
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_VERDICT_CODE:
			code = verdictName(a.Data)
		case unix.NFTA_VERDICT_CHAIN:
			target = " " + text(a.Data)
		case verdictChainID: // that of a transaction
		default:
			target += fmt.Sprintf(" ?%d=%x", kind(a), a.Data)
		}
	}
	return code + target, nil
}

// verdictName names a verdict of linux/netfilter.h or linux/netfilter/nf_tables.h.
func verdictName(data []byte) string {
	if len(data) != 4 {
		return fmt.Sprintf("verdict %x", data)
	}
	switch code := int32(binary.BigEndian.Uint32(data)); expr.VerdictKind(code) {
	case expr.VerdictDrop:
		return "drop"
	case expr.VerdictAccept:
		return "accept"
	case expr.VerdictReturn:
		return "return"
	case expr.VerdictJump:
		return "jump"
	case expr.VerdictGoto:
		return "goto"
	default:
		return fmt.Sprintf("verdict %d", code)
	}
}

// kind is an attribute's number without the flags that say how it is encoded.
func kind(a netlink.Attribute) uint16 {
	return a.Type &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
}

// text is a string as netlink has it, with a zero at its end.
func text(data []byte) string { return strings.TrimRight(string(data), "\x00") }

func isZero(data []byte) bool { return len(data) == 4 && binary.NativeEndian.Uint32(data) == 0 }

// number is an unsigned one of 32 bits in network order.
func number(data []byte) uint32 {
	if len(data) != 4 {
		return 0
	}
	return binary.BigEndian.Uint32(data)
}
