package rpc

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// ServeNetwork answers other members on the control port until ctx ends: for
// now with the standard health service alone. Connections come with their
// handshake done and their certificate checked.
func ServeNetwork(ctx context.Context, listener net.Listener) error {
	server := grpc.NewServer(grpc.Creds(HandshakenCredentials()))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		server.Stop()
	}()
	err := server.Serve(listener)
	if ctx.Err() != nil {
		<-stopped
		return nil
	}
	return fmt.Errorf("serve the control port: %w", err)
}
