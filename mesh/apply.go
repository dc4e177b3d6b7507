package mesh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/mesh/bridge"
	"github.com/jaco-sh/jaco/mesh/firewall"
	"github.com/jaco-sh/jaco/mesh/wireguard"
)

// follower is what followHost remembers between two rounds.
type follower struct {
	*Mesh
	tried   *Plan             // the last that was begun
	done    bool              // it was carried out whole
	present []firewall.Bridge // that were made, and not taken away since
}

// followHost keeps the kernel and the engine as the state says: it waits, lets
// the state come to rest, builds, and applies what differs. Every checkEvery, and
// after a failure, it applies all of it, which mends what no event told of.
func (m *Mesh) followHost(ctx context.Context) {
	f := &follower{Mesh: m}
	timer := time.NewTimer(checkEvery)
	defer timer.Stop()
	pause := time.Duration(0) // after the last failure; 0: there was none
	for {
		whole := false
		select {
		case <-ctx.Done():
			return
		case <-m.newState:
			if f.unchanged(m.state.Load()) {
				continue
			}
			if !m.rest(ctx) {
				return
			}
		case <-m.nudge:
			if m.broken() {
				if pause == 0 {
					pause = retryFirst
					timer.Reset(pause)
				}
				continue
			}
			whole = true
		case <-timer.C:
			whole = true
		}
		err := f.round(ctx, whole)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = 0
			timer.Reset(checkEvery)
			continue
		}
		pause = min(max(2*pause, retryFirst), retryMax)
		m.deps.Logger.Warn("the network is not as it should be; trying again", "error", err, "after", pause)
		timer.Reset(pause)
	}
}

// rest waits until no further state comes, and reports whether ctx goes on.
func (m *Mesh) rest(ctx context.Context) bool {
	quiet, longest := time.NewTimer(settle), time.NewTimer(settleMax)
	defer quiet.Stop()
	defer longest.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-m.newState:
			quiet.Reset(settle)
		case <-quiet.C:
			return true
		case <-longest.C:
			return true
		}
	}
}

// broken reports whether a facility is in trouble.
func (m *Mesh) broken() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status.tunnel != "" || m.status.isolate != "" || m.status.engine != ""
}

// unchanged takes in a state that asks nothing of kernel and engine but what was
// tried last. After a failure the next try comes by itself.
func (f *follower) unchanged(state *cluster.EdgeState) bool {
	if f.tried == nil {
		return false
	}
	plan, err := buildHost(state, f.config.Local)
	if err != nil || !plan.sameHost(f.tried) || f.refused() != "" {
		return false
	}
	if f.done {
		f.update(func(s *status) { s.host = state.Index })
	}
	return true
}

// refused is why the last state was, if it was.
func (m *Mesh) refused() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status.refused
}

// round carries out the last state; whole says to do so even when nothing
// differs. An error asks for another round after a while. A state that was
// refused is looked at again when there is another one; until then what is in
// force is kept so.
func (f *follower) round(ctx context.Context, whole bool) error {
	state := f.state.Load()
	if state == nil {
		return nil
	}
	plan, err := buildHost(state, f.config.Local)
	switch {
	case errors.Is(err, ErrNoBlock):
		f.update(func(s *status) { s.waiting, s.refused, s.host = err.Error(), "", state.Index })
		return f.recheck(ctx, whole)
	case err != nil:
		if f.refused() != err.Error() {
			f.deps.Logger.Error("the state is refused; the network stays as it is", "index", state.Index, "error", err)
		}
		f.update(func(s *status) { s.waiting, s.refused = "", err.Error() })
		return f.recheck(ctx, whole)
	}
	f.update(func(s *status) { s.waiting, s.refused, s.slices = "", "", plan.slices })
	f.aim(plan) // the doctor is needed most when something fails
	if whole || !f.done || !plan.sameHost(f.tried) {
		f.tried, f.done = &plan, false
		if err := f.apply(ctx, plan); err != nil {
			return err
		}
		f.done = true
	}
	f.update(func(s *status) { s.host = state.Index })
	return nil
}

// recheck looks at what is in force while there is no plan to go by.
func (m *Mesh) recheck(ctx context.Context, whole bool) error {
	if !whole {
		return nil
	}
	_, _, tunnel := m.wireguard.again(ctx)
	_, _, isolate := m.firewall.again(ctx)
	_, _, engine := m.bridges.again(ctx)
	return errors.Join(tunnel, isolate, engine)
}

// apply carries a plan out, in an order in which no bridge is ever without its
// rules: WireGuard, whose MTU the bridges take; the rules, with those of bridges
// that are to go; the bridges; and the rules once more, read back now that the
// bridges are there, and without those that are gone.
func (f *follower) apply(ctx context.Context, plan Plan) error {
	errs := []error{f.wireguard.apply(ctx, plan.WireGuard)}
	rules := plan.Firewall
	rules.Bridges = append(slices.Clone(rules.Bridges), retired(f.present, &plan)...)
	if err := f.firewall.apply(ctx, rules); err != nil {
		return errors.Join(append(errs, err)...)
	}
	f.present = rules.Bridges
	bridges := plan.Bridge
	if bridges.MTU = cmp.Or(bridges.MTU, f.currentMTU()); bridges.MTU == 0 {
		return errors.Join(errs...) // WireGuard's error says why
	}
	if err := f.bridges.apply(ctx, bridges); err != nil {
		return errors.Join(append(errs, err)...)
	}
	if err := f.firewall.apply(ctx, plan.Firewall); err != nil {
		return errors.Join(append(errs, err)...)
	}
	f.present = plan.Firewall.Bridges
	f.update(func(s *status) { s.isolated = interfaces(plan.Firewall) })
	return errors.Join(errs...)
}

// retired are the bridges that are there and no longer wanted, with no member
// but themselves: what their network's other members had may be somebody else's
// by now. Where even their own subnet is, they have no rules; the firewall lets
// nothing pass for an interface that it does not know.
func retired(present []firewall.Bridge, plan *Plan) []firewall.Bridge {
	wanted := interfaces(plan.Firewall)
	var taken []netip.Prefix
	for _, b := range plan.Firewall.Bridges {
		taken = append(taken, b.Members...)
	}
	var out []firewall.Bridge
	for _, b := range present {
		overlaps := func(p netip.Prefix) bool { return p.Overlaps(b.Subnet) }
		if _, stays := wanted[b.Name]; stays || slices.ContainsFunc(taken, overlaps) {
			continue
		}
		b.Members = []netip.Prefix{b.Subnet}
		out = append(out, b)
	}
	return out
}

// interfaces are those that the firewall has rules for, with their subnets.
func interfaces(config firewall.Config) map[string]netip.Prefix {
	out := make(map[string]netip.Prefix, len(config.Bridges))
	for _, b := range config.Bridges {
		out[b.Name] = b.Subnet
	}
	return out
}

func (m *Mesh) currentMTU() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status.mtu
}

// setWireGuard is the facility's set.
func (m *Mesh) setWireGuard(ctx context.Context, config wireguard.Config) (bool, error) {
	result, err := m.deps.WireGuard.Set(ctx, config)
	if err != nil {
		err = fmt.Errorf("wireguard: %w", err)
	}
	m.update(func(s *status) {
		s.tunnel = reason(err)
		s.mtu = cmp.Or(result.MTU, s.mtu)
		s.mode = cmp.Or(result.Mode, s.mode)
	})
	m.journal.repaired(cluster.EventMeshRepaired, result.Repaired, err == nil)
	return len(result.Repaired) > 0, err
}

// setFirewall is the facility's set.
func (m *Mesh) setFirewall(ctx context.Context, config firewall.Config) (bool, error) {
	result, err := m.deps.Firewall.Set(ctx, config)
	generation := m.config.Memory.Generation + result.Generation
	m.update(func(s *status) {
		s.isolate = reason(err)
		s.generation = max(s.generation, generation)
	})
	m.journal.generation(generation)
	m.journal.repaired(cluster.EventFirewallRepaired, result.Drift, err == nil)
	if err != nil {
		err = fmt.Errorf("firewall: %w", err)
	}
	return len(result.Drift) > 0, err
}

// setBridges is the facility's set. What was mended may be a bridge made anew,
// so that the firewall is read back once more before it counts as ready.
func (m *Mesh) setBridges(ctx context.Context, config bridge.Config) (bool, error) {
	result, err := m.deps.Bridges.Set(ctx, config)
	if err != nil {
		err = fmt.Errorf("bridges: %w", err)
	}
	if result.Changed || len(result.Repaired) > 0 {
		if _, _, err := m.firewall.again(ctx); err != nil {
			m.deps.Logger.Warn("the firewall is not right after the bridges were changed", "error", err)
		}
	}
	subnets := make(map[string]netip.Prefix, len(config.Networks))
	for _, n := range config.Networks {
		subnets[n.Name] = n.Subnet
	}
	m.update(func(s *status) {
		s.engine = reason(err)
		s.bridges = result.Ready
		s.subnets = subnets
	})
	m.journal.repaired(cluster.EventMeshRepaired, result.Repaired, err == nil)
	return len(result.Repaired) > 0, err
}

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
