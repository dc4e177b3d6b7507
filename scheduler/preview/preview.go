package preview

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/scheduler"
	"github.com/jaco-sh/jaco/signing"
)

// Input is what a plan follows from.
type Input struct {
	Tree *Tree
	// Trust is the policy in force.
	Trust *signing.Trust
	// Accepted gives the objects of what was accepted; nil without any.
	Accepted signing.Source
	// Against is the accepted commit, Base its tree, Units what was approved of
	// each unit. All may be empty.
	Against signing.Hash
	Base    signing.Hash
	Units   map[string]signing.Unit
	Now     time.Time
	// ClusterName and State are those of the cluster; nil State: offline.
	ClusterName string
	State       *scheduler.Input
	// Stalled says why the cluster follows the branch no further at the moment;
	// "" when it does.
	Stalled string
}

// Compute makes the plan. It ends early, with a plan that is not Settled, when
// ctx does.
func Compute(ctx context.Context, in Input) (*Plan, error) {
	p := &planner{Input: in, source: layers{in.Tree}, plan: &Plan{
		Cluster: in.ClusterName, Against: in.Against, TrustVersion: in.Trust.Version, Offline: in.State == nil,
		Refused: []Refusal{}, Units: []Unit{}, Deployments: []Deployment{}, Replicas: []Replica{}, Volumes: []Volume{}, Warnings: []string{},
		Settled: true,
	}}
	if in.Stalled != "" {
		reason, _, _ := strings.Cut(in.Stalled, "\n")
		p.plan.Warnings = append(p.plan.Warnings, "the branch is stalled, and nothing more is accepted until that is mended: "+reason+" (jaco status sync)")
	}
	if in.Accepted != nil {
		p.source = append(p.source, in.Accepted)
	}
	if err := p.review(); err != nil {
		return nil, err
	}
	if p.plan.Whole {
		return p.plan, nil
	}
	if err := p.compile(); err != nil {
		return nil, err
	}
	p.conflicts()
	p.outdated()
	p.deployments()
	p.effects(ctx)
	return p.plan, nil
}

// planner makes one plan.
type planner struct {
	Input
	source    layers
	plan      *Plan
	changed   map[string]signing.UnitReview
	gate      *signing.Trust                 // by which deployments are let in
	old, next map[string]*desired.Deployment // what runs, and what is to take its place
	refused   map[string]string              // by deployment, why it stays as it is
	settings  *desired.Cluster               // new; nil: as before
}

// review fills in what the policy says.
func (p *planner) review() error {
	limits := desired.CheckFiles(signing.NewTreeFS(p.source, p.Tree.Root), "deployments", "deployments")
	var problems desired.Problems
	if errors.As(limits, &problems) {
		problems = slices.DeleteFunc(problems, func(d desired.Problem) bool {
			// No folder is no fault, and the review names what is no plain file.
			return d.Message == "no such file" || strings.HasPrefix(d.Message, "not a plain file")
		})
		p.refuseAll("", problems)
		p.plan.Whole = len(problems) > 0
	}
	review, err := p.Trust.Review(p.source, p.Base, p.Tree.Root, p.Units, p.Now)
	if err != nil {
		return fmt.Errorf("compare the tree with what was accepted: %w", err)
	}
	for _, r := range review.Refused {
		p.plan.Refused = append(p.plan.Refused, Refusal{Unit: r.Unit, File: r.Path, Reason: string(r.Reason), Message: r.Detail})
		p.plan.Whole = true
	}
	p.changed = map[string]signing.UnitReview{}
	for _, u := range review.Units {
		p.changed[u.Unit] = u
		p.plan.Units = append(p.plan.Units, unitOf(u))
	}
	if err := p.massDeletion(); err != nil {
		return err
	}
	p.gate = p.Trust
	if p.Trust.RequireTarget && len(p.changed) > 0 {
		p.plan.Warnings = append(p.plan.Warnings,
			"trust.yaml says require_target: the commit needs the trailer \"Deploy-Target: <branch>\", or an approval by tag")
	}
	if _, trust := p.changed[signing.TrustUnit]; !trust || p.plan.Whole {
		return nil
	}
	if len(p.changed) > 1 {
		p.plan.Warnings = append(p.plan.Warnings,
			"trust.yaml and keys/ change alone in their commit: push that first; all else here is judged by the policy in force")
		return nil
	}
	// Alone it is what will be in force, and may let in what was refused before.
	if p.gate, err = signing.LoadTreeTrust(p.source, p.Tree.Root); err != nil {
		return fmt.Errorf("read the new policy: %w", err)
	}
	return nil
}

// massDeletion refuses what removes too many deployments at once. No commit
// exists yet that could allow it.
func (p *planner) massDeletion() error {
	if p.Against.IsZero() {
		return nil
	}
	after := signing.Position{Commit: p.Against, Units: maps.Clone(p.Units)}
	for name, u := range p.changed {
		if name != signing.TrustUnit {
			if after.Units == nil {
				after.Units = map[string]signing.Unit{}
			}
			after.Units[name] = signing.Unit{Tree: u.Tree}
		}
	}
	guard, err := cluster.PruneGuard(p.source, signing.Position{Commit: p.Against, Units: p.Units}, &signing.Verdict{Position: after}, "main")
	if err != nil || guard == nil {
		return err
	}
	p.plan.Whole = true
	p.plan.Refused = append(p.plan.Refused, Refusal{File: "deployments", Reason: string(guard.Reason), Message: guard.Detail + ` by a commit with the trailer "Allow-Prune: N"`})
	return nil
}

func unitOf(u signing.UnitReview) Unit {
	out := Unit{Unit: u.Unit, Change: Changed, Files: u.Paths, Needs: []Need{}}
	switch {
	case u.Unit == signing.TrustUnit:
	case !u.Known:
		out.Change = Added
	case u.Tree.IsZero():
		out.Change = Removed
	}
	for _, n := range u.Needs {
		out.Needs = append(out.Needs, Need{Need: n.Need, Eligible: list(n.Eligible), Have: list(n.Have), Files: list(n.Paths)})
	}
	return out
}

// list is never nil, for JSON.
func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

// compile reads the new content of every unit that changed.
func (p *planner) compile() error {
	p.old, p.next, p.refused = map[string]*desired.Deployment{}, map[string]*desired.Deployment{}, map[string]string{}
	if err := p.readOld(); err != nil {
		return err
	}
	names := slices.Collect(maps.Keys(p.changed))
	for name := range p.retried() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		tree := p.Units[name].Tree
		if u, ok := p.changed[name]; ok {
			tree = u.Tree
		}
		switch {
		case name == signing.TrustUnit:
		case name == signing.ClusterUnit:
			if err := p.readCluster(tree); err != nil {
				return err
			}
		case !tree.IsZero():
			d, err := desired.CompileWith(signing.NewTreeFS(p.source, tree), name, "deployments/"+name, desired.Options{
				Privileges: p.gate.Privileges(name), ImagesPinned: p.gate.ImagesPinned,
			})
			if !p.invalid(name, err) {
				p.next[name] = d
			}
		}
	}
	return nil
}

// retried names the deployments whose approved content was refused before and
// may be taken now, though nobody changed it.
func (p *planner) retried() map[string]bool {
	names := map[string]bool{}
	if p.State == nil || p.State.View == nil {
		return names
	}
	for name, a := range p.State.View.Deployments {
		u := p.Units[name]
		if _, differs := p.changed[name]; a.Invalid != nil && !differs && !u.Tree.IsZero() && u.Revision == a.Invalid.Revision {
			names[name] = true
		}
	}
	return names
}

// readOld gathers what runs of each deployment.
func (p *planner) readOld() error {
	if p.State != nil {
		if p.State.View != nil {
			for name, a := range p.State.View.Deployments {
				if a.Desired != nil {
					p.old[name] = a.Desired
				}
			}
		}
		return nil
	}
	for name, u := range p.Units {
		if name == signing.ClusterUnit || u.Tree.IsZero() {
			continue
		}
		d, err := desired.CompileWith(signing.NewTreeFS(p.source, u.Tree), name, "deployments/"+name, desired.Options{Ungated: true})
		if err == nil {
			p.old[name] = d
		}
	}
	return nil
}

func (p *planner) readCluster(blob signing.Hash) error {
	p.settings = &desired.Cluster{}
	if blob.IsZero() {
		return nil
	}
	data, err := signing.ReadObject(p.source, blob, signing.BlobObject)
	if err != nil {
		return fmt.Errorf("read cluster.yaml: %w", err)
	}
	settings, err := desired.ParseCluster(data)
	if p.invalid(signing.ClusterUnit, err) {
		p.settings = nil
		return nil
	}
	p.settings = settings
	return nil
}

// invalid notes the problems of a unit and reports whether there are any.
func (p *planner) invalid(unit string, err error) bool {
	var problems desired.Problems
	if errors.As(err, &problems) {
		p.refuseAll(unit, problems)
		p.refused[unit] = problems.Error()
	}
	return err != nil
}

func (p *planner) refuseAll(unit string, problems desired.Problems) {
	for _, d := range problems {
		p.plan.Refused = append(p.plan.Refused, Refusal{
			Unit: unit, File: d.File, Line: d.Line, Field: d.Field, Reason: reasonInvalid, Message: d.Message,
		})
	}
}

// outdated warns of what a new policy would not take any more. It runs on.
func (p *planner) outdated() {
	if p.gate == p.Trust {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.old)) {
		now, then := p.standing(p.Trust, name), p.standing(p.gate, name)
		if then != "" && now == "" {
			p.plan.Warnings = append(p.plan.Warnings, name+" becomes PolicyOutdated, and runs on: "+then)
		}
	}
}

// standing is what a policy has against what runs of a deployment.
func (p *planner) standing(trust *signing.Trust, name string) string {
	standing := trust.Judge(name, p.Units[name])
	err := p.old[name].Gate(desired.Options{Privileges: trust.Privileges(name), ImagesPinned: trust.ImagesPinned})
	if err == nil {
		return standing.Reason
	}
	first, _, _ := strings.Cut(err.Error(), "\n")
	return strings.TrimPrefix(standing.Reason+"; "+first, "; ")
}

// removed reports whether the tree no longer has a deployment that was approved.
func (p *planner) removed(name string) bool {
	u, differs := p.changed[name]
	return differs && u.Tree.IsZero()
}

// conflicts refuses what claims the names of other deployments.
func (p *planner) conflicts() {
	stays := map[string]*desired.Deployment{}
	for name, d := range p.old {
		if !p.removed(name) {
			stays[name] = d
		}
	}
	refused := desired.Conflicts(stays, p.next)
	for _, name := range slices.Sorted(maps.Keys(refused)) {
		p.invalid(name, refused[name])
		delete(p.next, name)
	}
}

// deployments fills in what changes in each.
func (p *planner) deployments() {
	names := map[string]bool{}
	for name := range p.next {
		names[name] = true
	}
	for name := range p.old {
		if p.removed(name) {
			names[name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, after := p.old[name], p.next[name]
		d := Deployment{Name: name, Change: Changed, Services: []ServiceChange{}, Ignored: []Note{}}
		switch {
		case before == nil:
			d.Change = Added
		case after == nil:
			d.Change = Removed
		}
		for _, c := range desired.Diff(before, after) {
			d.Services = append(d.Services, ServiceChange{Service: c.Service, Kind: c.Kind, Fields: list(c.Fields)})
		}
		if after != nil {
			for _, n := range after.Ignored {
				d.Ignored = append(d.Ignored, Note{File: n.File, Line: n.Line, Field: n.Field, Message: n.Message})
			}
		}
		p.plan.Deployments = append(p.plan.Deployments, d)
		p.volumes(name, before, after)
	}
}

// volumes fills in what becomes of a deployment's volumes.
func (p *planner) volumes(name string, before, after *desired.Deployment) {
	if before == nil {
		before = &desired.Deployment{Name: name}
	}
	if after == nil {
		after = &desired.Deployment{Name: name}
	}
	had := map[string]desired.Volume{}
	for _, v := range before.Volumes {
		had[before.EngineVolume(v.Name)] = v
	}
	replaced := map[string]bool{} // volumes that a replaced or new service mounts
	for _, c := range desired.Diff(before, after) {
		if s := after.Service(c.Service); s != nil && (c.Kind == desired.Replaced || c.Kind == desired.Added) {
			for _, m := range s.Container.Mounts {
				replaced[m.Volume] = true
			}
		}
	}
	add := func(v desired.Volume, engine string, action VolumeAction) {
		p.plan.Volumes = append(p.plan.Volumes, Volume{Deployment: name, Name: v.Name, Engine: engine, Action: action})
	}
	for _, v := range after.Volumes {
		engine := after.EngineVolume(v.Name)
		_, known := had[engine]
		delete(had, engine)
		switch {
		case !known && !v.External:
			add(v, engine, VolumeMake)
		case replaced[v.Name]:
			add(v, engine, VolumeUse)
		}
	}
	for _, engine := range slices.Sorted(maps.Keys(had)) {
		switch v := had[engine]; {
		case v.Prune && !v.External:
			add(v, engine, VolumePrune)
		default:
			add(v, engine, VolumeKeep)
		}
	}
}

// effects lets the scheduler work on the state as it is, and then on the new
// view, and compares.
func (p *planner) effects(ctx context.Context) {
	if p.State == nil || p.State.View == nil {
		return
	}
	w := newWorld(*p.State)
	settled := w.settle(ctx, p.State.View)
	before, said := w.running(), w.reasons()
	view := p.view()
	p.plan.Settled = w.settle(ctx, view) && settled
	p.plan.Replicas = append(p.plan.Replicas, changes(before, w.running())...)
	for key, reason := range w.reasons() {
		if said[key] != reason {
			p.plan.Warnings = append(p.plan.Warnings, key.Deployment+"/"+key.Service+": "+reason)
		}
	}
	slices.Sort(p.plan.Warnings)
	if !p.plan.Settled {
		p.plan.Warnings = append(p.plan.Warnings, "the rollout is longer than what a plan follows: the list of replicas ends where it stopped")
	}
}

// reasons says of each service why it does not have all that it should.
func (w *world) reasons() map[cluster.ServiceKey]string {
	out := map[cluster.ServiceKey]string{}
	for key, s := range w.services {
		if s.Reason != "" {
			out[key] = s.Reason
		}
		if s.Rollout.Reason != "" {
			out[key] = strings.TrimPrefix(out[key]+"; "+s.Rollout.Reason, "; ")
		}
	}
	return out
}

// view is what every node would accept once all is signed.
func (p *planner) view() *cluster.View {
	next := *p.State.View
	next.Claim++
	next.Commit = p.Tree.Root // no commit exists yet; any other hash will do
	next.Deployments = maps.Clone(next.Deployments)
	if next.Deployments == nil {
		next.Deployments = map[string]*cluster.Accepted{}
	}
	for name := range next.Deployments {
		if p.removed(name) {
			delete(next.Deployments, name)
		}
	}
	for name, d := range p.next {
		a := &cluster.Accepted{Name: name, Revision: p.Tree.Root, Claim: next.Claim, ClaimIndex: p.State.Index, Desired: d}
		if old := next.Deployments[name]; old != nil && old.Desired != nil {
			previous := *old
			previous.Previous, previous.Invalid = nil, nil
			a.Previous = &previous
		}
		next.Deployments[name] = a
	}
	if p.settings != nil {
		next.Cluster = *p.settings
	}
	return &next
}
