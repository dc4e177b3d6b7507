package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/signing"
)

// Reanchor implements rpc.Member. The commit is read from the evidence in the
// log, or from the repository where this node follows it; in the second case the
// log gets what the other nodes need to do the same.
func (a *answers) Reanchor(ctx context.Context, operator string, commit signing.Hash) (*rpc.ReanchorResult, error) {
	m := a.member
	source := signing.NewRecorder(m.everything())
	trust, err := m.verifier.Reanchor(ctx, source, commit, operator)
	if errors.Is(err, signing.ErrNotFound) {
		return nil, fmt.Errorf("%w: it is neither in the evidence of this node nor in a copy of the repository here; "+
			"begin with the node that follows the repository, %s", err, orNobody(m.syncNode()))
	}
	if err != nil {
		return nil, err
	}
	result := &rpc.ReanchorResult{TrustVersion: trust.Version, Root: trust.Root, Lines: []string{
		fmt.Sprintf("This node trusts version %d of trust.yaml as it is in %s: root is %s.", trust.Version, commit, strings.Join(trust.Root, ", ")),
		"Every other node still refuses this history: run the same command on each of them.",
		"The next commit on top is judged as if all of its files were new; until then what runs goes on.",
	}}
	if syncer := m.syncer.Load(); syncer != nil {
		if err := m.shareAnchor(ctx, source.IDs()); err != nil {
			m.logger.Warn("the other nodes were not given what they need to reanchor", "error", err)
			result.Lines = append(result.Lines, "The other nodes lack the commit until a commit on top of it is claimed: "+err.Error())
		}
		syncer.Rejudge()
	}
	return result, nil
}

// everything is what the log brought, and where this node follows the repository
// what that holds.
func (m *member) everything() signing.Source {
	if syncer := m.syncer.Load(); syncer != nil {
		return sources{m.objects, syncer}
	}
	return m.objects
}

// shareAnchor brings what pinning the commit takes into the log.
func (m *member) shareAnchor(ctx context.Context, ids []signing.Hash) error {
	var objects []cluster.StoredObject
	snapshot := m.state.Read()
	for _, id := range ids {
		if snapshot.HasObject(id) {
			continue
		}
		object, err := m.everything().Object(id)
		if err != nil {
			return err
		}
		objects = append(objects, cluster.StoredObject{ID: id, Object: object})
	}
	for _, chunk := range chunkObjects(objects) {
		if err := m.propose(ctx, &cluster.PutObjects{Objects: chunk}); err != nil {
			return fmt.Errorf("store evidence: %w", err)
		}
	}
	return nil
}

// sources are looked through in their order.
type sources []signing.Source

// Object implements signing.Source.
func (s sources) Object(id signing.Hash) (signing.Object, error) {
	err := signing.ErrNotFound
	for _, source := range s {
		object, failed := source.Object(id)
		if failed == nil {
			return object, nil
		}
		err = failed
		if !errors.Is(err, signing.ErrNotFound) {
			break
		}
	}
	return signing.Object{}, fmt.Errorf("object %s: %w", id, err)
}

func orNobody(node string) string {
	if node == "" {
		return "once there is one"
	}
	return node
}
