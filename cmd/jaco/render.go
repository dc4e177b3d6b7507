package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
)

// splitTarget reads DEPLOYMENT or DEPLOYMENT/SERVICE.
func splitTarget(argument string) (deployment, service string, err error) {
	deployment, service, found := strings.Cut(argument, "/")
	if deployment == "" || (found && service == "") || strings.Contains(service, "/") {
		return "", "", usagef("%q: want DEPLOYMENT or DEPLOYMENT/SERVICE", argument)
	}
	return deployment, service, nil
}

// renderStatus prints the overview.
func renderStatus(out io.Writer, status *cluster.Status, wide bool) error {
	c := status.Cluster
	leader := c.Leader
	if leader == "" {
		leader = "none"
	}
	fmt.Fprintf(out, "Cluster  %s (%s)  %d of %d nodes ready, leader %s\n", c.Name, c.ID, c.Ready, c.Nodes, leader)
	renderWarnings(out, &c)
	renderSyncLine(out, &status.Sync)
	if invalid := status.Sync.Invalid; invalid != nil {
		fmt.Fprintf(out, "Invalid  %s  %s\n", short(invalid.Revision), invalid.Reason)
	}
	for _, r := range status.Sync.Refused {
		if r.Head == status.Sync.Head && status.Sync.Accepted != status.Sync.Head {
			fmt.Fprintf(out, "Refused  %s  %s\n         see `jaco status sync`\n", short(r.Revision), r.Reason)
		}
	}
	fmt.Fprintln(out)
	if len(status.Deployments) == 0 {
		_, err := fmt.Fprintln(out, "No deployment yet: push a signed commit that adds deployments/NAME/compose.yaml.")
		return err
	}
	t := newTable(out, "DEPLOYMENT", "SYNC", "HEALTH", "REPLICAS", "REVISION", "TARGET", "SIGNED BY", "REASON")
	for i := range status.Deployments {
		d := &status.Deployments[i]
		t.add(text(d.Name), syncCell(d.Sync), healthCell(d.Health), text(replicaCount(d.Services)),
			text(revisionText(d.Revision, wide)), text(revisionText(d.Target, wide)), text(strings.Join(d.Signers, ",")), reasonCell(d.Reason, wide))
	}
	return t.flush()
}

// renderWarnings prints what endangers the cluster, whole: it is what to act on.
func renderWarnings(out io.Writer, c *cluster.ClusterStatus) {
	for _, w := range c.Warnings {
		fmt.Fprintf(out, "Warning  %s\n", w)
	}
}

func renderSyncLine(out io.Writer, s *cluster.SyncStatus) {
	fmt.Fprintf(out, "Sync     %s  %s %s  accepted %s", s.State, s.Repo, s.Branch, orDash(short(s.Accepted)))
	if len(s.Signers) > 0 {
		fmt.Fprintf(out, " by %s", strings.Join(s.Signers, ", "))
	}
	if s.Head != "" && s.Head != s.Accepted {
		fmt.Fprintf(out, ", head %s", short(s.Head))
	}
	fmt.Fprintln(out)
}

// renderSync prints the repository's state with the way out of each refusal.
func renderSync(out io.Writer, status *cluster.Status, _ bool) error {
	s := &status.Sync
	renderSyncLine(out, s)
	if s.Reason != "" {
		fmt.Fprintf(out, "Reason   %s\n", s.Reason)
	}
	if s.FetchedAt != nil {
		fmt.Fprintf(out, "Fetched  %s\n", s.FetchedAt.Local().Format("2006-01-02 15:04:05"))
	}
	if s.Invalid != nil {
		fmt.Fprintf(out, "\nInvalid  cluster.yaml at %s; the last one that can be read is in force\n%s\n", short(s.Invalid.Revision), indent(s.Invalid.Reason))
	}
	for _, p := range s.Pending {
		fmt.Fprintf(out, "\nWaiting  %s at %s: %s\n", p.Deployment, short(p.Revision), p.Reason)
		fmt.Fprintf(out, "  signed by %s; needs %d of %s\n", orDash(strings.Join(p.Have, ", ")), p.Need, orDash(strings.Join(p.Eligible, ", ")))
		if p.Command != "" {
			fmt.Fprintf(out, "  %s\n", p.Command)
		}
	}
	for _, r := range s.Refused {
		fmt.Fprintf(out, "\nRefused  %s  at %s (%s)\n", short(r.Revision), r.At.Local().Format("2006-01-02 15:04:05"), r.Code)
		fmt.Fprintf(out, "%s\n%s\n", indent(r.Reason), indent(r.Advice))
	}
	return nil
}

// renderDeployment prints one deployment with its replicas.
func renderDeployment(out io.Writer, d *cluster.DeploymentState, service string, wide bool) error {
	colours := newTable(out).colours
	fmt.Fprintf(out, "%s  %s  %s  runs %s, target %s, signed by %s\n", d.Name,
		paint(string(d.Sync), syncCell(d.Sync).colour, colours), paint(string(d.Health), healthCell(d.Health).colour, colours),
		orDash(short(d.Revision)), orDash(short(d.Target)), orDash(strings.Join(d.Signers, ", ")))
	if d.Reason != "" {
		fmt.Fprintf(out, "%s\n", indent(d.Reason))
	}
	fmt.Fprintln(out)
	t := newTable(out, "SERVICE", "SLOT", "REPLICA", "NODE", "PHASE", "REVISION", "CONTAINER", "ADDRESS", "REASON")
	for _, s := range d.Services {
		if service != "" && s.Name != service {
			continue
		}
		if len(s.Replicas) == 0 {
			t.add(text(s.Name), text(""), text(""), text(""), text(""), text(""), text(""), text(""), reasonCell(s.Reason, wide))
		}
		for _, r := range s.Replicas {
			t.add(text(s.Name), text(fmt.Sprint(r.Slot)), text(r.ID), text(r.Node), phaseCell(r.Phase), text(revisionText(r.Revision, wide)),
				text(revisionText(r.ContainerID, wide)), text(r.Address), reasonCell(r.Reason, wide))
		}
	}
	return t.flush()
}

func syncCell(s cluster.SyncAxis) cell {
	switch s {
	case cluster.AxisSynced:
		return cell{string(s), green}
	case cluster.AxisInvalid, cluster.AxisSuspect:
		return cell{string(s), red}
	}
	return cell{string(s), yellow}
}

func healthCell(h cluster.HealthAxis) cell {
	switch h {
	case cluster.HealthHealthy:
		return cell{string(h), green}
	case cluster.HealthDegraded, cluster.HealthMissing:
		return cell{string(h), red}
	}
	return cell{string(h), yellow}
}

func phaseCell(p cluster.Phase) cell {
	switch p {
	case cluster.Healthy, cluster.Running:
		return cell{string(p), green}
	case cluster.Unhealthy, cluster.Failed, cluster.Rejected, cluster.Lost:
		return cell{string(p), red}
	}
	return cell{string(p), yellow}
}

// replicaCount is "healthy/desired" over all services.
func replicaCount(services []cluster.ServiceStatus) string {
	healthy, desired := 0, 0
	for _, s := range services {
		healthy += s.Healthy
		desired += s.Desired
	}
	return fmt.Sprintf("%d/%d", healthy, desired)
}

// reasonCell keeps a reason on one line, and within 60 characters unless wide.
func reasonCell(reason string, wide bool) cell {
	line, _, more := strings.Cut(strings.TrimSpace(reason), "\n")
	if !wide && len([]rune(line)) > 60 {
		line, more = string([]rune(line)[:57]), true
	}
	if more {
		line += "…"
	}
	return text(line)
}

func revisionText(id string, wide bool) string {
	if wide {
		return id
	}
	return short(id)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n  ")
}
