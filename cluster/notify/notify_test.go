package notify

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

// TestLifeOfADeployment follows one through what people are told of it.
func TestLifeOfADeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		r.deployment(shop("", revisionA, cluster.HealthMissing, "nothing of it runs yet"))
		stop := r.lead()
		r.want("before anything runs")
		r.deployment(shop("", revisionA, cluster.HealthProgressing, "1 of 3 healthy"))
		r.want("on its way")
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.want("first converged", "*converged* [prod] shop runs aa0000000000, whole and healthy")
		r.deployment(shop(revisionA, revisionA, cluster.HealthProgressing, "2 of 3 healthy"))
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.want("the same again")
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "web: slot 1 on n2 failed"))
		after(settle - time.Second)
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.want("degraded for a moment")
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "web: slot 1 on n2 failed"))
		r.want("degraded", "*degraded* [prod] shop at aa0000000000 is degraded: web: slot 1 on n2 failed")
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "web: slot 2 on n2 failed"))
		r.want("degraded for another reason")
		r.deployment(shop(revisionA, revisionA, cluster.HealthMissing, "no node"))
		r.want("worse")
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.want("healthy again", "*converged* [prod] shop runs aa")
		r.deployment(shop(revisionA, revisionB, cluster.HealthProgressing, ""))
		r.deployment(shop(revisionB, revisionB, cluster.HealthHealthy, ""))
		r.want("the next revision", "*converged* [prod] shop runs bb")
		stop()
	})
}

// TestWhatIsTold: each kind, once, with what to do about it.
func TestWhatIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		stop := r.lead()
		defer stop()
		r.set(func(status *cluster.Status, _ *cluster.View) {
			status.Sync = cluster.SyncStatus{Head: revisionB, Refused: []cluster.RefusalStatus{
				{Revision: revisionB, Head: revisionB, Code: "unsigned", Reason: "commit bb is not signed", Advice: "git commit --amend -S"},
				{Revision: revisionA, Head: revisionA, Code: "foxtrot-merge"}, // mended
			}}
		})
		r.want("refused", "*refused* [prod] commit bb0000000000 is refused (unsigned): commit bb is not signed\n```git commit --amend -S```")
		r.set(func(status *cluster.Status, _ *cluster.View) { status.Sync.Accepted = revisionB })
		r.want("accepted after all")
		r.set(func(status *cluster.Status, _ *cluster.View) {
			status.Sync.Head, status.Sync.Refused = revisionC, nil
			status.Sync.Pending = []cluster.PendingStatus{{
				Deployment: "shop", Revision: revisionC, Have: []string{"alice"}, Need: 2, Eligible: []string{"bob", "carol"}, Command: "git tag -s approve/shop/1",
			}}
		})
		r.want("awaiting", "*awaiting-approval* [prod] shop at cc0000000000 awaits approval: 1 of 2 signatures (alice), may sign: bob, carol\n```git tag -s approve/shop/1```")
		r.set(func(status *cluster.Status, view *cluster.View) {
			status.Sync.Pending = nil
			status.Sync.Invalid = &cluster.InvalidStatus{Revision: revisionC, Reason: "cluster.yaml:3: no"}
			status.Deployments = []cluster.DeploymentState{shop(revisionA, revisionA, cluster.HealthProgressing, "")}
			accepted := &cluster.Accepted{Name: "shop", Invalid: &cluster.Invalid{Reason: "deployments/shop/compose.yaml:7: <no>"}}
			accepted.Invalid.Revision[0] = 0xcc
			view.Deployments = map[string]*cluster.Accepted{"shop": accepted}
		})
		r.deployment(cluster.DeploymentState{Name: "wiki", Revision: revisionA, Target: revisionA, Sync: cluster.AxisSuspect, Reason: "approved with a stolen key", Health: cluster.HealthProgressing})
		r.want("invalid", "*refused* [prod] cluster.yaml at cc0000000000 cannot be read, the one before stays in force: cluster.yaml:3: no",
			"*refused* [prod] shop at cc0000000000 does not compile, the one before stays in force: deployments/shop/compose.yaml:7: &lt;no&gt;",
			"*awaiting-approval* [prod] wiki at aa0000000000 is Suspect, runs on, and awaits somebody who approves it anew: approved with a stolen key")
		r.apply(&cluster.UpdateNode{Node: node("node-2", cluster.NodeDown)})
		r.want("node down", "*node-down* [prod] node node-2 is down: no heartbeat since 2000-01-01T00:0")
		r.apply(&cluster.UpdateNode{Node: node("node-2", cluster.NodeReady)})
		r.want("node back")
		r.apply(&cluster.UpdateNode{Node: node("node-2", cluster.NodeDown)})
		r.want("node down again", "*node-down* [prod] node node-2 is down")
		drift := cluster.Event{Type: cluster.EventDriftCorrected, Deployment: "shop", Service: "web", Node: "n1", Message: "the container was stopped by hand"}
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{drift, {Type: cluster.EventEngineBack}}})
		r.want("drift", "*drift* [prod] changed by hand, and corrected: shop/web on n1: the container was stopped by hand")
		drift.Message = "it was changed"
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{drift, drift, drift, drift, drift, drift, drift}})
		r.want("much drift", "*drift* [prod] changed by hand, and corrected: "+strings.Repeat("shop/web on n1: it was changed; ", 5)+"and 2 more")
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventEngineLost}}})
		r.want("another event")
	})
}

// TestNewLeaderDoesNotRepeat: what one leader told, the next does not, nor what
// was fine before anybody was to be told.
func TestNewLeaderDoesNotRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.deployment(cluster.DeploymentState{Name: "blog", Revision: revisionA, Target: revisionA, Health: cluster.HealthDegraded, Reason: "db: no node"})
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventDriftCorrected, Deployment: "blog"}}})
		stop := r.lead()
		r.want("the first leader: what is wrong", "*degraded* [prod] blog")
		r.deployment(shop(revisionB, revisionB, cluster.HealthHealthy, ""))
		r.want("the first leader: what is new", "*converged* [prod] shop runs bb")
		stop()

		stop = r.lead()
		r.want("the second leader: nothing")
		stop()

		// What changed while nobody led is told.
		r.deployment(shop(revisionC, revisionC, cluster.HealthHealthy, ""))
		r.apply(&cluster.UpdateNode{Node: node("node-2", cluster.NodeDown)})
		stop = r.lead()
		r.want("the third leader", "*converged* [prod] shop runs cc", "*node-down* [prod] node node-2")
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventDriftCorrected, Deployment: "blog", Service: "db", Node: "n1", Message: "one"}}})
		r.want("the third leader: drift", "*drift*")
		stop()
		r.apply(&cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventDriftCorrected, Deployment: "blog", Service: "db", Node: "n1", Message: "two"}}})
		stop = r.lead()
		r.want("the fourth leader: only the later drift", "*drift* [prod] changed by hand, and corrected: blog/db on n1: two")
		stop()
	})
}

// TestSameIDFromTwoLeaders: a leader that fell before the log kept what it told
// is followed by one that tells it again, with the same id; what happens twice has
// two.
func TestSameIDFromTwoLeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(desired.Channel{Name: "pager", Type: desired.WebhookChannel, URL: "https://pager.example.com", Secret: "signing", Events: desired.NoticeKinds()}))
		id := func(when string) string {
			t.Helper()
			calls := r.took()
			if len(calls) != 1 {
				t.Fatalf("%s: %d calls\n%s", when, len(calls), r.logged)
			}
			return calls[0].header.Get("Webhook-Id")
		}
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
		r.failed = errors.New("not the leader any more")
		stop := r.lead()
		first := id("the first leader")
		stop()
		r.failed = nil
		stop = r.lead()
		if second := id("the second leader"); second != first {
			t.Errorf("ids %s and %s", first, second)
		}
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		if healthy := id("healthy again"); healthy == first {
			t.Error("another message has the same id")
		}
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
		if again := id("degraded again"); again == first {
			t.Error("a second failure has the id of the first: a receiver would drop it")
		}
		// Also while nothing can be recorded.
		r.mu.Lock()
		r.failed = errors.New("not the leader any more")
		r.mu.Unlock()
		ids := map[string]bool{}
		for range 3 {
			r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
			ids[id("healthy")] = true
			r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
			ids[id("degraded")] = true
		}
		if len(ids) != 6 {
			t.Errorf("6 messages have %d ids", len(ids))
		}
		stop()
	})
}

// TestChannelHearsWhatItWants: the others count as told.
func TestChannelHearsWhatItWants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops", desired.NoticeDegraded)))
		stop := r.lead()
		defer stop()
		for range 2 {
			r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
			r.want("degraded", "*degraded*")
			r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
			r.want("healthy")
		}
	})
}

// TestReceiversFollowClusterYAML: a channel that is added learns what is wrong,
// one that is gone hears nothing, and one that changes hears nothing twice.
func TestReceiversFollowClusterYAML(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, nil)
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
		stop := r.lead()
		defer stop()
		r.want("nobody")
		settings := func(n *desired.Notifications) {
			r.set(func(_ *cluster.Status, view *cluster.View) { view.Cluster.Notifications = n })
		}
		settings(channels(slack("ops")))
		r.want("added", "*degraded*")
		moved := slack("ops")
		moved.URL += "-new"
		settings(channels(moved))
		r.want("moved")
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		if calls := r.took(); len(calls) != 1 || calls[0].url != moved.URL {
			t.Errorf("calls after it moved: %v", calls)
		}
		settings(nil)
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
		r.want("gone")
	})
}

// TestFailureIsRetried: with longer and longer waits, the newest of a subject
// alone, and one audit entry for a receiver that stays away.
func TestFailureIsRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops"), slack("other")))
		r.answer = func(c recorded) *http.Response {
			if strings.HasSuffix(c.url, "/ops") {
				return nil
			}
			return respond(http.StatusOK, "")
		}
		stop := r.lead()
		defer stop()
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		after(time.Hour)
		perURL := map[string]int{}
		for _, c := range r.took() {
			perURL[c.url]++
		}
		// 1, 2, 4 … 256 s, and every 5 minutes from then on.
		if n := perURL["https://hooks.example.com/ops"]; n < 15 || n > 22 {
			t.Errorf("%d attempts in an hour", n)
		}
		if n := perURL["https://hooks.example.com/other"]; n != 1 {
			t.Errorf("another receiver was told %d times", n)
		}
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "x"))
		after(time.Minute)
		r.mu.Lock()
		r.calls, r.answer = nil, func(recorded) *http.Response { return respond(http.StatusOK, "") }
		r.mu.Unlock()
		after(6 * time.Minute)
		r.want("when it is back", "*degraded*") // and not that it had converged
		if n := r.events(cluster.EventNotNotified); len(n) != 1 || !strings.Contains(n[0], "ops was not told deployment/shop converged "+revisionA+": connection refused") {
			t.Errorf("events %q", n)
		}
	})
}

// TestDriftIsNotReplaced: what drifted stays true when something else does.
func TestDriftIsNotReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		r.answer = func(recorded) *http.Response { return nil }
		stop := r.lead()
		defer stop()
		for _, message := range []string{"one", "two"} {
			r.apply(&cluster.RecordEvents{Events: []cluster.Event{{Type: cluster.EventDriftCorrected, Deployment: "shop", Service: "web", Node: "n1", Message: message}}})
			after(20 * time.Second)
		}
		r.mu.Lock()
		r.calls, r.answer = nil, func(recorded) *http.Response { return respond(http.StatusOK, "") }
		r.mu.Unlock()
		after(lastRetry)
		r.want("both", "*drift* [prod] changed by hand, and corrected: shop/web on n1: one", "*drift* [prod] changed by hand, and corrected: shop/web on n1: two")
	})
}

// events are the messages of the events of a type.
func (r *rig) events(kind cluster.EventType) (messages []string) {
	r.t.Helper()
	for e, err := range r.state.Read().Events(0, false) {
		if err != nil {
			r.t.Fatal(err)
		}
		if e.Type == kind {
			messages = append(messages, e.Message)
		}
	}
	return messages
}

func TestFinalFailureIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		r.answer = func(recorded) *http.Response { return respond(http.StatusBadRequest, "invalid_payload") }
		stop := r.lead()
		defer stop()
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		after(time.Hour)
		r.want("once", "*converged*")
		if n := r.events(cluster.EventNotNotified); len(n) != 1 || !strings.Contains(n[0], "not tried again: answered 400 Bad Request: invalid_payload") {
			t.Errorf("events %q", n)
		}
		r.mu.Lock()
		r.answer = func(recorded) *http.Response { return respond(http.StatusOK, "") }
		r.mu.Unlock()
		r.deployment(shop(revisionB, revisionB, cluster.HealthHealthy, ""))
		r.want("what comes next", "*converged* [prod] shop runs bb")
	})
}

// TestRetryAfter: a receiver that says when is not asked before.
func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		r.answer = func(recorded) *http.Response {
			response := respond(http.StatusTooManyRequests, "")
			response.Header.Set("Retry-After", "120")
			return response
		}
		stop := r.lead()
		defer stop()
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.want("the first time", "*converged*")
		after(100 * time.Second)
		r.want("too early")
		after(20 * time.Second)
		r.want("then", "*converged*")
	})
	if got := retryAfter(1, &retryError{errors.New("x"), 48 * time.Hour}); got != time.Hour {
		t.Errorf("a receiver may ask for %v", got)
	}
	if got := retryAfter(100, errors.New("x")); got != lastRetry {
		t.Errorf("after many failures: %v", got)
	}
}

// TestQueueIsBounded: the oldest is dropped, and nothing waits.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, channels(slack("ops")))
		gate := make(chan struct{})
		r.answer = func(recorded) *http.Response { <-gate; return respond(http.StatusOK, "") }
		stop := r.lead()
		r.set(func(status *cluster.Status, _ *cluster.View) {
			for n := range 2 * maxQueue {
				status.Deployments = append(status.Deployments, cluster.DeploymentState{
					Name: fmt.Sprintf("d%04d", n), Revision: revisionA, Target: revisionA, Health: cluster.HealthDegraded, Reason: "x",
				})
			}
		})
		after(5 * time.Second)
		close(gate)
		if n := len(r.took()); n != maxQueue {
			t.Errorf("%d were told, want %d", n, maxQueue)
		}
		if !strings.Contains(r.logged.String(), "too many notifications wait") {
			t.Error("nothing in the log")
		}
		stop()
	})
}

// TestTellEvents: what is recorded can be read back.
func TestTellEvents(t *testing.T) {
	for _, f := range []fact{
		{subject: "deployment/shop", value: "degraded " + revisionA, notice: notice{Deployment: "shop", Revision: revisionA}},
		{subject: "status/shop/" + revisionA, value: "pending approval", status: status{revision: revisionA}},
		{subject: driftSubject, value: "17"},
	} {
		receiver, subject, value, ok := parseTell(tellEvent("ops", f))
		if diff := cmp.Diff([]string{"ops", f.subject, f.value}, []string{receiver, subject, value}); diff != "" || !ok {
			t.Errorf("read back %v (-want +got):\n%s", ok, diff)
		}
	}
	for _, message := range []string{"", "told", "told ops", "told ops: x", "ops: x y"} {
		if _, _, _, ok := parseTell(cluster.Event{Type: cluster.EventNotified, Message: message}); ok {
			t.Errorf("%q was read", message)
		}
	}
	if _, _, _, ok := parseTell(cluster.Event{Type: cluster.EventConverged, Message: "told ops: x y"}); ok {
		t.Error("another event was read")
	}
}
