package main

import (
	"fmt"
	"io"
	"sort"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// renderNodes prints the nodes below what endangers the cluster. The wide form
// has what is of use when something is wrong. A reason says what to do, and is
// therefore never cut; it comes last, so that only its own line gets long.
func renderNodes(out io.Writer, status *cluster.Status, wide bool) error {
	renderWarnings(out, &status.Cluster)
	if len(status.Cluster.Warnings) > 0 {
		fmt.Fprintln(out)
	}
	header := []string{"NAME", "STATE", "ROLE", "AVAILABILITY", "REPLICAS", "ACCEPTED", "LAG", "VERSION"}
	if wide {
		header = append(header, "ADDRESS", "LABELS", "HEARTBEAT", "CLOCK", "PRESSURE", "WIREGUARD", "FIREWALL")
	}
	t := newTable(out, append(header, "REASON")...)
	for i := range status.Nodes {
		n := &status.Nodes[i]
		row := []cell{
			text(n.Name), nodeCell(n.State), text(n.Role), text(n.Availability), text(fmt.Sprint(n.Replicas)),
			text(revisionText(n.Accepted, wide)), text(lag(n.Lag)), text(n.Version),
		}
		if wide {
			row = append(row, text(n.Address), text(labels(n.Labels)), text(seconds(n.HeartbeatAge, "")), text(seconds(n.ClockOffset, "+")),
				text(pressure(n)), text(n.WireGuard), firewallCell(n.Firewall))
		}
		t.add(append(row, reasonCell(n.Reason, true))...)
	}
	if err := t.flush(); err != nil || !wide {
		return err
	}
	return renderPeers(out, status)
}

// renderPeers prints what each node found of its connections to the others, as
// far as that is known.
func renderPeers(out io.Writer, status *cluster.Status) error {
	t := newTable(out, "NODE", "PEER", "WIREGUARD", "HANDSHAKE", "RTT", "MTU", "REASON")
	for i := range status.Nodes {
		for _, p := range status.Nodes[i].Peers {
			t.add(text(status.Nodes[i].Name), text(p.Node), text(p.Mode), text(handshake(p.HandshakeAge)), text(roundTrip(p.RTT)), text(mtu(p.MTU)),
				reasonCell(p.Reason, true))
		}
	}
	if len(t.rows) == 1 {
		return nil
	}
	fmt.Fprintln(out)
	return t.flush()
}

// firewallCell is the generation of a node's rules, or that they do not hold; its
// reason is in the node's.
func firewallCell(f *cluster.FirewallStatus) cell {
	switch {
	case f == nil:
		return text("")
	case !f.Ready:
		return cell{"not ready", red}
	}
	return cell{fmt.Sprintf("ready, %d", f.Generation), green}
}

// handshake is how long ago one was.
func handshake(age float64) string {
	if age < 0 {
		return "never"
	}
	return (time.Duration(age) * time.Second).String() + " ago"
}

// roundTrip is "" where there was no answer.
func roundTrip(ms float64) string {
	if ms == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f ms", ms)
}

// mtu is "" where no packet came through.
func mtu(bytes int) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprint(bytes)
}

func nodeCell(s cluster.NodeState) cell {
	switch s {
	case cluster.NodeReady:
		return cell{string(s), green}
	case cluster.NodeSuspect:
		return cell{string(s), yellow}
	default:
		return cell{string(s), red}
	}
}

// lag is "" where it is not known.
func lag(entries *uint64) string {
	if entries == nil {
		return ""
	}
	return fmt.Sprint(*entries)
}

// seconds is a number of seconds as people write it, with a sign before a
// positive one; "" where it is not known.
func seconds(s *float64, plus string) string {
	if s == nil {
		return ""
	}
	d := time.Duration(*s * float64(time.Second)).Round(time.Millisecond)
	if d <= 0 {
		plus = ""
	}
	return plus + d.String()
}

// pressure shows what of the two is known.
func pressure(n *cluster.NodeStatus) string {
	var parts []string
	for _, p := range []struct {
		name    string
		percent *float64
	}{{"cpu", n.CPUPressure}, {"memory", n.MemoryPressure}} {
		if p.percent != nil {
			parts = append(parts, fmt.Sprintf("%s %g%%", p.name, *p.percent))
		}
	}
	return strings.Join(parts, ", ")
}

func labels(m map[string]string) string {
	pairs := make([]string, 0, len(m))
	for k, v := range m {
		pairs = append(pairs, k+"="+v)
	}
	sort.Strings(pairs)
	return strings.Join(pairs, ",")
}
