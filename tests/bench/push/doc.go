// Package push measures a deploy against what the engine itself needs for the
// same containers.
package push
