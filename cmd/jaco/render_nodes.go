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
		header = append(header, "ADDRESS", "LABELS", "HEARTBEAT", "CLOCK", "PRESSURE")
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
				text(pressure(n)))
		}
		t.add(append(row, reasonCell(n.Reason, true))...)
	}
	return t.flush()
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
