package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeEngine is an engine in memory that prints what it is asked to do. Each
// operation takes its time and goes on when the caller has gone, as a real
// engine's does. The exported-looking verbs at the end are what people do by
// hand.
type fakeEngine struct {
	log *journal

	mu         sync.Mutex // guards the fields below
	containers map[string]*fakeContainer
	names      map[string]string // taken names: container id
	networks   map[string]Network
	volumes    map[string]Volume
	images     map[string]Image
	logs       map[string][]LogLine // by replica label
	serial     int
	address    int
	down       bool
	streams    map[*fakeStream]bool
	faults     map[string][]error       // by operation: errors of the next calls
	stuck      map[string]bool          // calls that hang for ever
	lag        map[string]time.Duration // by operation: how long its answer is under way
	starting   map[string]string        // by image: what its containers do at once ("exit 1")
	failing    map[string]int           // checks by the agent that will fail, by replica; none: all
	unchecked  bool                     // containers have no healthcheck
	pulledBy   *Account                 // the last one
	created    map[string]ContainerSpec // by name: what was asked for last
	doubled    []string                 // replicas that had two running containers at a time
	began      map[string]int           // by replica: how often its process began
}

type fakeContainer struct {
	Container
	image string
}

type fakeStream struct {
	events chan Event
	failed chan error
	queue  []Event
	wake   chan struct{}
}

// What operations take, in virtual time.
const (
	fakeCreate = 20 * time.Millisecond
	fakeStart  = 200 * time.Millisecond
	fakeStop   = 100 * time.Millisecond
	fakePull   = 2 * time.Second
	fakeQuick  = time.Millisecond

	fakeInterval = 10 * time.Second // of healthchecks
)

func newFakeEngine(log *journal) *fakeEngine {
	return &fakeEngine{
		log:        log,
		containers: map[string]*fakeContainer{},
		names:      map[string]string{},
		networks:   map[string]Network{},
		volumes:    map[string]Volume{},
		images:     map[string]Image{"web:1": {ID: "sha256:one", Digest: "web@sha256:d1"}},
		logs:       map[string][]LogLine{},
		streams:    map[*fakeStream]bool{},
		faults:     map[string][]error{},
		starting:   map[string]string{},
		began:      map[string]int{},
		stuck:      map[string]bool{},
		lag:        map[string]time.Duration{},
		unchecked:  true,
	}
}

// fakeHandle is one process's connection to the engine. A process that is
// killed gets no more answers; what it had asked for still happens.
type fakeHandle struct {
	*fakeEngine
	dead chan struct{} // closed by kill -9
}

var _ Engine = (*fakeHandle)(nil)

// serve runs one operation in the engine: it takes its time, then fails as
// told or takes effect.
func serve[T any](ctx context.Context, h *fakeHandle, op, args string, takes time.Duration, effect func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var zero T
	select {
	case <-h.dead:
		return zero, context.Canceled
	default:
	}
	if ctx.Err() != nil {
		return zero, ctx.Err()
	}
	reply := make(chan answer, 1)
	go func() {
		<-time.After(takes + spread(args)) // virtual: the engine at work
		h.mu.Lock()
		defer h.mu.Unlock()
		var a answer
		lag := h.lag[op]
		switch {
		case h.stuck[op+" "+args]:
			return // no answer, ever
		case h.down:
			a.err = fmt.Errorf("connect: %w", ErrUnavailable)
		case len(h.faults[op]) > 0 && h.faults[op][0] != nil:
			a.err = h.faults[op][0]
			h.faults[op] = h.faults[op][1:]
		default:
			if len(h.faults[op]) > 0 {
				h.faults[op] = h.faults[op][1:]
			}
			a.value, a.err = effect()
		}
		text := strings.TrimSpace(op + " " + args)
		if a.err != nil {
			text += ": " + a.err.Error()
		}
		if op != "inspect" || !errors.Is(a.err, ErrNotFound) {
			// Whether a container that disappears is looked at once more before
			// that is known has no order.
			h.log.print("engine", text)
		}
		go func() {
			<-time.After(lag)
			reply <- a
		}()
	}()
	select {
	case <-h.dead:
		return zero, context.Canceled
	case <-ctx.Done():
		return zero, ctx.Err()
	case a := <-reply:
		return a.value, a.err
	}
}

// spread makes what is asked of different containers at once end at different
// times, so that a scenario has one order.
func spread(args string) time.Duration {
	args = strings.TrimRight(strings.TrimSuffix(args, "-c"), "+")
	if args == "" {
		return 0
	}
	return time.Duration(args[len(args)-1]%16) * 100 * time.Microsecond
}

func serveErr(ctx context.Context, h *fakeHandle, op, args string, takes time.Duration, effect func() error) error {
	_, err := serve(ctx, h, op, args, takes, func() (struct{}, error) { return struct{}{}, effect() })
	return err
}

func (h *fakeHandle) Info(ctx context.Context) (Info, error) {
	return serve(ctx, h, "info", "", fakeQuick, func() (Info, error) {
		return Info{Version: "20.10.24", CPU: 2e9, Memory: 8 << 30}, nil
	})
}

func (h *fakeHandle) Events(ctx context.Context) (<-chan Event, <-chan error) {
	s := &fakeStream{events: make(chan Event), failed: make(chan error, 1), wake: make(chan struct{}, 1)}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.log.print("engine", "events")
	if h.down {
		s.failed <- fmt.Errorf("connect: %w", ErrUnavailable)
		return s.events, s.failed
	}
	h.streams[s] = true
	go func() {
		for {
			h.mu.Lock()
			cut := !h.streams[s]
			queue := s.queue
			s.queue = nil
			h.mu.Unlock()
			for _, e := range queue {
				select {
				case s.events <- e:
				case <-ctx.Done():
					s.failed <- ctx.Err()
					return
				}
			}
			if cut {
				s.failed <- fmt.Errorf("%w: %w", ErrUnavailable, io.EOF)
				return
			}
			select {
			case <-s.wake:
			case <-ctx.Done():
				s.failed <- ctx.Err()
				return
			}
		}
	}()
	return s.events, s.failed
}

// cutStreamsLocked ends every event stream after what is queued.
func (f *fakeEngine) cutStreamsLocked() {
	for s := range f.streams {
		delete(f.streams, s)
		poke(s.wake)
	}
}

// emitLocked sends an event about c.
func (f *fakeEngine) emitLocked(c *fakeContainer, e Event) {
	e.Container, e.Replica = c.ID, c.Labels[LabelReplica]
	if e.Action == ActionConnect || e.Action == ActionDisconnect {
		e.Replica = ""
	}
	e.Time = time.Now()
	for s := range f.streams {
		s.queue = append(s.queue, e)
		poke(s.wake)
	}
}

func (h *fakeHandle) List(ctx context.Context) ([]Container, error) {
	return serve(ctx, h, "list", "", fakeQuick, func() ([]Container, error) {
		var out []Container
		for _, id := range slices.Sorted(maps.Keys(h.containers)) {
			if c := h.containers[id]; c.Labels[LabelCluster] == testCluster {
				out = append(out, c.snapshot())
			}
		}
		return out, nil
	})
}

func (c *fakeContainer) snapshot() Container {
	out := c.Container
	out.Labels, out.Networks = maps.Clone(c.Labels), maps.Clone(c.Networks)
	return out
}

func (h *fakeHandle) ListNetworks(ctx context.Context) ([]Network, error) {
	return serve(ctx, h, "list-networks", "", fakeQuick, func() ([]Network, error) {
		return slices.Collect(maps.Values(h.networks)), nil
	})
}

func (f *fakeEngine) findLocked(idOrName string) (*fakeContainer, error) {
	if id, ok := f.names[idOrName]; ok {
		idOrName = id
	}
	if c := f.containers[idOrName]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("no such container %s: %w", idOrName, ErrNotFound)
}

func (h *fakeHandle) Inspect(ctx context.Context, idOrName string) (Container, error) {
	return serve(ctx, h, "inspect", idOrName, fakeQuick, func() (Container, error) {
		c, err := h.findLocked(idOrName)
		if err != nil {
			return Container{}, err
		}
		return c.snapshot(), nil
	})
}

func (h *fakeHandle) Image(ctx context.Context, reference string) (Image, error) {
	return serve(ctx, h, "image", reference, fakeQuick, func() (Image, error) {
		img, ok := h.images[reference]
		if !ok {
			return Image{}, fmt.Errorf("no such image: %w", ErrNotFound)
		}
		return img, nil
	})
}

func (h *fakeHandle) EnsureNetwork(ctx context.Context, n Network) error {
	return serveErr(ctx, h, "ensure-network", n.Name, fakeQuick, func() error {
		h.networks[n.Name] = n
		return nil
	})
}

func (h *fakeHandle) RemoveNetwork(ctx context.Context, name string) error {
	return serveErr(ctx, h, "remove-network", name, fakeQuick, func() error {
		delete(h.networks, name)
		return nil
	})
}

func (h *fakeHandle) EnsureVolume(ctx context.Context, v Volume) error {
	return serveErr(ctx, h, "ensure-volume", v.Name, fakeQuick, func() error {
		if _, ok := h.volumes[v.Name]; !ok && v.External {
			return fmt.Errorf("no such volume: %w", ErrNotFound)
		} else if !ok {
			h.volumes[v.Name] = v
		}
		return nil
	})
}

func (h *fakeHandle) ListVolumes(context.Context) ([]Volume, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Values(h.volumes)), nil
}

func (h *fakeHandle) RemoveVolume(ctx context.Context, name string) error {
	return serveErr(ctx, h, "remove-volume", name, fakeQuick, func() error {
		delete(h.volumes, name)
		return nil
	})
}

func (h *fakeHandle) Create(ctx context.Context, spec ContainerSpec) (string, error) {
	return serve(ctx, h, "create", spec.Name, fakeCreate, func() (string, error) { return h.createLocked(spec) })
}

func (f *fakeEngine) createLocked(spec ContainerSpec) (string, error) {
	if _, ok := f.names[spec.Name]; ok {
		return "", fmt.Errorf("name taken: %w", ErrConflict)
	}
	img, ok := f.images[spec.Container.Image]
	if !ok {
		return "", fmt.Errorf("no such image %s: %w", spec.Container.Image, ErrNotFound)
	}
	f.serial++
	if f.created == nil {
		f.created = map[string]ContainerSpec{}
	}
	f.created[spec.Name] = spec
	c := &fakeContainer{image: spec.Container.Image, Container: Container{
		ID:        fmt.Sprintf("%s-c", spec.Labels[LabelReplica]),
		Name:      spec.Name,
		Labels:    maps.Clone(spec.Labels),
		Status:    StatusCreated,
		ImageID:   img.ID,
		Networks:  map[string]netip.Addr{},
		StopGrace: spec.Container.StopGrace,
	}}
	for f.containers[c.ID] != nil {
		c.ID += "+"
	}
	for _, at := range spec.Networks {
		c.Networks[at.Network] = netip.Addr{}
	}
	f.containers[c.ID] = c
	f.names[c.Name] = c.ID
	f.emitLocked(c, Event{Action: ActionCreate})
	return c.ID, nil
}

func (h *fakeHandle) Start(ctx context.Context, id string) error {
	return serveErr(ctx, h, "start", id, fakeStart, func() error { return h.startLocked(id) })
}

func (f *fakeEngine) startLocked(id string) error {
	c, err := f.findLocked(id)
	if err != nil {
		return err
	}
	if c.Status == StatusRunning {
		return nil
	}
	for name := range c.Networks {
		if _, ok := f.networks[name]; !ok {
			return fmt.Errorf("network %s: %w", name, ErrNotFound)
		}
		f.address++
		c.Networks[name] = netip.AddrFrom4([4]byte{10, 0, 0, byte(f.address%250 + 1)})
	}
	for other, o := range f.containers {
		if other != id && o.Status == StatusRunning && o.Labels[LabelReplica] == c.Labels[LabelReplica] {
			f.doubled = append(f.doubled, c.Labels[LabelReplica])
		}
	}
	f.began[c.Labels[LabelReplica]]++
	c.Status, c.StartedAt = StatusRunning, time.Now().UTC()
	if !f.unchecked {
		c.Health, c.HealthDue = HealthStarting, time.Now().Add(fakeInterval)
	}
	f.emitLocked(c, Event{Action: ActionStart})
	if code, ok := strings.CutPrefix(f.starting[c.image], "exit "); ok {
		n := 0
		fmt.Sscan(code, &n)
		f.dieLocked(c, n)
	}
	return nil
}

func (f *fakeEngine) dieLocked(c *fakeContainer, code int) {
	c.Status, c.ExitCode = StatusExited, code
	f.emitLocked(c, Event{Action: ActionDie, ExitCode: code})
	for name := range c.Networks {
		c.Networks[name] = netip.Addr{}
		f.emitLocked(c, Event{Action: ActionDisconnect, Network: name})
	}
}

func (h *fakeHandle) Stop(ctx context.Context, id string) error {
	return serveErr(ctx, h, "stop", id, fakeStop, func() error { return h.stopLocked(id) })
}

func (f *fakeEngine) stopLocked(id string) error {
	c, err := f.findLocked(id)
	if err != nil {
		return err
	}
	if c.Status == StatusRunning || c.Status == StatusPaused {
		f.emitLocked(c, Event{Action: ActionKill, Signal: 15})
		f.dieLocked(c, 143)
		f.emitLocked(c, Event{Action: ActionStop})
	}
	return nil
}

func (h *fakeHandle) Remove(ctx context.Context, id string) error {
	return serveErr(ctx, h, "remove", id, fakeQuick, func() error {
		h.removeLocked(id)
		return nil
	})
}

func (f *fakeEngine) removeLocked(id string) {
	c, err := f.findLocked(id)
	if err != nil {
		return
	}
	if c.Status == StatusRunning {
		f.emitLocked(c, Event{Action: ActionKill, Signal: 9})
		f.dieLocked(c, 137)
	}
	delete(f.containers, c.ID)
	delete(f.names, c.Name)
	f.emitLocked(c, Event{Action: ActionDestroy})
}

func (h *fakeHandle) Logs(ctx context.Context, idOrName string, o LogOptions, line func(LogLine) error) error {
	lines, err := serve(ctx, h, "logs", idOrName, fakeQuick, func() ([]LogLine, error) {
		c, err := h.findLocked(idOrName)
		if err != nil {
			return nil, err
		}
		lines := h.logs[c.Labels[LabelReplica]]
		if o.Tail > 0 {
			lines = lines[max(0, len(lines)-o.Tail):]
		}
		return lines, nil
	})
	for _, l := range lines {
		err = errors.Join(err, line(l))
	}
	return err
}

// by runs something that a person does by hand, on the container of a replica.
func (f *fakeEngine) by(what, replica string, f2 func(c *fakeContainer)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.print("person", what+" "+replica)
	for _, c := range f.containers {
		if c.Labels[LabelReplica] == replica {
			f2(c)
			return
		}
	}
	f.log.print("person", "found no container of "+replica)
}

// set changes the engine under its lock.
func (f *fakeEngine) set(what string, change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log.print("world", what)
	change()
}
