// Package drift is the suite of the firewall's repair: whatever somebody changes
// in the table by hand is set right within two seconds, and the audit log tells
// what it was.
package drift
