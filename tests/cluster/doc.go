// Package cluster is the suite of clusters of several nodes: forming, growing
// and shrinking one, tokens that are refused, and what every node knows by
// itself.
package cluster
