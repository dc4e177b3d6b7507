package verifier

import (
	"fmt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// publish builds the view of a record and makes it the current one. Content
// that was compiled before is not compiled again.
func (v *Verifier) publish(record Record, fresh map[contentKey]*compiled) error {
	known := map[contentKey]*compiled{}
	view := &cluster.View{
		Claim: record.Claim, ClaimIndex: record.Accepted.Index, Commit: record.Position.Commit, Signers: record.Signers, Anchor: record.Anchor,
		TrustVersion: record.TrustVersion, Advanced: record.Advanced, MaxAge: record.MaxAge, Deployments: map[string]*cluster.Accepted{},
		Pending: record.Pending, Refusal: record.Refusal, Prune: record.Prune,
	}
	for name, unit := range record.Units {
		if name == signing.ClusterUnit {
			if err := v.viewCluster(view, unit, fresh, known); err != nil {
				return err
			}
			continue
		}
		accepted, err := v.viewPin(name, unit.Active, fresh, known)
		if err != nil {
			return err
		}
		if accepted.Previous, err = v.viewPin(name, unit.Previous, fresh, known); err != nil {
			return err
		}
		if accepted.Previous.Desired == nil {
			accepted.Previous = nil
		} else {
			accepted.Previous.NoReturn = record.noReturn(unit.Previous)
		}
		if unit.Invalid != nil {
			accepted.Invalid = &cluster.Invalid{Revision: unit.Invalid.Revision, Reason: unit.Invalid.Reason}
		}
		view.Deployments[name] = accepted
	}
	v.mu.Lock()
	v.view, v.compiled = view, known
	close(v.changed)
	v.changed = make(chan struct{})
	v.mu.Unlock()
	return nil
}

// viewPin makes an Accepted of a pin; of nil, one without desired state.
func (v *Verifier) viewPin(name string, pin *Pin, fresh, known map[contentKey]*compiled) (*cluster.Accepted, error) {
	accepted := &cluster.Accepted{Name: name}
	if pin == nil {
		return accepted, nil
	}
	result, err := v.content(name, pin.Tree, fresh, known)
	if err != nil {
		return nil, err
	}
	if result.invalid != nil { // it compiled when it was accepted: another build reads it differently
		accepted.Invalid = &cluster.Invalid{Revision: pin.Revision, Reason: result.invalid.Error()}
		return accepted, nil
	}
	accepted.Revision, accepted.Claim, accepted.ClaimIndex = pin.Revision, pin.Claim, pin.Index
	accepted.Signers, accepted.Desired, accepted.Outdated = pin.Signers, result.deployment, pin.outdated()
	return accepted, nil
}

func (v *Verifier) viewCluster(view *cluster.View, unit UnitRecord, fresh, known map[contentKey]*compiled) error {
	if unit.Invalid != nil {
		view.ClusterInvalid = &cluster.Invalid{Revision: unit.Invalid.Revision, Reason: unit.Invalid.Reason}
	}
	if unit.Active == nil {
		return nil
	}
	result, err := v.content(signing.ClusterUnit, unit.Active.Tree, fresh, known)
	if err != nil {
		return err
	}
	if result.invalid != nil {
		view.ClusterInvalid = &cluster.Invalid{Revision: unit.Active.Revision, Reason: result.invalid.Error()}
		return nil
	}
	view.Cluster = *result.cluster
	return nil
}

// content returns what a unit's tree compiles to, and remembers it in known.
func (v *Verifier) content(name string, tree signing.Hash, fresh, known map[contentKey]*compiled) (*compiled, error) {
	key := contentKey{name, tree}
	result := fresh[key]
	if result == nil {
		v.mu.Lock()
		result = v.compiled[key]
		v.mu.Unlock()
	}
	if result == nil {
		var err error
		// It was accepted under the policy of its time and runs on whatever the
		// present one says; Outdated tells.
		if result, err = compileUnit(v.config.Objects, name, tree, desired.Options{Ungated: true}); err != nil {
			return nil, fmt.Errorf("read accepted content of %s: %w", name, err)
		}
	}
	known[key] = result
	return result, nil
}
