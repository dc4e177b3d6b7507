package consensus

import (
	"fmt"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// logger passes raft's log on to slog. What raft never calls (standard
// loggers and writers) discards, as the embedded one does.
type logger struct {
	hclog.Logger
	base *slog.Logger // without the name
	out  *slog.Logger
	name string
}

var _ hclog.Logger = (*logger)(nil)

func newLogger(out *slog.Logger) *logger {
	return &logger{Logger: hclog.NewNullLogger(), base: out, out: out}
}

// Log implements hclog.Logger.
func (l *logger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		l.Error(msg, args...)
	case hclog.Warn:
		l.Warn(msg, args...)
	case hclog.Info:
		l.Info(msg, args...)
	case hclog.Off:
	default:
		l.Debug(msg, args...)
	}
}

// Trace implements hclog.Logger; slog has no level below debug.
func (l *logger) Trace(msg string, args ...any) { l.Debug(msg, args...) }

// Debug implements hclog.Logger.
func (l *logger) Debug(msg string, args ...any) {
	l.out.Debug(msg, attributes(args)...) //nolint:sloglint // the message is raft's own
}

// Info implements hclog.Logger.
func (l *logger) Info(msg string, args ...any) {
	l.out.Info(msg, attributes(args)...) //nolint:sloglint // the message is raft's own
}

// Warn implements hclog.Logger.
func (l *logger) Warn(msg string, args ...any) {
	l.out.Warn(msg, attributes(args)...) //nolint:sloglint // the message is raft's own
}

// Error implements hclog.Logger.
func (l *logger) Error(msg string, args ...any) {
	l.out.Error(msg, attributes(args)...) //nolint:sloglint // the message is raft's own
}

// IsTrace implements hclog.Logger; slog's handler decides what is written.
func (l *logger) IsTrace() bool { return true }

// IsDebug implements hclog.Logger.
func (l *logger) IsDebug() bool { return true }

// IsInfo implements hclog.Logger.
func (l *logger) IsInfo() bool { return true }

// IsWarn implements hclog.Logger.
func (l *logger) IsWarn() bool { return true }

// IsError implements hclog.Logger.
func (l *logger) IsError() bool { return true }

// With implements hclog.Logger.
func (l *logger) With(args ...any) hclog.Logger {
	args = attributes(args)
	return &logger{Logger: l.Logger, base: l.base.With(args...), out: l.out.With(args...), name: l.name}
}

// Name implements hclog.Logger.
func (l *logger) Name() string { return l.name }

// Named implements hclog.Logger.
func (l *logger) Named(name string) hclog.Logger {
	if l.name != "" {
		name = l.name + "." + name
	}
	return l.ResetNamed(name)
}

// ResetNamed implements hclog.Logger.
func (l *logger) ResetNamed(name string) hclog.Logger {
	return &logger{Logger: l.Logger, base: l.base, out: l.base.With("component", name), name: name}
}

// attributes renders hclog's formatted values, which slog does not know, and
// gives a key that is no string, and a value without a key, a name.
func attributes(args []any) []any {
	out := make([]any, 0, len(args)+1)
	for i := 0; i < len(args); i += 2 {
		if i+1 == len(args) {
			return append(out, "extra", args[i])
		}
		key, ok := args[i].(string)
		if !ok {
			key = fmt.Sprint(args[i])
		}
		value := args[i+1]
		if f, ok := value.(hclog.Format); ok && len(f) > 0 {
			if layout, ok := f[0].(string); ok {
				value = fmt.Sprintf(layout, f[1:]...)
			}
		}
		out = append(out, key, value)
	}
	return out
}
