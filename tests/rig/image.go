package rig

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
)

// BinEnv names the directory with the programs that a suite uses: jacod, jaco
// and web, built once by the suite runner.
const BinEnv = "JACO_BIN"

// Bin returns the path of a program that the suite runner built.
func Bin(name string) (string, error) {
	dir := os.Getenv(BinEnv)
	if dir == "" {
		return "", fmt.Errorf("find program %s: %s is not set; run suites with: make e2e SUITE=NAME", name, BinEnv)
	}
	p := filepath.Join(dir, name)
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("find program %s: %w", name, err)
	}
	return p, nil
}

// BuildStatic builds a package of this module, "./examples/web", as a static
// binary. It needs no network when the module cache is filled.
func BuildStatic(ctx context.Context, pkg, out string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	_, err = output(cmd)
	return err
}

// ModuleRoot is the directory of go.mod, at or above the working directory.
func ModuleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("find the module: no go.mod at or above the working directory")
		}
		dir = up
	}
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
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("build image %s: %w", img.Ref, err)
	}
	return buf.Bytes(), nil
}
