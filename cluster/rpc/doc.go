// Package rpc is the cluster's wire: one TLS port split by ALPN for raft,
// members, joining nodes and readers, and the control service that the CLI
// speaks over the local socket.
//
// Rules of the package:
//   - It translates and forwards, and decides nothing: what a method does is
//     behind a small interface declared here and wired in cmd/jacod.
//   - Whoever may open the socket is the operator; there is no other
//     credential on it. Of the control service the network reaches the reading
//     half alone, with a read token.
//   - A member is known by its certificate, with every call anew, and speaks
//     for itself alone: what names another node is refused here.
//   - Strangers have servers, bounds and places of their own, and use up none of
//     the members'.
//   - A token's secret is in no error, no String and no log attribute: Text
//     alone reveals it.
package rpc
