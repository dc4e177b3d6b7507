package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/jaco-sh/jaco/cluster/identity"
)

// HandshakenCredentials returns server credentials for the connections of
// Listener.GRPC, whose handshake is done: gRPC learns who is at the other end
// (credentials.TLSInfo) and does nothing more. They refuse other connections,
// and being used by a client.
func HandshakenCredentials() credentials.TransportCredentials {
	return handshaken{protocol: identity.ProtocolGRPC}
}

// handshaken is for the connections of one protocol; of strangers where the
// protocol is theirs.
type handshaken struct {
	protocol string
}

var _ credentials.TransportCredentials = handshaken{}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshaken) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, ok := conn.(*tls.Conn)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T: want a TLS connection", conn)
	}
	state := secured.ConnectionState()
	if !state.HandshakeComplete || state.NegotiatedProtocol != h.protocol {
		return nil, nil, fmt.Errorf("connection without a finished handshake for %s", h.protocol)
	}
	if h.protocol == identity.ProtocolGRPC && identity.PeerNode(state) == "" {
		return nil, nil, errors.New("connection without a finished handshake of two nodes")
	}
	return conn, tlsInfo(state), nil
}

func tlsInfo(state tls.ConnectionState) credentials.TLSInfo {
	return credentials.TLSInfo{
		State:          state,
		CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity},
	}
}

// ClientHandshake implements credentials.TransportCredentials.
func (handshaken) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers only")
}

// Info implements credentials.TransportCredentials.
func (handshaken) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// Clone implements credentials.TransportCredentials.
func (h handshaken) Clone() credentials.TransportCredentials { return h }

// OverrideServerName implements credentials.TransportCredentials.
func (handshaken) OverrideServerName(string) error { return nil }

// stateOf returns the TLS state of a call that came over the control port.
func stateOf(ctx context.Context) (tls.ConnectionState, bool) {
	from, ok := peer.FromContext(ctx)
	if !ok {
		return tls.ConnectionState{}, false
	}
	info, ok := from.AuthInfo.(credentials.TLSInfo)
	return info.State, ok
}

// socketCredentials are those of the local socket: its permissions admit, and
// the kernel says whom.
type socketCredentials struct{}

var _ credentials.TransportCredentials = socketCredentials{}

// socketInfo says who opened the socket.
type socketInfo struct {
	credentials.CommonAuthInfo
	operator string // "uid:1000"
}

// AuthType implements credentials.AuthInfo.
func (socketInfo) AuthType() string { return "socket" }

// ServerHandshake implements credentials.TransportCredentials.
func (socketCredentials) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := socketInfo{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}, operator: "unknown"}
	if uid, ok := peerUID(conn); ok {
		info.operator = "uid:" + strconv.FormatUint(uint64(uid), 10)
	}
	return conn, info, nil
}

// ClientHandshake implements credentials.TransportCredentials.
func (socketCredentials) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("these credentials are for servers only")
}

// Info implements credentials.TransportCredentials.
func (socketCredentials) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "socket"}
}

// Clone implements credentials.TransportCredentials.
func (s socketCredentials) Clone() credentials.TransportCredentials { return s }

// OverrideServerName implements credentials.TransportCredentials.
func (socketCredentials) OverrideServerName(string) error { return nil }

// operatorOf returns who opened the socket that a call came over.
func operatorOf(ctx context.Context) string {
	if from, ok := peer.FromContext(ctx); ok {
		if info, ok := from.AuthInfo.(socketInfo); ok {
			return info.operator
		}
	}
	return "unknown"
}
