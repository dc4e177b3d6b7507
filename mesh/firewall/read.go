package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// snapshot is the table as the kernel has it, without what it has counted.
type snapshot struct {
	exists bool
	flags  uint32 // of the table
	owner  uint32 // the netlink port that alone may change it; 0: there is none
	chains map[string]chainState
	rules  map[string][]string // normal forms by chain, in order
	sets   map[string]setState
	// others are flowtables and named objects, by description; we have none.
	others []string
}

// chainState is what a chain is, printed: of a base chain type, hook, priority
// and policy.
type chainState string

// setState is what a set is, and its elements.
type setState struct {
	shape    string
	elements []element
}

// Attributes that the constants of x/sys do not have, from
// linux/netfilter/nf_tables.h.
const (
	tableOwner     = 7  // NFTA_TABLE_OWNER
	chainFlags     = 10 // NFTA_CHAIN_FLAGS
	setExpr        = 17 // NFTA_SET_EXPR
	setExpressions = 18 // NFTA_SET_EXPRESSIONS
	elementKeyEnd  = 10 // NFTA_SET_ELEM_KEY_END
	flowtableName  = 2  // NFTA_FLOWTABLE_NAME
	verdictChainID = 3  // NFTA_VERDICT_CHAIN_ID
)

// readAttempts is how often a dump is begun again because somebody changed
// tables, ours or others, meanwhile.
const readAttempts = 5

// read dumps the table. Its parts are from one moment unless somebody changes
// tables all the time; then a difference may be one that never was.
func (l *link) read() (*snapshot, error) {
	for attempt := 1; ; attempt++ {
		before, err := l.generation()
		if err != nil {
			return nil, err
		}
		s, whole, err := l.dump()
		if err != nil {
			return nil, fmt.Errorf("read table inet %s: %w", tableName, err)
		}
		after, err := l.generation()
		if err != nil {
			return nil, err
		}
		if whole && before == after || attempt == readAttempts {
			return s, nil
		}
	}
}

// dump reads all parts; whole says that the kernel noticed no change meanwhile.
func (l *link) dump() (s *snapshot, whole bool, err error) {
	s = &snapshot{chains: map[string]chainState{}, rules: map[string][]string{}, sets: map[string]setState{}}
	table, err := l.request(unix.NFT_MSG_GETTABLE, 0, stringAttribute(unix.NFTA_TABLE_NAME, tableName))
	if errors.Is(err, unix.ENOENT) {
		return s, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	for _, m := range table {
		if err := s.readTable(m); err != nil {
			return nil, false, err
		}
	}
	whole = true
	// A kernel that does not know the filter by table dumps all of them.
	for _, part := range []struct {
		message uint16
		read    func([]netlink.Attribute) error
	}{
		{unix.NFT_MSG_GETCHAIN, s.readChain},
		{unix.NFT_MSG_GETRULE, s.readRule},
		{unix.NFT_MSG_GETSET, s.readSet},
		{unix.NFT_MSG_GETOBJ, s.readObject},
		{unix.NFT_MSG_GETFLOWTABLE, s.readFlowtable},
	} {
		calm, err := l.each(part.message, part.read, stringAttribute(1, tableName))
		if err != nil {
			return nil, false, err
		}
		whole = whole && calm
	}
	for name, state := range s.sets {
		read := func(attributes []netlink.Attribute) error { return state.readElements(attributes) }
		calm, err := l.each(unix.NFT_MSG_GETSETELEM, read,
			stringAttribute(unix.NFTA_SET_ELEM_LIST_TABLE, tableName), stringAttribute(unix.NFTA_SET_ELEM_LIST_SET, name))
		if errors.Is(err, unix.ENOENT) { // it went away meanwhile
			return s, false, nil
		}
		if err != nil {
			return nil, false, fmt.Errorf("set %s: %w", name, err)
		}
		whole = whole && calm
		s.sets[name] = state
	}
	return s, whole, nil
}

// each dumps one kind of thing and hands over what is in our table.
func (l *link) each(message uint16, read func([]netlink.Attribute) error, filter ...netlink.Attribute) (whole bool, err error) {
	messages, err := l.request(message, netlink.Dump, filter...)
	if err != nil {
		return false, err
	}
	whole = true
	for _, m := range messages {
		whole = whole && m.Header.Flags&netlink.DumpInterrupted == 0
		attributes, err := contents(m)
		if err != nil {
			return false, err
		}
		if get(attributes, 1) != tableName { // the first of each kind is its table's name
			continue
		}
		if err := read(attributes); err != nil {
			return false, err
		}
	}
	return whole, nil
}

// contents are the attributes of a message of our family; of another one none.
func contents(m netlink.Message) ([]netlink.Attribute, error) {
	if len(m.Data) < headerLength || m.Data[0] != unix.NFPROTO_INET {
		return nil, nil
	}
	attributes, err := netlink.UnmarshalAttributes(m.Data[headerLength:])
	if err != nil {
		return nil, fmt.Errorf("decode a message of type %#x: %w", uint16(m.Header.Type), err)
	}
	return attributes, nil
}

// headerLength is that of struct nfgenmsg, linux/netfilter/nfnetlink.h.
const headerLength = 4

// get is the text of an attribute.
func get(attributes []netlink.Attribute, number uint16) string {
	for _, a := range attributes {
		if kind(a) == number {
			return text(a.Data)
		}
	}
	return ""
}

func (s *snapshot) readTable(m netlink.Message) error {
	attributes, err := contents(m)
	if err != nil {
		return err
	}
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_TABLE_NAME:
			s.exists = true
		case unix.NFTA_TABLE_FLAGS:
			s.flags = number(a.Data)
		case tableOwner:
			s.owner = number(a.Data)
		}
	}
	return nil
}

func (s *snapshot) readChain(attributes []netlink.Attribute) error {
	var parts []string
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_CHAIN_HOOK:
			nested, err := netlink.UnmarshalAttributes(a.Data)
			if err != nil {
				return fmt.Errorf("decode a chain's hook: %w", err)
			}
			for _, h := range nested {
				parts = append(parts, fmt.Sprintf("hook.%d=%x", kind(h), h.Data))
			}
		case unix.NFTA_CHAIN_POLICY:
			parts = append(parts, "policy="+verdictName(a.Data))
		case unix.NFTA_CHAIN_TYPE:
			parts = append(parts, "type="+text(a.Data))
		case chainFlags:
			if number(a.Data)&^1 != 0 { // the lowest says that it is a base chain
				parts = append(parts, fmt.Sprintf("flags=%x", a.Data))
			}
		}
	}
	slices.Sort(parts)
	s.chains[get(attributes, unix.NFTA_CHAIN_NAME)] = chainState(strings.Join(parts, " "))
	return nil
}

func (s *snapshot) readRule(attributes []netlink.Attribute) error {
	form := ""
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_RULE_EXPRESSIONS:
			normal, err := normalRule(a.Data)
			if err != nil {
				return err
			}
			form += normal
		case unix.NFTA_RULE_COMPAT:
			form += fmt.Sprintf(" compat=%x", a.Data)
		}
	}
	name := get(attributes, unix.NFTA_RULE_CHAIN)
	s.rules[name] = append(s.rules[name], form)
	return nil
}

func (s *snapshot) readObject(attributes []netlink.Attribute) error {
	s.others = append(s.others, "object "+get(attributes, unix.NFTA_OBJ_NAME))
	return nil
}

func (s *snapshot) readFlowtable(attributes []netlink.Attribute) error {
	s.others = append(s.others, "flowtable "+get(attributes, flowtableName))
	return nil
}

func (s *snapshot) readSet(attributes []netlink.Attribute) error {
	var parts []string
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_SET_FLAGS, unix.NFTA_SET_KEY_TYPE, unix.NFTA_SET_KEY_LEN, unix.NFTA_SET_DATA_TYPE, unix.NFTA_SET_DATA_LEN,
			unix.NFTA_SET_TIMEOUT, unix.NFTA_SET_GC_INTERVAL, unix.NFTA_SET_POLICY, unix.NFTA_SET_OBJ_TYPE, setExpr, setExpressions:
			if !isZero(a.Data) {
				parts = append(parts, fmt.Sprintf("%d=%x", kind(a), a.Data))
			}
		case unix.NFTA_SET_DESC:
			nested, err := netlink.UnmarshalAttributes(a.Data)
			if err != nil {
				return fmt.Errorf("decode a set's description: %w", err)
			}
			for _, d := range nested {
				if kind(d) == unix.NFTA_SET_DESC_SIZE {
					parts = append(parts, fmt.Sprintf("size=%x", d.Data))
				}
			}
		}
	}
	slices.Sort(parts)
	s.sets[get(attributes, unix.NFTA_SET_NAME)] = setState{shape: strings.Join(parts, " ")}
	return nil
}

func (s *setState) readElements(attributes []netlink.Attribute) error {
	for _, a := range attributes {
		if kind(a) != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		list, err := netlink.UnmarshalAttributes(a.Data)
		if err != nil {
			return fmt.Errorf("decode elements: %w", err)
		}
		for _, item := range list {
			e, err := readElement(item.Data)
			if err != nil {
				return err
			}
			s.elements = append(s.elements, e)
		}
	}
	return nil
}

// readElement takes one element apart. A comment changes nothing; everything
// else that ours do not have does.
func readElement(data []byte) (element, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return element{}, fmt.Errorf("decode an element: %w", err)
	}
	var e element
	var extra []string
	ended := false
	for _, a := range attributes {
		switch kind(a) {
		case unix.NFTA_SET_ELEM_KEY:
			e.first, err = value(a.Data)
		case elementKeyEnd:
			e.last, err = value(a.Data)
			ended = true
		case unix.NFTA_SET_ELEM_USERDATA, unix.NFTA_SET_ELEM_PAD:
		default:
			if !isZero(a.Data) {
				extra = append(extra, fmt.Sprintf("attribute %d=%x", kind(a), a.Data))
			}
		}
		if err != nil {
			return element{}, fmt.Errorf("decode an element's key: %w", err)
		}
	}
	if !ended {
		e.last = e.first
	}
	e.extra = strings.Join(extra, " ")
	return e, nil
}

// value is what an attribute of type nft_data holds.
func value(data []byte) (string, error) {
	attributes, err := netlink.UnmarshalAttributes(data)
	if err != nil {
		return "", err
	}
	for _, a := range attributes {
		if kind(a) == unix.NFTA_DATA_VALUE {
			return string(a.Data), nil
		}
	}
	return "", nil
}
