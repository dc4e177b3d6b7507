// Package agent turns the assignments of one node into containers and reports
// what became of them.
//
// It is a pure diff and one loop. The diff compares the assignments of this
// node, the desired state that this node accepted by itself (cluster.View) and
// the containers that the engine showed last, and returns actions, outcomes
// and reports as values that print. The loop feeds it and carries out what it
// returned: a few actions at a time, never two of one replica at once.
//
// Rules that hold everywhere in the package:
//   - What runs comes from the node's own View, found by the hash that the
//     assignment names. An assignment whose hash is not there starts nothing,
//     whoever sent it (guarantee G1), and so does one beyond the number that the
//     accepted revisions declare for all nodes together. It is refused once this
//     node has judged every claim that the leader may have made it from, and the
//     leader is blamed unless an honest one may have made it. Without a View
//     nothing is started and nothing is stopped.
//   - A replica that is Lost, or that the state does not know, is over here as
//     well: others may run in its place. Its container is stopped, and a start
//     under way is given up.
//   - Everything is level-triggered. A report says how things are and is sent
//     when the state says otherwise; a lost event, report or process delays
//     only. A process that is killed at any moment leaves nothing that the
//     next one does not recognise by its labels and its name, which is unique
//     for each replica: there are never two containers of one replica.
//   - A replica is started once. When its container ended, for whatever
//     reason, the replica is over, and the scheduler makes the next one.
//   - A container that has ended is removed only after the state has its final
//     phase, so that its reason cannot be lost. One that was told to stop is
//     removed at once.
//   - Nothing is polled. Containers are listed when the event stream opens and
//     inspected when an event names them.
package agent
