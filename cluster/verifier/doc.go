// Package verifier is one node's own judgement: it holds the trust that this
// node pinned, judges every claim in cluster state by it, and publishes the
// result as the only source of desired state (guarantee G1).
//
// Rules of the package:
//   - Nothing in cluster state moves the accepted pointer but evidence that
//     this node verified itself. A claim that fails is written to the journal
//     and changes nothing else.
//   - The record is on disk, fsynced, before a view made from it is published:
//     a node never acts on what it could forget.
//   - A View is immutable; whoever holds one may keep it.
package verifier
