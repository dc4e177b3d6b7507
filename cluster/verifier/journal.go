package verifier

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/signing"
)

// journalFile is the local memory of what this node refused: a leader that
// drops the report cannot drop this.
const (
	journalFile    = "refused.jsonl"
	journalOldFile = "refused.old.jsonl"
	// journalLimit is the size in bytes at which the file becomes the old one.
	journalLimit = 1 << 20
)

// JournalEntry is one thing that this node refused: a claim, an assignment, or a
// log that is not the one that it followed; or that its operator moved its pin. Fields are added, never renamed.
type JournalEntry struct {
	Time   time.Time      `json:"time"`
	Claim  uint64         `json:"claim,omitempty"`
	Commit signing.Hash   `json:"commit"`
	Reason signing.Reason `json:"reason"`
	Detail string         `json:"detail"`
	// Of an assignment:
	Deployment string `json:"deployment,omitempty"`
	Service    string `json:"service,omitempty"`
	Replica    string `json:"replica,omitempty"`
}

// Event is the report on the entry, as the audit log and Config.Misbehaviour get
// it.
func (e JournalEntry) Event() cluster.Event {
	event := cluster.Event{
		Type: cluster.EventLeaderMisbehaviour, Deployment: e.Deployment, Service: e.Service, Replica: e.Replica, Revision: e.Commit,
	}
	switch e.Reason {
	case ReasonAssignment:
		event.Message = e.Detail
	case ReasonReanchored:
		event.Type, event.Message = cluster.EventReanchored, e.Detail
	case ReasonHistory, ReasonForeign:
		event.Message = fmt.Sprintf("log refused (%s): %s", e.Reason, e.Detail)
	default:
		event.Message = fmt.Sprintf("claim %d refused (%s): %s", e.Claim, e.Reason, e.Detail)
	}
	return event
}

// NoteMisbehaviour writes to the journal what another part of this node refused,
// and then tells Config.Misbehaviour of it, also when it could not be written.
func (v *Verifier) NoteMisbehaviour(event cluster.Event) error {
	return v.note(JournalEntry{
		Commit: event.Revision, Reason: ReasonAssignment, Detail: event.Message,
		Deployment: event.Deployment, Service: event.Service, Replica: event.Replica,
	})
}

// misled notes, once in the life of the process, what is wrong with the log as a
// whole.
func (v *Verifier) misled(entry JournalEntry) error {
	if v.told[entry.Detail] {
		return nil
	}
	v.config.Logger.Error("log refused", "reason", string(entry.Reason), "detail", entry.Detail)
	if err := v.note(entry); err != nil {
		return err
	}
	if len(v.told) >= maxTold {
		clear(v.told)
	}
	v.told[entry.Detail] = true
	return nil
}

// maxTold bounds the memory of what was reported.
const maxTold = 256

// note writes an entry to the journal, with the time by this node's clock, and
// then tells of it, also when it could not be written.
func (v *Verifier) note(entry JournalEntry) error {
	entry.Time = v.config.Now().UTC()
	err := v.write(entry)
	v.mu.Lock()
	v.refused = &entry
	v.mu.Unlock()
	if v.config.Misbehaviour != nil {
		v.config.Misbehaviour(entry.Event())
	}
	return err
}

// write appends an entry to the journal.
func (v *Verifier) write(entry JournalEntry) error {
	v.writing.Lock()
	defer v.writing.Unlock()
	return v.journal.Append(entry)
}

// LastRefused is the newest refusal in the journal, nil when it has none.
func (v *Verifier) LastRefused() *JournalEntry {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.refused
}

// Refused returns the journal, oldest first.
func (v *Verifier) Refused() ([]JournalEntry, error) {
	v.writing.Lock()
	defer v.writing.Unlock()
	return v.journal.Read()
}

// Journal appends to the file in the trust store's directory. It is not safe
// for concurrent use.
type Journal struct {
	directory string
}

// OpenJournal returns the journal of a directory that exists.
func OpenJournal(directory string) *Journal { return &Journal{directory} }

// Append writes one entry; it is on disk when Append returns nil.
func (j *Journal) Append(entry JournalEntry) error {
	path := filepath.Join(j.directory, journalFile)
	if info, err := os.Stat(path); err == nil && info.Size() >= journalLimit {
		if err := os.Rename(path, filepath.Join(j.directory, journalOldFile)); err != nil {
			return fmt.Errorf("rotate journal: %w", err)
		}
	}
	line, err := json.Marshal(entry)
	if err != nil {
		return fmt.Errorf("encode journal entry: %w", err)
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("open journal: %w", advise(j.directory, err))
	}
	line = append(line, '\n')
	if cutShort(file) {
		line = append([]byte("\n"), line...)
	}
	_, err = file.Write(line)
	if err := errors.Join(err, file.Sync(), file.Close(), syncDirectory(j.directory)); err != nil {
		return fmt.Errorf("write journal: %w", advise(j.directory, err))
	}
	return nil
}

// cutShort reports whether a crash or a full disk left the last line without
// its end: what follows must not be appended to it and be lost with it.
func cutShort(file *os.File) bool {
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return false
	}
	last := []byte{0}
	_, err = file.ReadAt(last, info.Size()-1)
	return err == nil && last[0] != '\n'
}

// Read returns the entries, oldest first. A line that a crash cut short is
// left out.
func (j *Journal) Read() ([]JournalEntry, error) {
	var entries []JournalEntry
	for _, name := range []string{journalOldFile, journalFile} {
		file, err := os.Open(filepath.Join(j.directory, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		scanner := bufio.NewScanner(file)
		scanner.Buffer(nil, journalLimit)
		for scanner.Scan() {
			var entry JournalEntry
			if json.Unmarshal(scanner.Bytes(), &entry) == nil {
				entries = append(entries, entry)
			}
		}
		if err := errors.Join(scanner.Err(), file.Close()); err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
	}
	return entries, nil
}
