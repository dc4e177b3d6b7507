// Command demo shows the one thing that JACO exists for, on this machine: a
// signed push runs, an unsigned one changes nothing, and both can be proved. It
// runs real commands and prints them with what they answer. Everything it makes
// is its own, and goes when it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
)

// cleanUpTimeout bounds the end of the demo.
const cleanUpTimeout = time.Minute

func main() {
	bin := flag.String("bin", "bin", "the directory of jacod and jaco")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *bin, os.Getenv("DEMO_EXIT") == "1")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo:", err)
		os.Exit(1)
	}
}

// run sets the stage, plays, and cleans up whatever happened.
func run(ctx context.Context, bin string, exit bool) (err error) {
	bin, err = filepath.Abs(bin)
	if err != nil {
		return err
	}
	d := &demo{out: os.Stdout}
	defer func() {
		// The first Ctrl-C has ended ctx; cleaning up has its own time.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpTimeout)
		defer cancel()
		if e := d.cleanUp(clean); e != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", e))
		}
	}()
	if err := d.prepare(ctx, bin); err != nil {
		return err
	}
	if err := d.play(ctx); err != nil {
		if d.daemon != nil {
			fmt.Fprintf(os.Stderr, "\nthe daemon's last lines:\n%s\n", d.daemon.Tail(30))
		}
		return err
	}
	if exit {
		d.say("Done. Everything that the demo made is removed now.")
		return nil
	}
	d.say("The cluster runs on. Look at it from another terminal:")
	fmt.Fprintf(d.out, "  %s --socket %s status -w\n  cd %s   # the fleet repository's clone; push to it\n\n  Ctrl-C ends the demo and removes everything it made.\n",
		filepath.Join(bin, "jaco"), d.daemon.Socket, d.repo.Dir)
	<-ctx.Done()
	return nil
}

// demo is what the demo made, in order.
type demo struct {
	out    *os.File
	host   *rig.Host
	engine *rig.Docker
	git    *rig.Git
	key    *rig.Key
	images []string
	daemon *rig.Daemon
	repo   *rig.Repo
	port   int
}
