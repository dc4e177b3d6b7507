package signing

import "fmt"

// ReadObject reads an object and checks that it has the wanted type and that
// its bytes have the id. The error wraps ErrNotFound when the source does not
// have it (evidence is missing: no verdict), or ErrTampered when what it gave
// is something else.
func ReadObject(src Source, id Hash, want ObjectType) ([]byte, error) {
	object, err := src.Object(id)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", want, id, err)
	}
	if object.Type != want {
		return nil, fmt.Errorf("%s %s: %w: it is a %s", want, id, ErrTampered, object.Type)
	}
	got, err := HashObject(object)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %w", want, id, ErrTampered, err)
	}
	if got != id {
		return nil, fmt.Errorf("%s %s: %w: the bytes have the id %s", want, id, ErrTampered, got)
	}
	return object.Data, nil
}

// ReadCommit reads and decodes a commit. Errors are those of ReadObject and
// DecodeCommit.
func ReadCommit(src Source, id Hash) (*Commit, error) {
	data, err := ReadObject(src, id, CommitObject)
	if err != nil {
		return nil, err
	}
	commit, err := DecodeCommit(data)
	if err != nil {
		return nil, fmt.Errorf("commit %s: %w", id, err)
	}
	commit.ID = id
	return commit, nil
}

// ReadTree reads and decodes a tree. Errors are those of ReadObject and
// DecodeTree.
func ReadTree(src Source, id Hash) ([]TreeEntry, error) {
	data, err := ReadObject(src, id, TreeObject)
	if err != nil {
		return nil, err
	}
	entries, err := DecodeTree(data)
	if err != nil {
		return nil, fmt.Errorf("tree %s: %w", id, err)
	}
	return entries, nil
}
