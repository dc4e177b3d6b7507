package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSecretFiles: a secret is read anew each time, and one that is not there
// says where it belongs.
func TestSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	secrets := secretFiles{"forge-token": path, "none": path + "-none"}
	for _, want := range []string{"first\n", "second\n"} {
		check(t, os.WriteFile(path, []byte(want), 0o600))
		got, err := secrets.Secret(t.Context(), "forge-token")
		if err != nil || string(got) != want {
			t.Errorf("read %q, %v, want %q", got, err, want)
		}
	}
	check(t, os.WriteFile(path, make([]byte, maxSecretFile+1), 0o600))
	if got, err := secrets.Secret(t.Context(), "forge-token"); err != nil || len(got) != maxSecretFile {
		t.Errorf("%d bytes, %v, of a file without end", len(got), err)
	}
	for name, want := range map[string]string{"other": "set secret_files.other in its jacod.yaml", "none": "secret_files.none: open"} {
		if _, err := secrets.Secret(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
