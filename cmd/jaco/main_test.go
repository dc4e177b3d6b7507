package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/jaco-sh/jaco/cluster/rpc"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"jaco": main})
}

// TestScripts plays the scripts of testdata/script: the real program against a
// real server on a socket, whose cluster is in memory. Beside the usual
// commands they have
//
//	serve STATE      start the daemon of a cluster in a state of states
//	serve uninitialized
//	change STATE     have the cluster get into another state
//	exits CODE ARGS  run jaco, want the exit code
//	bundle FILE      write the bundle of a cluster with a signed history
//	flip FILE N      change one bit of byte N, counted from the end when negative
//	anchor NAME      put that cluster's anchor into an environment variable
//	listen           open the daemon's control port for readers: its address is
//	                 in $SERVER, its authority's hash in $CA_HASH, and tokens
//	                 are in read.token, expired.token, foreign.token, join.token
func TestScripts(t *testing.T) {
	signed := newSignedCluster(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TZ", "UTC")
			env.Setenv("JACO", "jaco --socket jaco.sock")
			env.Values[memberKey{}] = newFakeMember(signed)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"serve": cmdServe, "change": cmdChange, "exits": cmdExits, "flip": cmdFlip, "listen": cmdListen,
			"bundle": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Check(os.WriteFile(ts.MkAbs(args[0]), signed.bundle, 0o600))
			},
			"anchor": func(ts *testscript.TestScript, _ bool, args []string) { ts.Setenv(args[0], signed.anchor.String()) },
		},
	})
}

// memberKey finds a script's fake member.
type memberKey struct{}

func memberOf(ts *testscript.TestScript) *fakeMember {
	member, ok := ts.Value(memberKey{}).(*fakeMember)
	if !ok {
		ts.Fatalf("the script has no member")
	}
	return member
}

func cmdServe(ts *testscript.TestScript, _ bool, args []string) {
	member := memberOf(ts)
	server := rpc.NewServer(member, member)
	if args[0] != "uninitialized" {
		ts.Check(member.enter(args[0]))
		server.Attach(member, member, member, member)
	}
	member.server = server
	listener, err := net.Listen("unix", filepath.Join(ts.Getenv("WORK"), "jaco.sock"))
	ts.Check(err)
	member.run(ts, func(ctx context.Context) error { return server.Serve(ctx, listener) })
}

func cmdChange(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(memberOf(ts).enter(args[0]))
}

func cmdExits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if failed, ok := errors.AsType[*exec.ExitError](ts.Exec("jaco", append([]string{"--socket", "jaco.sock"}, args[1:]...)...)); ok {
		code = failed.ExitCode()
	}
	if code != want {
		ts.Fatalf("jaco ended with %d, want %d", code, want)
	}
}

func cmdFlip(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	at, err := strconv.Atoi(args[1])
	ts.Check(err)
	if at < 0 {
		at += len(data)
	}
	if at < 0 || at >= len(data) {
		ts.Check(fmt.Errorf("flip: %s has %d bytes", args[0], len(data)))
	}
	data[at] ^= 1
	ts.Check(os.WriteFile(path, data, 0o600))
}
