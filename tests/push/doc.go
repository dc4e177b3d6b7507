// Package push is the suite of the main job: over every transport, a signed
// push runs, changes roll, and what is retired goes. It also looks for secrets
// in clear, which guarantee G7 rules out.
package push
