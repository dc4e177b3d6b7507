package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/rpc"
)

// refreshInterval is how often --wait --revision asks for a head that holds
// the revision; the leader itself asks the remote once each time.
const refreshInterval = 2 * time.Second

// errDone ends a watch that has its answer.
var errDone = errors.New("done")

// waitConverged makes the leader ask the remote, then watches until the head
// is converged, refused or failed.
func waitConverged(ctx context.Context, client *rpc.Client, t target, flags statusFlags, out io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, flags.timeout, errTimeout)
	defer cancel()
	head, err := waitHead(ctx, client, flags.revision)
	if err != nil {
		why := "no leader has asked the repository"
		if flags.revision != "" {
			why = "the repository's head does not hold " + flags.revision
		}
		return timeoutError(ctx, err, flags.timeout, why)
	}
	var last *cluster.Status
	var outcome waitOutcome
	err = client.WatchStatus(ctx, func(status *cluster.Status) error {
		last = status
		if outcome = judgeWait(status, head, t); outcome.done {
			return errDone
		}
		return nil
	})
	if !errors.Is(err, errDone) {
		return timeoutError(ctx, err, flags.timeout, outcome.message)
	}
	if err := showStatus(last, t, flags.output, out); err != nil && outcome.converged {
		return err
	}
	if !outcome.converged {
		return &statusError{exitNotConverged, errors.New(outcome.message)}
	}
	return nil
}

var errTimeout = errors.New("timed out")

func timeoutError(ctx context.Context, err error, after time.Duration, message string) error {
	// The daemon may notice that the time is over before this side does.
	if !errors.Is(context.Cause(ctx), errTimeout) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &statusError{exitNotConverged, fmt.Errorf("not converged after %s: %s", after, message)}
}

// waitHead asks for the head once, or until it holds the revision.
func waitHead(ctx context.Context, client *rpc.Client, revision string) (string, error) {
	ticker := time.NewTicker(refreshInterval)
	defer ticker.Stop()
	for {
		head, contains, err := client.Refresh(ctx, revision)
		if err != nil || revision == "" || contains {
			return head, err
		}
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-ticker.C:
		}
	}
}

// waitOutcome is what one status says about the head that is waited for.
type waitOutcome struct {
	done      bool
	converged bool
	message   string // why not
}

// judgeWait decides whether the wait for head is over. A newer accepted commit
// than head counts: it descends from it.
func judgeWait(status *cluster.Status, head string, t target) waitOutcome {
	for _, r := range status.Sync.Refused {
		if r.Head == head && status.Sync.Accepted != head {
			return waitOutcome{done: true, message: fmt.Sprintf("commit %s was refused: %s\n%s", short(r.Revision), r.Reason, r.Advice)}
		}
	}
	if status.Sync.Head == head && status.Sync.Accepted != head {
		message := fmt.Sprintf("head %s is not accepted yet", short(head))
		if status.Sync.State == cluster.SyncStalled {
			message += ": " + status.Sync.Reason
		}
		return waitOutcome{message: message}
	}
	if status.Sync.Invalid != nil && t.deployment == "" {
		return waitOutcome{done: true, message: status.Sync.Invalid.Reason}
	}
	var behind []string
	for i := range status.Deployments {
		d := &status.Deployments[i]
		if t.deployment != "" && d.Name != t.deployment {
			continue
		}
		switch {
		case d.Sync == cluster.AxisInvalid:
			return waitOutcome{done: true, message: fmt.Sprintf("deployment %s: %s", d.Name, d.Reason)}
		case d.Sync == cluster.AxisPolicyOutdated || d.Sync == cluster.AxisSuspect: // waiting changes nothing about it
			return waitOutcome{done: true, message: fmt.Sprintf("deployment %s is %s: %s", d.Name, d.Sync, d.Reason)}
		case pausedService(d) != "":
			return waitOutcome{done: true, message: fmt.Sprintf("deployment %s: the rollout is paused: %s", d.Name, pausedService(d))}
		case d.Sync != cluster.AxisSynced || d.Health != cluster.HealthHealthy:
			behind = append(behind, describeBehind(d))
		}
	}
	if len(behind) > 0 {
		return waitOutcome{message: strings.Join(behind, "; ")}
	}
	if t.deployment != "" {
		if _, err := selectTarget(status, t); err != nil {
			return waitOutcome{message: err.Error()}
		}
	}
	return waitOutcome{done: true, converged: true}
}

// pausedService returns the reason of a paused rollout, or "".
func pausedService(d *cluster.DeploymentState) string {
	for _, s := range d.Services {
		if s.Rollout == cluster.RolloutPaused {
			return s.Name + ": " + s.Reason
		}
	}
	return ""
}

func describeBehind(d *cluster.DeploymentState) string {
	s := fmt.Sprintf("%s is %s, %s", d.Name, d.Sync, d.Health)
	if d.Reason != "" {
		s += " (" + d.Reason + ")"
	}
	return s
}

// convergedError is nil when everything selected is synced and healthy.
func convergedError(status *cluster.Status, t target) error {
	if status.Sync.State == cluster.SyncStalled {
		return &statusError{exitNotConverged, fmt.Errorf("sync is stalled: %s", status.Sync.Reason)}
	}
	if outcome := judgeWait(status, status.Sync.Accepted, t); !outcome.converged {
		return &statusError{exitNotConverged, errors.New(outcome.message)}
	}
	return nil
}
