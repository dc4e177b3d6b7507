package preview

import (
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// Plan is the answer. Its JSON is stable: fields are added, never renamed, and
// lists are never null.
type Plan struct {
	Cluster string `json:"cluster"` // name; "" offline
	// Against is the commit that the tree is compared with: the one that the
	// cluster accepted, offline that of git. Zero: none, so that all is new.
	Against      signing.Hash `json:"against"`
	TrustVersion int          `json:"trust_version"`
	// Offline says that no cluster was asked: nothing is known of replicas.
	Offline bool `json:"offline"`
	// Whole says that the push would be refused as a whole, so that nothing
	// changes. A deployment that is refused alone leaves the others.
	Whole   bool      `json:"refused_whole"`
	Refused []Refusal `json:"refused"`
	// Units lists what needs signatures.
	Units []Unit `json:"units"`
	// Deployments lists what changes once everything is signed.
	Deployments []Deployment `json:"deployments"`
	Replicas    []Replica    `json:"replicas"`
	Volumes     []Volume     `json:"volumes"`
	// Settled says that the replicas were followed to the end of the rollout.
	Settled  bool     `json:"settled"`
	Warnings []string `json:"warnings"`
}

// Refusal is one reason why something would not be accepted.
type Refusal struct {
	Unit    string `json:"unit"` // deployment, "cluster", "trust", or "" for the commit
	File    string `json:"file"`
	Line    int    `json:"line"` // 0 for the whole file
	Field   string `json:"field"`
	Reason  string `json:"reason"` // a reason of a refused commit, or "invalid"
	Message string `json:"message"`
}

// reasonInvalid is the reason of what does not compile or is not allowed.
const reasonInvalid = "invalid"

// ChangeKind is what happens to a unit.
type ChangeKind string

// The kinds of changes.
const (
	Added   ChangeKind = "added"
	Changed ChangeKind = "changed"
	Removed ChangeKind = "removed"
)

// Unit is one unit that differs, and who has to sign it.
type Unit struct {
	Unit   string     `json:"unit"`
	Change ChangeKind `json:"change"`
	Files  []string   `json:"files"`
	Needs  []Need     `json:"needs"` // all of them
}

// Need is a number of distinct people out of a list.
type Need struct {
	Need     int      `json:"need"`
	Eligible []string `json:"eligible"`
	Have     []string `json:"have"` // who signed this very content already
	Files    []string `json:"files"`
}

// Deployment is one deployment that changes.
type Deployment struct {
	Name   string     `json:"name"`
	Change ChangeKind `json:"change"`
	// Services lists what changes in each, without values, which may be secret.
	Services []ServiceChange `json:"services"`
	// Ignored lists fields that are read and have no effect.
	Ignored []Note `json:"ignored"`
}

// ServiceChange is one change of one service.
type ServiceChange struct {
	Service string             `json:"service"`
	Kind    desired.ChangeKind `json:"kind"`
	Fields  []string           `json:"fields"`
}

// Note is a remark about one place of a file.
type Note struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Action is what happens to the replica of a slot.
type Action string

// The actions.
const (
	ActionCreate  Action = "create"
	ActionReplace Action = "replace"
	ActionMove    Action = "move"
	ActionRemove  Action = "remove"
)

// Replica is one slot whose replica changes.
type Replica struct {
	Deployment string `json:"deployment"`
	Service    string `json:"service"`
	Slot       int    `json:"slot"`
	Action     Action `json:"action"`
	From       string `json:"from"` // node; "" for a new one
	To         string `json:"to"`   // node; "" for one that ends
}

// Volume is one named volume that a change touches.
type Volume struct {
	Deployment string       `json:"deployment"`
	Name       string       `json:"name"`
	Engine     string       `json:"engine"` // its name on the engine
	Action     VolumeAction `json:"action"`
}

// VolumeAction is what happens to a volume.
type VolumeAction string

// The actions on volumes.
const (
	VolumeMake  VolumeAction = "make"
	VolumeUse   VolumeAction = "use"   // a replaced replica takes it over
	VolumeKeep  VolumeAction = "keep"  // no longer declared; it stays on its nodes
	VolumePrune VolumeAction = "prune" // no longer declared, x-jaco-prune: true
)

// WouldRefuse reports whether anything would be refused.
func (p *Plan) WouldRefuse() bool { return len(p.Refused) > 0 }

// Count counts the replicas of a service to which an action happens.
func (p *Plan) Count(deployment, service string, action Action) int {
	n := 0
	for _, r := range p.Replicas {
		if r.Deployment == deployment && r.Service == service && r.Action == action {
			n++
		}
	}
	return n
}
