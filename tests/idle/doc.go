// Package idle is the suite of guarantee G8: with nothing to do, nothing is
// written and the engine is not asked.
package idle
