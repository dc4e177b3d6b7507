package firewall

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// difference is what the kernel has otherwise than a table.
type difference struct {
	// lines say it to people, at most maxLines of them.
	lines   []string
	omitted int // lines that were one too many
	// structure says that more differs than elements of sets.
	structure bool
	elements  []setChange
}

// setChange is what has to be done to one set's elements.
type setChange struct {
	set         int // in the table
	add, remove []element
}

// maxLines bounds what is said of one difference: enough to see what somebody
// did, and not every element of a set that was emptied.
const maxLines = 40

func (d *difference) clean() bool { return !d.structure && len(d.elements) == 0 }

func (d *difference) say(format string, args ...any) {
	if len(d.lines) == maxLines {
		d.omitted++
		return
	}
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *difference) differs(format string, args ...any) {
	d.structure = true
	d.say(format, args...)
}

// text is all lines.
func (d *difference) text() []string {
	if d.omitted == 0 {
		return d.lines
	}
	return append(slices.Clone(d.lines), fmt.Sprintf("and %d more", d.omitted))
}

// compare finds all that the kernel has otherwise.
func compare(want *Table, have *snapshot) *difference {
	d := &difference{}
	if !have.exists {
		d.differs("the table inet %s is missing", tableName)
		return d
	}
	if have.owner != 0 {
		d.differs("the table inet %s belongs to another program (netlink port %d)", tableName, have.owner)
	}
	if have.flags != 0 {
		d.differs("the table inet %s has flags %#x", tableName, have.flags)
	}
	d.chains(want, have)
	d.sets(want, have)
	for _, other := range have.others {
		d.differs("%s was added", other)
	}
	return d
}

func (d *difference) chains(want *Table, have *snapshot) {
	known := map[string]bool{}
	for i := range want.chains {
		c := &want.chains[i]
		known[c.name] = true
		state, found := have.chains[c.name]
		if !found {
			d.differs("chain %s is missing", c.name)
			continue
		}
		if asked := c.state(); state != asked {
			d.differs("chain %s is declared otherwise: %q instead of %q", c.name, state, asked)
		}
		d.rules(c, have.rules[c.name])
	}
	for _, name := range slices.Sorted(maps.Keys(have.chains)) {
		if !known[name] {
			d.differs("chain %s was added, with %d rules: %s", name, len(have.rules[name]), have.chains[name])
		}
	}
}

// state is how readChain prints the chain.
func (c *chain) state() chainState {
	if c.base == nil {
		return ""
	}
	return chainState(fmt.Sprintf("hook.%d=%08x hook.%d=%08x policy=accept type=%s",
		unix.NFTA_HOOK_HOOKNUM, c.base.hook.number, unix.NFTA_HOOK_PRIORITY, uint32(c.base.priority.value), c.base.kind))
}

// rules compares those of one chain: which are gone, which are new, and whether
// those that are left are in order.
func (d *difference) rules(c *chain, have []string) {
	same := func(r rule, normal string) bool { return r.normal == normal }
	if slices.EqualFunc(c.rules, have, same) {
		return
	}
	if len(have) == 0 {
		d.differs("chain %s: all %d rules are missing", c.name, len(c.rules))
		return
	}
	left := map[string]int{}
	for _, normal := range have {
		left[normal]++
	}
	whole := true
	var kept []string
	for i, r := range c.rules {
		if left[r.normal] == 0 {
			whole = false
			d.differs("chain %s: rule %d is missing: %s", c.name, i+1, r.text)
			continue
		}
		left[r.normal]--
		kept = append(kept, r.normal)
	}
	var found []string
	for i := len(have) - 1; i >= 0; i-- { // of equal ones the last are too many
		if left[have[i]] > 0 {
			left[have[i]]--
			whole = false
			d.differs("chain %s: rule %d was added: %s", c.name, i+1, c.nameOf(have[i]))
			continue
		}
		found = append(found, have[i])
	}
	slices.Reverse(found)
	if whole || !slices.Equal(found, kept) {
		d.differs("chain %s: the rules are in another order", c.name)
	}
}

// nameOf is a rule's text when it is like one of the chain's, else its form.
func (c *chain) nameOf(normal string) string {
	for _, r := range c.rules {
		if r.normal == normal {
			return r.text
		}
	}
	return normal
}

func (d *difference) sets(want *Table, have *snapshot) {
	known := map[string]bool{}
	for i := range want.sets {
		s := &want.sets[i]
		known[s.name] = true
		state, found := have.sets[s.name]
		if !found {
			d.differs("set %s is missing", s.name)
			continue
		}
		if asked := s.shape(); state.shape != asked {
			d.differs("set %s is declared otherwise: %q instead of %q", s.name, state.shape, asked)
			continue
		}
		change := setChange{set: i}
		change.add, change.remove = compareSets(s.elements, state.elements)
		for _, e := range change.remove {
			d.say("set %s: %s was added", s.name, s.print(e))
		}
		if n := len(s.elements); n > 1 && len(change.add) == n {
			d.say("set %s: all %d elements are missing", s.name, n)
		} else {
			for _, e := range change.add {
				d.say("set %s: %s is missing", s.name, s.print(e))
			}
		}
		if len(change.add)+len(change.remove) > 0 {
			d.elements = append(d.elements, change)
		}
		if slices.ContainsFunc(change.remove, func(e element) bool { return e.extra != "" }) {
			d.structure = true // such an element may be none that can be named to be removed
		}
	}
	for _, name := range slices.Sorted(maps.Keys(have.sets)) {
		if !known[name] {
			d.differs("set %s was added, with %d elements", name, len(have.sets[name].elements))
		}
	}
}

// shape is how readSet prints the set.
func (s *set) shape() string {
	attribute := func(number int, value uint32) string {
		return fmt.Sprintf("%d=%x", number, binary.BigEndian.AppendUint32(nil, value))
	}
	parts := []string{attribute(unix.NFTA_SET_KEY_TYPE, s.magic()), attribute(unix.NFTA_SET_KEY_LEN, uint32(s.keyBytes()))}
	if s.interval {
		parts = append(parts, attribute(unix.NFTA_SET_FLAGS, unix.NFT_SET_INTERVAL|setConcat))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// setConcat is NFT_SET_CONCAT of linux/netfilter/nf_tables.h.
const setConcat = 0x80

// compareSets returns what is missing and what is there besides. The first list
// is sorted, the second in the kernel's order.
func compareSets(want, have []element) (missing, besides []element) {
	have = slices.Clone(have)
	slices.SortFunc(have, compareElements)
	i := 0
	for _, h := range have {
		for i < len(want) && compareElements(want[i], h) < 0 {
			missing = append(missing, want[i])
			i++
		}
		if i < len(want) && want[i] == h {
			i++
			continue
		}
		besides = append(besides, h)
	}
	return append(missing, want[i:]...), besides
}
