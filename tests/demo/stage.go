package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/jaco-sh/jaco/tests/rig"
)

// imageVersions are the tags of the demo's image.
var imageVersions = []string{"1", "2"}

// image is the demo's own repository name: no image of the machine has it.
const image = "jaco-demo/web"

// prepare brings up an engine if none answers, an image, a key and a daemon.
func (d *demo) prepare(ctx context.Context, bin string) (err error) {
	d.say("A machine with Docker, a signing key, and one jacod")
	if os.Geteuid() != 0 {
		return errors.New("the demo needs root: its containers get a network and a firewall on this machine; run it by: sudo make demo")
	}
	if d.host, err = rig.NewHost(ctx); err != nil {
		return err
	}
	if d.engine = rig.FindDocker(ctx); d.engine == nil {
		fmt.Fprintln(d.out, "  no Docker Engine answers: starting one of the demo's own")
		if err := d.host.StartEngine(ctx); err != nil {
			return err
		}
		d.engine = d.host.Engine.Docker
	} else {
		fmt.Fprintln(d.out, "  using the Docker Engine at", d.engine.Host())
	}
	if err := d.buildImages(ctx); err != nil {
		return err
	}
	if d.git, err = rig.NewGit(ctx); err != nil {
		return err
	}
	if d.key, err = d.git.NewSSHKey(ctx, "alice", "ed25519"); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "  alice signs with", d.key.Fingerprint)
	if d.port, err = rig.NetNS("").FreePort(ctx, "127.0.0.1"); err != nil {
		return err
	}
	return d.startDaemon(ctx, bin)
}

// buildImages builds the example program and packs it FROM scratch.
func (d *demo) buildImages(ctx context.Context) error {
	binary := filepath.Join(d.host.Dir, "web")
	if err := rig.BuildStatic(ctx, "./examples/web", binary); err != nil {
		return err
	}
	for _, version := range imageVersions {
		reference := image + ":" + version
		if _, err := d.engine.Build(ctx, rig.WebImage(reference, version, binary)); err != nil {
			return err
		}
		d.images = append(d.images, reference)
		fmt.Fprintln(d.out, "  built", reference, "from scratch")
	}
	return nil
}

func (d *demo) startDaemon(ctx context.Context, bin string) (err error) {
	ports := make([]int, 2)
	for i := range ports {
		if ports[i], err = rig.NetNS("").FreePort(ctx, "127.0.0.1"); err != nil {
			return err
		}
	}
	// The mesh is on the machine's own network too. A name and a port of its own
	// keep it apart from another one.
	mesh, err := rig.NetNS("").FreeUDPPort(ctx, "127.0.0.1")
	if err != nil {
		return err
	}
	d.daemon, err = rig.NewDaemon(&d.host.Node, rig.DaemonConfig{
		Jacod: filepath.Join(bin, "jacod"), Jaco: filepath.Join(bin, "jaco"),
		Settings: map[string]any{
			"name": "node-1", "engine": d.engine.Host(), "advertise_address": "127.0.0.1",
			"listen":      fmt.Sprintf("127.0.0.1:%d", ports[0]),
			"http_listen": fmt.Sprintf("127.0.0.1:%d", ports[1]),
			"wireguard":   map[string]any{"interface": d.host.WireGuard, "port": mesh},
		},
	})
	if err != nil {
		return err
	}
	return d.daemon.Start(ctx)
}

// cleanUp removes everything that the demo made, and nothing else: what it put
// on an engine that it did not start is found by the cluster's label.
func (d *demo) cleanUp(ctx context.Context) error {
	var errs []error
	if d.daemon != nil {
		id := d.clusterID(ctx)
		errs = append(errs, d.daemon.Stop(ctx), d.daemon.StopEdge(ctx))
		if d.engine != nil && id != "" {
			errs = append(errs, d.removeContainers(ctx, id))
		}
		// Links, rules, routes and the cluster's networks, as on any node that is
		// taken away.
		said, err := d.daemon.CleanUpEdge(ctx)
		errs = append(errs, err)
		fmt.Fprintf(d.out, "\n$ jacod edge cleanup\n%s\n", said)
		if d.engine != nil && id != "" {
			errs = append(errs, d.removeNetworks(ctx, id))
		}
	}
	if d.engine != nil {
		for _, reference := range d.images {
			err := d.engine.Do(ctx, "DELETE", "/images/"+reference+"?force=true", nil, nil)
			if err != nil && !rig.NotFound(err) {
				errs = append(errs, err)
			}
		}
	}
	if d.git != nil {
		errs = append(errs, d.git.Close(ctx)) // the clone is below its home
	}
	if d.host != nil {
		errs = append(errs, d.host.Close(ctx))
	}
	return errors.Join(errs...)
}

func (d *demo) clusterID(ctx context.Context) string {
	var status struct {
		Cluster struct {
			ID string `json:"id"`
		} `json:"cluster"`
	}
	if d.daemon.Status(ctx, &status) != nil {
		return "" // never initialised: nothing is on the engine
	}
	return status.Cluster.ID
}

func clusterLabel(cluster string) string { return "sh.jaco.cluster=" + cluster }

func (d *demo) removeContainers(ctx context.Context, cluster string) error {
	containers, err := d.engine.Containers(ctx, clusterLabel(cluster))
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		errs = append(errs, d.engine.Remove(ctx, c.ID))
	}
	return errors.Join(errs...)
}

// removeNetworks removes what a mesh that never came up left.
func (d *demo) removeNetworks(ctx context.Context, cluster string) error {
	filters := url.Values{"filters": {fmt.Sprintf(`{"label":[%q]}`, clusterLabel(cluster))}}.Encode()
	var networks []struct {
		ID string `json:"Id"`
	}
	if err := d.engine.Do(ctx, "GET", "/networks?"+filters, nil, &networks); err != nil {
		return err
	}
	var errs []error
	for _, n := range networks {
		errs = append(errs, d.engine.Do(ctx, "DELETE", "/networks/"+n.ID, nil, nil))
	}
	return errors.Join(errs...)
}
