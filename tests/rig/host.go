package rig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
)

// Host is a node on the machine's own network, for the demo: what it publishes
// is reached at 127.0.0.1.
type Host struct {
	Node
	id string
}

// NewHost makes a node without a namespace and without an engine. Close
// removes what it made.
func NewHost(ctx context.Context) (*Host, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("make host: %w", err)
	}
	id := newID()
	g, err := newGroup("/" + id + "/host")
	if err != nil {
		return nil, err
	}
	h := &Host{id: id, Node: Node{WireGuard: wireGuardName(id, 0), Space: Space{
		Name: "host", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1}), Dir: filepath.Join(os.TempDir(), id, "host"), group: g,
	}}}
	if err := os.MkdirAll(h.Dir, 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("make directory of host: %w", err), h.Close(ctx))
	}
	return h, nil
}

// StartEngine starts an engine with a bridge and a subnet that nothing else on
// the machine uses.
func (h *Host) StartEngine(ctx context.Context) error {
	subnet, err := freeSubnet(ctx)
	if err != nil {
		return err
	}
	// 15 characters are all that a link's name may have.
	cfg := EngineConfig{Subnet: subnet, Bridge: "jaco" + h.id[len(h.id)-6:]}
	h.Engine, err = startEngine(ctx, &h.Space, cfg)
	return err
}

// Close ends every process of the host node at once, its containers included,
// and removes what they made on the machine, packet filter rules included.
func (h *Host) Close(ctx context.Context) error {
	var bridges []string
	if h.Engine != nil {
		bridges = h.Engine.bridges(ctx)
	}
	errs := h.kill(ctx)
	if h.Engine != nil {
		errs = errors.Join(errs, h.Engine.host.restore(ctx, bridges))
	}
	return errors.Join(errs, Sweep(ctx, strings.TrimPrefix(h.id, idPrefix)))
}
