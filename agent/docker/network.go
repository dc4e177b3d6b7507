package docker

import (
	"context"
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
)

// ListNetworks implements agent.Engine.
func (e *Engine) ListNetworks(ctx context.Context) ([]agent.Network, error) {
	res, err := e.api.NetworkList(ctx, client.NetworkListOptions{
		Filters: client.Filters{}.Add("label", agent.LabelCluster+"="+e.cluster),
	})
	if err != nil {
		return nil, translate(err)
	}
	var out []agent.Network
	for _, n := range res.Items {
		out = append(out, agent.Network{Name: n.Name, Labels: n.Labels, Internal: n.Internal})
	}
	return out, nil
}

// EnsureNetwork implements agent.Engine.
func (e *Engine) EnsureNetwork(ctx context.Context, n agent.Network) error {
	if n.External {
		return e.present(ctx, n.Name)
	}
	found, err := e.matching(ctx, n)
	if found || err != nil {
		return err
	}
	_, err = e.api.NetworkCreate(ctx, n.Name, client.NetworkCreateOptions{
		Driver:   "bridge",
		Internal: n.Internal,
		Labels:   n.Labels,
	})
	if err == nil {
		return nil
	}
	// Somebody else may have made it in between.
	if found, again := e.matching(ctx, n); found && again == nil {
		return nil
	}
	return translate(err)
}

// present looks for a network that somebody else makes.
func (e *Engine) present(ctx context.Context, name string) error {
	res, err := e.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if err == nil && res.Network.Name != name { // the engine also takes a prefix of an id
		return fmt.Errorf("it is external and not on this node: %w", agent.ErrNotFound)
	}
	return translate(err)
}

// matching reports whether n exists as asked for. One that is ours but
// otherwise is removed, so that it can be made anew.
func (e *Engine) matching(ctx context.Context, n agent.Network) (bool, error) {
	res, err := e.api.NetworkInspect(ctx, n.Name, client.NetworkInspectOptions{})
	switch {
	case cerrdefs.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, translate(err)
	case res.Network.Name != n.Name: // the engine also takes a prefix of an id
		return false, nil
	case res.Network.Labels[agent.LabelCluster] != e.cluster:
		return false, fmt.Errorf("it exists already: %w", agent.ErrForeign)
	case res.Network.Internal == n.Internal:
		return true, nil
	}
	if err := e.RemoveNetwork(ctx, n.Name); err != nil {
		if errors.Is(err, agent.ErrConflict) {
			return false, fmt.Errorf("it is in use and has internal: %t instead of %t: %w", res.Network.Internal, n.Internal, err)
		}
		return false, err
	}
	return false, nil
}

// RemoveNetwork implements agent.Engine.
func (e *Engine) RemoveNetwork(ctx context.Context, name string) error {
	_, err := e.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
	switch {
	case err == nil || cerrdefs.IsNotFound(err):
		return nil
	case cerrdefs.IsPermissionDenied(err): // "has active endpoints"
		return tagged{agent.ErrConflict, err}
	}
	return translate(err)
}
