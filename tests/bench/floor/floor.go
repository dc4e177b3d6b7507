// Package floor is what a deploy costs at the least: the engine's own create and
// start of the same containers, by its plain API.
package floor

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/tests/rig"
)

const (
	interval = time.Second // of the healthcheck, as in stage.Compose
	workers  = 4           // that create and start at a time
)

// Create creates a network and that many containers of examples/web on it, all
// with the label bench, and starts them.
func Create(ctx context.Context, engine *rig.Docker, image, label string, containers int) error {
	network := map[string]any{"Name": label, "Driver": "bridge"}
	if err := engine.Do(ctx, http.MethodPost, "/networks/create", network, nil); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for i := range containers {
		group.Go(func() error { return createOne(ctx, engine, image, label, fmt.Sprintf("%s-%d", label, i)) })
	}
	return group.Wait()
}

func createOne(ctx context.Context, engine *rig.Docker, image, label, name string) error {
	body := map[string]any{
		"Image":  image,
		"Labels": map[string]string{"bench": label},
		"Healthcheck": map[string]any{
			"Test":     []string{"CMD", "/web", "-probe", "http://127.0.0.1:8080/healthz"},
			"Interval": interval.Nanoseconds(), "Retries": 3,
		},
		"HostConfig":       map[string]any{"NetworkMode": label},
		"NetworkingConfig": map[string]any{"EndpointsConfig": map[string]any{label: map[string]any{}}},
	}
	var created struct{ ID string }
	if err := engine.Do(ctx, http.MethodPost, "/containers/create?name="+name, body, &created); err != nil {
		return err
	}
	return engine.Do(ctx, http.MethodPost, "/containers/"+created.ID+"/start", nil, nil)
}
