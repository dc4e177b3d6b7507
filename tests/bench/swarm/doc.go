// Package swarm has Docker Swarm do the work that a cluster of ours does, in the
// same rig, and measures how long it takes: a stack of 3 services with 3
// replicas each from "docker stack deploy" to all running, a rolling update of
// one service, and the loss of a node.
//
// Both sides are measured by what the engines hold, and on equal terms: images
// are on every node before, health is checked every second, updates start the
// new replica first, one at a time.
//
// It is its own suite too: tests/rig/cmd/suite bench/swarm.
package swarm
