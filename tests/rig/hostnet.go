package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// hostNet undoes what an engine without a namespace of its own did to the
// host's network: bridges, packet filter rules, forwarding. It removes only
// what names a bridge or an address of that engine, and Docker's own chains
// where there were none before.
type hostNet struct {
	subnet  netip.Prefix
	chains  map[string]bool   // Docker's chains that were there, "iptables nat DOCKER"
	policy  map[string]string // FORWARD's policy by program
	forward string            // the ip_forward setting
}

// filterPrograms are asked for rules; the second one may be missing.
var filterPrograms = [...]string{"iptables", "ip6tables"}

// freeSubnet returns a /16 that overlaps no address or route of the host.
func freeSubnet(ctx context.Context) (netip.Prefix, error) {
	taken, err := hostPrefixes(ctx)
	if err != nil {
		return netip.Prefix{}, err
	}
	for i := byte(200); i < 250; i++ {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, i, 0, 0}), 16)
		if !slices.ContainsFunc(taken, p.Overlaps) {
			return p, nil
		}
	}
	return netip.Prefix{}, errors.New("find a free subnet: every /16 from 10.200.0.0 to 10.249.0.0 overlaps a route of this host")
}

func hostPrefixes(ctx context.Context) ([]netip.Prefix, error) {
	out, err := output(exec.CommandContext(ctx, "ip", "-j", "route", "show", "table", "all"))
	if err != nil {
		return nil, err
	}
	var routes []struct{ Dst string }
	if err := json.Unmarshal([]byte(out), &routes); err != nil {
		return nil, fmt.Errorf("decode routes: %w", err)
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if p, ok := parsePrefix(r.Dst); ok {
			taken = append(taken, p)
		}
	}
	return taken, nil
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}

// remember records the state to return to.
func (h *hostNet) remember(ctx context.Context) error {
	forward, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return fmt.Errorf("read forwarding setting: %w", err)
	}
	h.forward, h.chains, h.policy = string(forward), map[string]bool{}, map[string]string{}
	for _, prog := range filterPrograms {
		rules, err := filterRules(ctx, prog)
		if err != nil {
			return err
		}
		for _, r := range rules {
			if chain, policy, ok := r.chain(); ok {
				h.chains[prog+" "+r.table+" "+chain] = true
				if chain == "FORWARD" && r.table == "filter" {
					h.policy[prog] = policy
				}
			}
		}
	}
	return nil
}

// restore removes bridges and rules and sets forwarding back. The engine must
// have ended.
func (h *hostNet) restore(ctx context.Context, bridges []string) error {
	links, err := h.bridgesInSubnet(ctx)
	if err != nil {
		return err
	}
	names := slices.Concat(links, bridges)
	var errs error
	for _, prog := range filterPrograms {
		errs = errors.Join(errs, h.restoreFilter(ctx, prog, names))
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if _, err := os.Stat("/sys/class/net/" + name); err == nil {
			errs = errors.Join(errs, NetNS("").ip(ctx, "link del "+name))
		}
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(h.forward), 0o644); err != nil {
		errs = errors.Join(errs, fmt.Errorf("restore forwarding: %w", err))
	}
	return errs
}

func (h *hostNet) bridgesInSubnet(ctx context.Context) ([]string, error) {
	out, err := output(exec.CommandContext(ctx, "ip", "-j", "addr", "show", "type", "bridge"))
	if err != nil {
		return nil, err
	}
	var links []struct {
		Ifname   string                   `json:"ifname"`
		AddrInfo []struct{ Local string } `json:"addr_info"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("decode links: %w", err)
	}
	var names []string
	for _, l := range links {
		for _, a := range l.AddrInfo {
			if addr, err := netip.ParseAddr(a.Local); err == nil && h.subnet.Contains(addr) {
				names = append(names, l.Ifname)
			}
		}
	}
	return names, nil
}

func (h *hostNet) restoreFilter(ctx context.Context, prog string, bridges []string) error {
	rules, err := filterRules(ctx, prog)
	if err != nil {
		return err
	}
	var errs error
	run := func(table string, args ...string) {
		_, err := output(exec.CommandContext(ctx, prog, append([]string{"-w", "5", "-t", table}, args...)...))
		errs = errors.Join(errs, err)
	}
	isNew := func(table, chain string) bool {
		return strings.HasPrefix(chain, "DOCKER") && !h.chains[prog+" "+table+" "+chain]
	}
	for _, r := range rules {
		if r.fields[0] == "-A" && (h.names(r, bridges) || slices.ContainsFunc(r.fields[2:], func(f string) bool { return isNew(r.table, f) })) {
			run(r.table, append([]string{"-D"}, r.fields[1:]...)...)
		}
	}
	// Chains that refer to each other go only when all of them are empty.
	for _, verb := range []string{"-F", "-X"} {
		for _, r := range rules {
			if chain, _, ok := r.chain(); ok && isNew(r.table, chain) {
				run(r.table, verb, chain)
			}
		}
	}
	before := h.policy[prog]
	if before == "" {
		before = "ACCEPT" // nobody had looked at the table yet
	}
	for _, r := range rules {
		if chain, policy, ok := r.chain(); ok && r.table == "filter" && chain == "FORWARD" && policy != before {
			run("filter", "-P", "FORWARD", before)
		}
	}
	return errs
}

// names says whether a rule mentions a bridge or an address of the engine.
func (h *hostNet) names(r filterRule, bridges []string) bool {
	return slices.ContainsFunc(r.fields[2:], func(f string) bool {
		if slices.Contains(bridges, f) {
			return true
		}
		host, _, _ := strings.Cut(f, ":") // --to-destination 10.200.0.2:8080
		p, ok := parsePrefix(host)
		return ok && p.Addr().Is4() && h.subnet.Contains(p.Addr())
	})
}

// filterRule is a line of iptables-save.
type filterRule struct {
	table  string
	fields []string
}

// chain reads a line that declares a chain: ":FORWARD DROP [0:0]".
func (r filterRule) chain() (name, policy string, ok bool) {
	name, ok = strings.CutPrefix(r.fields[0], ":")
	if !ok || len(r.fields) < 2 {
		return "", "", false
	}
	return name, r.fields[1], true
}

func filterRules(ctx context.Context, prog string) ([]filterRule, error) {
	if _, err := exec.LookPath(prog + "-save"); err != nil && prog != filterPrograms[0] {
		return nil, nil
	}
	out, err := output(exec.CommandContext(ctx, prog+"-save"))
	if err != nil {
		return nil, err
	}
	var rules []filterRule
	table := ""
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case strings.HasPrefix(fields[0], "*"):
			table = fields[0][1:]
		case strings.HasPrefix(fields[0], ":"), fields[0] == "-A" && len(fields) > 2:
			rules = append(rules, filterRule{table: table, fields: fields})
		}
	}
	return rules, nil
}
