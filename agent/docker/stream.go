package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/client"

	"github.com/jaco-sh/jaco/agent"
)

// maxLine is the length above which a log line is delivered in pieces.
const maxLine = 16 << 10

// Events implements agent.Engine. The engine filters by kind of event, so that
// the healthchecks' exec events, three a run, never leave it; it cannot filter
// by label here, as events of networks carry none.
func (e *Engine) Events(ctx context.Context) (<-chan agent.Event, <-chan error) {
	filters := client.Filters{}.
		Add("type", string(events.ContainerEventType), string(events.NetworkEventType)).
		Add("event", string(events.ActionCreate), string(events.ActionStart), string(events.ActionKill),
			string(events.ActionStop), string(events.ActionDie), string(events.ActionOOM),
			string(events.ActionPause), string(events.ActionUnPause), string(events.ActionRename),
			string(events.ActionUpdate), string(events.ActionHealthStatus), string(events.ActionDestroy),
			string(events.ActionConnect), string(events.ActionDisconnect))
	ctx, cancel := context.WithCancel(ctx)
	res := e.api.Events(ctx, client.EventsListOptions{Filters: filters})
	out := make(chan agent.Event)
	failed := make(chan error, 1)
	// An engine that refused has answered already, and the caller is to know
	// before he goes on.
	select {
	case err := <-res.Err:
		cancel()
		failed <- translate(ended(err))
		return out, failed
	default:
	}
	go func() {
		defer cancel()
		for {
			select {
			case err := <-res.Err:
				failed <- translate(ended(err))
				return
			case m := <-res.Messages:
				event, ok := e.event(m)
				if !ok {
					continue
				}
				select {
				case out <- event:
				case <-ctx.Done():
					failed <- ctx.Err()
					return
				}
			}
		}
	}()
	return out, failed
}

// ended gives the closing of the error channel a name.
func ended(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// event maps a message and reports whether it concerns this cluster.
func (e *Engine) event(m events.Message) (agent.Event, bool) {
	attr := m.Actor.Attributes
	out := agent.Event{Action: agent.EventAction(m.Action), Time: time.Unix(0, m.TimeNano)}
	if m.Type == events.NetworkEventType {
		out.Network, out.Container = attr["name"], attr["container"]
		switch m.Action {
		case events.ActionDestroy:
			out.Action = agent.ActionNetworkEnd
			return out, true
		case events.ActionConnect, events.ActionDisconnect:
			return out, true
		default:
			return out, false
		}
	}
	if attr[agent.LabelCluster] != e.cluster {
		return out, false
	}
	if strings.HasPrefix(string(m.Action), string(events.ActionHealthStatus)) {
		out.Action = agent.ActionHealth
	}
	out.Container = m.Actor.ID
	out.Replica = attr[agent.LabelReplica]
	// Absent or malformed numbers are 0, which says nothing.
	out.Signal, _ = strconv.Atoi(attr["signal"])
	out.ExitCode, _ = strconv.Atoi(attr["exitCode"])
	return out, true
}

// Logs implements agent.Engine.
func (e *Engine) Logs(ctx context.Context, idOrName string, o agent.LogOptions, line func(agent.LogLine) error) error {
	options := client.ContainerLogsOptions{
		ShowStdout: true,
		ShowStderr: true,
		Timestamps: true,
		Follow:     o.Follow,
	}
	if !o.Since.IsZero() {
		options.Since = o.Since.Format(time.RFC3339Nano)
	}
	if o.Tail > 0 {
		options.Tail = strconv.Itoa(o.Tail)
	}
	res, err := e.api.ContainerLogs(ctx, idOrName, options)
	if err != nil {
		return translate(err)
	}
	defer res.Close() // read to its end, or given up
	stdout := &lineWriter{line: line}
	stderr := &lineWriter{line: line, stderr: true}
	_, err = stdcopy.StdCopy(stdout, stderr, res)
	if err == nil {
		err = errors.Join(stdout.flush(), stderr.flush())
	}
	var own *callerError
	if errors.As(err, &own) {
		return own.err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("read log: %w", translate(err))
	}
	return nil
}

// callerError is what the caller's function returned, to be told from what the
// engine said.
type callerError struct{ err error }

func (e *callerError) Error() string { return e.err.Error() }

// lineWriter cuts one of a container's two streams into lines.
type lineWriter struct {
	line   func(agent.LogLine) error
	stderr bool
	rest   []byte
}

// Write implements io.Writer.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.rest = append(w.rest, p...)
	for {
		i := bytes.IndexByte(w.rest, '\n')
		if i < 0 && len(w.rest) > maxLine {
			i = len(w.rest)
		}
		if i < 0 {
			return len(p), nil
		}
		if err := w.emit(w.rest[:i]); err != nil {
			return 0, err
		}
		w.rest = w.rest[min(i+1, len(w.rest)):]
	}
}

func (w *lineWriter) flush() error {
	if len(w.rest) == 0 {
		return nil
	}
	return w.emit(w.rest)
}

// emit splits off the time that the engine put in front.
func (w *lineWriter) emit(raw []byte) error {
	l := agent.LogLine{Stderr: w.stderr, Text: strings.TrimSuffix(string(raw), "\r")}
	if stamp, text, ok := strings.Cut(l.Text, " "); ok {
		if t, err := time.Parse(time.RFC3339Nano, stamp); err == nil {
			l.Time, l.Text = t, text
		}
	}
	if err := w.line(l); err != nil {
		return &callerError{err}
	}
	return nil
}
