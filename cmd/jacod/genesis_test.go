package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster/rpc"
	"github.com/jaco-sh/jaco/gitsync"
	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

func TestFirstFiles(t *testing.T) {
	git := rig.StartGit(t)
	key := func(name, kind string) rpc.Signer {
		return rpc.Signer{Name: name, Key: []byte(rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), name+kind, kind)).Public)}
	}
	gpg := rig.Must[*rig.Key](t)(git.NewOpenPGPKey(t.Context(), "carol", "ed25519", noTime))
	carol := rpc.Signer{Name: "carol", Key: []byte(gpg.Public)}
	alice, alice2, bob := key("alice", "ed25519"), key("alice", "ecdsa"), key("bob", "rsa")
	for _, test := range []struct {
		name    string
		signers []rpc.Signer
		paths   []string
		keys    map[string]int // of each signer
	}{
		{"one", []rpc.Signer{alice}, []string{"keys/alice.pub", "trust.yaml"}, map[string]int{"alice": 1}},
		{"several", []rpc.Signer{bob, carol, alice}, []string{"keys/alice.pub", "keys/bob.pub", "keys/carol.asc", "trust.yaml"},
			map[string]int{"alice": 1, "bob": 1, "carol": 1}},
		{"two keys of one", []rpc.Signer{alice, alice2}, []string{"keys/alice-1.pub", "keys/alice.pub", "trust.yaml"}, map[string]int{"alice": 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			files, err := firstFiles(test.signers)
			check(t, err)
			paths := map[string]bool{}
			for _, path := range test.paths {
				paths[path] = true
			}
			for path := range files {
				if !paths[path] {
					t.Errorf("file %s is not wanted", path)
				}
			}
			if len(files) != len(paths) {
				t.Errorf("%d files, want %q", len(files), test.paths)
			}
			trust, err := signing.ParseTrust(files["trust.yaml"], func(path string) ([]byte, error) {
				if data, found := files[path]; found {
					return data, nil
				}
				return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, files["trust.yaml"])
			}
			got := map[string]int{}
			for _, signer := range trust.Signers {
				got[signer.Name] = len(signer.Keys)
			}
			if diff := cmp.Diff(test.keys, got); diff != "" || trust.Version != 1 {
				t.Errorf("version %d, keys (-want +got):\n%s", trust.Version, diff)
			}
			lines := strings.Join(trustLines(trust), "\n")
			for _, signer := range trust.Signers {
				for _, key := range signer.Keys {
					if !strings.Contains(lines, key.Fingerprint) {
						t.Errorf("init does not say that it trusts %s:\n%s", key.Fingerprint, lines)
					}
				}
			}
		})
	}
}

func TestFirstFilesRefuse(t *testing.T) {
	git := rig.StartGit(t)
	key := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	private, err := os.ReadFile(key.Private)
	check(t, err)
	if _, err := firstFiles(nil); err == nil || !strings.Contains(err.Error(), "--signer NAME=KEYFILE") {
		t.Errorf("nobody: %v", err)
	}
	for _, data := range [][]byte{
		private, []byte("-----BEGIN PGP PRIVATE KEY BLOCK-----\n"), []byte("-----BEGIN RSA PRIVATE KEY-----\n"),
		[]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), append([]byte(key.Public), private...),
	} {
		_, err := firstFiles([]rpc.Signer{{Name: "alice", Key: data}})
		if err == nil || !strings.Contains(err.Error(), "signer alice: this is a private key") {
			t.Errorf("a private key: %v", err)
		} else if strings.Contains(err.Error(), "BEGIN") {
			t.Errorf("the refusal shows the key: %v", err)
		}
	}
}

// opened is a branch with one commit behind its head.
type opened struct {
	head, first signing.Hash
	err         error
}

// Object implements signing.Source.
func (o opened) Object(signing.Hash) (signing.Object, error) {
	return signing.Object{}, signing.ErrNotFound
}

// Head implements openedSource.
func (o opened) Head() signing.Hash { return o.head }

// Contains implements openedSource.
func (o opened) Contains(_ signing.Hash, prefix string) (bool, error) {
	return prefix == o.head.String() || prefix == o.first.String(), o.err
}

func TestChooseAnchor(t *testing.T) {
	source := opened{head: signing.Hash{2}, first: signing.Hash{1}}
	broken := source
	broken.err = errors.New("cannot read")
	for _, test := range []struct {
		name    string
		request rpc.InitRequest
		source  opened
		want    signing.Hash
		wantErr string
	}{
		{"embedded", rpc.InitRequest{}, source, source.head, ""},
		{"tip", rpc.InitRequest{Repo: "/r", Anchor: "tip"}, source, source.head, ""},
		{"the head by name", rpc.InitRequest{Repo: "/r", Anchor: source.head.String()}, source, source.head, ""},
		{"an earlier one", rpc.InitRequest{Repo: "/r", Anchor: source.first.String()}, source, source.first, ""},
		{"a stranger", rpc.InitRequest{Repo: "/r", Branch: "main", Anchor: signing.Hash{9}.String()}, source, signing.Hash{}, "anchor 090000000000 is not in the history of branch main, whose tip is 020000000000"},
		{"a prefix", rpc.InitRequest{Repo: "/r", Anchor: source.head.String()[:10]}, source, signing.Hash{}, "give the full hash, or tip"},
		{"a name", rpc.InitRequest{Repo: "/r", Anchor: "main"}, source, signing.Hash{}, "give the full hash, or tip"},
		{"nothing", rpc.InitRequest{Repo: "/r"}, source, signing.Hash{}, "give the full hash, or tip"},
		{"an unreadable history", rpc.InitRequest{Repo: "/r", Anchor: source.first.String()}, broken, signing.Hash{}, "anchor: cannot read"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := chooseAnchor(&test.request, test.source)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("error %v, want %q", err, test.wantErr)
				}
				return
			}
			if err != nil || got != test.want {
				t.Errorf("anchor %s, %v; want %s", got, err, test.want)
			}
		})
	}
}

func TestCredential(t *testing.T) {
	for _, test := range []struct{ sshKey, token []byte }{
		{[]byte("-----BEGIN OPENSSH PRIVATE KEY-----\n\xff"), nil}, {nil, []byte("user:s3cret")}, {[]byte("k"), []byte("t")},
	} {
		data, err := encodeCredential(test.sshKey, test.token)
		check(t, err)
		got := gitsync.Credentials{KnownHosts: []byte("kept"), Token: []byte("old")}
		check(t, decodeCredential(data, &got))
		if !bytes.Equal(got.SSHKey, test.sshKey) || !bytes.Equal(got.Token, test.token) || string(got.KnownHosts) != "kept" {
			t.Errorf("%q and %q became %+v", test.sshKey, test.token, got)
		}
	}
	if data, err := encodeCredential(nil, nil); data != nil || err != nil {
		t.Errorf("no credential is encoded as %q, %v", data, err)
	}
	for _, damaged := range []string{"s3cret", `{"token":"s3cret"`, `{"token":"s3cret!"}`, `{"token":["s3cret"]}`, `"s3cret"`} {
		err := decodeCredential([]byte(damaged), new(gitsync.Credentials))
		if err == nil {
			t.Errorf("%s was taken", damaged)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the credential: %v", err)
		}
	}
}

// TestCredentialIsSealed looks for the credential in all that init writes.
func TestCredentialIsSealed(t *testing.T) {
	n := newTestNode(t)
	git := rig.StartGit(t)
	bare := filepath.Join(t.TempDir(), "fleet.git")
	check(t, git.InitBare(t.Context(), bare))
	repo := rig.Must[*rig.Repo](t)(git.Clone(t.Context(), bare, ""))
	alice := rig.Must[*rig.Key](t)(git.NewSSHKey(t.Context(), "alice", "ed25519"))
	rig.Must[string](t)(repo.CommitFiles(t.Context(), map[string]string{
		"trust.yaml":     "version: 1\nroot: {threshold: 1, signers: [alice]}\nsigners:\n  alice: {keys: [keys/alice.pub]}\nrules:\n  - {paths: [\"deployments/**\"], approvals: 1}\n",
		"keys/alice.pub": alice.Public,
	}, rig.CommitOptions{Message: "first"}))
	check(t, repo.Push(t.Context()))
	n.start(t)
	const secret = "a-token-nobody-may-find"
	request := &rpc.InitRequest{ClusterName: "test", Repo: bare, Anchor: "tip", Token: []byte("user:" + secret)}
	if _, err := n.client.Init(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	if strings.Contains(n.log.String(), secret) {
		t.Error("the log holds the credential")
	}
	err := filepath.WalkDir(n.config.DataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) || bytes.Contains(data, []byte("YS10b2tlbi1ub2JvZHk")) {
			t.Errorf("%s holds the credential in clear", path)
		}
		return err
	})
	check(t, err)
}
