package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

func TestJournalLines(t *testing.T) {
	var out bytes.Buffer
	logger := newLogger(&out, LogConfig{Format: "journal", Level: "info"})
	logger.Debug("hidden")
	logger.With("node", "n1").Info("started", "port", 7000)
	logger.WithGroup("raft").Warn("slow", "ms", 12)
	logger.Error("gone", "error", "disk full")
	want := "<6>msg=started node=n1 port=7000\n<4>msg=slow raft.ms=12\n<3>msg=gone error=\"disk full\"\n"
	if out.String() != want {
		t.Errorf("journal lines:\n%swant:\n%s", out.String(), want)
	}
}

func TestLoggerFormats(t *testing.T) {
	for format, part := range map[string]string{"json": `"msg":"hello"`, "text": "msg=hello"} {
		var out bytes.Buffer
		newLogger(&out, LogConfig{Format: format, Level: "warn"}).Log(context.Background(), slog.LevelWarn, "hello")
		if !strings.Contains(out.String(), part) {
			t.Errorf("format %s wrote %q", format, out.String())
		}
	}
}

func TestNotify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	if err := notifySystemd(t.Context(), "READY=1", "STATUS=fine"); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 100)
	n, err := listener.Read(buffer)
	if err != nil || string(buffer[:n]) != "READY=1\nSTATUS=fine" {
		t.Errorf("systemd was told %q, %v", buffer[:n], err)
	}
}
