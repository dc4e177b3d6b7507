// Package docker is agent.Engine over the Docker Engine's API.
//
// It translates and decides nothing: the spec of a container to the engine's
// three structures, the engine's answers to the agent's types, its errors to
// the agent's sentinels. The version of the API is agreed on at the first call:
// no version is right for all, as Engine 20.10 speaks up to 1.41 and Engine 29.0
// wants at least 1.44 (its release notes). Nothing that is asked for needs more
// than 1.41. An engine that is upgraded from below 25 to 29 or later under a
// running jacod is understood after jacod's restart.
package docker

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
)

// thawTimeout bounds the end of a pause, which outlives its caller.
const thawTimeout = 10 * time.Second

// DefaultHost is where Docker's packages put the socket.
const DefaultHost = "unix:///var/run/docker.sock"

// Engine is a Docker Engine, seen through one cluster's label.
type Engine struct {
	api     *client.Client
	cluster string
}

var _ agent.Engine = (*Engine)(nil)

// New returns the engine at host ("unix:///path" or "tcp://address:port") for
// one cluster. It does not connect: an engine may come up later.
func New(host, clusterID string) (*Engine, error) {
	api, err := client.New(client.WithHost(host))
	if err != nil {
		return nil, fmt.Errorf("docker client for %s: %w", host, err)
	}
	return &Engine{api: api, cluster: clusterID}, nil
}

// Close drops idle connections.
func (e *Engine) Close() error {
	if err := e.api.Close(); err != nil {
		return fmt.Errorf("close docker client: %w", err)
	}
	return nil
}

// Info implements agent.Engine.
func (e *Engine) Info(ctx context.Context) (agent.Info, error) {
	res, err := e.api.Info(ctx, client.InfoOptions{})
	if err != nil {
		return agent.Info{}, translate(err)
	}
	return agent.Info{
		Version: res.Info.ServerVersion,
		CPU:     int64(res.Info.NCPU) * 1e9,
		Memory:  res.Info.MemTotal,
	}, nil
}

// Image implements agent.Engine.
func (e *Engine) Image(ctx context.Context, reference string) (agent.Image, error) {
	res, err := e.api.ImageInspect(ctx, reference)
	if err != nil {
		return agent.Image{}, translate(err)
	}
	return agent.Image{ID: res.ID, Digest: digestOf(reference, res.ID, res.RepoDigests)}, nil
}

// digestOf picks the digest under the repository that reference names; an
// image may be known by several.
func digestOf(reference, id string, digests []string) string {
	want := repository(reference)
	for _, d := range digests {
		if repository(d) == want {
			return d
		}
	}
	if len(digests) > 0 {
		return digests[0]
	}
	return id
}

// repository cuts tag and digest off a reference and Docker Hub's defaults,
// which the engine leaves out, off its front.
func repository(reference string) string {
	name, _, _ := strings.Cut(reference, "@")
	if i := strings.LastIndexByte(name, ':'); i > strings.LastIndexByte(name, '/') {
		name = name[:i]
	}
	name = strings.TrimPrefix(name, "docker.io/")
	return strings.TrimPrefix(name, "library/")
}

// Pull implements agent.Engine.
func (e *Engine) Pull(ctx context.Context, reference string, account *agent.Account) error {
	var options client.ImagePullOptions
	if account != nil {
		encoded, err := json.Marshal(registry.AuthConfig{Username: account.Username, Password: account.Password})
		if err != nil {
			return fmt.Errorf("encode the account of %s", account.Username)
		}
		options.RegistryAuth = base64.URLEncoding.EncodeToString(encoded)
	}
	res, err := e.api.ImagePull(ctx, reference, options)
	if err != nil {
		return translate(err)
	}
	return translate(res.Wait(ctx))
}

// Start implements agent.Engine.
func (e *Engine) Start(ctx context.Context, id string) error {
	_, err := e.api.ContainerStart(ctx, id, client.ContainerStartOptions{})
	return translate(err)
}

// Stop implements agent.Engine. Signal and grace period are the container's
// own: this API version takes no signal.
func (e *Engine) Stop(ctx context.Context, id string) error {
	_, err := e.api.ContainerStop(ctx, id, client.ContainerStopOptions{})
	return translate(err)
}

// Recheck implements agent.Engine. The engine takes a container's healthchecks
// up when it is unpaused; it is frozen for some ten milliseconds.
func (e *Engine) Recheck(ctx context.Context, id string) error {
	if _, err := e.api.ContainerPause(ctx, id, client.ContainerPauseOptions{}); err != nil && ctx.Err() != nil {
		return translate(err)
	}
	// Whatever else became of the pause (it may have been paused before, or the
	// answer was lost) and of the caller, it must not stay frozen.
	thaw, cancel := context.WithTimeout(context.WithoutCancel(ctx), thawTimeout)
	defer cancel()
	_, err := e.api.ContainerUnpause(thaw, id, client.ContainerUnpauseOptions{})
	return translate(err)
}

// Remove implements agent.Engine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: true, Force: true})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	// "removal of container … is already in progress": its end will be an event.
	if cerrdefs.IsConflict(err) {
		return nil
	}
	return translate(err)
}

// EnsureVolume implements agent.Engine.
func (e *Engine) EnsureVolume(ctx context.Context, v agent.Volume) error {
	if v.External {
		_, err := e.api.VolumeInspect(ctx, v.Name, client.VolumeInspectOptions{})
		return translate(err)
	}
	_, err := e.api.VolumeCreate(ctx, client.VolumeCreateOptions{Name: v.Name, Driver: v.Driver, Labels: v.Labels})
	return translate(err)
}

// ListVolumes implements agent.Engine.
func (e *Engine) ListVolumes(ctx context.Context) ([]agent.Volume, error) {
	res, err := e.api.VolumeList(ctx, client.VolumeListOptions{
		Filters: client.Filters{}.Add("label", agent.LabelCluster+"="+e.cluster),
	})
	if err != nil {
		return nil, translate(err)
	}
	var out []agent.Volume
	for _, v := range res.Items {
		out = append(out, agent.Volume{Name: v.Name, Driver: v.Driver, Labels: v.Labels})
	}
	return out, nil
}

// RemoveVolume implements agent.Engine.
func (e *Engine) RemoveVolume(ctx context.Context, name string) error {
	_, err := e.api.VolumeRemove(ctx, name, client.VolumeRemoveOptions{})
	if cerrdefs.IsNotFound(err) {
		return nil
	}
	return translate(err)
}

// translate gives an error of the client the sentinel that the agent knows. An
// answer of the engine has a status and becomes not found, a conflict or a
// refusal; what broke on the way to it is ErrUnavailable.
func translate(err error) error {
	var neterr net.Error
	switch {
	case err == nil || errors.Is(err, context.Canceled):
		return err
	case cerrdefs.IsNotFound(err):
		return tagged{agent.ErrNotFound, err}
	case cerrdefs.IsConflict(err):
		return tagged{agent.ErrConflict, err}
	case client.IsErrConnectionFailed(err), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF),
		errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &neterr):
		return tagged{agent.ErrUnavailable, err}
	}
	return tagged{nil, err}
}

// tagged is an error of the client under one of the agent's sentinels, in the
// engine's words alone.
type tagged struct {
	sentinel error
	err      error
}

// Error returns the engine's words.
func (t tagged) Error() string {
	if errors.Is(t.err, context.DeadlineExceeded) {
		return "the engine did not answer in time"
	}
	return strings.TrimPrefix(t.err.Error(), "Error response from daemon: ")
}

// Unwrap makes both errors known to errors.Is.
func (t tagged) Unwrap() []error {
	if t.sentinel == nil {
		return []error{t.err}
	}
	return []error{t.sentinel, t.err}
}
