// Package crash is the suite of guarantee G5 on one node: jacod and the engine
// die at any moment of a deploy, and nothing is doubled, lost or restarted
// that need not be.
package crash
