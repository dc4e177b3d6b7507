package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BinEnv names the directory with the programs that a suite uses, built once
// by the suite runner: see BuildPrograms.
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

// programDirective is a line that names one more program of a suite, in any of
// its files:
//
//	//rig:program jacod-fast ./cmd/jacod -X main.clockOffset=1h
//
// is a name for Bin, a package of this module, and flags for the linker.
const programDirective = "//rig:program "

// program is what is built, and as what.
type program struct{ name, pkg, ldflags string }

// BuildPrograms builds into a directory what suites find there by Bin: jacod,
// jaco and web for every suite, and what each of them, named by its path below
// tests/, asks for itself.
func BuildPrograms(ctx context.Context, dir string, suites ...string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	built := map[string]program{}
	all := []program{{name: "jacod", pkg: "./cmd/jacod"}, {name: "jaco", pkg: "./cmd/jaco"}, {name: "web", pkg: "./examples/web"}}
	for _, suite := range suites {
		more, err := programsOf(filepath.Join(root, "tests", suite))
		if err != nil {
			return fmt.Errorf("programs of suite %s: %w", suite, err)
		}
		all = append(all, more...)
	}
	for _, p := range all {
		if before, found := built[p.name]; found && before != p {
			return fmt.Errorf("build %s: it is asked for as %s and as %s", p.name, before, p)
		} else if found {
			continue
		}
		if err := buildStatic(ctx, p.pkg, filepath.Join(dir, p.name), p.ldflags); err != nil {
			return err
		}
		built[p.name] = p
	}
	return nil
}

func (p program) String() string { return strings.TrimSpace(p.pkg + " " + p.ldflags) }

// programsOf reads the directives in the files of a suite.
func programsOf(dir string) ([]program, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, fmt.Errorf("list files: %w", err)
	}
	var programs []program
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("read directives: %w", err)
		}
		for line := range strings.Lines(string(data)) {
			text, found := strings.CutPrefix(line, programDirective)
			if !found {
				continue
			}
			fields := strings.Fields(text)
			if len(fields) < 2 {
				return nil, fmt.Errorf("%s: %q: want a name and a package", filepath.Base(file), strings.TrimSpace(line))
			}
			programs = append(programs, program{name: fields[0], pkg: fields[1], ldflags: strings.Join(fields[2:], " ")})
		}
	}
	return programs, nil
}

// BuildStatic builds a package of this module, "./examples/web", as a static
// binary. It needs no network when the module cache is filled.
func BuildStatic(ctx context.Context, pkg, out string) error { return buildStatic(ctx, pkg, out, "") }

func buildStatic(ctx context.Context, pkg, out, ldflags string) error {
	root, err := ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", out, pkg)
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
