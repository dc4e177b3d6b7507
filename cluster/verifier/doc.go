// Package verifier is one node's own judgement: it holds the trust that this
// node pinned, judges every claim in cluster state by it, and publishes the
// result as the only source of desired state (guarantee G1).
//
// Rules of the package:
//   - Nothing in cluster state moves the accepted pointer but evidence that
//     this node verified itself. A claim that fails is written to the journal
//     and changes nothing else.
//   - Whatever state a leader gives, the position moves forward only. A state that
//     does not continue the one before moves nothing by itself; the node says so
//     and goes on with the next claim that leads forward, so that no lie wedges
//     it.
//   - A node that joined shows no view before the state was found to be the one
//     that its checkpoint is of.
//   - The record is on disk, fsynced, before a view made from it is published:
//     a node never acts on what it could forget.
//   - A View is immutable; whoever holds one may keep it.
package verifier
