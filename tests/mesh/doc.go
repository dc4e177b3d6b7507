// Package mesh is the suite of the networks across nodes: containers of one
// network reach each other wherever they run, whatever happens to the nodes,
// and nobody on the way can read it.
package mesh
