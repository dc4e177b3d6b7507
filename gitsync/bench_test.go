package gitsync

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jaco-sh/jaco/signing"
	"github.com/jaco-sh/jaco/tests/rig"
)

// grown makes a bare repository with that many commits, by fast-import, and
// serves it.
func grown(b *testing.B, commits int) (c Config, run func(args ...string) string) {
	b.Helper()
	ctx := b.Context()
	git, err := rig.NewGit(ctx)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := git.Close(context.WithoutCancel(ctx)); err != nil {
			b.Error(err)
		}
	})
	root := b.TempDir()
	bare := filepath.Join(root, "fleet.git")
	if err := git.InitBare(ctx, bare); err != nil {
		b.Fatal(err)
	}
	var stream bytes.Buffer
	for i := range commits {
		text := fmt.Sprintf("services: {web: {image: web:%d}}\n", i)
		fmt.Fprintf(&stream, "commit refs/heads/main\ncommitter a <a@example.com> %d +0000\ndata 2\nm\nM 100644 inline deployments/d%d/compose.yaml\ndata %d\n%s\n",
			1_700_000_000+i, i%50, len(text), text)
	}
	command := func(in *bytes.Buffer, args ...string) string {
		b.Helper()
		cmd := exec.CommandContext(ctx, "git", append([]string{"-C", bare}, args...)...)
		cmd.Env = git.Env()
		if in != nil {
			cmd.Stdin = in
		}
		out, err := cmd.Output()
		if err != nil {
			b.Fatalf("git %v: %v", args, err)
		}
		return strings.TrimSpace(string(out))
	}
	command(&stream, "fast-import", "--quiet")
	server, err := rig.ServeGitHTTP(ctx, &rig.Space{Name: "bench", Address: netip.AddrFrom4([4]byte{127, 0, 0, 1})}, root)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = server.Close(context.WithoutCancel(ctx)) })
	c = DefaultConfig()
	c.Repository.URL, c.Directory = server.URL("fleet.git"), filepath.Join(b.TempDir(), "mirror")
	c.Repository.Credentials.Token = []byte(server.User + ":" + server.Password)
	return c, func(args ...string) string { return command(nil, args...) }
}

func openBench(b *testing.B, c Config) (*Mirror, signing.Hash) {
	b.Helper()
	m, err := OpenMirror(c)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = m.Close() })
	head, err := m.Fetch(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return m, head
}

// BenchmarkFirstFetch is 10,000 commits from nothing.
func BenchmarkFirstFetch(b *testing.B) {
	c, _ := grown(b, 10_000)
	base := c.Directory
	for i := 0; b.Loop(); i++ {
		c.Directory = fmt.Sprint(base, i)
		openBench(b, c)
	}
}

// BenchmarkPoll is a poll that finds nothing new.
func BenchmarkPoll(b *testing.B) {
	c, _ := grown(b, 1000)
	m, _ := openBench(b, c)
	for b.Loop() {
		if _, err := m.Fetch(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPollLocal is the same for a repository on this machine.
func BenchmarkPollLocal(b *testing.B) {
	c, run := grown(b, 1000)
	c.Repository = Repository{URL: run("rev-parse", "--absolute-git-dir")}
	m, _ := openBench(b, c)
	for b.Loop() {
		if _, err := m.Fetch(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFetchOneCommit is a fetch of one commit on top of 10,000.
func BenchmarkFetchOneCommit(b *testing.B) {
	c, run := grown(b, 10_000)
	m, _ := openBench(b, c)
	for b.Loop() {
		b.StopTimer()
		run("update-ref", "refs/heads/main", run("commit-tree", "-p", "main", "-m", "m", "main^{tree}"))
		b.StartTimer()
		if _, err := m.Fetch(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReadCommits reads 10,000 commits, as judging a range does.
func BenchmarkReadCommits(b *testing.B) {
	c, _ := grown(b, 10_000)
	m, head := openBench(b, c)
	for b.Loop() {
		m.release()
		commits := 0
		for id := head; ; commits++ {
			parents, err := parentsOf(m, id)
			if err != nil {
				b.Fatal(err)
			}
			if len(parents) == 0 {
				break
			}
			id = parents[0]
		}
		if commits != 9999 {
			b.Fatal(commits)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/10_000, "µs/commit")
}
