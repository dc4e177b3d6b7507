// Package gotest runs "go test -json" and reads what it says. The commands that
// run suites and unit tests share it.
package gotest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Event is a line of "go test -json"; see "go doc test2json".
type Event struct {
	Action, Package, Test, Output string
}

// Command is one call of go test.
type Command struct {
	Dir string
	// Env is added to the environment of this process.
	Env []string
	// Args follow "go test -json".
	Args []string
}

// interruptTime is how long tests may clean up after an interrupt.
const interruptTime = 10 * time.Second

// Run runs the command, hands each event to take, and writes what is none, the
// go command's own words, to out. Its error is of type *exec.ExitError when
// tests failed.
func (c Command) Run(ctx context.Context, out io.Writer, take func(Event)) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, c.Args...)...)
	cmd.Dir, cmd.Env = c.Dir, append(os.Environ(), c.Env...)
	// A Ctrl-C reaches go test and the tests with it; they get time to clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = interruptTime
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	readErr := Read(pipe, out, take)
	waitErr := cmd.Wait()
	_, _ = out.Write(stderr.Bytes())
	if readErr != nil {
		return readErr
	}
	return waitErr
}

// Read hands each event of in to take and writes other lines to out.
func Read(in io.Reader, out io.Writer, take func(Event)) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var ev Event
		switch {
		case len(line) == 0:
		case json.Unmarshal(line, &ev) == nil:
			take(ev)
		default:
			_, _ = out.Write(line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read output of go test: %w", err)
		}
	}
}

// Counts are of tests and subtests.
type Counts struct{ Passed, Failed, Skipped int }

// Take counts the end of a test.
func (c *Counts) Take(ev Event) {
	switch {
	case ev.Test == "":
	case ev.Action == "pass":
		c.Passed++
	case ev.Action == "fail":
		c.Failed++
	case ev.Action == "skip":
		c.Skipped++
	}
}

func (c Counts) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", c.Passed, c.Failed, c.Skipped)
}

// Noise says whether a line of output only tells that a test started, paused
// and went on, or how the whole package ended, which another line says better.
func Noise(line string) bool {
	for _, prefix := range []string{"=== RUN", "=== PAUSE", "=== CONT", "=== NAME"} {
		if strings.HasPrefix(line, prefix) {
			return true
		}
	}
	return line == "PASS\n" || line == "FAIL\n"
}
