// Package refusals is the suite of guarantee G3: what nobody entitled signed
// changes nothing, is named with the way out, and stands in the audit log.
package refusals
