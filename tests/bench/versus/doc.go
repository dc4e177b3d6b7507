// Package versus measures a cluster of three nodes against Docker Swarm doing
// the same work in the same rig, one after the other in the same run.
package versus
