// Package forgedleader holds the leader against guarantee G1: a program below
// it takes over a node with its real certificate, seizes the leadership and
// forges all that a leader can, by the log and by a snapshot. No other node
// starts anything for it, each says so and remembers, and the next honest
// leader goes on. docs/trust.md tells what follows from it.
package forgedleader
