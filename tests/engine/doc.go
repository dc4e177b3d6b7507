// Package engine is the suite that plays the tests of agent/docker against a
// real engine: without one they skip.
package engine
