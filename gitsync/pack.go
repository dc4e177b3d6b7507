package gitsync

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"

	"github.com/jaco-sh/jaco/signing"
)

const (
	// incomingPattern names packs that are not complete yet, as git's own
	// temporary files are named, so that git gc removes them too.
	incomingPattern = "tmp_pack_*"
	// inflation bounds what a pack may become in memory: this many times the
	// bytes that it may have.
	inflation = 16
)

// transfer is one pack to receive.
type transfer struct {
	dir    string // the git directory that takes it
	want   []signing.Hash
	have   []signing.Hash
	limits Limits
}

// receive asks for a pack and stores it with its index. A pack that breaks a
// limit or does not parse leaves nothing behind.
func receive(ctx context.Context, c conversation, refs *advertised, t transfer) error {
	request, err := packRequest(refs.capabilities, t.want, t.have)
	if err != nil {
		return err
	}
	answer, err := c.ask(request)
	if err != nil {
		return err
	}
	packs := filepath.Join(t.dir, "objects", "pack")
	file, err := os.CreateTemp(packs, incomingPattern)
	if err != nil {
		return fmt.Errorf("store pack: %w", err)
	}
	defer os.Remove(file.Name()) // no longer there when it was stored
	defer file.Close()
	if err := download(file, newPackStream(answer), t.limits); err != nil {
		return c.explain(err)
	}
	return storePack(ctx, file, packs, t.limits)
}

// download writes the pack to the file, within the limits that can be told
// before it is looked into.
func download(file *os.File, stream io.Reader, limits Limits) error {
	var header [12]byte // "PACK", version, number of objects
	if _, err := io.ReadFull(stream, header[:]); err != nil {
		return err
	}
	if count := binary.BigEndian.Uint32(header[8:]); int64(count) > int64(limits.Objects) {
		return fmt.Errorf("%w: the fetch has %d objects, more than %d", ErrTooLarge, count, limits.Objects)
	}
	if _, err := file.Write(header[:]); err != nil {
		return storeError{err}
	}
	rest := &capReader{r: stream, left: limits.Bytes - int64(len(header)), what: "the fetch", limit: limits.Bytes}
	_, err := io.Copy(storeWriter{file}, rest)
	return err
}

// storeError is a failure of our own disk, which is not the server's fault.
type storeError struct{ err error }

func (e storeError) Error() string { return "store pack: " + e.err.Error() }
func (e storeError) Unwrap() error { return e.err }

// mine says whether an error of reading is not the server's: its explanation
// would hide it.
func mine(err error) bool {
	var disk storeError
	return errors.Is(err, ErrTooLarge) || errors.As(err, &disk)
}

// storeWriter marks what fails as a storeError.
type storeWriter struct{ w io.Writer }

func (w storeWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		err = storeError{err}
	}
	return n, err
}

// storePack checks and indexes a pack and gives both files their names. The
// index goes last: a pack without one is not looked at.
func storePack(ctx context.Context, file *os.File, packs string, limits Limits) error {
	empty, err := measure(ctx, file, limits)
	if err != nil || empty {
		return err
	}
	index, checksum, err := indexPack(ctx, file, limits.Commits)
	if err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return storeError{err}
	}
	base := filepath.Join(packs, "pack-"+checksum.String())
	temp, err := os.CreateTemp(packs, incomingPattern)
	if err != nil {
		return storeError{err}
	}
	defer os.Remove(temp.Name())
	_, err = idxfile.NewEncoder(temp).Encode(index)
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return storeError{err}
	}
	if err := os.Rename(file.Name(), base+".pack"); err != nil {
		return storeError{err}
	}
	if err := os.Rename(temp.Name(), base+".idx"); err != nil {
		return storeError{err}
	}
	return syncDirectory(packs)
}

func syncDirectory(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return storeError{err}
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return storeError{err}
	}
	return nil
}

// measure walks over a pack and holds it to the limits before anything is
// built in memory: a small pack may inflate to something very large.
func measure(ctx context.Context, file *os.File, limits Limits) (empty bool, err error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return false, storeError{err}
	}
	scanner := packfile.NewScanner(file)
	_, count, err := scanner.Header()
	if err != nil {
		return false, badPack(err)
	}
	var total int64
	for range count {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		header, err := scanner.NextObjectHeader()
		if err != nil {
			return false, badPack(err)
		}
		size := &sizeReader{size: header.Length, delta: header.Type.IsDelta()}
		if size.size > limits.Bytes {
			return false, fmt.Errorf("%w: an object of %d bytes, more than %d", ErrTooLarge, size.size, limits.Bytes)
		}
		if _, _, err := scanner.NextObject(size); err != nil {
			return false, badPack(err)
		}
		if size.size < 0 || size.size > limits.Bytes {
			return false, fmt.Errorf("%w: an object of more than %d bytes", ErrTooLarge, limits.Bytes)
		}
		if total += size.size; total/inflation > limits.Bytes {
			return false, fmt.Errorf("%w: the objects have more than %d bytes in all", ErrTooLarge, inflation*limits.Bytes)
		}
	}
	return count == 0, nil
}

// sizeReader takes an object's content and finds its size; that of a delta is
// the second number at its beginning.
type sizeReader struct {
	size  int64
	delta bool
	start []byte
}

func (s *sizeReader) Write(p []byte) (int, error) {
	const twoNumbers = 20
	if s.delta && len(s.start) < twoNumbers {
		s.start = append(s.start, p[:min(len(p), twoNumbers-len(s.start))]...)
		if _, n := binary.Uvarint(s.start); n > 0 {
			if size, m := binary.Uvarint(s.start[n:]); m > 0 {
				s.size = max(s.size, int64(size)) //nolint:gosec // an overflow is negative and refused
				if int64(size) < 0 {              //nolint:gosec // as above
					s.size = -1
				}
			}
		}
	}
	return len(p), nil
}

// indexPack reads the whole pack, resolves its deltas, checks its checksum.
func indexPack(ctx context.Context, file *os.File, maxCommits int) (*idxfile.MemoryIndex, plumbing.Hash, error) {
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return nil, plumbing.ZeroHash, storeError{err}
	}
	var writer idxfile.Writer
	parser, err := packfile.NewParser(packfile.NewScanner(file), &writer, &commitCounter{ended: ctx.Err, most: maxCommits})
	if err != nil {
		return nil, plumbing.ZeroHash, badPack(err)
	}
	checksum, err := parser.Parse()
	if errors.Is(err, ErrTooLarge) || ctx.Err() != nil {
		return nil, plumbing.ZeroHash, err
	}
	if err != nil {
		return nil, plumbing.ZeroHash, badPack(err)
	}
	index, err := writer.Index()
	if err != nil {
		return nil, plumbing.ZeroHash, badPack(err)
	}
	return index, checksum, nil
}

// commitCounter ends the reading of a pack with too many commits, or when
// nobody waits for it any more. Only the parser knows what kind of object a
// delta makes.
type commitCounter struct {
	ended      func() error
	seen, most int
}

var _ packfile.Observer = (*commitCounter)(nil)

func (c *commitCounter) OnInflatedObjectHeader(kind plumbing.ObjectType, _, _ int64) error {
	if kind == plumbing.CommitObject {
		c.seen++
	}
	if c.seen > c.most {
		return fmt.Errorf("%w: the fetch has more than %d commits", ErrTooLarge, c.most)
	}
	return c.ended()
}

func (c *commitCounter) OnHeader(uint32) error        { return nil }
func (c *commitCounter) OnFooter(plumbing.Hash) error { return nil }
func (c *commitCounter) OnInflatedObjectContent(plumbing.Hash, int64, uint32, []byte) error {
	return nil
}

// badPack marks what a server sent as no pack.
func badPack(err error) error {
	return fmt.Errorf("%w: the server sent a broken pack: %w", ErrUnreachable, err)
}
