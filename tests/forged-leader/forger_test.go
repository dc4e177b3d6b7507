package forgedleader

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

//rig:program forger ./tests/forged-leader/forger

// request is what the forger is asked for; it says more about each field.
type request struct {
	Do         string    `json:"do"`
	Repo       string    `json:"repo,omitempty"`
	Commit     string    `json:"commit,omitempty"`
	Time       time.Time `json:"time,omitzero"`
	Deployment string    `json:"deployment,omitempty"`
	Service    string    `json:"service,omitempty"`
	Nodes      []string  `json:"nodes,omitempty"`
	Slot       int       `json:"slot,omitempty"`
	Count      int       `json:"count,omitempty"`
	Pile       bool      `json:"pile,omitempty"`
	Spec       string    `json:"spec,omitempty"`
	Claims     uint64    `json:"claims,omitempty"`
	Cut        bool      `json:"cut,omitempty"`
	Replace    bool      `json:"replace,omitempty"`
	With       []request `json:"with,omitempty"`
}

// answer is what the forger did.
type answer struct {
	Index    uint64   `json:"index"`
	Claim    uint64   `json:"claim"`
	Replicas []string `json:"replicas"`
	Refused  string   `json:"refused"`
	Error    string   `json:"error"`
}

// answerTimeout is ample for seizing the leadership and one entry.
const answerTimeout = 30 * time.Second

// forger is the program on the node that it took over.
type forger struct {
	t     *testing.T
	node  stage.Member
	input io.WriteCloser
	lines chan string
	ended chan error
	log   string
}

// takeOver kills the node's jacod and runs the forger in its place. It ends
// with the test at the latest.
func takeOver(t *testing.T, node stage.Member) *forger {
	t.Helper()
	check(t, node.Kill(t.Context()))
	scratch := filepath.Join(node.Node.Dir, "forged")
	check(t, os.MkdirAll(scratch, 0o700))
	f := &forger{t: t, node: node, lines: make(chan string), ended: make(chan error, 1), log: filepath.Join(node.Node.Dir, "forger.log")}
	program := rig.Must[string](t)(rig.Bin("forger"))
	cmd := node.Node.NetNS.Command(context.WithoutCancel(t.Context()), program, "-data", node.DataDir, "-listen", node.Server(), "-scratch", scratch)
	log := rig.Must[*os.File](t)(os.OpenFile(f.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600))
	cmd.Stderr = log
	f.input = rig.Must[io.WriteCloser](t)(cmd.StdinPipe())
	output := rig.Must[io.ReadCloser](t)(cmd.StdoutPipe())
	check(t, cmd.Start())
	t.Cleanup(f.stop)
	go func() { // ends with the program, which ends with its input
		scanner := bufio.NewScanner(output)
		for scanner.Scan() {
			f.lines <- scanner.Text()
		}
		close(f.lines)
		f.ended <- errors.Join(cmd.Wait(), log.Close())
	}()
	f.do(request{Do: "lead"})
	return f
}

// stop ends the forger, once.
func (f *forger) stop() {
	if f.input == nil {
		return
	}
	closed := f.input.Close()
	f.input = nil
	for range f.lines { // a last answer that nobody asked for
	}
	var exit *exec.ExitError
	if err := errors.Join(closed, <-f.ended); err != nil && !errors.As(err, &exit) {
		f.t.Errorf("end the forger: %v", err)
	} else if err != nil || f.t.Failed() {
		f.t.Log(err, f.Tail(40))
	}
}

// Tail implements rig.Tailer.
func (f *forger) Tail(lines int) string {
	p := rig.Proc{Log: f.log}
	return p.Tail(lines)
}

// do has the forger carry one request out.
func (f *forger) do(r request) answer {
	f.t.Helper()
	line := append(rig.Must[[]byte](f.t)(json.Marshal(r)), '\n')
	if _, err := f.input.Write(line); err != nil {
		f.t.Fatal(err, f.Tail(40))
	}
	timer := time.NewTimer(answerTimeout)
	defer timer.Stop()
	var a answer
	select {
	case text, ok := <-f.lines:
		if !ok {
			f.t.Fatal("the forger ended\n", f.Tail(40))
		}
		check(f.t, json.Unmarshal([]byte(text), &a))
	case <-timer.C:
		f.t.Fatal(fmt.Sprintf("the forger does not answer %s within %s\n", line, answerTimeout), f.Tail(40))
	}
	if a.Error != "" {
		f.t.Fatalf("%s: %s\n%s", line, a.Error, f.Tail(40))
	}
	return a
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
