package rig

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
)

// Image is an image made without network and without a builder: one file
// system of a few files.
type Image struct {
	// Ref is the tag, "web:1".
	Ref string
	// Binary is a static program on this machine; it lies in the root folder of
	// the image under its own name and is the entrypoint.
	Binary string
	// Env is baked into the image, so that tags differ in their ids.
	Env map[string]string
	// Files are more files, by absolute path.
	Files map[string]string
	// Copies are files of this machine, by absolute path in the image, with their
	// permissions.
	Copies map[string]string
	// Healthcheck is the image's own, "CMD …" in Dockerfile form; usually left
	// to the compose file.
	Healthcheck string
}

// WebImage is examples/web under the tag, with its VERSION. The binary is what
// Bin("web") or BuildStatic made.
func WebImage(ref, version, binary string) Image {
	return Image{Ref: ref, Binary: binary, Env: map[string]string{"VERSION": version}}
}

func (img Image) changes() []string {
	changes := []string{fmt.Sprintf("ENTRYPOINT [%q]", img.entrypoint())}
	for k, v := range img.Env {
		changes = append(changes, fmt.Sprintf("ENV %s=%q", k, v))
	}
	if img.Healthcheck != "" {
		changes = append(changes, "HEALTHCHECK "+img.Healthcheck)
	}
	slices.Sort(changes)
	return changes
}

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
	for name, from := range img.Copies {
		info, err := os.Stat(from)
		if err != nil {
			return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
		}
		data, err := os.ReadFile(from)
		if err != nil {
			return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
		}
		if err := add(name, int64(info.Mode().Perm()), data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
	}
	return buf.Bytes(), nil
}
