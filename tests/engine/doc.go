// Package engine is the suite that plays the tests of agent/docker and
// mesh/bridge against real engines: without one they skip.
package engine
