// Package idlecluster is the suite of what three nodes take of their machines
// with nothing to do. It measures, and wants a machine that does nothing else.
package idlecluster
