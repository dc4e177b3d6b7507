package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

// apiVersion is the oldest that the project supports (Engine 20.10).
const apiVersion = "v1.41"

// Docker speaks to an engine on a unix socket. It holds just what suites need to
// look at an engine behind jacod's back and to disturb it.
type Docker struct {
	socket string
	http   *http.Client
}

// NewDocker takes the path of the engine's socket.
func NewDocker(socket string) *Docker {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return &Docker{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// FindDocker returns the engine that the machine already has, at DOCKER_HOST
// or the default socket, or nil when none answers.
func FindDocker(ctx context.Context) *Docker {
	socket := "/var/run/docker.sock"
	if host, ok := strings.CutPrefix(os.Getenv("DOCKER_HOST"), "unix://"); ok {
		socket = host
	}
	d := NewDocker(socket)
	if d.Ping(ctx) != nil {
		return nil
	}
	return d
}

// Socket is the path of the engine's socket.
func (d *Docker) Socket() string { return d.socket }

// Host is the socket as DOCKER_HOST and jacod.yaml write it.
func (d *Docker) Host() string { return "unix://" + d.socket }

// APIError is an engine's refusal.
type APIError struct {
	Status  int
	Message string
}

func (e *APIError) Error() string { return fmt.Sprintf("engine: %s (%d)", e.Message, e.Status) }

// NotFound says whether the engine answered that there is no such object.
func NotFound(err error) bool {
	var api *APIError
	return errors.As(err, &api) && api.Status == http.StatusNotFound
}

// Do makes one call. The path goes without version ("/containers/json?all=1");
// in and out are JSON and may be nil. A refusal is an *APIError.
func (d *Docker) Do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encode request for %s %s: %w", method, path, err)
		}
		body = bytes.NewReader(data)
	}
	data, err := d.send(ctx, method, path, "application/json", body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("decode answer to %s %s: %w", method, path, err)
	}
	return nil
}

func (d *Docker) send(ctx context.Context, method, path, contentType string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://engine/"+apiVersion+path, body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("X-Registry-Auth", "e30=") // {}: a push insists on it
	resp, err := d.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask engine: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read answer: %w", err)
	}
	if resp.StatusCode >= 400 {
		refusal := &APIError{Status: resp.StatusCode}
		if json.Unmarshal(data, refusal) != nil {
			refusal.Message = string(data)
		}
		return nil, refusal
	}
	return data, nil
}

// Ping says whether the engine answers.
func (d *Docker) Ping(ctx context.Context) error {
	return d.Do(ctx, http.MethodGet, "/_ping", nil, nil)
}

// Container is a line of the engine's list.
type Container struct {
	ID     string `json:"Id"`
	Names  []string
	Image  string
	State  string // created, running, exited, …
	Status string // in words, with the health
	Labels map[string]string
	Ports  []struct{ PrivatePort, PublicPort int }
}

// Containers lists containers in every state that carry all the labels, each
// written "name" or "name=value".
func (d *Docker) Containers(ctx context.Context, labels ...string) ([]Container, error) {
	filter, err := json.Marshal(map[string][]string{"label": labels})
	if err != nil {
		return nil, fmt.Errorf("encode filter: %w", err)
	}
	var list []Container
	err = d.Do(ctx, http.MethodGet, "/containers/json?all=1&filters="+url.QueryEscape(string(filter)), nil, &list)
	return list, err
}

// Details is what suites ask about one container.
type Details struct {
	ID           string `json:"Id"`
	Name         string
	Image        string // the image's id
	RestartCount int
	State        struct {
		Status, StartedAt, FinishedAt, Error string
		Running                              bool
		ExitCode, Pid                        int
		Health                               *struct{ Status string }
	}
	Config struct {
		Image  string
		Env    []string
		Labels map[string]string
	}
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress, Gateway string }
	}
}

// Inspect looks at one container, by id or name.
func (d *Docker) Inspect(ctx context.Context, container string) (Details, error) {
	var out Details
	err := d.Do(ctx, http.MethodGet, "/containers/"+url.PathEscape(container)+"/json", nil, &out)
	return out, err
}

// RunSpec describes a container that a suite starts itself.
type RunSpec struct {
	Name, Image string
	Cmd, Env    []string
	Labels      map[string]string
	// Publish maps container ports to ports of the host, TCP.
	Publish map[int]int
	Network string
}

// RunContainer creates and starts a container and returns its id.
func (d *Docker) RunContainer(ctx context.Context, spec RunSpec) (string, error) {
	type binding struct{ HostPort string }
	exposed, bindings := map[string]struct{}{}, map[string][]binding{}
	for inside, outside := range spec.Publish {
		port := strconv.Itoa(inside) + "/tcp"
		exposed[port] = struct{}{}
		bindings[port] = []binding{{HostPort: strconv.Itoa(outside)}}
	}
	in := map[string]any{
		"Image": spec.Image, "Cmd": spec.Cmd, "Env": spec.Env, "Labels": spec.Labels, "ExposedPorts": exposed,
		"HostConfig": map[string]any{"PortBindings": bindings, "NetworkMode": spec.Network},
	}
	var created struct{ ID string }
	if err := d.Do(ctx, http.MethodPost, "/containers/create?name="+url.QueryEscape(spec.Name), in, &created); err != nil {
		return "", err
	}
	return created.ID, d.Do(ctx, http.MethodPost, "/containers/"+created.ID+"/start", nil, nil)
}

// Remove kills and removes a container and its anonymous volumes, as an
// operator's "docker rm -f" does.
func (d *Docker) Remove(ctx context.Context, container string) error {
	return d.Do(ctx, http.MethodDelete, "/containers/"+url.PathEscape(container)+"?force=1&v=1", nil, nil)
}

// Event is something that the engine tells of a container.
type Event struct {
	Action   string
	TimeNano int64 // the engine's clock, which is the machine's
	Actor    struct {
		ID         string
		Attributes map[string]string
	}
}

// At is when it happened.
func (e Event) At() time.Time { return time.Unix(0, e.TimeNano) }

// Events tells of containers from now on, until the context ends or the engine
// does; ready is called once nothing will be missed.
func (d *Docker) Events(ctx context.Context, ready func(), each func(Event)) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/"+apiVersion+"/events?filters="+url.QueryEscape(`{"type":["container"]}`), nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	resp, err := d.http.Do(req)
	if err != nil {
		return fmt.Errorf("ask engine for events: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	ready()
	for dec := json.NewDecoder(resp.Body); ; {
		var event Event
		if err := dec.Decode(&event); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("read events: %w", err)
		}
		each(event)
	}
}
