package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/jaco-sh/jaco/agent"
	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/notify"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// tell tells people what happens, for one term of this leader.
func (t *term) tell(ctx context.Context) error {
	m := t.member
	return notify.New(notify.Config{
		State: m.state, Views: m.verifier, Status: (&answers{member: m}).Status, Record: m.recordHere, Content: m.contentAtTip,
		Secrets: noticeSecrets{m.config.SecretFiles, m.units}, Transport: notify.NewTransport(), Now: m.clock,
		Logger: m.logger.With("component", "notify"),
	}).Run(ctx)
}

// contentAtTip identifies what a unit holds at the commit last accepted, approved
// or waiting; "" for what is no unit of a position.
func (m *member) contentAtTip(name string) string {
	unit, found := m.verifier.Record().Position.Units[name]
	if !found {
		return ""
	}
	return contentOf(unit)
}

// contentOf is a digest over the approved content and what differs from it,
// whoever signed that.
func contentOf(unit signing.Unit) string {
	h := sha256.New()
	h.Write(unit.Tree[:])
	for _, v := range unit.Vouched {
		fmt.Fprintf(h, "%q %s %o\n", v.Path, v.Content, v.Mode)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// recordHere records events in this leader's own term, and returns the index of
// their entry.
func (m *member) recordHere(ctx context.Context, events []cluster.Event) (uint64, error) {
	for i := range events {
		events[i].Node = m.info.Node
	}
	result, err := m.consensus.Propose(ctx, m.actor(), &cluster.RecordEvents{Events: events})
	return result.Index, err
}

// noticeSecrets are the secrets of cluster.yaml's notifications.
type noticeSecrets struct {
	files secretFiles
	units agent.Keys
}

var _ notify.Secrets = noticeSecrets{}

// Secret implements notify.Secrets: what is encrypted is so to the cluster.
func (s noticeSecrets) Secret(ctx context.Context, secret string) ([]byte, error) {
	if !desired.IsEncrypted(secret) {
		return s.files.secret(secret)
	}
	key, err := s.units.Key(ctx, signing.ClusterUnit)
	if err != nil {
		return nil, err
	}
	return key.Open(secret)
}

// secretFiles are secrets that lie on this node's disk, by name.
type secretFiles map[string]string

// maxSecretFile bounds what is read of a secret.
const maxSecretFile = 64 << 10

// secret reads a file, each time, so that a new secret needs no restart.
func (s secretFiles) secret(name string) ([]byte, error) {
	path := s[name]
	if path == "" {
		return nil, fmt.Errorf("this node knows no secret of that name; set secret_files.%s in its jacod.yaml", name)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("secret_files.%s: %w", name, err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxSecretFile))
	if err != nil {
		return nil, fmt.Errorf("secret_files.%s: %w", name, err)
	}
	return data, nil
}
