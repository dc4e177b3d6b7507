package consensus

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// Close must end what is under way: raft's own transport leaves connections
// in use open.
func TestLayerCloseCutsConnections(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dial := func(ctx context.Context, address string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	layer := newLayer(t.Context(), Stream{Listener: l, Dial: dial}, "node-1.example:7000")
	if got := layer.Addr().String(); got != "node-1.example:7000" {
		t.Errorf("address is %s", got)
	}
	address := raft.ServerAddress(l.Addr().String())
	out, err := layer.Dial(address, patience)
	if err != nil {
		t.Fatal(err)
	}
	in, err := layer.Accept()
	if err != nil {
		t.Fatal(err)
	}
	closed, err := layer.Dial(address, patience)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}
	if len(layer.conns) != 2 {
		t.Errorf("%d connections are tracked, want 2", len(layer.conns))
	}
	if err := layer.Close(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]net.Conn{"dialed": out, "accepted": in} {
		if err := c.SetReadDeadline(time.Now().Add(patience)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s connection is open: %v", name, err)
		}
	}
	if _, err := layer.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if _, err := layer.Dial(address, patience); err == nil {
		t.Error("dialed after Close")
	}
}

func TestLayerCloseEndsDials(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	began := make(chan struct{})
	layer := newLayer(t.Context(), Stream{Listener: l, Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	}}, "a:1")
	done := make(chan error, 1)
	go func() {
		_, err := layer.Dial("b:1", 10*patience)
		done <- err
	}()
	<-began
	if err := layer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := receive(t, done); !errors.Is(err, context.Canceled) {
		t.Errorf("dial: %v", err)
	}
}

// A dial that succeeds only after Close must not leave a connection behind.
func TestLayerRefusesLateConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	here, there := net.Pipe()
	layer := newLayer(t.Context(), Stream{Listener: l, Dial: func(context.Context, string) (net.Conn, error) { return here, nil }}, "a:1")
	if err := layer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := layer.Dial("b:1", patience); !errors.Is(err, net.ErrClosed) {
		t.Errorf("dial: %v", err)
	}
	if _, err := there.Read(make([]byte, 1)); err == nil {
		t.Error("the connection stayed open")
	}
}
