package cluster

import "fmt"

func metas() table[Meta] {
	return table[Meta]{name: "meta", key: func(*Meta) string { return single }}
}

// initialized refuses what comes before InitCluster.
func (t *tx) initialized() error {
	if metas().get(t.Txn, single) == nil {
		return fmt.Errorf("%w: no cluster was initialized", ErrInvalid)
	}
	return nil
}

func (t *tx) initCluster(c *InitCluster) error {
	if metas().get(t.Txn, single) != nil {
		return fmt.Errorf("cluster: %w", ErrExists)
	}
	m := c.Meta
	switch {
	case !validClusterID(m.ID):
		return fmt.Errorf("%w: cluster id %q: want 16 hexadecimal digits", ErrInvalid, m.ID)
	case m.Name == "":
		return fmt.Errorf("%w: a cluster needs a name", ErrInvalid)
	case len(m.CA) == 0:
		return fmt.Errorf("%w: a cluster needs a certificate authority", ErrInvalid)
	case m.Repo.URL == "" || m.Repo.Branch == "":
		return fmt.Errorf("%w: a cluster needs a repository and its branch", ErrInvalid)
	case m.Anchor.IsZero():
		return fmt.Errorf("%w: a cluster needs an anchor", ErrInvalid)
	}
	if err := CheckPool(m.Pool); err != nil {
		return err
	}
	m.InitializedAt = t.now
	m.CreateIndex, m.ModifyIndex = t.index, t.index
	t.changed = true
	if err := metas().put(t.Txn, m); err != nil {
		return err
	}
	return t.putNode(c.Node)
}

func validClusterID(id string) bool {
	if len(id) != 16 {
		return false
	}
	for _, c := range id {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
