package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/jaco-sh/jaco/tests/rig"
)

// play is the story, each step a real command.
func (d *demo) play(ctx context.Context) error {
	for _, act := range []func(context.Context) error{
		d.initialise, d.signedPush, d.unsignedPush, d.followAdvice, d.prove,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) initialise(ctx context.Context) error {
	d.say("Make a cluster: alice may sign")
	public := filepath.Join(d.host.Dir, "alice.pub")
	if err := os.WriteFile(public, []byte(d.key.Public), 0o600); err != nil {
		return err
	}
	if err := d.jaco(ctx, "bootstrap", "init", "--cluster", "demo", "--signer", "alice="+public); err != nil {
		return err
	}
	url := filepath.Join(d.daemon.DataDir, "repo.git")
	repo, err := d.git.Clone(ctx, url, "")
	if err != nil {
		return err
	}
	d.repo = repo
	return d.repo.SignWith(ctx, d.key)
}

func (d *demo) signedPush(ctx context.Context) error {
	d.say("Push a signed commit that adds a deployment")
	if err := d.repo.Write(d.files("1", "Hello from a signed commit")); err != nil {
		return err
	}
	if err := d.show(filepath.Join("deployments", "web", "compose.yaml")); err != nil {
		return err
	}
	if err := d.commitAndPush(ctx, "Deploy web", d.key); err != nil {
		return err
	}
	if err := d.jaco(ctx, "status", "--wait", "--timeout", "60s"); err != nil {
		return err
	}
	return d.call(ctx, "Hello from a signed commit")
}

func (d *demo) unsignedPush(ctx context.Context) error {
	d.say("Push a commit that nobody signed")
	if err := d.repo.Write(d.files("2", "Hello from nobody")); err != nil {
		return err
	}
	if err := d.commitAndPush(ctx, "Deploy something else", nil); err != nil {
		return err
	}
	// Exit code 3 says: refused. Anything else would be wrong.
	err := d.jaco(ctx, "status", "--wait", "--timeout", "60s")
	if code := rig.ExitCode(err); code != 3 {
		return fmt.Errorf("an unsigned commit ended jaco status --wait with %d, want 3: %w", code, err)
	}
	if err := d.jaco(ctx, "status", "sync"); err != nil {
		return err
	}
	fmt.Fprintln(d.out, "\n  What runs is what alice signed:")
	return d.call(ctx, "Hello from a signed commit")
}

// followAdvice runs the command that status printed, then deploys again.
func (d *demo) followAdvice(ctx context.Context) error {
	d.say("Follow the advice: drop the commit, then push a signed change")
	var status struct {
		Sync struct {
			Refused []struct{ Advice string }
		}
	}
	if err := d.daemon.Status(ctx, &status); err != nil {
		return err
	}
	if len(status.Sync.Refused) == 0 {
		return errors.New("status names no refused commit")
	}
	command := firstCommand(status.Sync.Refused[0].Advice)
	if command == "" {
		return fmt.Errorf("the advice holds no command: %s", status.Sync.Refused[0].Advice)
	}
	fmt.Fprintln(d.out, "$", command)
	if _, err := d.repo.Shell(ctx, command); err != nil {
		return err
	}
	if err := d.repo.Write(d.files("2", "Hello again, signed")); err != nil {
		return err
	}
	if err := d.commitAndPush(ctx, "Deploy version 2", d.key); err != nil {
		return err
	}
	if err := d.jaco(ctx, "status", "--wait", "--timeout", "60s"); err != nil {
		return err
	}
	return d.call(ctx, "Hello again, signed")
}

func (d *demo) prove(ctx context.Context) error {
	d.say("Prove who approved what runs")
	containers, err := d.engine.Containers(ctx, "sh.jaco.cluster="+d.clusterID(ctx))
	if err != nil {
		return err
	}
	if len(containers) == 0 {
		return errors.New("no container runs")
	}
	if err := d.jaco(ctx, "audit", "trace", containers[0].ID[:12]); err != nil {
		return err
	}
	bundle := filepath.Join(d.host.Dir, "audit.bundle")
	if err := d.jaco(ctx, "audit", "export", "--output", bundle); err != nil {
		return err
	}
	root, err := d.repo.Git(ctx, "rev-list", "--max-parents=0", "HEAD")
	if err != nil {
		return err
	}
	return d.jaco(ctx, "audit", "verify", "--bundle", bundle, "--anchor", strings.TrimSpace(root))
}

// files are the fleet repository's, with one deployment.
func (d *demo) files(version, message string) map[string]string {
	return map[string]string{
		"deployments/web/compose.yaml": fmt.Sprintf(`services:
  web:
    image: %s:%s
    pull_policy: never   # built by the demo, in no registry
    environment:
      MESSAGE: %s
    ports:
      - "127.0.0.1:%d:8080"
    healthcheck:
      test: ["CMD", "/web", "-probe", "http://127.0.0.1:8080/healthz"]
      interval: 1s
      retries: 3
`, image, version, message, d.port),
	}
}

func (d *demo) commitAndPush(ctx context.Context, message string, key *rig.Key) error {
	sign := "-S "
	if key == nil {
		sign = "--no-gpg-sign "
	}
	fmt.Fprintf(d.out, "$ git add -A && git commit %s-m %q && git push\n", sign, message)
	if _, err := d.repo.Git(ctx, "add", "-A"); err != nil {
		return err
	}
	if _, err := d.repo.Commit(ctx, rig.CommitOptions{Message: message, Key: key}); err != nil {
		return err
	}
	return d.repo.Push(ctx)
}

// call asks the service on its published port.
func (d *demo) call(ctx context.Context, want string) error {
	address := fmt.Sprintf("http://127.0.0.1:%d/", d.port)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "$ curl %s\n%s\n", address, strings.TrimSpace(string(body)))
	if !strings.Contains(string(body), want) {
		return fmt.Errorf("the service answered %q, want %q in it", body, want)
	}
	return nil
}

// jaco runs the CLI and prints the command with its answer.
func (d *demo) jaco(ctx context.Context, args ...string) error {
	fmt.Fprintln(d.out, "$ jaco", strings.Join(args, " "))
	out, err := d.daemon.Run(ctx, args...)
	fmt.Fprintln(d.out, out)
	if failed, ok := errors.AsType[*rig.CommandError](err); ok {
		fmt.Fprintln(d.out, strings.TrimSpace(failed.Stderr))
	}
	return err
}

// show prints a file of the clone.
func (d *demo) show(name string) error {
	out, err := os.ReadFile(filepath.Join(d.repo.Dir, name))
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "$ cat %s\n%s", name, out)
	return nil
}

func (d *demo) say(line string) { fmt.Fprintf(d.out, "\n== %s\n", line) }

// firstCommand is the first indented line of an advice.
func firstCommand(advice string) string {
	for line := range strings.Lines(advice) {
		if strings.HasPrefix(line, "  ") {
			return strings.TrimSpace(line)
		}
	}
	return ""
}
