// Package desired turns the files of a fleet repository into desired state:
// compose files, their jaco.yaml overlays and cluster.yaml become plain values
// that scheduler, agent and mesh read.
//
// Its rules:
//
//   - It is pure over an fs.FS. No clock, no randomness, no host environment,
//     no file of the host: two nodes that read the same bytes get the same
//     values, the same hashes and the same problems in the same order.
//   - The schema is closed. A field is honoured, ignored with a note, or
//     refused with its name and line; fields.go holds the one table that both
//     the check and docs/compose.md follow. Nothing is dropped in silence.
//   - What is refused never reaches compose-go: the tree that was checked is
//     the tree that is loaded, parsed once, so that no second parser can read
//     it differently.
//   - Input is hostile until it was counted. Every limit of limits.go is
//     checked before the work that it bounds, and has its own message.
package desired
