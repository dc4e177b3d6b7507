// Package identity is who a node is: the cluster's certificate authority, the
// certificates of the nodes, the TLS configurations by which nodes know each
// other, and the sealing of secrets to nodes.
//
// Rules of the package:
//   - A certificate alone opens nothing. Every connection is checked against the
//     cluster's CA and against the member table, by the hash of the public key
//     (KeyHash) that the table holds: a removed node's certificate is worthless
//     at once, without a revocation list.
//   - Who has no certificate (yet, or any more) reaches the join and read
//     protocols alone, and knows the cluster by its authority's hash.
//   - The clock and the source of randomness are passed in. Only age draws its
//     own: it gives no choice.
//   - Private keys exist in memory and in files of mode 0600. They are in no
//     error, no String and no log attribute.
package identity
