package cluster

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/signing"
)

// AuditRecord is an audit entry as people read it. A field that holds several
// values has them sorted, with commas between.
type AuditRecord struct {
	Number     uint64    `json:"number"`
	Index      uint64    `json:"index"`
	Time       time.Time `json:"time"`
	Type       string    `json:"type"` // a CommandKind, or the EventType of events
	Actor      string    `json:"actor"`
	Deployment string    `json:"deployment,omitempty"`
	Service    string    `json:"service,omitempty"`
	Revision   string    `json:"revision,omitempty"`
	Node       string    `json:"node,omitempty"`
	Message    string    `json:"message"`
	Outcome    string    `json:"outcome"` // "" when it was applied
}

// The types of records whose entry this build cannot read.
const (
	typeMalformed = "malformed"
	typeUnknown   = "unknown"
)

const listSeparator = ","

// Describe reads an audit entry for people. With an error (a newer build wrote
// the entry) it still returns what is known of it.
func Describe(e AuditEntry) (AuditRecord, error) {
	r := AuditRecord{Number: e.Number, Index: e.Index, Time: e.Time, Outcome: e.Outcome}
	entry, err := decodeAudited(e.Received)
	switch {
	case Stops(err):
		r.Type, r.Message = typeUnknown, "written by a newer build"
		return r, fmt.Errorf("audit entry %d: %w", e.Number, err)
	case entry.Command == nil: // it was refused for that
		r.Type, r.Message = typeMalformed, fmt.Sprintf("%d bytes that are no entry", len(e.Received))
		return r, nil
	}
	r.Actor = string(entry.Actor.Kind) + ":" + entry.Actor.Name
	r.Type = string(entry.Command.Kind())
	r.describe(entry.Command)
	return r, nil
}

// describe fills in what a command is about.
func (r *AuditRecord) describe(c Command) {
	switch c := c.(type) {
	case *InitCluster:
		r.Node, r.Revision = c.Node.Name, revisionText(c.Meta.Anchor)
		r.Message = fmt.Sprintf("cluster %s initialized on %s: %s, branch %s, anchored at %s",
			c.Meta.Name, c.Node.Name, c.Meta.Repo.URL, c.Meta.Repo.Branch, c.Meta.Anchor.Short())
	case *UpdateNode:
		r.Node = c.Node.Name
		r.Message = withReason(fmt.Sprintf("node %s at %s is %s", c.Node.Name, c.Node.Address, c.Node.State), c.Node.Reason)
	case *objectDigests:
		r.describeObjects(c)
	case *AdvanceRevision:
		r.Revision = revisionText(c.Claim.Commit)
		r.Message = fmt.Sprintf("claim %d: from %s to %s", c.Claim.Number, c.Claim.From.Short(), c.Claim.Commit.Short())
		if len(c.Claim.Tags) > 0 {
			r.Message += ", approved by " + some(each(c.Claim.Tags, func(id signing.Hash) string { return "tag " + id.Short() }))
		}
	case *RecordRefusal:
		r.describeRefusal(c.Refusal)
	case *SetSync:
		r.Revision = revisionText(c.Head)
		r.Message = withReason(fmt.Sprintf("repository is %s", c.State), c.Reason)
	case *ApplyPlan:
		r.describePlan(c)
	case *ReportReplicas:
		r.describeReport(c)
	case *RecordEvents:
		r.describeEvents(c.Events)
	case *PutSealed:
		items := make([]string, len(c.Items))
		for i, item := range c.Items {
			items[i] = fmt.Sprintf("%s for %s", item.Name, strings.Join(item.Recipients, " and "))
		}
		r.Message = "sealed " + strings.Join(items, ", ")
	case *PutToken:
		r.Message = fmt.Sprintf("%s token %s issued, until %s", c.Token.Kind, c.Token.ID, c.Token.ExpiresAt.UTC().Format(time.RFC3339))
	case *AdmitNode:
		r.Node = c.Node.Name
		r.Message = fmt.Sprintf("node %s joined at %s with token %s", c.Node.Name, c.Node.Address, c.Token)
	case *RemoveNode:
		r.Node = c.Name
		r.Message = withReason(fmt.Sprintf("node %s removed", c.Name), c.Reason)
	case *ReportMesh:
		r.Node = c.Node
		r.Message = fmt.Sprintf("node %s encrypts in mode %s at port %d with key %s",
			c.Node, c.Mode, c.Port, base64.StdEncoding.EncodeToString(c.PublicKey[:]))
	}
}

func (r *AuditRecord) describeObjects(c *objectDigests) {
	size := uint64(0)
	for _, o := range c.Objects {
		size += o.Size
	}
	r.Message = fmt.Sprintf("git objects stored: %d, of %d bytes", len(c.Objects), size)
}

func (r *AuditRecord) describeRefusal(f Refusal) {
	bad := f.Commit
	if bad.IsZero() {
		bad = f.Head
	}
	r.Revision = revisionText(bad)
	r.Message = withReason(fmt.Sprintf("commit %s refused as %s", bad.Short(), f.Reason), f.Detail)
}

func (r *AuditRecord) describePlan(p *ApplyPlan) {
	var names, serviceNames, nodeNames, revisions set
	for _, c := range p.Create {
		names.add(c.Deployment)
		serviceNames.add(c.Service)
		nodeNames.add(c.Node)
		revisions.add(revisionText(c.Revision))
	}
	for _, s := range p.Services {
		names.add(s.Deployment)
		serviceNames.add(s.Name)
		revisions.add(revisionText(s.Rollout.Revision))
	}
	for _, k := range p.DropService {
		names.add(k.Deployment)
		serviceNames.add(k.Service)
	}
	for _, d := range p.Deployments {
		names.add(d.Name)
		revisions.add(revisionText(d.Converged))
	}
	for _, name := range p.DropStatus {
		names.add(name)
	}
	for _, b := range p.Blocks {
		nodeNames.add(b.Node)
	}
	for _, s := range p.Slices {
		nodeNames.add(s.Node)
	}
	for _, k := range p.DropSlices {
		nodeNames.add(k.Node)
	}
	r.Deployment, r.Service, r.Node, r.Revision = names.join(), serviceNames.join(), nodeNames.join(), revisions.join()
	var parts []string
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"replicas to start", each(p.Create, func(c Replica) string { return fmt.Sprintf("%s.%d on %s", c.Service, c.Slot, c.Node) })},
		{"lost", p.Lose},
		{"to stop", p.Stop},
		{"to forget", p.Remove},
		{"services updated", each(p.Services, func(s Service) string { return s.Name })},
		{"services dropped", each(p.DropService, func(k ServiceKey) string { return k.Service })},
		{"deployments updated", each(p.Deployments, func(d DeploymentStatus) string { return d.Name })},
		{"deployments dropped", p.DropStatus},
		{"blocks", each(p.Blocks, func(b NodeBlock) string { return fmt.Sprintf("%s for %s", b.Prefix, b.Node) })},
		{"slices", each(p.Slices, func(s Slice) string { return s.String() })},
		{"slices given back", each(p.DropSlices, func(k SliceKey) string { return fmt.Sprintf("%s on %s", SliceNetwork(k.Network, k.Serial), k.Node) })},
	} {
		if len(part.names) > 0 {
			parts = append(parts, part.what+": "+some(part.names))
		}
	}
	if r.Message = strings.Join(parts, "; "); r.Message == "" {
		r.Message = "nothing to do"
	}
}

// some names the first few of a list and counts the rest.
func some(names []string) string {
	const most = 4
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (r *AuditRecord) describeReport(c *ReportReplicas) {
	r.Node = c.Node
	parts := make([]string, len(c.Reports))
	for i, p := range c.Reports {
		phase := string(p.Phase)
		if phase == "" {
			phase = "updated"
		}
		parts[i] = withReason(p.ID+" "+phase, p.Reason)
	}
	r.Message = c.Node + " reports " + some(parts)
}

func (r *AuditRecord) describeEvents(events []Event) {
	var types, names, serviceNames, nodeNames, revisions set
	parts := make([]string, len(events))
	for i, e := range events {
		types.add(string(e.Type))
		names.add(e.Deployment)
		serviceNames.add(e.Service)
		nodeNames.add(e.Node)
		revisions.add(revisionText(e.Revision))
		parts[i] = e.Message
		if e.Message == "" {
			parts[i] = string(e.Type)
		}
	}
	if len(types) == 1 {
		r.Type = types.join()
	}
	r.Deployment, r.Service, r.Node, r.Revision = names.join(), serviceNames.join(), nodeNames.join(), revisions.join()
	r.Message = strings.Join(parts, "; ")
}

// set is a small set of texts; the empty one is left out.
type set []string

func (s *set) add(v string) {
	if v != "" && !slices.Contains(*s, v) {
		*s = append(*s, v)
	}
}

func (s set) join() string {
	slices.Sort(s)
	return strings.Join(s, listSeparator)
}

// revisionText is a hash in full, "" for the zero hash.
func revisionText(h signing.Hash) string {
	if h.IsZero() {
		return ""
	}
	return h.String()
}

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}
