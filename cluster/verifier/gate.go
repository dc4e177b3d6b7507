package verifier

import (
	"maps"
	"slices"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// gateOf is what a policy allows a deployment.
func gateOf(trust *signing.Trust, deployment string) desired.Options {
	return desired.Options{Privileges: trust.Privileges(deployment), ImagesPinned: trust.ImagesPinned}
}

// Outdated says why a policy would not take what runs of a deployment any more,
// by its privileges alone; nil when it would. Such a deployment runs on.
func Outdated(trust *signing.Trust, d *desired.Deployment) error {
	return d.Gate(gateOf(trust, d.Name))
}

// candidates names the units whose content is to be compiled, sorted: what was
// approved now, and what was approved before and refused. A new policy may
// allow a privilege, and another deployment may have given up a name.
func (e *Evaluation) candidates() []string {
	names := map[string]bool{}
	for _, name := range e.Verdict.Approved {
		names[name] = true
	}
	for name, unit := range e.Units {
		if unit.Invalid != nil && e.Verdict.Position.Units[name].Tree == unit.Invalid.Tree {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// refuseConflicts makes those of the results invalid that claim what another
// deployment holds.
func (e *Evaluation) refuseConflicts(src signing.Source, results map[string]*compiled) error {
	next, claims := map[string]*desired.Deployment{}, false
	for name, result := range results {
		if result.deployment != nil && result.invalid == nil {
			next[name] = result.deployment
			claims = claims || result.deployment.ClaimsNames()
		}
	}
	if !claims { // as good as always: the rest is not worth compiling
		return nil
	}
	active := map[string]*desired.Deployment{}
	for name, unit := range e.Units {
		if name == signing.ClusterUnit || unit.Active == nil {
			continue
		}
		result, err := compileUnit(src, name, unit.Active.Tree, desired.Options{Ungated: true})
		if err != nil {
			return err
		}
		if result.invalid == nil {
			active[name] = result.deployment
		}
	}
	for name, problems := range desired.Conflicts(active, next) {
		results[name] = &compiled{invalid: problems}
	}
	return nil
}

// maxPrunable bounds the record: beyond it the oldest volumes stay for good.
const maxPrunable = 1000

// prunable is the list of volumes that may be removed once the evaluation is
// accepted: those with x-jaco-prune that the active revision declares and the
// next one does not. A name that a revision declares again is taken off.
func (v *Verifier) prunable(record Record, e *Evaluation, claim cluster.Claim) []cluster.PrunedVolume {
	held := map[string]bool{} // by what is active from now on
	var given []cluster.PrunedVolume
	for name, unit := range e.Units {
		if d := v.deploymentOf(name, unit.Active, e.compiled); d != nil {
			for _, volume := range d.Volumes {
				held[d.EngineVolume(volume.Name)] = true
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(record.Units)) {
		d := v.deploymentOf(name, record.Units[name].Active, nil)
		if d == nil {
			continue
		}
		for _, volume := range d.Volumes {
			if volume.Prune && !volume.External && !held[d.EngineVolume(volume.Name)] {
				given = append(given, cluster.PrunedVolume{
					Deployment: name, Volume: volume.Name, Engine: d.EngineVolume(volume.Name), Revision: claim.Commit,
				})
			}
		}
	}
	kept := slices.DeleteFunc(slices.Clone(record.Prune), func(p cluster.PrunedVolume) bool {
		again := slices.ContainsFunc(given, func(g cluster.PrunedVolume) bool { return g.Engine == p.Engine })
		return held[p.Engine] || again
	})
	kept = append(kept, given...)
	return kept[max(0, len(kept)-maxPrunable):]
}

// compiledOf is deploymentOf for judgeAgain.
func (v *Verifier) compiledOf(fresh map[contentKey]*compiled) func(string, *Pin) *desired.Deployment {
	return func(name string, pin *Pin) *desired.Deployment { return v.deploymentOf(name, pin, fresh) }
}

// deploymentOf is the compiled content of a pin as far as it is at hand; nil
// otherwise. What is not at hand is not pruned.
func (v *Verifier) deploymentOf(name string, pin *Pin, fresh map[contentKey]*compiled) *desired.Deployment {
	if pin == nil || name == signing.ClusterUnit {
		return nil
	}
	key := contentKey{name, pin.Tree}
	result := fresh[key]
	if result == nil {
		v.mu.Lock()
		result = v.compiled[key]
		v.mu.Unlock()
	}
	if result == nil || result.invalid != nil {
		return nil
	}
	return result.deployment
}
