// Package preview says what a cluster would do with the files of a working tree
// that nobody has signed yet: who would have to sign, what does not compile or is
// not allowed, and which replicas would come, go and be replaced.
//
// Rules of the package:
//   - It is pure and changes nothing: state and view go in, a Plan comes out.
//   - It has no opinions of its own. The policy is signing's, the compiler and its
//     gate are desired's, and replicas are placed by scheduler.Compute, driven to
//     its end against nodes on which everything that is started comes up.
//   - The policy is the one in force. What trust.yaml the tree holds decides
//     nothing, its own change included.
package preview
