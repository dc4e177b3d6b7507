// Package consensus runs hashicorp/raft around the cluster's state: it puts
// commands in one order, keeps the log on disk, and says who leads.
//
// Rules of the package:
//   - New does no work. Bootstrap writes the first entry of a new log. Run opens
//     the log, takes part in the cluster, and owns every goroutine until it
//     returns; a Consensus runs once.
//   - A node whose log is gone never takes part as if it were new: it might vote
//     a second time in the same term. Run refuses an empty directory, unless
//     Config.Join says that the node was admitted and the leader brings the log.
//   - A full disk stops this node's part, not the daemon and not the cluster. A
//     leader makes way for another voter, and stays away from elections until
//     there is room; without another voter, and on a follower, what must be
//     written is tried again. Stats says so.
//   - An entry that this build does not know ends Run with an error: going on
//     would make this node's state differ from everybody else's.
//   - Who takes part, and who of those votes, is the leader's to change, one
//     server at a time. NextChange decides, and knows nothing of raft.
//   - Leader work runs in WhileLeader and nowhere else. Its context ends with
//     the leadership.
//   - The FSM is thin: bytes go to State.Apply, snapshots to Save and Load.
package consensus
