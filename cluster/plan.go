package cluster

import "fmt"

func (t *tx) applyPlan(p *ApplyPlan) error {
	if err := t.initialized(); err != nil {
		return err
	}
	for _, e := range p.Expect {
		if err := t.expect(e); err != nil {
			return err
		}
	}
	// Services first and dropped last: a replica's serial is taken from its
	// service, and a service goes only after its replicas.
	return firstError(
		inOrder(p.Services, t.putService),
		inOrder(p.Lose, t.loseReplica),
		inOrder(p.Blocks, t.giveBlock),
		inOrder(p.DropSlices, t.dropSlice),
		inOrder(p.Slices, t.putSlice),
		inOrder(p.Create, t.createReplica),
		inOrder(p.Stop, t.stopReplica),
		inOrder(p.Remove, t.removeReplica),
		inOrder(p.DropService, t.dropService),
		inOrder(p.Deployments, t.putDeployment),
		inOrder(p.DropStatus, t.dropDeployment),
	)
}

// inOrder is a step that does one thing to each of a list.
func inOrder[T any](list []T, do func(T) error) func() error {
	return func() error {
		for _, v := range list {
			if err := do(v); err != nil {
				return err
			}
		}
		return nil
	}
}

// firstError runs steps until one fails.
func firstError(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// expect checks that an object is as the planner saw it.
func (t *tx) expect(e Expectation) error {
	var present uint64
	switch e.Kind {
	case ExpectReplica:
		if r := replicas().get(t.Txn, e.Key); r != nil {
			present = r.ModifyIndex
		}
	case ExpectService:
		if s := services().get(t.Txn, e.Key); s != nil {
			present = s.ModifyIndex
		}
	case ExpectDeployment:
		if d := deployments().get(t.Txn, e.Key); d != nil {
			present = d.ModifyIndex
		}
	case ExpectNode:
		if n := nodes().get(t.Txn, e.Key); n != nil {
			present = n.ModifyIndex
		}
	case ExpectMesh:
		if n := meshNodes().get(t.Txn, e.Key); n != nil {
			present = n.ModifyIndex
		}
	default:
		return fmt.Errorf("%w: expectation of kind %q", ErrInvalid, e.Kind)
	}
	if present != e.ModifyIndex {
		return fmt.Errorf("%w: %s %s is at %d, the plan was made at %d", ErrConflict, e.Kind, e.Key, present, e.ModifyIndex)
	}
	return nil
}
