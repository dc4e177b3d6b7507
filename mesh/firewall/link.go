package firewall

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// bufferBytes is for both directions: a transaction is one message, and its
	// answers come while it is carried out. 4,000 networks take about 2 MiB.
	bufferBytes = 16 << 20
	// chunk is how many elements go into one part of a transaction: an attribute's
	// length has 16 bits.
	chunk = 400
)

// link is a connection to the kernel's nf_tables, in the network namespace of
// the thread that opened it. It is used by one goroutine at a time. After an
// error it is of no use any more: answers may still be in it.
type link struct {
	batch *nftables.Conn
	conn  *netlink.Conn
	port  uint32 // by which the kernel tells whose a change was
}

func openLink() (*link, error) {
	l := &link{}
	var err error
	l.batch, err = nftables.New(nftables.AsLasting(), nftables.WithSockOptions(func(conn *netlink.Conn) error {
		l.conn = conn
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("open nf_tables: %w", err)
	}
	if err := l.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("open nf_tables: %w", err), l.close())
	}
	return l, nil
}

func (l *link) prepare() error {
	if err := l.conn.SetReadBuffer(bufferBytes); err != nil {
		return fmt.Errorf("set the read buffer: %w", err)
	}
	if err := l.conn.SetWriteBuffer(bufferBytes); err != nil {
		return fmt.Errorf("set the write buffer: %w", err)
	}
	raw, err := l.conn.SyscallConn()
	if err != nil {
		return err
	}
	var bound error
	err = raw.Control(func(fd uintptr) {
		var address unix.Sockaddr
		if address, bound = unix.Getsockname(int(fd)); bound == nil {
			if own, ok := address.(*unix.SockaddrNetlink); ok {
				l.port = own.Pid
			}
		}
	})
	return errors.Join(err, bound)
}

func (l *link) close() error { return l.batch.CloseLasting() }

// during has calls end with an error when ctx does. The returned function must
// be called after them; it reports whether more may follow.
func (l *link) during(ctx context.Context) (usable func() bool, err error) {
	deadline, _ := ctx.Deadline() // zero is none
	if err := l.conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("set a deadline: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		// A connection that cannot be stopped is closed already.
		_ = l.conn.SetDeadline(time.Unix(1, 0))
	})
	return stop, nil
}

func stringAttribute(number uint16, value string) netlink.Attribute {
	return netlink.Attribute{Type: number, Data: append([]byte(value), 0)}
}

// request asks for something and returns the answers.
func (l *link) request(message uint16, flags netlink.HeaderFlags, attributes ...netlink.Attribute) ([]netlink.Message, error) {
	data, err := netlink.MarshalAttributes(attributes)
	if err != nil {
		return nil, err
	}
	header := []byte{unix.NFPROTO_INET, unix.NFNETLINK_V0, 0, 0}
	return l.conn.Execute(netlink.Message{
		Header: netlink.Header{Type: messageType(message), Flags: netlink.Request | flags},
		Data:   append(header, data...),
	})
}

func messageType(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// generation grows by one with every transaction of whomever, in any table.
func (l *link) generation() (uint32, error) {
	messages, err := l.request(unix.NFT_MSG_GETGEN, 0)
	if err != nil {
		return 0, fmt.Errorf("read the generation: %w", err)
	}
	for _, m := range messages {
		if len(m.Data) < headerLength {
			continue
		}
		attributes, err := netlink.UnmarshalAttributes(m.Data[headerLength:])
		if err != nil {
			return 0, fmt.Errorf("decode the generation: %w", err)
		}
		for _, a := range attributes {
			if kind(a) == unix.NFTA_GEN_ID {
				return number(a.Data), nil
			}
		}
	}
	return 0, errors.New("read the generation: the kernel does not say it")
}

func kernelTable() *nftables.Table {
	return &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
}

// remove takes the table away.
func (l *link) remove() error {
	l.batch.DelTable(kernelTable())
	return l.batch.Flush()
}

// replace puts a table in the place of the one that is there, if there is one,
// in one transaction: no packet meets a part of one, or none.
func (l *link) replace(t *Table, exists bool) error {
	table := kernelTable()
	if exists {
		l.batch.DelTable(table)
	}
	l.batch.AddTable(table)
	for i := range t.sets {
		s := kernelSet(&t.sets[i], i)
		if err := l.batch.AddSet(s, nil); err != nil {
			return fmt.Errorf("encode set %s: %w", s.Name, err)
		}
		if err := l.elements(l.batch.SetAddElements, s, &t.sets[i], t.sets[i].elements); err != nil {
			return err
		}
	}
	chains := make([]*nftables.Chain, len(t.chains))
	for i := range t.chains {
		chains[i] = l.batch.AddChain(kernelChain(&t.chains[i]))
	}
	for i := range t.chains {
		for _, r := range t.chains[i].rules {
			l.batch.AddRule(&nftables.Rule{Table: table, Chain: chains[i], Exprs: r.exprs})
		}
	}
	return l.batch.Flush()
}

// correct adds and removes elements, in one transaction. Those that go come
// first: an interval that overlaps another one is refused.
func (l *link) correct(t *Table, changes []setChange) error {
	for _, c := range changes {
		s := kernelSet(&t.sets[c.set], c.set)
		if err := l.elements(l.batch.SetDeleteElements, s, &t.sets[c.set], c.remove); err != nil {
			return err
		}
	}
	for _, c := range changes {
		s := kernelSet(&t.sets[c.set], c.set)
		if err := l.elements(l.batch.SetAddElements, s, &t.sets[c.set], c.add); err != nil {
			return err
		}
	}
	return l.batch.Flush()
}

func (l *link) elements(write func(*nftables.Set, []nftables.SetElement) error, s *nftables.Set, ours *set, elements []element) error {
	out := make([]nftables.SetElement, 0, min(chunk, len(elements)))
	for i, e := range elements {
		converted := nftables.SetElement{Key: []byte(e.first)}
		if ours.interval {
			converted.KeyEnd = []byte(e.last)
		}
		if out = append(out, converted); len(out) < chunk && i < len(elements)-1 {
			continue
		}
		if err := write(s, out); err != nil {
			return fmt.Errorf("encode elements of set %s: %w", s.Name, err)
		}
		out = out[:0]
	}
	return nil
}

// kernelSet is a set in the library's form. The number names it in a transaction.
func kernelSet(s *set, number int) *nftables.Set {
	k := &nftables.Set{
		Table: kernelTable(), ID: uint32(number + 1), Name: s.name,
		Interval: s.interval, Concatenation: s.interval,
	}
	types := make([]nftables.SetDatatype, len(s.fields))
	for i, f := range s.fields {
		if types[i] = nftables.TypeIFName; f.name == ipv4Address().name {
			types[i] = nftables.TypeIPAddr
		}
	}
	if k.KeyType = types[0]; len(types) > 1 {
		k.KeyType = nftables.MustConcatSetType(types...)
	} else if s.fields[0].name == ifname().name {
		k.KeyByteOrder = binaryutil.NativeEndian // so that nft lists it as one
	}
	return k
}

func kernelChain(c *chain) *nftables.Chain {
	k := &nftables.Chain{Table: kernelTable(), Name: c.name}
	if c.base != nil {
		policy := nftables.ChainPolicyAccept
		k.Type = nftables.ChainType(c.base.kind)
		k.Hooknum = nftables.ChainHookRef(nftables.ChainHook(c.base.hook.number))
		k.Priority = nftables.ChainPriorityRef(nftables.ChainPriority(c.base.priority.value))
		k.Policy = &policy
	}
	return k
}
