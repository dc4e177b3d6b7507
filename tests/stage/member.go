package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
)

// Member is one node of a cluster and its operator. It is a handle for the test
// T; its daemon and node are the same for every handle.
type Member struct {
	T rig.TB
	*rig.Daemon
}

// Name is the node's.
func (m Member) Name() string { return m.Node.Name }

// Server is the control port as other nodes reach it.
func (m Member) Server() string { return m.Node.Address.String() + ":7000" }

// WebhookAddress is where the daemon takes deliveries from the LAN.
func (m Member) WebhookAddress() string { return webhookAddress(m.Node) }

func webhookAddress(node *rig.Node) string { return node.Address.String() + ":9000" }

// Jaco runs the CLI on the node and returns what it prints; a failure ends the
// test.
func (m Member) Jaco(args ...string) string {
	m.T.Helper()
	out, err := m.Run(m.T.Context(), args...)
	if err != nil {
		m.T.Fatal(fmt.Sprintf("%s: jaco %s: %v\n%s\n%s", m.Name(), strings.Join(args, " "), err, out, m.Tail(25)))
	}
	return out
}

// JacoFails runs the CLI, wants that exit code, and returns everything that
// was printed.
func (m Member) JacoFails(code int, args ...string) string {
	m.T.Helper()
	out, err := m.Run(m.T.Context(), args...)
	if got := rig.ExitCode(err); got != code {
		m.T.Fatal(fmt.Sprintf("%s: jaco %s ended with %d, want %d: %v\n%s\n%s", m.Name(), strings.Join(args, " "), got, code, err, out, m.Tail(25)))
	}
	if failed, ok := errors.AsType[*rig.CommandError](err); ok {
		out += failed.Stderr
	}
	return out
}

// Converge asks the remote and waits until its head runs.
func (m Member) Converge() {
	m.T.Helper()
	m.Jaco("status", "--wait", "--timeout", "90s")
}

// Status returns the status document as this node gives it.
func (m Member) Status() *cluster.Status {
	m.T.Helper()
	status, err := m.TryStatus(m.T.Context())
	if err != nil {
		m.T.Fatal(err)
	}
	return status
}

// answerTimeout bounds how long a node that does not answer is waited for.
const answerTimeout = 5 * time.Second

// TryStatus is Status for a daemon that may be down or paused.
func (m Member) TryStatus(ctx context.Context) (*cluster.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	status := new(cluster.Status)
	if err := m.Daemon.Status(ctx, status); err != nil {
		return nil, err
	}
	return status, nil
}

// Eventually waits for a condition on this node's status.
func (m Member) Eventually(within time.Duration, desc string, cond func(*cluster.Status) (bool, string)) {
	m.T.Helper()
	rig.Eventually(m.T, within, m.Name()+": "+desc, func(ctx context.Context) (bool, string) {
		status, err := m.TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		return cond(status)
	}, m.Daemon)
}

// Containers lists the cluster's containers on this node by asking the engine
// itself.
func (m Member) Containers() []rig.Container {
	m.T.Helper()
	return rig.Must[[]rig.Container](m.T)(m.Node.Engine.Containers(m.T.Context(), containerLabel))
}

// containerLabel is on every container of a cluster.
const containerLabel = "sh.jaco.cluster"
