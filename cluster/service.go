package cluster

import "fmt"

func services() table[Service] {
	return table[Service]{name: "service", key: func(s *Service) string { return serviceKey(s.Deployment, s.Name) }}
}

// serviceKey is a service's key in its table and in Expectation.
func serviceKey(deployment, service string) string { return deployment + "/" + service }

// putService writes a service whole; one that says nothing new changes
// nothing. Serials only grow, or replica ids would come back.
func (t *tx) putService(s Service) error {
	if err := checkKey(ServiceKey{s.Deployment, s.Name}); err != nil {
		return err
	}
	s.CreateIndex, s.ModifyIndex = t.index, t.index
	if old := services().get(t.Txn, serviceKey(s.Deployment, s.Name)); old != nil {
		if s.NextSerial < old.NextSerial {
			return fmt.Errorf("%w: service %s/%s: next serial %d is below %d",
				ErrInvalid, s.Deployment, s.Name, s.NextSerial, old.NextSerial)
		}
		s.CreateIndex, s.ModifyIndex = old.CreateIndex, old.ModifyIndex
		if s == *old {
			return nil
		}
		s.ModifyIndex = t.index
	}
	t.changed = true
	return services().put(t.Txn, s)
}

// dropService forgets a service that has no replica left: with the record its
// serials go, and they must not be used again beside older replicas.
func (t *tx) dropService(k ServiceKey) error {
	key := serviceKey(k.Deployment, k.Service)
	if services().get(t.Txn, key) == nil {
		return fmt.Errorf("%w: no service %s to drop", ErrConflict, key)
	}
	var left *Replica
	replicas().walk(t.Txn, func(r *Replica) bool {
		if r.Service == k.Service {
			left = r
		}
		return left == nil
	}, "deployment", k.Deployment)
	if left != nil {
		return fmt.Errorf("%w: service %s still has replica %s", ErrConflict, key, left.ID)
	}
	t.changed = true
	return services().drop(t.Txn, key)
}
