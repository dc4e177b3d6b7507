package agent

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// input is everything that one pass looks at. The diff changes nothing in it.
type input struct {
	cluster     string // id
	now         time.Time
	rejectAfter time.Duration
	view        *cluster.View
	assigned    []cluster.Replica // of this node
	// peers are the assignments, on all nodes, of the deployments that something
	// new is assigned of here.
	peers []cluster.Replica
	// nextClaim is the raft index of the first claim in state that this node has
	// yet to judge; 0: there is none.
	nextClaim  uint64
	containers map[string]Container
	networks   map[string]Network // this cluster's, by name
	volumes    map[string]Volume  // likewise
	memory     map[string]memory  // by action key; what is missing is zero
}

// memory is what the agent remembers of a replica, or of another thing it acts
// on, between passes. It is lost with the process, and nothing but the wording
// of reasons depends on it.
type memory struct {
	busy    actionKind // what is under way; "" for nothing
	reached progress   // by the start under way
	// waiting is since when the assignment is more than may run.
	waiting time.Time
	failed  actionKind // the last attempt, which may be repeated; "" for none
	tries   int        // such attempts in a row
	retryAt time.Time  // when the next one is due
	trouble string     // why the last one failed
	digest  string     // of the image that was prepared
	// suspect is, of a container that was listed, when its healthcheck should
	// have answered next; zero when there is no doubt that it is being run.
	suspect time.Time
	// calm is until when pauses are put down to a recheck.
	calm time.Time
	// checks counts the healthchecks that were run before the engine's first
	// one; passed is the id of the container that passed one.
	checks  int
	passed  string
	outcome *outcome // the last word on the replica, until the state has it
	seen    sightings
}

// progress is how far a start has come.
type progress struct {
	phase     cluster.Phase // Preparing or Starting
	container string        // id, once there is one
}

// sightings are the events of a replica's container that nobody here caused.
type sightings struct {
	deadlySignal time.Time // a signal that is sent to end a process
	anySignal    time.Time
	stopped      bool
	oom          bool
	died         time.Time
	exitCode     int
	changed      string    // what was done to it by hand, for people
	container    string    // id, of the last event
	last         time.Time // when that was
}

// outcome is a replica's final phase.
type outcome struct {
	phase    cluster.Phase
	reason   string
	exitCode int
	event    cluster.EventType // to be audited; "" for none
}

// plan is what a pass decided.
type plan struct {
	actions  []action
	cancel   []string             // keys of starts to give up
	outcomes map[string]outcome   // newly decided, by replica
	waiting  map[string]time.Time // assignments that cannot be taken now
	reports  []cluster.ReplicaReport
	wake     time.Time // when to look again without an event; zero: never
}

// actionKind says what is to be done.
type actionKind string

// The kinds of actions.
const (
	actStart   actionKind = "start"          // prepare, create, start; or take up a created container
	actRemove  actionKind = "remove"         // stop if it runs, and remove
	actAutopsy actionKind = "autopsy"        // read the last lines of a container that ended
	actCheck   actionKind = "check"          // run a healthcheck before the engine does
	actRecheck actionKind = "recheck"        // see that a healthcheck is being run
	actNetwork actionKind = "remove-network" // remove a network nobody wants
	actVolume  actionKind = "remove-volume"  // remove a volume that a signed commit gave up
)

// action is one thing to do on the engine.
type action struct {
	kind actionKind
	// key serialises: two actions of one key never run at once. It is a
	// replica's id, or "container:", "network:" or "volume:" and a name.
	key       string
	replica   cluster.Replica // with start and autopsy
	service   *desired.Service
	accepted  *cluster.Accepted
	container *Container // what exists; nil with a start from nothing
	again     bool       // with start: an earlier one came to nothing
	network   string
	volume    cluster.PrunedVolume // with actVolume
	why       string               // for the log
}

// String renders the plan as tests and debug logs show it, one decision a line.
func (p *plan) String() string {
	var b strings.Builder
	for _, a := range p.actions {
		fmt.Fprintf(&b, "%s %s", a.kind, a.key)
		if a.container != nil {
			fmt.Fprintf(&b, " container=%s", a.container.ID)
		}
		if a.why != "" {
			fmt.Fprintf(&b, " (%s)", a.why)
		}
		b.WriteByte('\n')
	}
	for _, key := range p.cancel {
		fmt.Fprintf(&b, "cancel %s\n", key)
	}
	for _, id := range sortedKeys(p.outcomes) {
		o := p.outcomes[id]
		fmt.Fprintf(&b, "outcome %s %s %q event=%s\n", id, o.phase, o.reason, o.event)
	}
	for _, id := range sortedKeys(p.waiting) {
		fmt.Fprintf(&b, "waiting %s since %s\n", id, p.waiting[id].UTC().Format(time.TimeOnly))
	}
	for _, r := range p.reports {
		fmt.Fprintf(&b, "report %s\n", reportString(r))
	}
	if !p.wake.IsZero() {
		fmt.Fprintf(&b, "wake %s\n", p.wake.UTC().Format("15:04:05.000"))
	}
	return b.String()
}

// reportString renders a report without its empty fields.
func reportString(r cluster.ReplicaReport) string {
	s := r.ID + " " + string(r.Phase)
	if r.ContainerID != "" {
		s += " container=" + r.ContainerID
	}
	if r.Address != "" {
		s += " address=" + r.Address
	}
	if r.ImageDigest != "" {
		s += " image=" + r.ImageDigest
	}
	if r.ExitCode != 0 {
		s += fmt.Sprintf(" exit=%d", r.ExitCode)
	}
	if r.Reason != "" {
		s += fmt.Sprintf(" %q", r.Reason)
	}
	return s
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
