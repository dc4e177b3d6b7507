package rig

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestProgramsOf(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "doc.go"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("// Package p is a suite.\n//\n//rig:program jacod-fast ./cmd/jacod -X main.clockOffset=1h\n//rig:program forger ./tests/p/forger\npackage p\n")
	got, err := programsOf(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []program{{"jacod-fast", "./cmd/jacod", "-X main.clockOffset=1h"}, {"forger", "./tests/p/forger", ""}}
	if !slices.Equal(got, want) {
		t.Errorf("programs %v, want %v", got, want)
	}
	write("//rig:program forger\npackage p\n")
	if _, err := programsOf(dir); err == nil || !strings.Contains(err.Error(), `doc.go: "//rig:program forger": want a name and a package`) {
		t.Errorf("a directive without a package: %v", err)
	}
}
