package consensus

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func TestLogger(t *testing.T) {
	var out bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	})))
	l.Trace("one")
	l.Debug("two", "key", 1)
	l.Info("three", "servers", hclog.Fmt("%d of %d", 2, 3))
	l.Warn("four", "odd")
	l.Named("transport").Error("five", 6, "number as key")
	l.With("peer", "node-2").Named("a").Named("b").Log(hclog.Warn, "six")
	l.Log(hclog.Off, "never")
	l.Log(hclog.NoLevel, "seven")
	want := `level=DEBUG msg=one
level=DEBUG msg=two key=1
level=INFO msg=three servers="2 of 3"
level=WARN msg=four extra=odd
level=ERROR msg=five component=transport 6="number as key"
level=WARN msg=six peer=node-2 component=a.b
level=DEBUG msg=seven
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Error(diff)
	}
}
