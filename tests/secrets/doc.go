// Package secrets is the suite of what is encrypted in the fleet repository: it
// reaches the containers that it is for and nobody else, and what it says stands
// nowhere that JACO writes (guarantee G7).
package secrets
