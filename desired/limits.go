package desired

import (
	"bytes"
	"errors"
	"io/fs"
	"path"
)

// The limits of what is read. Each is checked before the work it bounds, and
// exceeding it is a Problem, never a slow or large run. They are generous:
// the largest of 50 public compose files has 2 % of MaxNodes.
const (
	// MaxFileBytes bounds one file.
	MaxFileBytes = 1 << 20
	// MaxTotalBytes bounds all files below deployments/ together.
	MaxTotalBytes = 16 << 20
	// MaxFiles bounds the number of files below deployments/.
	MaxFiles = 10_000
	// MaxDepth bounds how deep a YAML document nests, aliases followed.
	MaxDepth = 32
	// MaxNodes bounds the YAML nodes of a file, where what an alias stands
	// for counts each time it is used.
	MaxNodes = 100_000
	// MaxEntries bounds the entries of one YAML mapping or list.
	MaxEntries = 4_096
	// MaxKey bounds, in bytes, a key of a YAML mapping.
	MaxKey = 256
	// MaxReferences bounds the `${` of one scalar or one variable's value.
	MaxReferences = 256
	// MaxReferenceDepth bounds how deep ${A:-${B:-…}} nests.
	MaxReferenceDepth = 8
	// MaxExpandedBytes bounds all values of a deployment after expanding variables,
	// where an env file or an encrypted file counts each time a service names it.
	MaxExpandedBytes = 16 << 20
	// MaxSecretBytes bounds the encrypted files of one service, where a file
	// counts each time the service names it.
	MaxSecretBytes = 4 << 20
	// MaxServices bounds the services of a deployment.
	MaxServices = 1_000
	// MaxPorts bounds the published ports of a deployment, ranges expanded.
	MaxPorts = 4_096
	// MaxReplicas bounds the replicas of one service.
	MaxReplicas = 10_000
	// MaxName bounds, in bytes, the names of deployments, services, networks,
	// volumes and nodes: the length of a DNS label.
	MaxName = 63
)

// maxNumber bounds, in bytes, a scalar that is read as a number.
const maxNumber = 64

// CheckFiles counts the files below dir against MaxFileBytes, MaxTotalBytes
// and MaxFiles, and refuses what is neither a folder nor a plain file. It
// reads no contents. prefix stands for dir in messages. Whoever compiles a
// whole revision calls it once for deployments/; Compile calls it for its own
// folder.
func CheckFiles(fsys fs.FS, dir, prefix string) error {
	rep := newReport(prefix)
	var files int
	var total int64
	err := fs.WalkDir(fsys, dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		file := rep.in(path.Join(prefix, relative(dir, name)))
		if !entry.Type().IsRegular() {
			file.addf(0, "", "not a plain file: symlinks, submodules and devices are refused")
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > MaxFileBytes {
			file.addf(0, "", "%d bytes, more than the limit of %d a file", info.Size(), MaxFileBytes)
		}
		files++
		total += info.Size()
		if files > MaxFiles {
			rep.addf(0, "", "more than the limit of %d files", MaxFiles)
			return fs.SkipAll
		}
		return nil
	})
	if err != nil {
		rep.addf(0, "", "%s", readError(err))
	}
	if total > MaxTotalBytes {
		rep.addf(0, "", "%d bytes in all files, more than the limit of %d", total, MaxTotalBytes)
	}
	return rep.err()
}

// relative is name below dir, both as fs.WalkDir knows them.
func relative(dir, name string) string {
	if dir == "." || name == dir {
		return name
	}
	return name[len(dir)+1:]
}

// readFile reads a file of at most MaxFileBytes.
func readFile(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a plain file")
	}
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxFileBytes {
		return nil, errors.New("larger than the limit of a file")
	}
	return data, nil
}

// readError is an error of an fs.FS without the path, which belongs to the
// problem's place and may differ between hosts.
func readError(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file"
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// tooManyItems says whether a document has so many line ends and commas that
// it must exceed MaxNodes, so that the parser need not build it first.
func tooManyItems(data []byte) bool {
	return bytes.Count(data, []byte{'\n'})+bytes.Count(data, []byte{','}) > 3*MaxNodes
}
