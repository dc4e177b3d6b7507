// Package attacks pushes the worst of the attack corpus to a real cluster of
// three nodes, one after the other: nothing of them may run on any engine, and
// status names each. The whole corpus is in signing/testdata/attacks.
package attacks
