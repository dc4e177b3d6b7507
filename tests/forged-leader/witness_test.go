package forgedleader

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/cluster/verifier"
	"github.com/jaco-sh/jaco/tests/rig"
	"github.com/jaco-sh/jaco/tests/stage"
)

// witness is an honest node under watch.
type witness struct {
	stage.Member
	since      time.Time
	accepted   string   // what it has accepted, and must go on with
	containers []string // ids, in every state
}

// watch begins to watch nodes that run what they accepted.
func watch(t *testing.T, accepted string, members ...stage.Member) []*witness {
	t.Helper()
	var witnesses []*witness
	for _, m := range members {
		m.T = t
		witnesses = append(witnesses, &witness{Member: m, since: time.Now(), accepted: accepted, containers: containerIDs(t, m)})
	}
	return witnesses
}

func containerIDs(t *testing.T, m stage.Member) []string {
	t.Helper()
	var ids []string
	for _, c := range rig.Must[[]rig.Container](t)(m.Node.Engine.Containers(t.Context())) {
		ids = append(ids, c.ID)
	}
	slices.Sort(ids)
	return ids
}

// journal is what the node refused, as it stands on its disk.
func (w *witness) journal(t *testing.T) []verifier.JournalEntry {
	t.Helper()
	return rig.Must[[]verifier.JournalEntry](t)(verifier.OpenJournal(filepath.Join(w.DataDir, "trust")).Read())
}

// reacts waits until the node has applied the log up to an index, and its
// journal has every entry that is wanted; it then looks whether anything was
// started.
func (w *witness) reacts(t *testing.T, within time.Duration, index uint64, wanted ...func(verifier.JournalEntry) bool) {
	t.Helper()
	rig.Eventually(t, within, w.Name()+" to refuse", func(ctx context.Context) (bool, string) {
		status, err := w.TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		if status.Cluster.Index < index {
			return false, fmt.Sprintf("at entry %d of %d", status.Cluster.Index, index)
		}
		journal := w.journal(t)
		for i, want := range wanted {
			if !slices.ContainsFunc(journal, want) {
				return false, fmt.Sprintf("entry %d of %d is missing in the journal: %+v", i+1, len(wanted), journal)
			}
		}
		return true, ""
	}, w.Daemon)
	w.startedNothing(t)
}

// startedNothing looks at the engine: its containers are those that it had, and
// no other was made, started or pulled meanwhile, even for a moment.
func (w *witness) startedNothing(t *testing.T) {
	t.Helper()
	if ids := containerIDs(t, w.Member); !slices.Equal(ids, w.containers) {
		t.Errorf("%s: containers are %v, were %v", w.Name(), ids, w.containers)
	}
	if events := w.engineEvents(t); len(events) > 0 {
		t.Errorf("%s: its engine was told to %v", w.Name(), events)
	}
	status := w.Status()
	if status.Sync.Accepted != w.accepted {
		t.Errorf("%s accepted %s, had %s", w.Name(), status.Sync.Accepted, w.accepted)
	}
}

// engineEvents is what came into being on the node since it is under watch.
func (w *witness) engineEvents(t *testing.T) []string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", w.Node.Engine.Socket())
	}}}
	query := url.Values{
		"since": {stamp(w.since)}, "until": {stamp(time.Now())},
		"filters": {`{"event":["create","start","pull","import","load"],"type":["container","image"]}`},
	}
	request := rig.Must[*http.Request](t)(http.NewRequestWithContext(t.Context(), http.MethodGet, "http://engine/v1.41/events?"+query.Encode(), nil))
	response := rig.Must[*http.Response](t)(client.Do(request))
	defer response.Body.Close()
	var events []string
	for decoder := json.NewDecoder(response.Body); ; {
		var event struct {
			Action string
			Type   string
			Actor  struct{ Attributes map[string]string }
		}
		err := decoder.Decode(&event)
		if errors.Is(err, io.EOF) {
			return events
		}
		check(t, err)
		events = append(events, fmt.Sprintf("%s %s %s", event.Action, event.Type, event.Actor.Attributes["name"]))
	}
}

// stamp is a time as the engine's API writes it.
func stamp(at time.Time) string { return fmt.Sprintf("%d.%09d", at.Unix(), at.Nanosecond()) }

// says waits until the node's own status has a text about itself.
func (w *witness) says(t *testing.T, text string) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, fmt.Sprintf("%s to say %q in its status", w.Name(), text), func(ctx context.Context) (bool, string) {
		status, err := w.TryStatus(ctx)
		if err != nil {
			return false, err.Error()
		}
		own := stage.Node(status, w.Name())
		if own == nil {
			return false, "it does not list itself"
		}
		said := own.Reason + "\n" + strings.Join(status.Cluster.Warnings, "\n")
		return strings.Contains(said, text), said
	}, w.Daemon)
}

// blamed waits until the audit log, as this node has it, holds a report of each
// of the nodes on each of the texts.
func (w *witness) blamed(t *testing.T, within time.Duration, nodes []string, texts ...string) {
	t.Helper()
	rig.Eventually(t, within, fmt.Sprintf("reports of %v in the audit log of %s", nodes, w.Name()), func(ctx context.Context) (bool, string) {
		out, err := w.Run(ctx, "audit", "--type", string(cluster.EventLeaderMisbehaviour), "-o", "json")
		if err != nil {
			return false, err.Error()
		}
		var records []cluster.AuditRecord
		if err := json.Unmarshal([]byte(out), &records); err != nil {
			return false, err.Error()
		}
		for _, node := range nodes {
			for _, text := range texts {
				if !slices.ContainsFunc(records, func(r cluster.AuditRecord) bool {
					return r.Node == node && r.Actor == "node:"+node && strings.Contains(r.Message, text)
				}) {
					return false, fmt.Sprintf("none of %s on %q in:\n%s", node, text, out)
				}
			}
		}
		return true, ""
	}, w.Daemon)
}
