// Package signing decides who signed what. It takes the raw bytes of git
// objects and a trust policy, and returns a verdict; it never reads a clock, a
// disk or the network, and it holds no state.
//
// Rules of the package:
//   - Bytes are judged as received. An object is decoded strictly by our own
//     decoder and never re-encoded; the signed payload is the raw object minus
//     its signature.
//   - Fail closed. What is not understood is refused with a reason, never
//     skipped.
//   - A verdict is final and the same on every node. An error is not a verdict:
//     it says that evidence was missing, and means "try again".
package signing
