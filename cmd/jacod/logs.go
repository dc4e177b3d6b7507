package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// logReader is what merging needs of the agent.
type logReader interface {
	Logs(ctx context.Context, r cluster.Replica, o agent.LogOptions, line func(agent.LogLine) error) error
}

// logStream calls line for each line of one source until it ends.
type logStream func(ctx context.Context, line func(rpc.LogLine) error) error

// localStreams are the logs of replicas of this node, a stream each.
func (m *member) localStreams(request rpc.LogsRequest, replicas []cluster.Replica) []logStream {
	return replicaStreams(m.agent, replicas, request)
}

// replicaStreams makes a stream of each replica's log.
func replicaStreams(reader logReader, replicas []cluster.Replica, request rpc.LogsRequest) []logStream {
	options := agent.LogOptions{Follow: request.Follow, Since: request.Since}
	switch {
	case request.Tail > 0:
		options.Tail = request.Tail
	case request.Tail == 0 && !request.Follow:
		return nil
	case request.Tail == 0: // for the engine, 0 is all
		options.Since = time.Now()
	}
	streams := make([]logStream, len(replicas))
	for i, r := range replicas {
		streams[i] = func(ctx context.Context, line func(rpc.LogLine) error) error {
			err := reader.Logs(ctx, r, options, func(l agent.LogLine) error {
				return line(rpc.LogLine{Service: r.Service, Slot: r.Slot, Replica: r.ID, Time: l.Time, Stderr: l.Stderr, Text: []byte(l.Text)})
			})
			if errors.Is(err, agent.ErrNotFound) {
				return nil // removed meanwhile
			}
			return err
		}
	}
	return streams
}

// mergeStreams reads all streams at once. Without follow, lines come in the
// order of their times; with follow, as they are written.
func mergeStreams(ctx context.Context, follow bool, sources []logStream, each func(rpc.LogLine) error) error {
	group, ctx := errgroup.WithContext(ctx)
	streams := make([]chan rpc.LogLine, len(sources))
	all := make(chan rpc.LogLine)
	readers, readContext := errgroup.WithContext(ctx)
	for i, source := range sources {
		out := all
		if !follow {
			streams[i] = make(chan rpc.LogLine)
			out = streams[i]
		}
		readers.Go(func() error {
			if !follow {
				defer close(out)
			}
			return source(readContext, func(line rpc.LogLine) error {
				select {
				case <-readContext.Done():
					return readContext.Err()
				case out <- line:
					return nil
				}
			})
		})
	}
	group.Go(func() error {
		defer close(all)
		return readers.Wait()
	})
	group.Go(func() error {
		if follow {
			return forward(all, each)
		}
		return mergeByTime(streams, each)
	})
	return group.Wait()
}

func forward(lines <-chan rpc.LogLine, each func(rpc.LogLine) error) error {
	for line := range lines {
		if err := each(line); err != nil {
			return err
		}
	}
	return nil
}

// mergeByTime merges streams that are each in order of time, holding one line
// of each.
func mergeByTime(streams []chan rpc.LogLine, each func(rpc.LogLine) error) error {
	heads := make([]*rpc.LogLine, len(streams))
	next := func(i int) {
		heads[i] = nil
		if line, open := <-streams[i]; open {
			heads[i] = &line
		}
	}
	for i := range streams {
		next(i)
	}
	for {
		oldest := -1
		for i, head := range heads {
			if head != nil && (oldest < 0 || head.Time.Before(heads[oldest].Time)) {
				oldest = i
			}
		}
		if oldest < 0 {
			return nil
		}
		if err := each(*heads[oldest]); err != nil {
			return err
		}
		next(oldest)
	}
}
