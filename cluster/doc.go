// Package cluster is the replicated state of a JACO cluster: what every node
// agrees on because it applied the same log.
//
// Rules of the package:
//   - It is pure. Apply takes bytes and an index and changes tables; it reads no
//     clock, no disk (object bodies go through the ObjectStore it was given) and
//     draws no random number. Commands are decisions already taken: Apply checks
//     preconditions and sets fields.
//   - State stores and does not judge. A claim in state says what a leader
//     claimed; what a node accepts is in that node's own trust store
//     (cluster/verifier), and only View carries it.
//   - Reads are snapshots: a Snapshot never changes under its reader.
//   - Only transitions are commands. Whatever changes by the second (heartbeats,
//     fetch times, pressure) is soft state and lives outside; Liveness turns it
//     into transitions on the leader.
package cluster
