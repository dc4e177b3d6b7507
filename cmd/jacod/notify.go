package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
)

// notifySystemd tells systemd how the daemon stands (sd_notify(3)): "READY=1",
// "STOPPING=1", "STATUS=…". Without NOTIFY_SOCKET it does nothing.
func notifySystemd(ctx context.Context, state ...string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	if strings.HasPrefix(path, "@") { // an abstract socket
		path = "\x00" + path[1:]
	}
	connection, err := (&net.Dialer{}).DialContext(ctx, "unixgram", path)
	if err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	defer connection.Close()
	if _, err := connection.Write([]byte(strings.Join(state, "\n"))); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	return nil
}
