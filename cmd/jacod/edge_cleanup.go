package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"
)

// cleanUpLimit bounds the removal of what the edge made; the engine may have
// hundreds of networks to remove.
const cleanUpLimit = 2 * time.Minute

// cleanUpEdge undoes what the edge did to this machine, and says so. The order is
// that of the mesh backwards: the firewall goes last, and stays while there is a
// network that it isolates.
func cleanUpEdge(ctx context.Context, config Config, logger *slog.Logger, out io.Writer) (err error) {
	directory, unlock, err := lockEdge(config.DataDir)
	if errors.Is(err, errEdgeRuns) {
		return fmt.Errorf("%w; stop it first, and jacod where that starts it (systemctl stop jacod jacod-edge)", err)
	}
	if err != nil {
		return err
	}
	defer unlock()
	host, err := newEdgeHost(config, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, host.close()) }()
	ctx, cancel := context.WithTimeout(ctx, cleanUpLimit)
	defer cancel()
	if err := cleanUpHost(ctx, host, clusterOf(config, directory, logger), out); err != nil {
		return err
	}
	return forgetEdge(directory, config.Edge.Socket, out)
}

// cleanUpHost takes the network away.
func cleanUpHost(ctx context.Context, host *edgeHost, cluster string, out io.Writer) error {
	if err := host.bridges.CleanUp(ctx, cluster); err != nil {
		return fmt.Errorf("the engine's networks stay, and so does the firewall that isolates them: %w", err)
	}
	fmt.Fprintln(out, "gone: the engine's networks of JACO, and the engine's rules for them")
	if err := host.wireguard.CleanUp(ctx); err != nil {
		return fmt.Errorf("the firewall stays: %w", err)
	}
	fmt.Fprintf(out, "gone: interface %s with its addresses, routes and settings\n", host.name)
	if err := host.firewall.CleanUp(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "gone: table inet jaco")
	return nil
}

// forgetEdge removes what the edge kept. The lock's file stays, for it is held;
// it holds nothing.
func forgetEdge(directory, socket string, out io.Writer) error {
	entries, err := os.ReadDir(directory)
	if err != nil {
		return fmt.Errorf("forget what the edge kept: %w", err)
	}
	for _, entry := range entries {
		if entry.Name() == edgeLockFile {
			continue
		}
		if err := os.Remove(filepath.Join(directory, entry.Name())); err != nil {
			return fmt.Errorf("forget what the edge kept: %w", err)
		}
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the edge's socket: %w", err)
	}
	fmt.Fprintf(out, "gone: the WireGuard key and what was kept in %s\n", directory)
	return nil
}

// clusterOf is the cluster whose networks are there: that which the edge was told
// of last, or that which the node belongs to; "" when neither is known.
func clusterOf(config Config, directory string, logger *slog.Logger) string {
	if state := newEdgeStore(directory, logger).state(); state != nil {
		return state.Cluster
	}
	if info, err := loadMembership(config.DataDir); err == nil {
		return info.Cluster
	}
	return ""
}
