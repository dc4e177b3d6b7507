package docker

import (
	"context"
	"fmt"
	"io"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Check implements agent.Engine. The command runs as the engine runs it: by the
// container's user, with its environment and, with CMD-SHELL, its shell.
func (e *Engine) Check(ctx context.Context, id string) (bool, error) {
	in, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return false, translate(err)
	}
	command := checkCommand(in.Container.Config)
	if command == nil {
		return false, nil
	}
	made, err := e.api.ExecCreate(ctx, id, client.ExecCreateOptions{Cmd: command, AttachStdout: true, AttachStderr: true})
	if err != nil {
		return false, translate(err)
	}
	attached, err := e.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{})
	if err != nil {
		return false, translate(err)
	}
	defer attached.Close()
	// Its output ends when it does; the connection knows nothing of ctx.
	defer context.AfterFunc(ctx, attached.Close)()
	if _, err := io.Copy(io.Discard, attached.Reader); err != nil || ctx.Err() != nil {
		return false, fmt.Errorf("run the healthcheck: %w", first(ctx.Err(), translate(err)))
	}
	ran, err := e.api.ExecInspect(ctx, made.ID, client.ExecInspectOptions{})
	if err != nil {
		return false, translate(err)
	}
	return !ran.Running && ran.ExitCode == 0, nil
}

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCommand is what a container's healthcheck runs; nil: it has none. The
// forms are those of the image specification's Healthcheck.Test.
func checkCommand(config *container.Config) []string {
	if config == nil || config.Healthcheck == nil || len(config.Healthcheck.Test) < 2 {
		return nil
	}
	test := config.Healthcheck.Test
	switch test[0] {
	case "CMD":
		return test[1:]
	case "CMD-SHELL":
		shell := config.Shell
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(shell[:len(shell):len(shell)], test[1])
	}
	return nil
}
