package agent

import (
	"strings"

	"github.com/jaco-sh/jaco/cluster"
)

// order ranks phases: a report may only move a replica forward. Healthy and
// Unhealthy alternate.
func order(p cluster.Phase) int {
	switch p {
	case cluster.Assigned:
		return 0
	case cluster.Preparing:
		return 1
	case cluster.Starting:
		return 2
	case cluster.Running:
		return 3
	case cluster.Healthy, cluster.Unhealthy:
		return 4
	case cluster.Stopping:
		return 5
	default: // final
		return 6
	}
}

// isNews reports whether rep says more than what the state records of r. A
// report that would take a replica back is no news.
func isNews(r cluster.Replica, rep cluster.ReplicaReport) bool {
	if r.Phase.Final() || order(rep.Phase) < order(r.Phase) {
		return false
	}
	if rep.Phase != r.Phase {
		return true
	}
	return differs(rep.ContainerID, r.ContainerID) ||
		differs(rep.ImageDigest, r.ImageDigest) ||
		differs(rep.Address, r.Address) ||
		rep.Reason != "" && !sameReason(rep.Reason, r.Reason) ||
		!rep.StartedAt.IsZero() && !rep.StartedAt.Equal(r.StartedAt)
}

func differs(report, recorded string) bool { return report != "" && report != recorded }

// sameReason compares reasons without their digits. Errors carry local ports,
// durations and request numbers that change with every attempt, and each
// change would be an entry in the log of the whole cluster.
func sameReason(a, b string) bool {
	strip := func(s string) string {
		return strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return -1
			}
			return r
		}, s)
	}
	return strip(a) == strip(b)
}
