// Package approvals is the suite of changes that wait for signatures: what
// status says of them, the command that it prints, and that others go on.
package approvals
