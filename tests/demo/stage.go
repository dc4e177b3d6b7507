package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
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
	d.daemon, err = rig.NewDaemon(&d.host.Node, rig.DaemonConfig{
		Jacod: filepath.Join(bin, "jacod"), Jaco: filepath.Join(bin, "jaco"),
		Settings: map[string]any{
			"name": "node-1", "engine": d.engine.Host(), "advertise_address": "127.0.0.1",
			"listen":      fmt.Sprintf("127.0.0.1:%d", ports[0]),
			"http_listen": fmt.Sprintf("127.0.0.1:%d", ports[1]),
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
		errs = append(errs, d.daemon.Stop(ctx))
		if d.engine != nil && id != "" {
			errs = append(errs, d.removeFromEngine(ctx, id))
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

func (d *demo) removeFromEngine(ctx context.Context, cluster string) error {
	label := "sh.jaco.cluster=" + cluster
	containers, err := d.engine.Containers(ctx, label)
	if err != nil {
		return err
	}
	var errs []error
	for _, c := range containers {
		errs = append(errs, d.engine.Remove(ctx, c.ID))
	}
	filters := url.Values{"filters": {fmt.Sprintf(`{"label":[%q]}`, label)}}.Encode()
	var networks []struct {
		ID string `json:"Id"`
	}
	errs = append(errs, d.engine.Do(ctx, "GET", "/networks?"+filters, nil, &networks))
	for _, n := range networks {
		errs = append(errs, d.engine.Do(ctx, "DELETE", "/networks/"+n.ID, nil, nil))
	}
	return errors.Join(errs...)
}
