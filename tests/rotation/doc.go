// Package rotation is the suite of changes of trust: who signs comes and goes,
// on nodes that were there, that were down, and that join later.
package rotation
