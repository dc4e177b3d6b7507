package signing

// ReadObject reads an object and checks that its type and bytes match its id.
func ReadObject(src Source, id Hash, want ObjectType) ([]byte, error) { return nil, ErrNotFound }

// ReadCommit reads and decodes a commit.
func ReadCommit(src Source, id Hash) (*Commit, error) { return nil, ErrNotFound }

// ReadTree reads and decodes a tree.
func ReadTree(src Source, id Hash) ([]TreeEntry, error) { return nil, ErrNotFound }
