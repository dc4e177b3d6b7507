// Package plan is the suite of `jaco status plan` and of the privilege gate: what
// a plan says is what then happens on the engine, a privilege is honoured when
// root allows it and never before, and a volume goes only when a signed commit
// gave it up.
package plan
