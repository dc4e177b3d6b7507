// Package badinput is the suite of everything that goes wrong around a node:
// a missing engine, a full disk, an unreadable key, a port in use, a
// repository that is empty, huge or gone, a container that cannot run, a file
// that was written to hurt. Each is tried on the real thing; each answer must
// tell a person what is wrong, where, and what to do; and nothing is lost.
package badinput
