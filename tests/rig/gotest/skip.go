package gotest

import (
	"regexp"
	"strings"
)

// OnPurpose begins the reason of every skip that is no gap: that of a test
// which another run plays, or which is asked for by name. Whatever skips for
// want of root, a program or a file system does not say so, and fails where
// JACO_REQUIRE_RIG is set.
const OnPurpose = "on purpose: "

// logLine is how package testing prints a test's message; what follows on
// further lines is indented by as much again.
var logLine = regexp.MustCompile(`^    \S+\.go:\d+: (.*)`)

// SkipReason finds why a test skipped in the lines of its output: its last
// message, on one line. It is empty when the test gave none.
func SkipReason(lines []string) string {
	var reason string
	for _, line := range lines {
		line = strings.TrimRight(line, "\n")
		if found := logLine.FindStringSubmatch(line); found != nil {
			reason = found[1]
		} else if rest, more := strings.CutPrefix(line, "        "); more && reason != "" {
			reason += " " + rest
		}
	}
	return reason
}
