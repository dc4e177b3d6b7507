package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
)

// executor carries out actions. Each runs in a goroutine of its own; what
// costs the engine's CPU takes a slot first, so that neither a slow pull nor a
// long grace period holds up a start. The loop sees to it that no two actions
// of one key run at once.
type executor struct {
	engine  Engine
	cfg     Config
	cluster string
	put     func(message)
	prep    *preparer
	secrets *secretKeeper
	starts  chan struct{} // slots for create and start
	stops   chan struct{} // slots for the rest
	wg      sync.WaitGroup
}

func newExecutor(a *Agent, put func(message)) *executor {
	secrets := newSecretKeeper(a.Keys, a.SecretFiles)
	return &executor{
		engine:  a.Engine,
		cfg:     a.cfg,
		cluster: a.cfg.Cluster,
		put:     put,
		secrets: secrets,
		prep: newPreparer(a.Engine, a.cfg, func(ctx context.Context, reference string) (*Account, error) {
			return secrets.account(ctx, a.Views, reference)
		}),
		starts: make(chan struct{}, a.cfg.Workers),
		stops:  make(chan struct{}, 4*a.cfg.Workers),
	}
}

// begin starts an action and returns what gives it up. run is the loop's
// context: what is shared between actions outlives each of them.
func (x *executor) begin(run context.Context, a action) context.CancelFunc {
	ctx, cancel := context.WithCancel(run)
	x.wg.Add(1)
	go func() {
		defer x.wg.Done()
		defer cancel()
		var d done
		switch a.kind {
		case actStart:
			d = x.start(ctx, run, a)
		case actRemove:
			d = x.remove(ctx, a)
		case actAutopsy:
			d = x.autopsy(ctx, a)
		case actCheck:
			d = x.check(ctx, a)
		case actRecheck:
			d = x.recheck(ctx, a)
		case actVolume:
			d.trouble = x.slot(ctx, x.stops, func() error {
				return x.do(ctx, 0, func(ctx context.Context) error { return x.engine.RemoveVolume(ctx, a.volume.Engine) })
			})
		case actNetwork:
			d.trouble = x.slot(ctx, x.stops, func() error {
				return x.do(ctx, 0, func(ctx context.Context) error { return x.engine.RemoveNetwork(ctx, a.network) })
			})
		}
		d.action = a
		x.put(d)
	}()
	return cancel
}

// wait returns when every action and pull has ended.
func (x *executor) wait() {
	x.wg.Wait()
	x.prep.wg.Wait()
}

// start prepares, creates and starts a replica's container. It may be given up
// or die at any step: the next start finds the container by its name.
func (x *executor) start(ctx, run context.Context, a action) (d done) {
	x.put(progressed{key: a.key, progress: progress{phase: cluster.Preparing}})
	key := imageKey{
		reference: a.service.Container.Image,
		policy:    a.service.Container.PullPolicy,
		revision:  a.accepted.Revision,
	}
	img, err := x.prep.image(ctx, run, key)
	if err != nil {
		return x.ended(ctx, d, err)
	}
	d.digest = img.Digest
	networks, volumes := networksOf(x.cluster, a.accepted.Desired, a.service), volumesOf(x.cluster, a.accepted.Desired, a.service)
	if err := x.prepareNames(ctx, networks, volumes); err != nil {
		return x.ended(ctx, d, err)
	}
	spec := containerSpec(x.cluster, a.replica, a.service, a.accepted)
	err = x.do(ctx, 0, func(ctx context.Context) error { return x.secrets.provide(ctx, a, &spec) })
	if err != nil {
		return x.ended(ctx, d, errors.Join(err, x.secrets.drop(a.replica.ID)))
	}
	d.networks = slices.DeleteFunc(networks, func(n Network) bool { return n.External })
	d.volumes = slices.DeleteFunc(volumes, func(v Volume) bool { return v.External })
	err = x.slot(ctx, x.starts, func() error {
		id, ran, err := x.obtain(ctx, a, spec)
		if err != nil {
			return err
		}
		d.touched = id
		x.put(progressed{key: a.key, progress: progress{phase: cluster.Starting, container: id}, digest: d.digest})
		if ran {
			return nil
		}
		err = x.do(ctx, 0, func(ctx context.Context) error { return x.engine.Start(ctx, id) })
		return x.final(ctx, "cannot start the container", err)
	})
	if errors.Is(err, ErrNotFound) { // what was prepared is gone
		x.prep.forgetImage(key)
		for _, n := range d.networks {
			x.prep.forgetNetwork(n.Name)
		}
	}
	d = x.ended(ctx, d, err)
	if d.touched != "" {
		x.look(ctx, &d)
	}
	if img.ID != "" && d.container != nil && d.container.ImageID != "" && d.container.ImageID != img.ID {
		d.digest = d.container.ImageID // the tag was moved by hand in between
	}
	return d
}

// prepareNames makes the networks and volumes that a start needs.
func (x *executor) prepareNames(ctx context.Context, networks []Network, volumes []Volume) error {
	for _, n := range networks {
		if err := x.prep.network(ctx, n); err != nil {
			return err
		}
	}
	for _, v := range volumes {
		err := x.do(ctx, 0, func(ctx context.Context) error { return x.engine.EnsureVolume(ctx, v) })
		if err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	return nil
}

// obtain returns the replica's container: the one that an earlier start left,
// as far as it is whole, or a new one. ran reports that it was started before.
func (x *executor) obtain(ctx context.Context, a action, spec ContainerSpec) (id string, ran bool, err error) {
	if a.container != nil {
		id, ran, err = x.adopt(ctx, a, spec)
		if err != nil || id != "" {
			return id, ran, err
		}
	}
	for range 2 {
		id, err = call(ctx, x.cfg.CallTimeout, func(ctx context.Context) (string, error) { return x.engine.Create(ctx, spec) })
		if !errors.Is(err, ErrConflict) {
			return id, false, x.final(ctx, "cannot create the container", err)
		}
		id, ran, err = x.adopt(ctx, a, spec)
		if err != nil || id != "" {
			return id, ran, err
		}
	}
	return "", false, fmt.Errorf("the name %s is taken and free in turns: %w", spec.Name, ErrConflict)
}

// adopt looks at the container that holds the replica's name. An empty id
// without an error says that the name is free now: what held it was ours, never
// ran, and was removed.
//
// A container that was only created is taken as it is once: the start that an
// earlier process asked for may still be under way. When a start of it has come
// to nothing, a new container has better chances: an engine that was restarted
// in the middle can hang for ever on the old one.
func (x *executor) adopt(ctx context.Context, a action, spec ContainerSpec) (id string, ran bool, err error) {
	c, err := call(ctx, x.cfg.CallTimeout, func(ctx context.Context) (Container, error) { return x.engine.Inspect(ctx, spec.Name) })
	if err != nil {
		return "", false, x.final(ctx, "cannot look at container "+spec.Name, err)
	}
	for _, label := range []string{LabelCluster, LabelReplica, LabelSpec} {
		if c.Labels[label] != spec.Labels[label] {
			return "", false, &finalError{fmt.Errorf("the name %s is taken by container %s, which is not the replica's: remove or rename it",
				spec.Name, short(c.ID))}
		}
	}
	whole := len(c.Networks) == len(spec.Networks) || spec.Container.Isolation.Network != ""
	for _, at := range spec.Networks {
		_, ok := c.Networks[at.Network]
		whole = whole && ok
	}
	switch {
	case c.Status != StatusCreated && c.Status != StatusRemoving:
		return c.ID, true, nil
	case c.Status == StatusCreated && whole && !a.again:
		return c.ID, false, nil
	}
	err = x.do(ctx, 0, func(ctx context.Context) error { return x.engine.Remove(ctx, c.ID) })
	return "", false, x.final(ctx, "cannot replace container "+spec.Name, err)
}

// remove stops a container if it runs and removes it.
func (x *executor) remove(ctx context.Context, a action) (d done) {
	err := x.slot(ctx, x.stops, func() error {
		if a.container.Status == StatusRunning || a.container.Status == StatusPaused {
			err := x.do(ctx, a.container.StopGrace, func(ctx context.Context) error { return x.engine.Stop(ctx, a.container.ID) })
			if err != nil && !errors.Is(err, ErrNotFound) {
				return fmt.Errorf("stop container: %w", err)
			}
		}
		err := x.do(ctx, 0, func(ctx context.Context) error { return x.engine.Remove(ctx, a.container.ID) })
		if err != nil {
			return fmt.Errorf("remove container: %w", err)
		}
		return nil
	})
	if err == nil || errors.Is(err, ErrNotFound) {
		d.gone, d.at = a.container.ID, time.Now()
		return d
	}
	d.trouble = err
	return d
}

// autopsy reads the last lines of a container that ended. What it says is put
// together by the loop, which knows the events.
func (x *executor) autopsy(ctx context.Context, a action) (d done) {
	err := x.slot(ctx, x.stops, func() error {
		return x.do(ctx, 0, func(ctx context.Context) error {
			return x.engine.Logs(ctx, a.container.ID, LogOptions{Tail: reasonLines}, func(l LogLine) error {
				d.lines = append(d.lines, l.Text)
				return nil
			})
		})
	})
	if errors.Is(err, ErrUnavailable) || ctx.Err() != nil {
		d.trouble = err
	}
	// A container that was removed meanwhile, or a log driver that cannot be
	// read, leaves the exit code.
	return d
}

// recheck looks whether a container's healthcheck has answered since, and has
// it taken up again when it has not. A paused container goes on.
func (x *executor) recheck(ctx context.Context, a action) (d done) {
	d.touched = a.container.ID
	d.trouble = x.slot(ctx, x.stops, func() error {
		x.look(ctx, &d)
		c := d.container
		if c == nil || c.Status != a.container.Status || c.HealthDue.After(a.container.HealthDue) {
			return nil
		}
		if err := x.do(ctx, 0, func(ctx context.Context) error { return x.engine.Recheck(ctx, a.container.ID) }); err != nil {
			return fmt.Errorf("take up the healthcheck again: %w", err)
		}
		d.touched = a.container.ID
		x.look(ctx, &d)
		return nil
	})
	return d
}

// check runs a container's healthcheck. What goes wrong with that is no trouble:
// the engine's own check decides.
func (x *executor) check(ctx context.Context, a action) (d done) {
	d.touched = a.container.ID
	d.trouble = x.slot(ctx, x.stops, func() error {
		passed, err := call(ctx, checkTimeout, func(ctx context.Context) (bool, error) { return x.engine.Check(ctx, a.container.ID) })
		d.passed, d.hung = passed && err == nil, errors.Is(err, context.DeadlineExceeded)
		x.look(ctx, &d)
		return ctx.Err()
	})
	return d
}

// look inspects the container that a start made.
func (x *executor) look(ctx context.Context, d *done) {
	at := time.Now()
	c, err := call(ctx, inspectTimeout, func(ctx context.Context) (Container, error) { return x.engine.Inspect(ctx, d.touched) })
	switch {
	case err == nil:
		d.container, d.at, d.touched = &c, at, ""
	case errors.Is(err, ErrNotFound):
		d.gone, d.at, d.touched = d.touched, at, ""
	}
}

// ended sorts an error into what is final and what may be repeated.
func (x *executor) ended(ctx context.Context, d done, err error) done {
	var final *finalError
	var later *laterError
	switch {
	case err == nil:
	case errors.As(err, &final) && ctx.Err() == nil:
		d.outcome = &outcome{phase: cluster.Failed, reason: clip(clean(final.Error()), reasonBytes)}
	default:
		d.trouble = err
		if errors.As(err, &later) {
			d.retryAt = later.at
		}
	}
	return d
}

// final marks a refusal of the engine, or its silence, as the replica's end. It
// is none when the engine is going away: then it refuses anything.
func (x *executor) final(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	err = fmt.Errorf("%s: %w", what, err)
	silent := errors.Is(err, context.DeadlineExceeded)
	if errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnavailable) && !silent || ctx.Err() != nil {
		return err
	}
	if _, away := call(ctx, x.cfg.CallTimeout, x.engine.Info); away != nil {
		return errors.Join(err, away)
	}
	if silent {
		err = fmt.Errorf("%s: the engine did not do it within %v", what, x.cfg.CallTimeout)
	}
	return &finalError{err}
}

// do bounds one call of the engine that returns only an error.
func (x *executor) do(ctx context.Context, grace time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, x.cfg.CallTimeout+grace)
	defer cancel()
	return f(ctx)
}

// slot runs f while holding one of a bounded number of slots.
func (x *executor) slot(ctx context.Context, slots chan struct{}, f func() error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case slots <- struct{}{}:
	}
	defer func() { <-slots }()
	return f()
}
