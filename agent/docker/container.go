package docker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/desired"
)

// What JACO bounds a container's log with, when the user names no driver.
const (
	logDriver   = "json-file"
	logMaxSize  = "10m"
	logMaxFiles = "3"
)

// Create implements agent.Engine. Engines before API 1.44 take one network at
// creation; the others are joined before the container is started.
func (e *Engine) Create(ctx context.Context, spec agent.ContainerSpec) (string, error) {
	options, err := createOptions(spec)
	if err != nil {
		return "", err
	}
	res, err := e.api.ContainerCreate(ctx, options)
	if err != nil {
		return "", translate(err)
	}
	for _, at := range spec.Networks[min(1, len(spec.Networks)):] {
		_, err := e.api.NetworkConnect(ctx, at.Network, client.NetworkConnectOptions{
			Container:      res.ID,
			EndpointConfig: &network.EndpointSettings{Aliases: at.Aliases},
		})
		if err != nil {
			err = fmt.Errorf("join network %s: %w", at.Network, translate(err))
			return "", errors.Join(err, e.Remove(ctx, res.ID))
		}
	}
	return res.ID, nil
}

// createOptions maps a spec to the engine's structures. Every field of
// desired.Container is mapped here or listed with its reason in the test.
func createOptions(spec agent.ContainerSpec) (client.ContainerCreateOptions, error) {
	c := spec.Container
	ports, err := portBindings(c.Ports)
	if err != nil {
		return client.ContainerCreateOptions{}, err
	}
	exposed := network.PortSet{}
	for p := range ports {
		exposed[p] = struct{}{}
	}
	labels := maps.Clone(c.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, spec.Labels)
	grace := int(math.Ceil(c.StopGrace.Seconds()))
	config := &container.Config{
		Hostname:     c.Hostname,
		User:         c.User,
		ExposedPorts: exposed,
		Env:          environment(c.Environment),
		Cmd:          c.Command,
		Healthcheck:  healthConfig(c.Healthcheck),
		Image:        c.Image,
		WorkingDir:   c.WorkingDir,
		Entrypoint:   c.Entrypoint,
		Labels:       labels,
		StopSignal:   c.StopSignal,
		StopTimeout:  &grace,
	}
	host := &container.HostConfig{
		PortBindings:   ports,
		LogConfig:      logConfig(c.Logging),
		RestartPolicy:  container.RestartPolicy{Name: container.RestartPolicyDisabled},
		CapAdd:         c.Isolation.CapAdd,
		CapDrop:        c.CapDrop,
		Privileged:     c.Isolation.Privileged,
		SecurityOpt:    c.Isolation.SecurityOpt,
		ExtraHosts:     c.ExtraHosts,
		DNSSearch:      c.DNSSearch,
		ReadonlyRootfs: c.ReadOnly,
		ShmSize:        c.ShmSize,
		Sysctls:        c.Sysctls,
		Resources:      resources(c),
		Mounts:         append(mounts(c.Mounts, spec.Volumes), secretMounts(spec.Secrets)...),
	}
	if c.Init {
		host.Init = &c.Init
	}
	hostNamespaces(host, c.Isolation)
	options := client.ContainerCreateOptions{Name: spec.Name, Config: config, HostConfig: host}
	if len(spec.Networks) > 0 {
		first := spec.Networks[0]
		host.NetworkMode = container.NetworkMode(first.Network)
		options.NetworkingConfig = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
			first.Network: {Aliases: first.Aliases},
		}}
	}
	return options, nil
}

// hostNamespaces joins the container to the node's namespaces.
func hostNamespaces(host *container.HostConfig, i desired.Isolation) {
	const node = "host"
	if i.Network != "" {
		host.NetworkMode = container.NetworkMode(i.Network)
	}
	if i.HostPID {
		host.PidMode = node
	}
	if i.HostIPC {
		host.IpcMode = node
	}
	if i.HostUTS {
		host.UTSMode = node
	}
	if i.HostUsers {
		host.UsernsMode = node
	}
}

func environment(env map[string]string) []string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		out = append(out, k+"="+env[k])
	}
	return out
}

func portBindings(ports []desired.Port) (network.PortMap, error) {
	out := network.PortMap{}
	for _, p := range ports {
		port, ok := network.PortFrom(p.Container, network.IPProtocol(p.Protocol))
		if !ok {
			return nil, fmt.Errorf("port %d/%s is none", p.Container, p.Protocol)
		}
		var binding network.PortBinding
		if p.HostIP != "" {
			ip, err := netip.ParseAddr(p.HostIP)
			if err != nil {
				return nil, fmt.Errorf("port %d/%s: host address: %w", p.Container, p.Protocol, err)
			}
			binding.HostIP = ip
		}
		if p.Host != 0 {
			binding.HostPort = strconv.Itoa(int(p.Host))
		}
		out[port] = append(out[port], binding)
	}
	return out, nil
}

// healthConfig maps a healthcheck; nil leaves the image's own. StartInterval
// needs API 1.44 and has no field here.
func healthConfig(h *desired.Healthcheck) *container.HealthConfig {
	switch {
	case h == nil:
		return nil
	case h.Disable:
		return &container.HealthConfig{Test: []string{"NONE"}}
	}
	return &container.HealthConfig{
		Test:        h.Test,
		Interval:    h.Interval,
		Timeout:     h.Timeout,
		StartPeriod: h.StartPeriod,
		Retries:     h.Retries,
	}
}

func logConfig(l desired.Logging) container.LogConfig {
	if l.Driver != "" {
		return container.LogConfig{Type: l.Driver, Config: l.Options}
	}
	config := map[string]string{"max-size": logMaxSize, "max-file": logMaxFiles}
	maps.Copy(config, l.Options)
	return container.LogConfig{Type: logDriver, Config: config}
}

func resources(c desired.Container) container.Resources {
	r := container.Resources{
		NanoCPUs:          c.Resources.CPULimit,
		Memory:            c.Resources.MemoryLimit,
		MemoryReservation: c.Resources.MemoryReservation,
	}
	if c.Resources.PidsLimit != 0 {
		r.PidsLimit = &c.Resources.PidsLimit
	}
	for _, u := range c.Ulimits {
		r.Ulimits = append(r.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	for _, d := range c.Isolation.Devices {
		r.Devices = append(r.Devices, container.DeviceMapping{
			PathOnHost: d.Source, PathInContainer: d.Target, CgroupPermissions: d.Permissions,
		})
	}
	return r
}

func mounts(ms []desired.Mount, volumes map[string]string) []mount.Mount {
	var out []mount.Mount
	for _, m := range ms {
		to := mount.Mount{Target: m.Target, ReadOnly: m.ReadOnly}
		switch m.Kind {
		case desired.TmpfsMount:
			to.Type = mount.TypeTmpfs
			// The engine prints the mode in octal as it stands: these are the
			// kernel's bits, not Go's.
			to.TmpfsOptions = &mount.TmpfsOptions{SizeBytes: m.Size, Mode: os.FileMode(m.FileMode)}
		case desired.BindMount:
			to.Type, to.Source = mount.TypeBind, m.Source
			if m.Propagation != "" {
				to.BindOptions = &mount.BindOptions{Propagation: mount.Propagation(m.Propagation)}
			}
		default:
			to.Type = mount.TypeVolume
			if m.Volume != "" {
				to.Source = volumes[m.Volume]
			}
			if m.NoCopy {
				to.VolumeOptions = &mount.VolumeOptions{NoCopy: true}
			}
		}
		out = append(out, to)
	}
	return out
}

// secretMounts bind single files: a source that is not there is an error of the
// engine, never an empty directory that it makes.
func secretMounts(ms []agent.SecretMount) []mount.Mount {
	var out []mount.Mount
	for _, m := range ms {
		out = append(out, mount.Mount{Type: mount.TypeBind, Source: m.Source, Target: m.Target, ReadOnly: true})
	}
	return out
}

// listWorkers and listPatience bound the inspections of a listing.
const (
	listWorkers  = 8
	listPatience = 5 * time.Second
)

// List implements agent.Engine. The engine's list lacks exit codes, times and
// health, so each container is inspected. One that does not answer in time (an
// engine can hang on a single container for ever) is told as the list has it.
func (e *Engine) List(ctx context.Context) ([]agent.Container, error) {
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{
		All:     true,
		Filters: client.Filters{}.Add("label", agent.LabelCluster+"="+e.cluster),
	})
	if err != nil {
		return nil, translate(err)
	}
	found := make([]*agent.Container, len(res.Items))
	g, groupCtx := errgroup.WithContext(ctx)
	g.SetLimit(listWorkers)
	for i, item := range res.Items {
		g.Go(func() error {
			patience, cancel := context.WithTimeout(groupCtx, listPatience)
			defer cancel()
			c, err := e.Inspect(patience, item.ID)
			switch {
			case errors.Is(err, agent.ErrNotFound): // gone meanwhile
				return nil
			case errors.Is(err, context.DeadlineExceeded) && groupCtx.Err() == nil:
				c = summarized(item)
			case err != nil:
				return err
			}
			found[i] = &c
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	var out []agent.Container
	for _, c := range found {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out, nil
}

// summarized maps what the engine's list says of a container.
func summarized(in container.Summary) agent.Container {
	c := agent.Container{
		ID:        in.ID,
		Labels:    in.Labels,
		Status:    status(in.State),
		ImageID:   in.ImageID,
		Networks:  map[string]netip.Addr{},
		StopGrace: defaultGrace,
	}
	if len(in.Names) > 0 {
		c.Name = trimSlash(in.Names[0])
	}
	if in.NetworkSettings != nil {
		for name, at := range in.NetworkSettings.Networks {
			c.Networks[name] = netip.Addr{}
			if at != nil {
				c.Networks[name] = at.IPAddress
			}
		}
	}
	return c
}

// Inspect implements agent.Engine.
func (e *Engine) Inspect(ctx context.Context, idOrName string) (agent.Container, error) {
	res, err := e.api.ContainerInspect(ctx, idOrName, client.ContainerInspectOptions{})
	if err != nil {
		return agent.Container{}, translate(err)
	}
	return observed(res.Container), nil
}

// defaultGrace is the engine's own when a container has none.
const defaultGrace = 10 * time.Second

// observed maps the engine's answer.
func observed(in container.InspectResponse) agent.Container {
	c := agent.Container{
		ID:        in.ID,
		Name:      trimSlash(in.Name),
		ImageID:   in.Image,
		Networks:  map[string]netip.Addr{},
		StopGrace: defaultGrace,
	}
	if in.Config != nil {
		c.Labels = in.Config.Labels
		if t := in.Config.StopTimeout; t != nil {
			c.StopGrace = time.Duration(*t) * time.Second
		}
	}
	if in.NetworkSettings != nil {
		for name, at := range in.NetworkSettings.Networks {
			c.Networks[name] = netip.Addr{}
			if at != nil {
				c.Networks[name] = at.IPAddress
			}
		}
	}
	if s := in.State; s != nil {
		c.Status = status(s.Status)
		c.ExitCode, c.OOMKilled, c.Error = s.ExitCode, s.OOMKilled, s.Error
		// A container that never ran has the year 1.
		if t, err := time.Parse(time.RFC3339Nano, s.StartedAt); err == nil && t.Year() > 1 {
			c.StartedAt = t.UTC()
		}
		var check *container.HealthConfig
		if in.Config != nil {
			check = in.Config.Healthcheck
		}
		c.Health, c.HealthOutput = health(check, s.Health)
		if c.Health != agent.HealthNone && in.Config != nil {
			c.HealthDue = healthDue(c.StartedAt, check, s.Health)
		}
	}
	return c
}

// The engine's defaults for a healthcheck, and the most that a check is given
// to answer before it counts as overdue: most take no time at all.
const (
	defaultInterval = 30 * time.Second
	maxCheckTime    = 5 * time.Second
)

// healthDue is when a check should have answered next: an interval and its own
// time after the last one, or after the start.
func healthDue(started time.Time, check *container.HealthConfig, h *container.Health) time.Time {
	interval, takes := defaultInterval, maxCheckTime
	if check != nil && check.Interval > 0 {
		interval = check.Interval
	}
	if check != nil && check.Timeout > 0 {
		takes = min(takes, check.Timeout)
	}
	last := started
	if n := len(h.Log); n > 0 && h.Log[n-1] != nil && h.Log[n-1].End.After(started) {
		last = h.Log[n-1].End.UTC()
	}
	return last.Add(interval + takes)
}

func trimSlash(name string) string {
	if len(name) > 0 && name[0] == '/' {
		return name[1:]
	}
	return name
}

func status(s container.ContainerState) agent.Status {
	switch s {
	case container.StateCreated:
		return agent.StatusCreated
	case container.StatePaused:
		return agent.StatusPaused
	case container.StateExited:
		return agent.StatusExited
	case container.StateRemoving, container.StateDead:
		return agent.StatusRemoving
	default: // running; restarting, which the restart policy rules out
		return agent.StatusRunning
	}
}

// defaultRetries is the engine's: how many checks in a row must fail.
const defaultRetries = 3

// health is what the checks of a container came to, and what the last one that
// failed said.
func health(check *container.HealthConfig, h *container.Health) (agent.Health, string) {
	if h == nil {
		return agent.HealthNone, ""
	}
	switch h.Status {
	case container.Starting:
		return agent.HealthStarting, ""
	case container.Healthy:
		return agent.HealthHealthy, ""
	case container.Unhealthy:
		retries := defaultRetries
		if check != nil && check.Retries > 0 {
			retries = check.Retries
		}
		if h.FailingStreak < retries {
			return interrupted(h), ""
		}
		for _, r := range slices.Backward(h.Log) {
			if r != nil && r.ExitCode != 0 {
				return agent.HealthUnhealthy, r.Output
			}
		}
		return agent.HealthUnhealthy, ""
	default:
		return agent.HealthNone, ""
	}
}

// interrupted is the health of a container whose checks the engine stopped for
// a moment: it calls it unhealthy then, whatever the checks said, until the
// next one passes. A pause does that, that of a recheck too.
func interrupted(h *container.Health) agent.Health {
	for _, r := range h.Log {
		if r != nil && r.ExitCode == 0 {
			return agent.HealthHealthy
		}
	}
	return agent.HealthStarting
}
