package rpc

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/jaco-sh/jaco/cluster/identity"
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
)

// TestServeNetwork asks a node over the control port: it answers for its
// health, and never as an operator's socket does.
func TestServeNetwork(t *testing.T) {
	p := newPair(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- ServeNetwork(ctx, p.listener.GRPC()) }()
	client, err := grpc.NewClient(p.address(), grpc.WithTransportCredentials(
		credentials.NewTLS(p.two.ClientConfig("node-1", identity.ProtocolGRPC, p.member))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	call, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	answer, err := grpc_health_v1.NewHealthClient(client).Check(call, &grpc_health_v1.HealthCheckRequest{})
	if err != nil || answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health: %v, %v", answer, err)
	}
	if _, err := jacov1.NewControlClient(client).Init(call, &jacov1.InitRequest{}); status.Code(err) != codes.Unimplemented {
		t.Errorf("the network reaches the control service: %v", err)
	}
	cancel()
	if err := receiveFrom(t, ended); err != nil {
		t.Errorf("serving ended with %v", err)
	}
	if err := ServeNetwork(t.Context(), p.listener.GRPC()); err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("serving a closed port: %v", err)
	}
}
