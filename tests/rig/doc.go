// Package rig builds what the end-to-end suites run on: real Docker Engines,
// real git servers, the real jacod, each in network namespaces of their own on
// one machine. The demo uses the same parts on the host's own network.
//
// A Rig is a LAN of nodes that faults can be done to: Partition, Isolate and
// Heal; Node.PowerOff, PowerOn, Pause and Resume; Engine.Kill, Stop, Start;
// Daemon.Kill, Stop, Pause, Wipe, FillDisk, and a program that was linked with a
// wrong clock. Beside the nodes, in the LAN, are git servers and a registry.
//
// Rules of the package:
//
//   - Nothing is mocked. A suite that cannot have its parts says so and fails
//     where the environment asks for it (see Main).
//   - Everything started belongs to a cgroup of the rig; Close kills the group
//     as a whole, so that a process that forked away cannot survive.
//   - Every name on the machine (namespace, cgroup, directory, bridge) starts
//     with the rig's id; Sweep removes what a killed run left, by that id alone.
//   - Waiting is on conditions with a deadline from the context, never by time.
package rig
