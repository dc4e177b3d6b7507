package docker

import (
	"context"
	"fmt"

	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
)

// FindNetwork implements agent.Engine.
func (e *Engine) FindNetwork(ctx context.Context, name string) error {
	res, err := e.api.NetworkInspect(ctx, name, client.NetworkInspectOptions{})
	if err == nil && res.Network.Name != name { // the engine also takes a prefix of an id
		return fmt.Errorf("it is not on this node: %w", agent.ErrNotFound)
	}
	return translate(err)
}
