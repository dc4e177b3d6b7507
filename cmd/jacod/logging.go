package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
)

// newLogger makes the daemon's logger. Format auto is journal under systemd
// (JOURNAL_STREAM is set), and text elsewhere.
func newLogger(w io.Writer, config LogConfig) *slog.Logger {
	var level slog.Level
	// Validate has checked the name already.
	_ = level.UnmarshalText([]byte(config.Level))
	options := &slog.HandlerOptions{Level: level}
	format := config.Format
	if format == "auto" {
		format = "text"
		if os.Getenv("JOURNAL_STREAM") != "" {
			format = "journal"
		}
	}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options))
	case "journal":
		return slog.New(newJournalHandler(w, options))
	default:
		return slog.New(slog.NewTextHandler(w, options))
	}
}

// journalHandler writes lines as systemd's journal reads them from standard
// error: a priority prefix (sd-daemon(3)), no time of its own.
type journalHandler struct {
	shared *journalOutput
	text   slog.Handler // writes to shared.line
}

// journalOutput collects one line, so that prefix and record are one write.
type journalOutput struct {
	mu   sync.Mutex // guards the fields below
	line bytes.Buffer
	out  io.Writer
}

func newJournalHandler(w io.Writer, options *slog.HandlerOptions) *journalHandler {
	shared := &journalOutput{out: w}
	withoutTime := *options
	withoutTime.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
			return slog.Attr{}
		}
		return a
	}
	return &journalHandler{shared: shared, text: slog.NewTextHandler(&shared.line, &withoutTime)}
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.text.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, record slog.Record) error {
	h.shared.mu.Lock()
	defer h.shared.mu.Unlock()
	h.shared.line.Reset()
	fmt.Fprintf(&h.shared.line, "<%d>", priority(record.Level))
	if err := h.text.Handle(ctx, record); err != nil {
		return err
	}
	_, err := h.shared.out.Write(h.shared.line.Bytes())
	return err
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{h.shared, h.text.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{h.shared, h.text.WithGroup(name)}
}

// priority maps slog's levels to syslog's: err 3, warning 4, info 6, debug 7.
func priority(level slog.Level) int {
	switch {
	case level >= slog.LevelError:
		return 3
	case level >= slog.LevelWarn:
		return 4
	case level >= slog.LevelInfo:
		return 6
	}
	return 7
}
