// Package faults is the suite of guarantee G5 on three nodes: leaders, daemons,
// engines, disks, clocks, networks and whole nodes fail, and what runs keeps
// running, nothing is doubled and nothing lost.
package faults
