// Package mesh turns what a node accepted into the node's network: WireGuard to
// the other members, a bridge for each slice, the firewall that isolates them,
// and the names of services.
//
// Its rules:
//
//   - Build is pure: a state and what is local go in, a Plan that prints comes
//     out. It refuses a state in which two nodes or two networks share an address,
//     for then no rule could tell them apart; what is in force stays.
//   - Whatever happens, everything is judged anew from the last state. An event
//     that is missed is made up for by the next look, 30 s later at most.
//   - A bridge never exists without its rules: they are loaded before it is made
//     and taken away after it is gone.
//   - A slice is ready, so that containers may start on it, only when its bridge
//     was found as it should be and the firewall was read back after that. With a
//     firewall that cannot be loaded nothing is ready; what runs is left alone.
//   - Names follow at once, and wait for nothing that is done to the kernel or the
//     engine.
//   - What somebody else changed is put right at once by the facility's own
//     keeper, whatever the rest is doing, and becomes an event with the difference.
//   - What runs out of Run leaves the host as it is: the network outlives the
//     process. Only a WireGuard in user space ends with it.
package mesh
