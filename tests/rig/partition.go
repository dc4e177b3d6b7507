package rig

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// split is how the LAN is cut: whom each node reaches.
type split struct {
	group    map[*Node]int // nodes of different groups do not reach each other
	isolated []*Node       // these reach nobody
	deaf     [][2]*Node    // no UDP passes between these
}

// Partition cuts the LAN between groups of nodes: nodes of different groups do
// not reach each other. Nodes that are in none of the groups, and those that
// are added later, are one more group together. All of them reach the LAN's
// servers. A partition replaces the one before; isolated nodes stay isolated.
//
// Frames are dropped in the middle of the LAN: no link goes down, connections
// are not reset, and what is sent meanwhile arrives after Heal if its sender
// still repeats it.
func (r *Rig) Partition(ctx context.Context, groups ...[]*Node) error {
	assigned := map[*Node]int{}
	for i, group := range groups {
		for _, node := range group {
			if _, twice := assigned[node]; twice {
				return fmt.Errorf("partition: %s is in two groups", node.Name)
			}
			assigned[node] = i + 1 // 0 is the rest
		}
	}
	r.split.group = assigned
	return r.cut(ctx)
}

// Isolate cuts a node off from everybody, the LAN's servers included, until
// Heal.
func (r *Rig) Isolate(ctx context.Context, node *Node) error {
	if !slices.Contains(r.split.isolated, node) {
		r.split.isolated = append(r.split.isolated, node)
	}
	return r.cut(ctx)
}

// BlockUDP drops UDP between two nodes, both ways, until Heal: a firewall in
// between that nobody thought of. TCP passes.
func (r *Rig) BlockUDP(ctx context.Context, a, b *Node) error {
	r.split.deaf = append(r.split.deaf, [2]*Node{a, b})
	return r.cut(ctx)
}

// Heal makes the LAN whole again.
func (r *Rig) Heal(ctx context.Context) error {
	r.split = split{}
	return r.cut(ctx)
}

// cut installs the rules that the split asks for, in one transaction.
func (r *Rig) cut(ctx context.Context) error {
	cmd := r.LAN.NetNS.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(r.split.rules(r.Nodes))
	if _, err := output(cmd); err != nil {
		return fmt.Errorf("cut the LAN: %w", err)
	}
	return nil
}

// rules are the whole table of the LAN's bridge, for nft. Ports are named, so
// that a rule holds for a node that comes back with a new port, too.
func (s split) rules(nodes []*Node) string {
	var b strings.Builder
	// To delete a table it must be there.
	b.WriteString("add table bridge rig\ndelete table bridge rig\n")
	var pairs []string
	for _, from := range nodes {
		for _, to := range nodes {
			if s.group[from] != s.group[to] {
				pairs = append(pairs, fmt.Sprintf("%q . %q", from.port(), to.port()))
			}
		}
	}
	var ports []string
	for _, node := range s.isolated {
		ports = append(ports, fmt.Sprintf("%q", node.port()))
	}
	var deaf []string
	for _, pair := range s.deaf {
		a, b := pair[0].port(), pair[1].port()
		deaf = append(deaf, fmt.Sprintf("%q . %q, %q . %q", a, b, b, a))
	}
	if len(pairs) == 0 && len(ports) == 0 && len(deaf) == 0 {
		return b.String()
	}
	b.WriteString("table bridge rig {\n")
	chain := func(hook string, rules ...string) {
		fmt.Fprintf(&b, "\tchain %s {\n\t\ttype filter hook %s priority 0\n", hook, hook)
		for _, rule := range rules {
			fmt.Fprintf(&b, "\t\t%s drop\n", rule)
		}
		b.WriteString("\t}\n")
	}
	var forward, in, out []string
	if len(pairs) > 0 {
		forward = append(forward, "iifname . oifname { "+strings.Join(pairs, ", ")+" }")
	}
	if len(deaf) > 0 {
		forward = append(forward, "ether type ip meta l4proto udp iifname . oifname { "+strings.Join(deaf, ", ")+" }")
	}
	if len(ports) > 0 {
		set := " { " + strings.Join(ports, ", ") + " }"
		forward = append(forward, "iifname"+set, "oifname"+set)
		in, out = []string{"iifname" + set}, []string{"oifname" + set}
	}
	chain("forward", forward...)
	chain("input", in...)
	chain("output", out...)
	b.WriteString("}\n")
	return b.String()
}
