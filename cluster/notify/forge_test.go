package notify

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/cluster"
	"github.com/jaco-sh/jaco/desired"
)

func forge(kind desired.Forge, api string) *desired.Notifications {
	return &desired.Notifications{Statuses: &desired.CommitStatuses{
		Forge: kind, API: api, Repository: "acme/fleet", Token: "token", Link: "https://status.example.com",
	}}
}

// wantStatuses compares what was written, as "state context revision".
func (r *rig) wantStatuses(when string, want ...string) {
	r.t.Helper()
	var got []string
	for _, c := range r.took() {
		fields := c.fields(r.t)
		got = append(got, strings.Join([]string{fields["state"].(string), fields["context"].(string), c.url[strings.LastIndex(c.url, "/")+1:][:2], fields["description"].(string)}, " "))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		r.t.Errorf("%s: statuses (-want +got):\n%s\n%s", when, diff, r.logged)
	}
}

// TestCommitStatuses follows a deployment through the statuses of its commits.
func TestCommitStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, forge(desired.GitHub, "https://api.github.com"))
		r.deployment(cluster.DeploymentState{Name: "blog", Revision: revisionA, Target: revisionA, Health: cluster.HealthHealthy})
		stop := r.lead()
		r.wantStatuses("what ran before")
		r.deployment(shop("", revisionA, cluster.HealthProgressing, "web: 1 of 3 healthy"))
		r.wantStatuses("on its way", "pending jaco/prod/shop aa is being deployed: web: 1 of 3 healthy")
		r.deployment(shop("", revisionA, cluster.HealthProgressing, "web: 2 of 3 healthy"))
		r.wantStatuses("a little further")
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.wantStatuses("converged", "success jaco/prod/shop aa runs whole and healthy")
		r.deployment(shop(revisionA, revisionA, cluster.HealthProgressing, "a node left"))
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.wantStatuses("mends by itself")
		r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, "web: no node"))
		r.wantStatuses("degraded", "failure jaco/prod/shop aa degraded: web: no node")
		r.deployment(shop(revisionA, revisionA, cluster.HealthHealthy, ""))
		r.wantStatuses("healthy again", "success jaco/prod/shop aa runs whole and healthy")
		r.set(func(status *cluster.Status, _ *cluster.View) {
			status.Sync.Pending = []cluster.PendingStatus{{Deployment: "shop", Revision: revisionB, Have: []string{"alice"}, Need: 2, Eligible: []string{"bob"}}}
		})
		r.wantStatuses("awaits", "pending jaco/prod/shop bb awaits approval: 1 of 2 signatures (alice), may sign: bob")
		stop()
		stop = r.lead()
		r.wantStatuses("another leader")
		stop()
		// A later revision comes, while nobody leads.
		r.set(func(status *cluster.Status, _ *cluster.View) { status.Sync.Pending = nil })
		r.deployment(shop(revisionA, revisionC, cluster.HealthProgressing, ""))
		stop = r.lead()
		r.wantStatuses("replaced", "error jaco/prod/shop bb replaced by a later revision before it ran", "pending jaco/prod/shop cc is being deployed")
		r.set(func(status *cluster.Status, _ *cluster.View) {
			status.Sync.Head = revisionB
			status.Sync.Refused = []cluster.RefusalStatus{{Revision: revisionB, Head: revisionB, Code: "unsigned", Reason: "no signature"}}
		})
		r.wantStatuses("refused", "failure jaco/prod bb refused (unsigned): no signature")
		r.set(func(status *cluster.Status, _ *cluster.View) { status.Sync.Accepted = revisionB })
		r.wantStatuses("accepted after all", "success jaco/prod bb accepted")
		stop()
	})
}

// TestWaitingThroughOtherPushes: the commit of what waits moves on with every
// push. It is told once for each content, also across leaders.
func TestWaitingThroughOtherPushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := forge(desired.GitHub, "https://api.github.com")
		r := newRig(t, settings)
		r.content = strings.Repeat("1", 40)
		waits := func(revision string) {
			r.set(func(status *cluster.Status, _ *cluster.View) {
				status.Sync.Pending = []cluster.PendingStatus{{Deployment: "shop", Revision: revision, Need: 1, Eligible: []string{"bob"}}}
			})
		}
		stop := r.lead()
		waits(revisionA)
		r.wantStatuses("awaits", "pending jaco/prod/shop aa awaits approval: 0 of 1 signatures, may sign: bob")
		waits(revisionB)
		r.wantStatuses("another push")
		stop()
		stop = r.lead()
		r.wantStatuses("another leader")
		waits(revisionC)
		r.wantStatuses("another push, another leader")
		r.set(func(_ *cluster.Status, view *cluster.View) { view.Cluster.Notifications = channels(slack("ops")) })
		r.want("a channel", "*awaiting-approval* [prod] shop at cc")
		waits(revisionA)
		r.want("another push to a channel")
		r.mu.Lock()
		r.content = strings.Repeat("2", 40)
		r.mu.Unlock()
		waits(revisionB)
		r.want("another content", "*awaiting-approval* [prod] shop at bb")
		r.set(func(_ *cluster.Status, view *cluster.View) { view.Cluster.Notifications = settings })
		r.wantStatuses("and at the forge", "error jaco/prod/shop aa replaced by a later revision before it ran", "pending jaco/prod/shop bb awaits approval: 0 of 1 signatures, may sign: bob")
		stop()
	})
}

// TestForges: each is called as its documentation says.
func TestForges(t *testing.T) {
	for _, test := range []struct {
		kind    desired.Forge
		api     string
		url     string
		header  map[string]string
		failure string
	}{
		{desired.GitHub, "https://api.github.com", "https://api.github.com/repos/acme/fleet/statuses/" + revisionA,
			map[string]string{"Authorization": "Bearer S3CRET-token", "Accept": "application/vnd.github+json"}, "failure"},
		{desired.GitLab, "https://gitlab.com/api/v4", "https://gitlab.com/api/v4/projects/acme%2Ffleet/statuses/" + revisionA,
			map[string]string{"Private-Token": "S3CRET-token"}, "failed"},
		{desired.Gitea, "https://git.example.com/api/v1", "https://git.example.com/api/v1/repos/acme/fleet/statuses/" + revisionA,
			map[string]string{"Authorization": "token S3CRET-token"}, "failure"},
		{desired.Forgejo, "https://codeberg.org/api/v1", "https://codeberg.org/api/v1/repos/acme/fleet/statuses/" + revisionA,
			map[string]string{"Authorization": "token S3CRET-token"}, "failure"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, forge(test.kind, test.api))
			r.deployment(shop(revisionA, revisionA, cluster.HealthDegraded, strings.Repeat("ä", 200)))
			stop := r.lead()
			defer stop()
			calls := r.took()
			if len(calls) != 1 {
				t.Fatalf("%s: %d calls\n%s", test.kind, len(calls), r.logged)
			}
			c := calls[0]
			if c.method != http.MethodPost || c.url != test.url || c.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: %s %s %v", test.kind, c.method, c.url, c.header)
			}
			for name, want := range test.header {
				if got := c.header.Get(name); got != want {
					t.Errorf("%s: %s is %q, want %q", test.kind, name, got, want)
				}
			}
			fields := c.fields(t)
			description, _ := fields["description"].(string)
			if len(description) > 140 || !utf8.ValidString(description) || !strings.HasPrefix(description, "degraded: ä") {
				t.Errorf("%s: description %q", test.kind, description)
			}
			delete(fields, "description")
			if diff := cmp.Diff(map[string]any{"state": test.failure, "context": "jaco/prod/shop", "target_url": "https://status.example.com"}, fields); diff != "" {
				t.Errorf("%s: fields (-want +got):\n%s", test.kind, diff)
			}
		})
	}
}

// TestGitLabHasItAlready: what GitLab refuses because it is so is done; the same
// answer of another forge is not.
func TestGitLabHasItAlready(t *testing.T) {
	for kind, failures := range map[desired.Forge]int{desired.GitLab: 0, desired.Gitea: 1} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, forge(kind, "https://git.example.com/api"))
			r.answer = func(recorded) *http.Response {
				return respond(http.StatusBadRequest, `{"message":"Cannot transition status via :enqueue from :pending (Reason(s): Status cannot transition via \"enqueue\")"}`)
			}
			r.deployment(shop("", revisionA, cluster.HealthProgressing, ""))
			stop := r.lead()
			defer stop()
			r.took()
			if n := r.events(cluster.EventNotNotified); len(n) != failures {
				t.Errorf("%s: events %q", kind, n)
			}
		})
	}
}

// TestMissingSecret is told in the log, and mended without a restart.
func TestMissingSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, forge(desired.GitHub, "https://api.github.com"))
		delete(r.secrets, "token")
		r.deployment(shop("", revisionA, cluster.HealthProgressing, ""))
		stop := r.lead()
		defer stop()
		r.wantStatuses("without a token")
		if n := r.events(cluster.EventNotNotified); len(n) != 1 || !strings.Contains(n[0], "open secret token: no secret token") {
			t.Errorf("events %q", n)
		}
		r.mu.Lock()
		r.secrets["token"] = "x"
		r.mu.Unlock()
		after(lastRetry)
		r.wantStatuses("with one", "pending jaco/prod/shop aa is being deployed")
	})
}
