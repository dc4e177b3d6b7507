// Package rpc is the cluster's wire: one TLS port split by ALPN, and the
// control service that the CLI speaks over the local socket.
//
// Rules of the package:
//   - It translates and forwards, and decides nothing: what a method does is
//     behind a small interface declared here and wired in cmd/jacod.
//   - Whoever may open the socket is the operator; there is no other
//     credential on it, and the network never reaches the control service.
package rpc
