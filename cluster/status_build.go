package cluster

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// StatusInput is all that a status is computed from.
type StatusInput struct {
	Snapshot *Snapshot
	View     *View // of the answering node; nil before it knows
	Now      time.Time
	// Health holds the scheduler's judgement per deployment.
	Health map[string]DeploymentHealth
	Soft   SoftStatus
}

// DeploymentHealth is one deployment's health with its reason.
type DeploymentHealth struct {
	Health HealthAxis
	Reason string
}

// SoftStatus is what the log does not carry.
type SoftStatus struct {
	Node    string // the answering one
	Version string
	Leader  string // as consensus knows it; "" when there is none
	Term    uint64
	// Quorum says that enough voters answer for something to change.
	Quorum bool
	// Voters holds the names of the nodes that vote.
	Voters map[string]bool
	// FromLeader is the leader's soft answer; nil without one.
	FromLeader *LeaderStatus
	// Fetching, Head and FetchedAt are what the answering node's own sync knows;
	// the leader's answer counts too, and the newer one is shown.
	Fetching bool
	// Head is the newest tip seen; zero: that of the log.
	Head      signing.Hash
	FetchedAt time.Time // zero: unknown
	// Fault is what keeps the answering node from writing to its disk, "" when
	// nothing does. The log cannot say it: it is what cannot be written.
	Fault string
	// Problem is why the answering node's verifier accepts nothing of the state
	// that it was given, and the node goes on with what it had: a history that contradicts
	// the checkpoint; "" when there is none.
	Problem string
	// Mesh is what the answering node's own edge says; nil where there is none.
	Mesh *MeshBeat
	// Misled is what the answering node refused last of what a leader gave it, ""
	// when that was nothing, or long ago.
	Misled string
}

// BuildStatus computes the status document. It is pure: equal inputs give
// equal documents, and every list is sorted and never null.
func BuildStatus(in StatusInput) *Status {
	status := &Status{
		Nodes:        nodeStatuses(in),
		Deployments:  deploymentStates(in),
		Sync:         syncStatus(in),
		Routes:       []RouteStatus{},
		Certificates: []CertificateStatus{},
	}
	status.Cluster = ClusterStatus{
		Version:  in.Soft.Version,
		Node:     in.Soft.Node,
		Leader:   in.Soft.Leader,
		Term:     in.Soft.Term,
		Index:    in.Snapshot.Index(),
		Quorum:   in.Soft.Quorum,
		Voters:   len(voters(in, func(string) bool { return true })),
		Nodes:    len(status.Nodes),
		Warnings: warnings(in, status.Nodes),
	}
	if meta := in.Snapshot.Meta(); meta != nil {
		status.Cluster.ID, status.Cluster.Name = meta.ID, meta.Name
	}
	for i := range status.Nodes {
		if status.Nodes[i].State == NodeReady {
			status.Cluster.Ready++
		}
	}
	return status
}

func syncStatus(in StatusInput) SyncStatus {
	stored := in.Snapshot.Sync()
	s := SyncStatus{
		State: stored.State, Reason: stored.Reason, Head: hashText(stored.Head),
		Signers: []string{}, Pending: []PendingStatus{}, Refused: []RefusalStatus{},
	}
	if meta := in.Snapshot.Meta(); meta != nil {
		s.Repo, s.Branch = meta.Repo.URL, meta.Repo.Branch
	}
	head, at, fetching := in.Soft.Head, in.Soft.FetchedAt, in.Soft.Fetching
	if l := in.Soft.FromLeader; l != nil {
		fetching = fetching || l.Fetching
		if !l.FetchedAt.Before(at) {
			at = l.FetchedAt
			if !l.Head.IsZero() {
				head = l.Head
			}
		}
	}
	if fetching && s.State != SyncStalled {
		s.State = SyncFetching
	}
	if !head.IsZero() {
		s.Head = hashText(head)
	}
	if !at.IsZero() {
		s.FetchedAt = &at
	}
	if v := in.View; v != nil {
		s.Accepted, s.Claim, s.Anchor = hashText(v.Commit), v.Claim, hashText(v.Anchor)
		s.Signers = append(s.Signers, v.Signers...)
		if v.ClusterInvalid != nil {
			s.Invalid = &InvalidStatus{Revision: hashText(v.ClusterInvalid.Revision), Reason: v.ClusterInvalid.Reason}
		}
		for _, p := range v.Pending {
			s.Pending = append(s.Pending, pendingStatus(p))
		}
	}
	if stored.Awaits != nil && stored.State == SyncStalled {
		s.Pending = append(s.Pending, pendingStatus(*stored.Awaits))
	}
	for _, r := range in.Snapshot.Refusals() {
		s.Refused = append(s.Refused, RefusalStatus{
			Revision: hashText(r.Commit), Reason: r.Detail, At: r.Time,
			Head: hashText(r.Head), Code: string(r.Reason), Advice: r.Advice,
		})
	}
	sort.SliceStable(s.Refused, func(i, j int) bool { return s.Refused[i].At.After(s.Refused[j].At) })
	return s
}

func pendingStatus(p signing.Pending) PendingStatus {
	return PendingStatus{
		Deployment: p.Unit, Revision: hashText(p.Revision), Have: emptyNotNil(p.Have), Need: p.Need,
		Eligible: emptyNotNil(p.Eligible), Command: p.Command, Reason: p.Reason,
	}
}

func deploymentStates(in StatusInput) []DeploymentState {
	names := map[string]bool{}
	if in.View != nil {
		for name := range in.View.Deployments {
			names[name] = true
		}
		for _, p := range in.View.Pending {
			if p.Unit != signing.ClusterUnit {
				names[p.Unit] = true
			}
		}
	}
	replicas := map[string][]Replica{}
	for _, r := range in.Snapshot.Replicas() { // a removed deployment shows until its last replica is gone
		replicas[r.Deployment] = append(replicas[r.Deployment], r)
		names[r.Deployment] = true
	}
	out := make([]DeploymentState, 0, len(names))
	for name := range names {
		out = append(out, deploymentState(in, name, replicas[name]))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func deploymentState(in StatusInput, name string, replicas []Replica) DeploymentState {
	state := DeploymentState{Name: name, Signers: []string{}, Services: []ServiceStatus{}, Sync: AxisOutOfSync}
	health := in.Health[name]
	state.Health, state.Reason = health.Health, health.Reason
	if state.Health == "" {
		state.Health = HealthMissing
	}
	recorded, _ := in.Snapshot.DeploymentStatus(name)
	state.Revision = hashText(recorded.Converged)

	var accepted *Accepted
	if in.View != nil {
		accepted = in.View.Deployments[name]
	}
	services := map[string]*desired.Service{}
	if accepted != nil {
		state.Target = hashText(accepted.Revision)
		for _, a := range accepted.Signers {
			state.Signers = append(state.Signers, a.Signer)
		}
		slices.Sort(state.Signers)
		state.Signers = slices.Compact(state.Signers) // who signed many commits is one signer
		if accepted.Desired != nil {
			for i := range accepted.Desired.Services {
				services[accepted.Desired.Services[i].Name] = &accepted.Desired.Services[i]
			}
		}
	}
	state.Services = serviceStatuses(in, name, services, replicas)
	setSyncAxis(&state, in.View, accepted)
	return state
}

// setSyncAxis decides the first axis: what is wrong with the repository's side
// comes before what is merely not done yet.
func setSyncAxis(state *DeploymentState, view *View, accepted *Accepted) {
	if accepted != nil && accepted.Invalid != nil {
		state.Sync, state.Reason = AxisInvalid, accepted.Invalid.Reason
		return
	}
	if view != nil {
		for _, p := range view.Pending {
			if p.Unit == state.Name {
				state.Sync, state.Reason = AxisAwaitingApproval, waitingText(p)
				return
			}
		}
	}
	if accepted != nil && accepted.Outdated != nil {
		state.Sync, state.Reason = AxisPolicyOutdated, accepted.Outdated.Reason
		if accepted.Outdated.Suspect {
			state.Sync = AxisSuspect
		}
		return
	}
	if accepted != nil && state.Revision == state.Target {
		state.Sync = AxisSynced
	}
}

// waitingText says in a deployment's row which change waits, for whom, and the
// command, on a line of its own, by which it is approved.
func waitingText(p signing.Pending) string {
	text := fmt.Sprintf("change %s waits: %s", p.Revision.Short(), p.Reason)
	if p.Command != "" {
		text += "\n" + p.Command
	}
	return text
}

func serviceStatuses(in StatusInput, deployment string, specs map[string]*desired.Service, replicas []Replica) []ServiceStatus {
	byService := map[string][]Replica{}
	for name := range specs {
		byService[name] = nil
	}
	for _, r := range replicas {
		byService[r.Service] = append(byService[r.Service], r)
	}
	out := make([]ServiceStatus, 0, len(byService))
	for name, list := range byService {
		out = append(out, serviceStatus(in, deployment, name, specs[name], list))
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

func serviceStatus(in StatusInput, deployment, name string, spec *desired.Service, replicas []Replica) ServiceStatus {
	s := ServiceStatus{Name: name, Replicas: []ReplicaStatus{}}
	if record, found := in.Snapshot.Service(deployment, name); found {
		s.Reason = record.Reason
		// A rollout towards an earlier spec says nothing of this one, which the
		// scheduler has not taken up yet.
		if spec == nil || spec.SpecHash == record.Rollout.SpecHash {
			s.Rollout = record.Rollout.State
			if s.Reason == "" {
				s.Reason = record.Rollout.Reason
			}
		}
	}
	if spec != nil {
		s.Mode, s.Image, s.Desired = string(spec.Mode), spec.Container.Image, spec.Replicas
		if spec.Mode == desired.Global {
			s.Desired = len(replicas)
		}
	}
	sort.Slice(replicas, func(i, j int) bool {
		if replicas[i].Slot != replicas[j].Slot {
			return replicas[i].Slot < replicas[j].Slot
		}
		return replicas[i].Serial < replicas[j].Serial
	})
	for i := range replicas {
		r := &replicas[i]
		current := spec != nil && r.SpecHash == spec.SpecHash
		// What a node that is Down said of its replicas holds no more, as in the
		// scheduler's judgement.
		if r.Phase.Live() && !r.Stop && !isDown(in.Snapshot, r.Node) {
			s.Running++
			if current {
				s.Updated++
			}
			if r.Serving(spec) {
				s.Healthy++
			}
		}
		if current && r.ImageDigest != "" {
			s.Digest = r.ImageDigest
		}
		if r.Phase != Lost || !replaced(replicas[i+1:], r.Slot) {
			s.Replicas = append(s.Replicas, replicaStatus(r))
		}
	}
	return s
}

// isDown reports whether the node of that name is Down.
func isDown(s *Snapshot, name string) bool {
	n, known := s.Node(name)
	return known && n.State == NodeDown
}

// replaced reports whether one of the later replicas runs in a slot.
func replaced(later []Replica, slot int) bool {
	return slices.ContainsFunc(later, func(r Replica) bool { return r.Slot == slot && r.Phase.Live() })
}

func replicaStatus(r *Replica) ReplicaStatus {
	s := ReplicaStatus{
		ID: r.ID, Slot: r.Slot, Node: r.Node, Phase: r.Phase, Reason: r.Reason, Revision: hashText(r.Revision),
		SpecHash: r.SpecHash, ContainerID: r.ContainerID, Address: r.Address,
	}
	if !r.StartedAt.IsZero() {
		at := r.StartedAt
		s.StartedAt = &at
	}
	return s
}

// Serving reports whether the replica counts as healthy, by the scheduler's
// rule: Healthy, or Running where its node said that no healthcheck will say
// more. Spec is the service's present one; a replica of another is judged by
// its phase and by what it once reached.
func (r *Replica) Serving(spec *desired.Service) bool {
	if r.Phase == Healthy {
		return true
	}
	checked := spec != nil && spec.SpecHash == r.SpecHash && spec.Container.Healthcheck != nil && !spec.Container.Healthcheck.Disable
	return r.Phase == Running && !r.HealthyAt.IsZero() && !checked
}

// joinReasons puts reasons into one, leaving out the empty ones.
func joinReasons(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(r string) bool { return r == "" }), "; ")
}

func hashText(h signing.Hash) string {
	if h.IsZero() {
		return ""
	}
	return h.String()
}

func emptyNotNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
