package notify

import (
	"context"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// debounce is the least time between two looks at the state.
const debounce = 500 * time.Millisecond

// State is the part of cluster state that events and nodes come from.
type State interface {
	Read() *cluster.Snapshot
	Changed() <-chan struct{}
}

// Views is what this node accepted.
type Views interface {
	View() *cluster.View
	Changed() <-chan struct{}
}

// Config is what a Notifier needs. Every field is required.
type Config struct {
	State State
	Views Views
	// Status computes the status document as it is now.
	Status func() *cluster.Status
	// Content identifies what a unit (a deployment, or another one that can wait)
	// holds at the tip of the branch; "" when that is not known.
	Content func(unit string) string
	// Record writes events to the log and returns the index of their entry.
	Record  func(ctx context.Context, events []cluster.Event) (index uint64, err error)
	Secrets Secrets
	// Transport carries the requests: NewTransport().
	Transport http.RoundTripper
	Now       func() time.Time
	Logger    *slog.Logger
}

// Notifier tells people what happens, for one term of a leader.
type Notifier struct {
	config Config
	client *client

	receivers map[string]*running // of Run's goroutine alone
}

// running is a receiver that works.
type running struct {
	*receiver
	definition any // of cluster.yaml
	facts      func(in input) []fact
	stop       context.CancelFunc
	// scanned is the audit entry up to which drift was looked for.
	scanned uint64
}

// New prepares a Notifier; nothing runs before Run.
func New(config Config) *Notifier {
	return &Notifier{config: config, client: newClient(config.Transport, config.Secrets), receivers: map[string]*running{}}
}

// Run tells what is to be told until ctx ends, which is no error: nothing that
// goes wrong here is anybody else's trouble.
func (n *Notifier) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for {
		state, views := n.config.State.Changed(), n.config.Views.Changed()
		n.follow(ctx, &working)
		next := n.pass()
		if len(n.receivers) == 0 {
			state = nil // nobody wants to know
		}
		if !n.wait(ctx, state, views, next) || !pause(ctx, debounce) {
			return nil
		}
	}
}

// wait returns when there is a reason to look again; false when ctx ended.
func (n *Notifier) wait(ctx context.Context, state, views <-chan struct{}, next time.Time) bool {
	var due <-chan time.Time
	if !next.IsZero() {
		timer := time.NewTimer(max(0, next.Sub(n.config.Now())))
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-ctx.Done():
		return false
	case <-state:
	case <-views:
	case <-due:
	}
	return true
}

// follow starts and stops receivers as the accepted cluster.yaml says. What a
// receiver was told it does not hear again because its definition changed.
func (n *Notifier) follow(ctx context.Context, working *sync.WaitGroup) {
	view := n.config.Views.View()
	if view == nil {
		return // not known yet: act on nothing
	}
	wanted := n.wanted(view.Cluster.Notifications)
	for name, r := range n.receivers {
		if w := wanted[name]; w == nil || !reflect.DeepEqual(w.definition, r.definition) {
			r.stop()
			delete(n.receivers, name)
		}
	}
	maps.DeleteFunc(wanted, func(name string, _ *running) bool { return n.receivers[name] != nil })
	if len(wanted) == 0 {
		return
	}
	snapshot := n.config.State.Read()
	known, err := recall(snapshot)
	if err != nil {
		n.config.Logger.Warn("cannot read all that was told; it may be told again", "error", err)
	}
	for name, w := range wanted {
		w.name, w.book = name, newBook(known[name])
		n.start(ctx, snapshot, w, working)
	}
}

// wanted are the receivers of a definition, by name.
func (n *Notifier) wanted(settings *desired.Notifications) map[string]*running {
	wanted := map[string]*running{}
	if settings == nil {
		return wanted
	}
	if s := settings.Statuses; s != nil {
		wanted[statusReceiver] = &running{
			definition: *s, facts: statuses,
			receiver: &receiver{sender: &forgeSender{config: *s, client: n.client}},
		}
	}
	for _, c := range settings.Channels {
		wanted[c.Name] = &running{
			definition: c, facts: func(in input) []fact { return selected(notices(in), c.Events) },
			receiver: &receiver{sender: &channelSender{channel: c, client: n.client, now: n.config.Now}},
		}
	}
	return wanted
}

// start runs a receiver.
func (n *Notifier) start(ctx context.Context, snapshot *cluster.Snapshot, r *running, working *sync.WaitGroup) {
	if _, ever := r.book.told[driftSubject]; !ever { // what was corrected before is not news
		r.book.told[driftSubject] = driftTold(snapshot.AuditHead().Number)
	}
	r.scanned, r.wake = r.book.told.number(), make(chan struct{}, 1)
	r.record, r.now, r.logger = n.config.Record, n.config.Now, n.config.Logger
	if meta := snapshot.Meta(); meta != nil {
		r.info = clusterInfo{meta.ID, meta.Name}
	}
	ctx, r.stop = context.WithCancel(ctx)
	working.Go(func() { r.run(ctx) })
	n.receivers[r.name] = r
}

// pass finds what is new for each receiver and returns when to look again though
// nothing changed.
func (n *Notifier) pass() (next time.Time) {
	if len(n.receivers) == 0 {
		return next
	}
	snapshot, now := n.config.State.Read(), n.config.Now()
	in := input{status: n.config.Status(), view: n.config.Views.View(), nodes: snapshot.Nodes(), content: n.config.Content}
	drift := n.drift(snapshot)
	for _, r := range n.receivers {
		first := slices.IndexFunc(drift, func(e cluster.RecordedEvent) bool { return e.Number > r.scanned })
		if in.drift = nil; first >= 0 {
			in.drift = drift[first:]
		}
		r.scanned = snapshot.AuditHead().Number
		if due := r.take(r.facts(in), now); !due.IsZero() && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

// drift are the corrections that some receiver was not told, oldest first.
func (n *Notifier) drift(snapshot *cluster.Snapshot) []cluster.RecordedEvent {
	after := snapshot.AuditHead().Number
	for _, r := range n.receivers {
		after = min(after, r.scanned)
	}
	var found []cluster.RecordedEvent
	for e, err := range snapshot.Events(after, false) {
		if err != nil {
			n.config.Logger.Warn("cannot read the audit log for what was corrected", "error", err)
			return nil
		}
		if e.Type == cluster.EventDriftCorrected {
			found = append(found, e)
		}
	}
	return found
}

// selected keeps quiet about what a channel does not want.
func selected(facts []fact, kinds []desired.NoticeKind) []fact {
	wanted := map[desired.NoticeKind]bool{}
	for _, k := range kinds {
		wanted[k] = true
	}
	for i := range facts {
		facts[i].silent = !wanted[facts[i].notice.Kind]
	}
	return facts
}
