package cluster

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// changes is how many joins and removals there are in all, and leastMembers how
// few are left.
const (
	changes      = 30
	leastMembers = 2
)

// machine is a node of the rig that comes in and goes out under changing names.
type machine struct {
	stage.Member
	name   string
	member bool
}

// roster is who is in and who is out.
type roster struct {
	*stage.Cluster
	machines []*machine
	random   *rand.Rand
	commits  int
}

// churn lets nodes join and removes them in random order, each with a deploy
// that the next does not wait for, and compares what all nodes hold at the end.
func churn(t *testing.T, c *stage.Cluster) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := &roster{Cluster: c, random: rand.New(rand.NewPCG(seed, 0))}
	for _, m := range c.Members() {
		r.machines = append(r.machines, &machine{Member: m, name: m.Name(), member: true})
	}
	for change := range changes {
		in, out := r.split()
		switch {
		case len(out) > 0 && (len(in) <= leastMembers || r.random.IntN(2) == 0):
			r.join(change, out[r.random.IntN(len(out))])
		default:
			r.remove(change, in[r.random.IntN(len(in))])
		}
	}
	_, out := r.split()
	for _, m := range out {
		r.join(changes, m)
	}
	c.Settle(deployTime)
	acceptedByAll(t, c, c.Head())
	equalStates(t, c)
}

// split lists who is a member and who is not.
func (r *roster) split() (in, out []*machine) {
	for _, m := range r.machines {
		if m.member {
			in = append(in, m)
		} else {
			out = append(out, m)
		}
	}
	return in, out
}

// deploy pushes a change of the deployment with a cluster.yaml, and tells a
// member of it.
func (r *roster) deploy(clusterFile string, tell *machine) string {
	r.T.Helper()
	r.commits++
	files := shop(fmt.Sprint("churn ", r.commits))
	files["cluster.yaml"] = clusterFile
	commit := r.Commit(files)
	r.Push()
	r.Deliver(tell.Member)
	return commit
}

// until waits for a condition on the status of the members.
func (r *roster) until(desc string, cond func(*cluster.Status) bool) {
	r.T.Helper()
	in, _ := r.split()
	var members []stage.Member
	for _, m := range in {
		members = append(members, m.Member)
	}
	r.Eventually(time.Minute, desc, func(status *cluster.Status) (bool, string) {
		return cond(status), stage.Summary(status)
	}, members...)
}

func (r *roster) remove(change int, gone *machine) {
	r.T.Helper()
	r.T.Log(fmt.Sprintf("change %d: remove %s", change, gone.name))
	gone.member = false
	in, _ := r.split()
	r.deploy(fmt.Sprintf("nodes:\n  %s: {availability: removed}\n", gone.name), in[r.random.IntN(len(in))])
	r.until(fmt.Sprintf("change %d: %s to be gone", change, gone.name), func(status *cluster.Status) bool {
		return stage.Node(status, gone.name) == nil
	})
	r.Check(gone.Kill(r.T.Context()))
	r.Check(gone.Wipe(r.T.Context()))
	if r.random.IntN(2) == 0 {
		r.rename(gone, fmt.Sprintf("%s-%d", gone.Name(), change))
	}
	r.Check(gone.Start(r.T.Context()))
}

// rename gives a node that belongs to no cluster another name.
func (r *roster) rename(m *machine, name string) {
	r.T.Helper()
	data := string(rig.Must[[]byte](r.T)(os.ReadFile(m.ConfigFile)))
	before := "\nname: " + m.name + "\n"
	if !strings.Contains(data, before) {
		r.T.Fatal("no name " + m.name + " in " + m.ConfigFile + ":\n" + data)
	}
	r.Check(os.WriteFile(m.ConfigFile, []byte(strings.Replace(data, before, "\nname: "+name+"\n", 1)), 0o600))
	m.name = name
}

func (r *roster) join(change int, m *machine) {
	r.T.Helper()
	r.T.Log(fmt.Sprintf("change %d: join %s", change, m.name))
	in, _ := r.split()
	server := in[r.random.IntN(len(in))]
	commit := r.deploy("sync: {interval: 30s}\n", server)
	r.until(fmt.Sprintf("change %d: nobody to be marked as removed", change), func(status *cluster.Status) bool {
		return status.Sync.Accepted == commit
	})
	m.Jaco(stage.JoinArgs(server.Server(), server.Token())...)
	m.member = true
	r.until(fmt.Sprintf("change %d: %s to be in", change, m.name), func(status *cluster.Status) bool {
		return stage.Joined(status, m.name)
	})
}

// equalStates stops all nodes once nothing happens any more, and makes of what
// each has on its disk the state that it would start with: at the same index all
// must be the same bytes.
func equalStates(t *testing.T, c *stage.Cluster) {
	t.Helper()
	index := c.Quiet(30 * time.Second)
	c.StopAll()
	var first [sha256.Size]byte
	for i, m := range c.Members() {
		sum, size, err := stateOnDisk(filepath.Join(m.DataDir, "raft"), index)
		if err != nil {
			t.Fatal(m.Name(), err)
		}
		t.Logf("%s: %d bytes at index %d: %x", m.Name(), size, index, sum[:8])
		if i == 0 {
			first = sum
		} else if sum != first {
			t.Errorf("the state of %s differs from that of %s", m.Name(), c.Member(0).Name())
		}
	}
}

// stateOnDisk makes the state at an index of a stopped node's snapshot and log,
// and returns the hash and the size of its bytes.
func stateOnDisk(dir string, index uint64) (sum [sha256.Size]byte, size int, err error) {
	log, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: time.Second},
	})
	if err != nil {
		return sum, 0, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	if err != nil {
		return sum, 0, err
	}
	covered, err := loadNewest(dir, state)
	if err != nil {
		return sum, 0, err
	}
	last, err := log.LastIndex()
	if err != nil {
		return sum, 0, err
	}
	for i := covered + 1; i <= min(last, index); i++ {
		var entry raft.Log
		if err := log.GetLog(i, &entry); err != nil {
			return sum, 0, err
		}
		if entry.Type != raft.LogCommand {
			continue
		}
		if result := state.Apply(i, entry.Data); cluster.Stops(result.Err) {
			return sum, 0, result.Err
		}
	}
	if got := state.Read().Index(); got != index {
		return sum, 0, fmt.Errorf("its disk leads to index %d, want %d", got, index)
	}
	hash := sha256.New()
	counted := &counter{Writer: hash}
	if err := state.Save(counted); err != nil {
		return sum, 0, err
	}
	copy(sum[:], hash.Sum(nil))
	return sum, counted.n, nil
}

// loadNewest loads the newest snapshot, if there is one, and returns the index
// that it covers.
func loadNewest(dir string, state *cluster.State) (uint64, error) {
	store, err := raft.NewFileSnapshotStore(dir, 2, io.Discard)
	if err != nil {
		return 0, err
	}
	kept, err := store.List()
	if err != nil || len(kept) == 0 {
		return 0, err
	}
	meta, source, err := store.Open(kept[0].ID)
	if err != nil {
		return 0, err
	}
	return meta.Index, errors.Join(state.Load(source), source.Close())
}

// counter counts what passes.
type counter struct {
	io.Writer
	n int
}

func (c *counter) Write(p []byte) (int, error) {
	c.n += len(p)
	return c.Writer.Write(p)
}
