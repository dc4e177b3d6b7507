// Package scheduler decides where replicas run and when they are replaced: from
// the desired state that this node accepted and the state that every node
// shares, it computes a plan that the log applies.
//
// Rules of the package:
//   - Compute is pure. Time is an argument, the order of its input lists does not
//     matter, and equal inputs give equal plans. It decides where and how many,
//     never what: a spec is named by its hash, and only hashes that the view
//     holds are started.
//   - Level-triggered: every decision follows from the state as it is. Nothing is
//     remembered between two calls, so a new leader goes on where the last one
//     stopped, and a lost event costs nothing.
//   - Sticky: a replica is replaced when its spec changed, when its node no longer
//     qualifies, or when it ended. Nothing is moved to make the cluster prettier,
//     and nothing at all is moved off a node that is NotReady or Suspect.
//   - A node that is Down, or removed and not Ready, takes its replicas along:
//     they are Lost for good, in the plan that places their successors. Those
//     with a named volume wait for their node instead, until a commit removes it;
//     nothing else waits with them. Where a slot's volume is follows from the
//     newest record of a replica that had it, which is kept for that.
//   - Bounded: no plan brings a service, or a slot of it, above cluster.LimitOf,
//     whatever led there. What would exceed it is left out, with a reason.
//   - Connected: a plan that creates a replica brings the slices that its networks
//     lack on its node, and only a node that can be given them takes it. A slice
//     goes back when neither a replica of its network nor the record of one is on
//     the node, and never from a node that is not Ready.
//   - Each pass is a file: place, rollout, restart, remove, mesh, converge; node.go
//     judges nodes for all of them, failure.go what failed in a rollout. They
//     share the pass in world.go and write to the plan in plan.go within
//     quota.go, and each decision carries its reason.
//
// A replica is current when it runs the service's spec hash on a node that
// qualifies. The revision does not matter, so an unchanged service never rolls.
package scheduler
