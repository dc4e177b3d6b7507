package signing

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// BenchmarkGitLog is what BenchmarkVerifyRange is held against: git itself
// checks the signatures of a sample of the same kind of commits, one
// ssh-keygen process each.
func BenchmarkGitLog(b *testing.B) {
	const sample = 200
	r, anchor := anchored(b)
	tip := r.commit("alice", "Start", edits{"deployments/app/compose.yaml": "start"}, anchor)
	for i := range sample {
		tip = r.quickCommit("alice", fmt.Sprintf("Change %d", i), "deployments/app/compose.yaml", fmt.Sprint(i), tip)
	}
	dir := b.TempDir()
	git := func(stdin []byte, args ...string) string {
		command := exec.CommandContext(b.Context(), "git", append([]string{"-C", dir}, args...)...)
		command.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
		command.Stdin = bytes.NewReader(stdin)
		out, err := command.Output()
		if err != nil {
			b.Fatalf("git %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	git(nil, "init", "-q", "--bare", ".")
	for id, object := range r.objects {
		if got := git(object.Data, "hash-object", "-w", "-t", object.Type.String(), "--stdin"); got != id.String() {
			b.Fatalf("git stored %s as %s", id, got)
		}
	}
	signers := filepath.Join(dir, "allowed_signers")
	if err := os.WriteFile(signers, []byte("alice "+r.public("alice")+"\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	start := time.Now()
	for b.Loop() {
		out := git(nil, "-c", "gpg.ssh.allowedSignersFile="+signers, "log", "--format=%G?", tip.String(), "^"+anchor.String())
		if strings.Count(out, "G") != sample+1 {
			b.Fatalf("git does not find %d good signatures: %s", sample, out)
		}
	}
	b.ReportMetric(float64(time.Since(start).Microseconds())/1000/float64(b.N*(sample+1)), "ms/commit")
}
