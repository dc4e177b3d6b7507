package firewall

import (
	"context"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch calls changed when somebody else has changed our table, until ctx ends,
// and returns nil then. It calls it once at its beginning, as changes before it
// are seen by nobody, and when the kernel had more to tell than it could keep.
// An error means that it no longer watches.
func (f *Firewall) Watch(ctx context.Context, changed func()) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("watch nf_tables: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() }) // ends Receive
	defer func() {
		if stop() {
			_ = conn.Close() // it was only read from
		}
	}()
	if err := conn.SetReadBuffer(bufferBytes); err != nil {
		return fmt.Errorf("watch nf_tables: set the read buffer: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		return fmt.Errorf("watch nf_tables: %w", err)
	}
	changed()
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, unix.ENOBUFS):
			changed() // the subscription goes on
		case err != nil:
			return fmt.Errorf("watch nf_tables: %w", err)
		case f.foreign(messages):
			changed()
		}
	}
}

// foreign reports whether one of the messages tells of a change of our table
// that was not ours. The end of each transaction is told too, of no table.
func (f *Firewall) foreign(messages []netlink.Message) bool {
	own := f.port.Load()
	for _, m := range messages {
		if m.Header.PID == own && own != 0 || m.Header.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Header.Type == messageType(unix.NFT_MSG_NEWGEN) {
			continue
		}
		attributes, err := contents(m)
		if err != nil || get(attributes, 1) == tableName { // what cannot be read may be ours
			return true
		}
	}
	return false
}
