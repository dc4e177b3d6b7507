package verifier

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// Errors of the trust store.
var (
	// ErrNoTrust is returned when this node has pinned no trust yet, or lost it.
	ErrNoTrust = errors.New("this node has no trust store: initialise it with `jaco bootstrap init`, or join again with a new token")
	// ErrCorrupt is returned when the trust store's bytes do not match their
	// checksum. It is never replaced by a fresh one.
	ErrCorrupt = errors.New("the trust store is damaged: restore the file from a backup of this node, " +
		"or remove the data directory and join again with a new token")
	// ErrNewerStore is returned for a trust store that this build cannot read.
	ErrNewerStore = errors.New("the trust store was written by a newer jacod: upgrade this one")
)

// Record is what a node must not forget: its pin and how far it came.
type Record struct {
	ClusterID string       `json:"cluster_id"`
	Anchor    signing.Hash `json:"anchor"`
	// Branch stands in a checkpoint, so that a joining node judges
	// require_target by the same name as the others, whatever a server says.
	Branch string `json:"branch,omitempty"`
	// Position is the accepted position, Digest that of its content
	// (cluster.ContentDigest).
	Position signing.Position `json:"position"`
	Digest   Digest           `json:"digest"`
	// Claim is the number of the last claim that was judged, accepted or not.
	// In another log the same number may be another claim's: Judged tells which
	// one it was, and Accepted which one brought Position.
	Claim    uint64 `json:"claim"`
	Judged   Mark   `json:"judged"`
	Accepted Mark   `json:"accepted"`
	// Astray says that Judged is of a log that does not hold Accepted.
	Astray bool `json:"astray,omitempty"`
	// Signers signed Position.Commit.
	Signers      []string `json:"signers,omitempty"`
	TrustVersion int      `json:"trust_version"`
	// Time is that of the last accepted claim; a later one is never earlier.
	Time time.Time `json:"time"`
	// Advanced is the time of the last accepted claim that brought a commit, and
	// MaxAge (nanoseconds) how long there may be none before it is told; 0: for
	// ever.
	Advanced time.Time     `json:"advanced,omitzero"`
	MaxAge   time.Duration `json:"max_age,omitempty"`
	// Floor is nil when there never was one.
	Floor *Floor `json:"floor,omitempty"`
	// Units holds what runs of each unit.
	Units map[string]UnitRecord `json:"units,omitempty"`
	// Prune holds the volumes that a signed commit gave up for removal, the
	// oldest first. No checkpoint carries it: a node that joins removes nothing.
	Prune []cluster.PrunedVolume `json:"prune,omitempty"`
	// Pending and Refusal are shown in status.
	Pending []signing.Pending `json:"pending,omitempty"`
	Refusal *signing.Refusal  `json:"refusal,omitempty"`
	// Heard is the last word of a leader on where its log ends, as far as this
	// node's state had come: what stands above was made later, also after a
	// restart. Nil before the first.
	Heard *Heard `json:"heard,omitempty"`
	// Reanchors are the times that the operator moved the pin by hand, oldest
	// first.
	Reanchors []Reanchored `json:"reanchors,omitempty"`
	// Checkpoint is what the node joined with; nil for the first member.
	Checkpoint *Pinned `json:"checkpoint,omitempty"`
}

// Heard says that a log ended at an index at a moment of this node's clock.
type Heard struct {
	Index uint64    `json:"index"`
	At    time.Time `json:"at"`
}

// Digest is a SHA-256. As text it is hexadecimal digits; the zero digest, which
// stands for none, is empty text.
type Digest [sha256.Size]byte

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) {
	if d == (Digest{}) {
		return nil, nil
	}
	return hex.AppendEncode(nil, d[:]), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	*d = Digest{}
	if len(text) == 0 {
		return nil
	}
	if len(text) != hex.EncodedLen(len(d)) {
		return fmt.Errorf("digest %q: want %d hexadecimal digits", text, hex.EncodedLen(len(d)))
	}
	if _, err := hex.Decode(d[:], text); err != nil {
		return fmt.Errorf("digest %q: %w", text, err)
	}
	return nil
}

// UnitRecord is what may run of one unit: the newest approved content that
// compiles, and the one before it.
type UnitRecord struct {
	Active   *Pin        `json:"active,omitempty"`
	Previous *Pin        `json:"previous,omitempty"`
	Invalid  *InvalidPin `json:"invalid,omitempty"`
}

// Pin is approved content.
type Pin struct {
	Revision signing.Hash `json:"revision"`
	Tree     signing.Hash `json:"tree"` // of the folder; the blob of cluster.yaml
	// Claim brought it, at the raft index Index.
	Claim        uint64             `json:"claim"`
	Index        uint64             `json:"index,omitempty"`
	TrustVersion int                `json:"trust_version"`
	Signers      []signing.Approval `json:"signers"`
	// At and Grounds are what a later policy judges it by (signing.Unit).
	At      time.Time        `json:"at,omitzero"`
	Grounds []signing.Ground `json:"grounds,omitempty"`
	// Standing is set when the policy in force would not approve it again.
	Standing *Standing `json:"standing,omitempty"`
}

// InvalidPin is approved content that does not compile.
type InvalidPin struct {
	Revision signing.Hash `json:"revision"`
	Tree     signing.Hash `json:"tree"`
	Reason   string       `json:"reason"`
}

// Store keeps the record in one file of a directory. It is not safe for
// concurrent use; the Verifier owns it.
type Store struct {
	directory string
}

// storeFile is the record's file. Its first line is a version and the SHA-256
// of the rest.
const (
	storeFile   = "trust.json"
	storeFormat = "jaco-trust-"
	storeHeader = storeFormat + "1 "
)

// OpenStore makes the directory (0700) where it is missing.
func OpenStore(directory string) (*Store, error) {
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return nil, fmt.Errorf("open trust store: %w", advise(directory, err))
	}
	return &Store{directory}, nil
}

// Load reads the record. It returns ErrNoTrust when there is none, and an
// error that wraps ErrCorrupt when its bytes are damaged, or ErrNewerStore
// when their format is unknown.
func (s *Store) Load() (*Record, error) {
	path := filepath.Join(s.directory, storeFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoTrust
	}
	if err != nil {
		return nil, fmt.Errorf("read trust store: %w", advise(s.directory, err))
	}
	header, body, _ := bytes.Cut(data, []byte("\n"))
	sum := sha256.Sum256(body)
	if version, known := bytes.CutPrefix(header, []byte(storeFormat)); known && newer(version) {
		return nil, fmt.Errorf("%s: %w", path, ErrNewerStore)
	}
	if string(header) != storeHeader+hex.EncodeToString(sum[:]) {
		return nil, fmt.Errorf("%s: %w", path, ErrCorrupt)
	}
	record := new(Record)
	if err := json.Unmarshal(body, record); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	return record, nil
}

// Save replaces the record atomically: when it returns nil the new one is on
// disk, and otherwise the old one still is.
func (s *Store) Save(record *Record) error {
	body, err := json.MarshalIndent(record, "", " ")
	if err != nil {
		return fmt.Errorf("encode trust store: %w", err)
	}
	sum := sha256.Sum256(body)
	data := append([]byte(storeHeader+hex.EncodeToString(sum[:])+"\n"), body...)
	if err := replaceFile(s.directory, storeFile, data); err != nil {
		return fmt.Errorf("write trust store: %w", advise(s.directory, err))
	}
	return nil
}

// newer reports whether the rest of a header begins with a version above 1.
func newer(rest []byte) bool {
	digits, _, found := bytes.Cut(rest, []byte(" "))
	version, err := strconv.ParseUint(string(digits), 10, 16)
	return found && err == nil && version > 1
}

// advise adds what can be done about an error of the disk.
func advise(directory string, err error) error {
	if advice := cluster.DiskAdvice(directory, err); advice != "" {
		return fmt.Errorf("%w: %s", err, advice)
	}
	return err
}

// replaceFile writes a file of mode 0600 by way of a temporary one, and syncs
// both the file and the directory that names it. The temporary name is fixed,
// so that crashes leave no more than one behind.
func replaceFile(directory, name string, data []byte) error {
	temporary := filepath.Join(directory, name+".tmp")
	os.Remove(temporary) // left by a crash
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(temporary) // gone already when all went well
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := os.Rename(temporary, filepath.Join(directory, name)); err != nil {
		return err
	}
	return syncDirectory(directory)
}

func syncDirectory(path string) error {
	directory, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(directory.Sync(), directory.Close())
}
