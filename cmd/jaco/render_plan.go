package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/jaco-sh/jaco/scheduler/preview"
)

// renderPlan prints what would be refused first, then who must sign, then what
// changes.
func renderPlan(out io.Writer, p *preview.Plan, wide bool) error {
	fmt.Fprintln(out, planTitle(p))
	for _, w := range p.Warnings {
		fmt.Fprintln(out, "! "+w)
	}
	if len(p.Refused) > 0 {
		fmt.Fprintln(out, "\nRefused:")
		for _, r := range p.Refused {
			fmt.Fprintln(out, "  "+refusalLine(r))
		}
	}
	if p.Whole || len(p.Units) == 0 && len(p.Deployments) == 0 {
		_, err := fmt.Fprintln(out, "\nNothing changes.")
		return err
	}
	fmt.Fprintln(out)
	if err := renderUnits(out, p, wide); err != nil {
		return err
	}
	for _, part := range []func(io.Writer, *preview.Plan, bool) error{renderChanges, renderReplicaChanges, renderVolumes} {
		if err := part(out, p, wide); err != nil {
			return err
		}
	}
	return nil
}

func planTitle(p *preview.Plan) string {
	against := "nothing accepted yet"
	if !p.Against.IsZero() {
		against = p.Against.Short()
	}
	title := fmt.Sprintf("Against %s, trust version %d", against, p.TrustVersion)
	if p.Offline {
		return title + ", offline: no cluster was asked"
	}
	return title + ", cluster " + p.Cluster
}

func refusalLine(r preview.Refusal) string {
	if strings.HasPrefix(r.Message, r.File) {
		return r.Message // it names its place itself
	}
	var b strings.Builder
	b.WriteString(r.File)
	if r.Line > 0 {
		b.WriteString(":" + strconv.Itoa(r.Line))
	}
	b.WriteString(": ")
	if r.Field != "" {
		b.WriteString(r.Field + ": ")
	}
	b.WriteString(r.Message)
	return b.String()
}

// renderUnits prints one line for each rule that a unit's files fall under.
func renderUnits(out io.Writer, p *preview.Plan, wide bool) error {
	if len(p.Units) == 0 {
		return nil
	}
	t := newTable(out, "UNIT", "CHANGE", "NEEDS", "SIGNED", "FILES")
	for _, u := range p.Units {
		name, change := u.Unit, string(u.Change)
		for _, n := range u.Needs {
			needs := strconv.Itoa(n.Need) + " of " + strings.Join(n.Eligible, ", ")
			colour := plain
			if len(n.Eligible) < n.Need {
				colour = red
			}
			files := strconv.Itoa(len(n.Files))
			if wide || len(n.Files) == 1 {
				files = strings.Join(n.Files, " ")
			}
			t.add(text(name), text(change), cell{needs, colour}, text(strings.Join(n.Have, ", ")), text(files))
		}
	}
	return t.flush()
}

func renderChanges(out io.Writer, p *preview.Plan, _ bool) error {
	if len(p.Deployments) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out, "DEPLOYMENT", "SERVICE", "CHANGE", "FIELDS")
	for _, d := range p.Deployments {
		if len(d.Services) == 0 {
			t.add(text(d.Name), text(""), text("no service changes"), text(""))
		}
		for _, s := range d.Services {
			t.add(text(d.Name), text(s.Service), text(string(s.Kind)), text(strings.Join(s.Fields, ", ")))
		}
	}
	return t.flush()
}

// renderReplicaChanges prints how many replicas of each service come and go;
// wide, each of them with its nodes.
func renderReplicaChanges(out io.Writer, p *preview.Plan, wide bool) error {
	if p.Offline {
		return nil
	}
	fmt.Fprintln(out)
	if len(p.Replicas) == 0 {
		_, err := fmt.Fprintln(out, "No replica changes.")
		return err
	}
	if wide {
		t := newTable(out, "REPLICA", "ACTION", "FROM", "TO")
		for _, r := range p.Replicas {
			t.add(text(fmt.Sprintf("%s/%s.%d", r.Deployment, r.Service, r.Slot)), text(string(r.Action)), text(r.From), text(r.To))
		}
		return t.flush()
	}
	t := newTable(out, "REPLICAS OF", "CREATE", "REPLACE", "MOVE", "REMOVE", "NODES")
	for i, r := range p.Replicas {
		if i > 0 && p.Replicas[i-1].Deployment == r.Deployment && p.Replicas[i-1].Service == r.Service {
			continue
		}
		row := []cell{text(r.Deployment + "/" + r.Service)}
		for _, action := range []preview.Action{preview.ActionCreate, preview.ActionReplace, preview.ActionMove, preview.ActionRemove} {
			row = append(row, text(strconv.Itoa(p.Count(r.Deployment, r.Service, action))))
		}
		t.add(append(row, text(strings.Join(nodesOf(p, r.Deployment, r.Service), ", ")))...)
	}
	return t.flush()
}

// nodesOf names the nodes that the changes of a service touch.
func nodesOf(p *preview.Plan, deployment, service string) []string {
	var nodes []string
	for _, r := range p.Replicas {
		if r.Deployment == deployment && r.Service == service {
			nodes = append(nodes, r.From, r.To)
		}
	}
	nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == "" })
	slices.Sort(nodes)
	return slices.Compact(nodes)
}

func renderVolumes(out io.Writer, p *preview.Plan, _ bool) error {
	if len(p.Volumes) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	t := newTable(out, "VOLUME", "ACTION", "")
	for _, v := range p.Volumes {
		colour := plain
		if v.Action == preview.VolumePrune {
			colour = red
		}
		t.add(text(v.Engine), cell{string(v.Action), colour}, cell{volumeNote(v.Action), grey})
	}
	return t.flush()
}

func volumeNote(a preview.VolumeAction) string {
	switch a {
	case preview.VolumeMake:
		return "new, empty, on each node that needs it"
	case preview.VolumeUse:
		return "the replacement takes it over"
	case preview.VolumeKeep:
		return "no longer declared; stays on its nodes"
	case preview.VolumePrune:
		return "no longer declared, x-jaco-prune: true: removed with what it holds"
	}
	return ""
}
