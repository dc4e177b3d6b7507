package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/tests/stage"
)

// clearIn looks through all files below a directory and returns which of them
// hold which secret, in any form. Files that go away meanwhile held nothing that
// stays. seen counts the files that hold the text of control.
func clearIn(t *testing.T, root string, secrets map[string]string, control string) (found []string, seen int) {
	t.Helper()
	wanted := map[string][][]byte{}
	for name, secret := range secrets {
		wanted[name] = forms(secret)
	}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if bytes.Contains(data, []byte(control)) {
			seen++
		}
		for name, all := range wanted {
			for _, form := range all {
				if bytes.Contains(data, form) {
					found = append(found, path+" holds "+name)
					break
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found, seen
}

// snapshot writes the snapshot that a node would take now of its state. jacod is
// down meanwhile.
func snapshot(t *testing.T, m stage.Member, path string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	check(m.Stop(t.Context()))
	log, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(m.DataDir, "raft", "raft.db"), BoltOptions: &bbolt.Options{ReadOnly: true, Timeout: patience},
	})
	check(err)
	state, err := cluster.NewState(cluster.NewMemoryObjects(), cluster.NewMemoryAudit())
	check(err)
	last, err := log.LastIndex()
	check(err)
	for index := uint64(1); index <= last; index++ {
		var entry raft.Log
		check(log.GetLog(index, &entry))
		if entry.Type == raft.LogCommand {
			state.Apply(index, entry.Data) // which may be a refusal
		}
	}
	check(log.Close())
	check(m.Start(t.Context()))
	if len(state.Read().SealedItems()) == 0 {
		t.Fatal("the state of the log holds nothing sealed")
	}
	var out bytes.Buffer
	check(state.Save(&out))
	check(os.WriteFile(path, out.Bytes(), 0o600))
}

// nowhere looks for the secrets in all that JACO wrote and says.
func nowhere(t *testing.T, c *stage.Cluster, files, variables map[string]string) {
	t.Helper()
	all := map[string]string{}
	for _, secrets := range []map[string]string{files, variables} {
		for name, secret := range secrets {
			all[name] = secret
		}
	}
	for i, m := range c.Members() {
		said := t.TempDir()
		if i == 0 {
			snapshot(t, m, filepath.Join(said, "snapshot"))
			c.Settle(patience)
		}
		for name, args := range map[string][]string{
			"status": {"status", "-o", "json"}, "audit": {"audit", "-o", "json"}, "sync": {"status", "sync"}, "events": {"status", "events"},
		} {
			c.Check(os.WriteFile(filepath.Join(said, name), []byte(m.Jaco(args...)), 0o600))
		}
		c.Check(os.WriteFile(filepath.Join(said, "jacod.log"), []byte(read(t, filepath.Join(m.Node.Dir, "jacod.log"))), 0o600))
		m.Jaco("audit", "export", "--output", filepath.Join(said, "bundle"))
		for _, place := range []struct {
			name, root, control string
			secrets             map[string]string
		}{
			{"what jacod wrote", m.DataDir, "deployments", all},
			{"what jacod says", said, "shop", all},
			// An engine keeps environment in clear, which is why it has to be allowed.
			{"what the engine wrote", filepath.Join(m.Node.Dir, "data"), "sh.jaco.replica", files},
		} {
			found, seen := clearIn(t, place.root, place.secrets, place.control)
			if seen == 0 {
				t.Errorf("%s: %s: nothing holds %q: the search looks at the wrong place", m.Name(), place.name, place.control)
			}
			for _, f := range found {
				t.Errorf("%s: %s: %s", m.Name(), place.name, f)
			}
		}
	}
}

// TestTheSearchFinds plants secrets where they must not be.
func TestTheSearchFinds(t *testing.T) {
	const secret = "planted file one 53b8e3bf"
	dir := t.TempDir()
	for name, data := range map[string]string{
		"raw": "x" + secret + "y", "hex": hex.EncodeToString([]byte("ab" + secret + "cd")),
		"base64": base64.StdEncoding.EncodeToString([]byte(secret)), "base64-1": base64.StdEncoding.EncodeToString([]byte("a" + secret + "b")),
		"base64-2": base64.URLEncoding.EncodeToString([]byte("ab" + secret + "c")), "base64-3": base64.StdEncoding.EncodeToString([]byte("abc" + secret)),
		"nothing": "planted file two",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if found, seen := clearIn(t, dir, map[string]string{"it": secret}, "two"); len(found) != 6 || seen != 1 {
		t.Errorf("found %v, and the control in %d", found, seen)
	}
}
