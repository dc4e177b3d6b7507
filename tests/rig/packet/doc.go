// Package packet makes single IPv4 packets inside network namespaces and watches
// which of them arrive where. Isolation is judged by it: by what a receiver's
// interface saw, never by what a sender was told.
//
// Rules of the package:
//
//   - A packet that a test made carries a Marker, so that its way can be told
//     whatever its addresses say.
//   - A Tap sees what arrives at every interface of a namespace before the
//     namespace's own packet filter, with the kernel's time stamp, and knows
//     how much it missed.
package packet
