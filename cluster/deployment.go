package cluster

import "fmt"

func deployments() table[DeploymentStatus] {
	return table[DeploymentStatus]{name: "deployment", key: func(d *DeploymentStatus) string { return d.Name }}
}

// putDeployment writes a deployment's status whole; one that says nothing new
// changes nothing.
func (t *tx) putDeployment(d DeploymentStatus) error {
	if err := checkName("deployment", d.Name); err != nil {
		return err
	}
	d.CreateIndex, d.ModifyIndex = t.index, t.index
	if old := deployments().get(t.Txn, d.Name); old != nil {
		d.CreateIndex, d.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if d == *old {
			return nil
		}
		d.ModifyIndex = t.index
	}
	t.changed = true
	return deployments().put(t.Txn, d)
}

func (t *tx) dropDeployment(name string) error {
	if deployments().get(t.Txn, name) == nil {
		return fmt.Errorf("%w: no deployment %q to drop", ErrConflict, name)
	}
	t.changed = true
	return deployments().drop(t.Txn, name)
}
