package rig

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
)

func (img Image) entrypoint() string { return "/" + filepath.Base(img.Binary) }

// rootfs is the image's file system as a tar archive.
func (img Image) rootfs() ([]byte, error) {
	binary, err := os.ReadFile(img.Binary)
	if err != nil {
		return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	add := func(name string, mode int64, data []byte) error {
		hdr := &tar.Header{Name: path.Clean(name)[1:], Mode: mode, Size: int64(len(data))}
		if err := w.WriteHeader(hdr); err != nil {
			return fmt.Errorf("build image %s: %w", img.Ref, err)
		}
		if _, err := w.Write(data); err != nil {
			return fmt.Errorf("build image %s: %w", img.Ref, err)
		}
		return nil
	}
	if err := add(img.entrypoint(), 0o755, binary); err != nil {
		return nil, err
	}
	for name, data := range img.Files {
		if !path.IsAbs(name) {
			return nil, fmt.Errorf("build image %s: path %q is not absolute", img.Ref, name)
		}
		if err := add(name, 0o644, []byte(data)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
	}
	return buf.Bytes(), nil
}
