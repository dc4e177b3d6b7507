package cluster

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"sort"

	"github.com/jaco-sh/jaco/signing"
)

// Bounds of what one revision may deploy (docs/compose.md).
const (
	MaxContentBytes = 16 << 20
	MaxContentFiles = 10_000
	maxContentDepth = 32
)

// ErrContentTooLarge is returned by ContentDigest when the deployable files
// exceed a bound. It is the same on every node.
var ErrContentTooLarge = errors.New("too large")

// ContentDigest is the SHA-256 over everything that a position pins: the trust
// files of its commit, and the approved content of every unit. A claim carries
// it, so that no byte hangs on SHA-1 alone. Errors other than
// ErrContentTooLarge and those of malformed objects mean missing evidence.
//
// The digest covers, each field preceded by its length as 8 bytes big-endian:
// a domain, the commit, every file of trust.yaml and keys/, and for every unit
// in order of its name the name, its revision and its files. A file is its
// path, its mode (4 bytes) and the SHA-256 of its bytes; files come in git's
// tree order.
func ContentDigest(src signing.Source, p signing.Position) ([32]byte, error) {
	w := &contentWriter{src: src, out: sha256.New()}
	w.field([]byte("jaco-content-v1"))
	w.field(p.Commit[:])
	commit, err := signing.ReadCommit(src, p.Commit)
	if err != nil {
		return [32]byte{}, fmt.Errorf("digest of content: %w", err)
	}
	root, err := signing.ReadTree(src, commit.Tree)
	if err != nil {
		return [32]byte{}, fmt.Errorf("digest of content: %w", err)
	}
	for _, entry := range root {
		if entry.Name == "trust.yaml" || entry.Name == "keys" {
			if err := w.entry(entry, entry.Name, 0); err != nil {
				return [32]byte{}, fmt.Errorf("digest of content: %w", err)
			}
		}
	}
	names := make([]string, 0, len(p.Units))
	for name := range p.Units {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		unit := p.Units[name]
		w.field([]byte(name))
		w.field(unit.Revision[:])
		if unit.Tree.IsZero() {
			continue
		}
		entry := signing.TreeEntry{Mode: modeTree, Name: name, ID: unit.Tree}
		if name == signing.ClusterUnit {
			entry.Mode = modeFile
		}
		if err := w.entry(entry, name, 0); err != nil {
			return [32]byte{}, fmt.Errorf("digest of content: %w", err)
		}
	}
	return [32]byte(w.out.Sum(nil)), nil
}

// git's modes of a folder and of a plain file.
const (
	modeTree = 0o40000
	modeFile = 0o100644
)

type contentWriter struct {
	src   signing.Source
	out   hash.Hash
	files int
	bytes int
}

func (w *contentWriter) field(data []byte) {
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(data)))
	w.out.Write(length[:])
	w.out.Write(data)
}

// entry writes one file, or all below one folder.
func (w *contentWriter) entry(entry signing.TreeEntry, path string, depth int) error {
	if depth > maxContentDepth {
		return fmt.Errorf("%s: %w: more than %d folders deep", path, ErrContentTooLarge, maxContentDepth)
	}
	if entry.Mode == modeTree {
		entries, err := signing.ReadTree(w.src, entry.ID)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for _, e := range entries {
			if err := w.entry(e, path+"/"+e.Name, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	data, err := signing.ReadObject(w.src, entry.ID, signing.BlobObject)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	w.files++
	w.bytes += len(data)
	if w.files > MaxContentFiles || w.bytes > MaxContentBytes {
		return fmt.Errorf("%s: %w: a revision deploys at most %d files and %d MiB", path, ErrContentTooLarge, MaxContentFiles, MaxContentBytes>>20)
	}
	sum := sha256.Sum256(data)
	var mode [4]byte
	binary.BigEndian.PutUint32(mode[:], entry.Mode)
	w.field([]byte(path))
	w.field(mode[:])
	w.field(sum[:])
	return nil
}
