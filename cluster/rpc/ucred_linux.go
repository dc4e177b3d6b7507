package rpc

import (
	"net"
	"syscall"
)

// peerUID asks the kernel for the user at the other end of a unix socket.
func peerUID(conn net.Conn) (uint32, bool) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, false
	}
	var user *syscall.Ucred
	controlErr := raw.Control(func(fd uintptr) {
		user, err = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if controlErr != nil || err != nil {
		return 0, false
	}
	return user.Uid, true
}
