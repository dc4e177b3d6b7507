// Package dns is the suite of the names: what containers find when they ask as
// their programs do, by dig, by the C library and by Go's own resolver.
package dns
