package signing

import "io/fs"

// NewTreeFS returns a read-only file system over a tree.
func NewTreeFS(src Source, tree Hash) fs.FS { return nil }
