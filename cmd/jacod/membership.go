package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jaco-sh/jaco/cluster/rpc"
)

// membership is member.json: what a node must know to open its stores. It is
// written last at init, so that its presence says that init was finished.
type membership struct {
	Cluster string `json:"cluster"` // the cluster's id
	Node    string `json:"node"`
	Address string `json:"address"` // host:port under which the node is known
	Branch  string `json:"branch"`  // pinned: trust.yaml's require_target is judged by it
	// Joining says that the log was still to come when this was written.
	Joining bool `json:"joining,omitempty"`
	// Peers are the members as they were last known, at first at the time of
	// joining. They count until the state is current.
	Peers []rpc.MemberKey `json:"peers,omitempty"`
}

const membershipFile = "member.json"

// The parts of the data directory. Init makes them all, or removes them all.
const (
	identityDirectory = "identity"
	raftDirectory     = "raft"
	trustDirectory    = "trust"
	auditDirectory    = "audit"
	objectsFile       = "objects.db"
	mirrorDirectory   = "mirror"
	repoDirectory     = "repo.git"
)

// memberParts are all of them.
var memberParts = []string{
	identityDirectory, raftDirectory, trustDirectory, auditDirectory, objectsFile, mirrorDirectory, repoDirectory,
}

// loadMembership returns an error that wraps fs.ErrNotExist before init.
func loadMembership(dataDir string) (membership, error) {
	var m membership
	data, err := os.ReadFile(filepath.Join(dataDir, membershipFile))
	if err != nil {
		return m, fmt.Errorf("read membership: %w", err)
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, fmt.Errorf("%s is damaged: %w", filepath.Join(dataDir, membershipFile), err)
	}
	return m, nil
}

func saveMembership(dataDir string, m membership) error {
	data, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode membership: %w", err)
	}
	file, err := os.CreateTemp(dataDir, membershipFile+".*")
	if err != nil {
		return fmt.Errorf("write membership: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(append(data, '\n'))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write membership: %w", err)
	}
	if err := os.Rename(file.Name(), filepath.Join(dataDir, membershipFile)); err != nil {
		return fmt.Errorf("write membership: %w", err)
	}
	return nil
}

// unfinishedFile marks a data directory in which init has begun and not ended.
const unfinishedFile = "init.unfinished"

// beginInit makes sure that the data directory is empty of a member, removes
// what an init that did not end left behind, and marks that one has begun. A
// directory that holds a member's data without the mark is never touched.
func beginInit(dataDir string) error {
	mark := filepath.Join(dataDir, unfinishedFile)
	if _, err := os.Stat(mark); err == nil {
		if err := abandonInit(dataDir); err != nil {
			return err
		}
	}
	for _, name := range memberParts {
		path := filepath.Join(dataDir, name)
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s exists: the data directory holds a node's data, but no %s; restore that file, or move the data directory away", path, membershipFile)
		}
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return fmt.Errorf("begin init: %w", err)
	}
	return nil
}

// abandonInit removes everything that init makes, the mark last. The embedded
// repository goes too: nobody was told of it yet.
func abandonInit(dataDir string) error {
	for _, name := range append([]string{membershipFile}, memberParts...) {
		if err := os.RemoveAll(filepath.Join(dataDir, name)); err != nil {
			return fmt.Errorf("remove an unfinished init: %w", err)
		}
	}
	return endInit(dataDir)
}

// endInit removes the mark.
func endInit(dataDir string) error {
	if err := os.Remove(filepath.Join(dataDir, unfinishedFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end init: %w", err)
	}
	return nil
}
