// Package isolation is the suite of what must not pass: containers of different
// networks, spoofed and forged addresses, and hosts that are no part of a
// network. Receivers count, whatever senders are told.
package isolation
