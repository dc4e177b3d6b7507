package notify

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// settle is how long a deployment must be degraded before that is told: a
// replica that fails and is replaced at once is nobody's business.
const settle = 3 * time.Second

// fact is something that holds now and can be told.
type fact struct {
	// subject is what the fact is about, without spaces; value what holds of it.
	subject, value string
	// fine says that it is as it should be: what was so before anybody was to be
	// told is not news.
	fine bool
	// settle is how long the value must hold before it is told.
	settle time.Duration
	// hold leaves what was told as it is: there is nothing new to say, and the
	// subject is not gone.
	hold bool
	// follows has the fact go on under the subject under which the same value of
	// the same unit was told.
	follows bool
	// silent has it count as told without a word: the receiver does not want it.
	silent bool
	notice notice
	status status
	after  tale // what was told of the subject before
}

// notice is what a channel is told.
type notice struct {
	Kind       desired.NoticeKind
	Deployment string // or unit; "" when it is about none
	Node       string
	Revision   string
	Text       string // one or more sentences, for people
	Command    string // that settles it; "" for none
}

// input is all that facts are computed from.
type input struct {
	status *cluster.Status
	view   *cluster.View
	nodes  []cluster.Node
	drift  []cluster.RecordedEvent // since the last that was told
	// content identifies what a unit holds at the tip of the branch, "" when it is
	// not known.
	content func(unit string) string
}

// waiting identifies what waits: its content. The commit is a later one with each
// push, also with one that has nothing to do with it.
func (in *input) waiting(p cluster.PendingStatus) string {
	if in.content != nil {
		if id := in.content(p.Deployment); id != "" {
			return short(id)
		}
	}
	return p.Revision
}

// notices are the facts for channels, sorted by subject.
func notices(in input) []fact {
	var facts []fact
	add := func(subject, value string, n notice) *fact {
		facts = append(facts, fact{subject: subject, value: value, notice: n})
		return &facts[len(facts)-1]
	}
	if r := refusal(in.status); r != nil && in.status.Sync.Accepted != r.Head {
		bad := badCommit(r)
		add("repository", "refused "+r.Code+" "+r.Head, notice{
			Kind: desired.NoticeRefused, Revision: bad, Command: r.Advice,
			Text: fmt.Sprintf("commit %s is refused (%s): %s", short(bad), r.Code, r.Reason),
		})
	}
	for _, p := range in.status.Sync.Pending {
		add("pending/"+p.Deployment, "awaiting "+in.waiting(p), notice{
			Kind: desired.NoticeAwaiting, Deployment: p.Deployment, Revision: p.Revision, Command: p.Command,
			Text: fmt.Sprintf("%s at %s awaits approval: %s", p.Deployment, short(p.Revision), approval(p)),
		})
	}
	if invalid := in.status.Sync.Invalid; invalid != nil {
		add("invalid/"+signing.ClusterUnit, "invalid "+invalid.Revision, notice{
			Kind: desired.NoticeRefused, Revision: invalid.Revision,
			Text: fmt.Sprintf("cluster.yaml at %s cannot be read, the one before stays in force: %s", short(invalid.Revision), invalid.Reason),
		})
	}
	for _, d := range in.status.Deployments {
		if invalid := invalidOf(in.view, d.Name); invalid != nil {
			add("invalid/"+d.Name, "invalid "+invalid.Revision.String(), notice{
				Kind: desired.NoticeRefused, Deployment: d.Name, Revision: invalid.Revision.String(),
				Text: fmt.Sprintf("%s at %s does not compile, the one before stays in force: %s", d.Name, invalid.Revision.Short(), invalid.Reason),
			})
		}
		if d.Sync == cluster.AxisPolicyOutdated || d.Sync == cluster.AxisSuspect {
			add("policy/"+d.Name, string(d.Sync)+" "+d.Target, notice{
				Kind: desired.NoticeAwaiting, Deployment: d.Name, Revision: d.Target,
				Text: fmt.Sprintf("%s at %s is %s, runs on, and awaits somebody who approves it anew: %s", d.Name, short(d.Target), d.Sync, d.Reason),
			})
		}
		switch {
		case unwell(&d):
			add("deployment/"+d.Name, "degraded "+d.Target, notice{
				Kind: desired.NoticeDegraded, Deployment: d.Name, Revision: d.Target,
				Text: fmt.Sprintf("%s at %s is degraded: %s", d.Name, short(d.Target), d.Reason),
			}).settle = settle
		case converged(&d):
			add("deployment/"+d.Name, "converged "+d.Target, notice{
				Kind: desired.NoticeConverged, Deployment: d.Name, Revision: d.Target,
				Text: fmt.Sprintf("%s runs %s, whole and healthy", d.Name, short(d.Target)),
			}).fine = true
		}
	}
	for _, n := range in.nodes {
		if n.State == cluster.NodeDown {
			add("node/"+n.Name, "down "+n.Since.UTC().Format(time.RFC3339), notice{
				Kind: desired.NoticeNodeDown, Node: n.Name, Text: fmt.Sprintf("node %s is down: %s", n.Name, downReason(in.status, &n)),
			})
		}
	}
	if len(in.drift) > 0 {
		facts = append(facts, driftFact(in.drift))
	}
	slices.SortFunc(facts, func(a, b fact) int { return strings.Compare(a.subject, b.subject) })
	return facts
}

// refusal is the newest one of the head that the branch has now, nil when there
// is none. The head may have been accepted since, by an approval that came later.
func refusal(status *cluster.Status) *cluster.RefusalStatus {
	for i := range status.Sync.Refused {
		if r := &status.Sync.Refused[i]; r.Head == status.Sync.Head {
			return r
		}
	}
	return nil
}

// badCommit is the commit that was refused, the head where no single one was.
func badCommit(r *cluster.RefusalStatus) string { return cmp.Or(r.Revision, r.Head) }

// driftSubject is one for all drift: its value is the number of the newest audit
// entry that was told, from which the next one goes on.
const driftSubject = "drift"

// driftFact is what was corrected since the last time.
func driftFact(events []cluster.RecordedEvent) fact {
	const most = 5
	var texts []string
	deployments := map[string]bool{}
	for _, e := range events {
		deployments[e.Deployment] = true
		if len(texts) < most {
			texts = append(texts, fmt.Sprintf("%s/%s on %s: %s", e.Deployment, e.Service, e.Node, e.Message))
		}
	}
	if more := len(events) - len(texts); more > 0 {
		texts = append(texts, fmt.Sprintf("and %d more", more))
	}
	last := events[len(events)-1]
	n := notice{Kind: desired.NoticeDrift, Text: "changed by hand, and corrected: " + strings.Join(texts, "; ")}
	if len(deployments) == 1 {
		n.Deployment = last.Deployment
	}
	return fact{subject: driftSubject, value: strconv.FormatUint(last.Number, 10), notice: n}
}

// converged reports whether a deployment is all that is wanted.
func converged(d *cluster.DeploymentState) bool {
	return d.Target != "" && d.Revision == d.Target && (d.Health == cluster.HealthHealthy || d.Health == cluster.HealthSuspended)
}

// unwell reports whether a deployment is not what is wanted, and does not become
// it by itself.
func unwell(d *cluster.DeploymentState) bool {
	return d.Health == cluster.HealthDegraded || d.Health == cluster.HealthMissing && d.Target != "" && d.Revision == d.Target
}

// approval says what a unit waits for.
func approval(p cluster.PendingStatus) string {
	text := fmt.Sprintf("%d of %d signatures", len(p.Have), p.Need)
	if len(p.Have) > 0 {
		text += " (" + strings.Join(p.Have, ", ") + ")"
	}
	if len(p.Eligible) > 0 {
		text += ", may sign: " + strings.Join(p.Eligible, ", ")
	}
	return text
}

func downReason(status *cluster.Status, n *cluster.Node) string {
	for i := range status.Nodes {
		if status.Nodes[i].Name == n.Name && status.Nodes[i].Reason != "" {
			return status.Nodes[i].Reason
		}
	}
	return "no heartbeat since " + n.Since.UTC().Format(time.RFC3339)
}

// invalidOf is the newest approved revision of a deployment that does not
// compile, nil when it does.
func invalidOf(view *cluster.View, name string) *cluster.Invalid {
	if view == nil || view.Deployments[name] == nil {
		return nil
	}
	return view.Deployments[name].Invalid
}

// short is a commit's id as people read it.
func short(revision string) string {
	const digits = 12
	return revision[:min(digits, len(revision))]
}
