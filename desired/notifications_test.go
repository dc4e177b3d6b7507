package desired

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// noSecret is the answer to what is no secret.
const noSecret = `must be an age file in armor, printf %s "$SECRET" | age -a -r "$(jaco status recipient cluster)", or the name of a file of secret_files in jacod.yaml: lower-case letters, digits and dashes; what stood here in clear is in the history: change it`

const (
	statusesOf = "notifications:\n  statuses:\n    "
	channelsOf = "notifications:\n  channels:\n    "
)

var notificationTests = []struct {
	name, text string
	want       *Notifications
	problems   string
}{
	{name: "empty", text: "notifications: {}", want: &Notifications{}},
	{
		name: "GitHub", text: statusesOf + "{forge: github, repository: acme/fleet, token: forge-token}",
		want: &Notifications{Statuses: &CommitStatuses{Forge: GitHub, API: "https://api.github.com", Repository: "acme/fleet", Token: "forge-token"}},
	},
	{
		name: "GitLab", text: statusesOf + "{forge: gitlab, repository: acme/ops/fleet, token: t, link: 'http://status.example.com'}",
		want: &Notifications{Statuses: &CommitStatuses{
			Forge: GitLab, API: "https://gitlab.com/api/v4", Repository: "acme/ops/fleet", Token: "t", Link: "http://status.example.com",
		}},
	},
	{
		name: "Forgejo", text: statusesOf + "{forge: forgejo, api: 'http://git.lan/api/v1/', insecure: true, repository: a/b, token: t}",
		want: &Notifications{Statuses: &CommitStatuses{Forge: Forgejo, API: "http://git.lan/api/v1", Insecure: true, Repository: "a/b", Token: "t"}},
	},
	{
		name: "channels, sorted",
		text: channelsOf + "pager: {type: webhook, url: 'http://127.0.0.1:9/x', secret: s, events: [node-down, degraded, degraded]}\n" +
			"    ops: {type: slack, url_secret: ops-url}\n",
		want: &Notifications{Channels: []Channel{
			{Name: "ops", Type: SlackChannel, URLSecret: "ops-url", Events: NoticeKinds()},
			{Name: "pager", Type: WebhookChannel, URL: "http://127.0.0.1:9/x", Secret: "s", Events: []NoticeKind{NoticeDegraded, NoticeNodeDown}},
		}},
	},
	{
		name: "encrypted secrets",
		text: statusesOf + "forge: github\n    repository: a/b\n    token: |\n      -----BEGIN AGE ENCRYPTED FILE-----\n      YWdl\n      -----END AGE ENCRYPTED FILE-----\n",
		want: &Notifications{Statuses: &CommitStatuses{
			Forge: GitHub, API: "https://api.github.com", Repository: "a/b", Token: "-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n",
		}},
	},
	{name: "no mapping", text: "notifications: yes", problems: "cluster.yaml:1: notifications: must be a mapping"},
	{
		name: "unknown fields", text: "notifications:\n  status: {}\n  channels: {a: {kind: slack}}\n  statuses: {url: x}\n",
		problems: `cluster.yaml:2: notifications.status: unknown field
cluster.yaml:3: notifications.channels.a: must have one of url and url_secret
cluster.yaml:3: notifications.channels.a.kind: unknown field
cluster.yaml:3: notifications.channels.a.type: must be set
cluster.yaml:4: notifications.statuses.forge: must be set
cluster.yaml:4: notifications.statuses.repository: must be set
cluster.yaml:4: notifications.statuses.token: must be set
cluster.yaml:4: notifications.statuses.url: unknown field`,
	},
	{
		name: "Gitea without an address", text: statusesOf + "forge: gitea\n    repository: a/b\n    token: t\n",
		problems: "cluster.yaml:3: notifications.statuses.api: must be set for gitea: the URL of its API, such as https://git.example.com/api/v1",
	},
	{
		name: "bad values", text: statusesOf + "forge: bitbucket\n    api: git.example.com\n    repository: ../b\n    token: [a]\n    insecure: 1\n    link: 'ftp://x'\n",
		problems: `cluster.yaml:3: notifications.statuses.forge: "bitbucket" is none of github, gitlab, gitea, forgejo
cluster.yaml:4: notifications.statuses.api: must be a URL such as https://host/path
cluster.yaml:5: notifications.statuses.repository: "../b" is not owner/name
cluster.yaml:6: notifications.statuses.token: ` + noSecret + `
cluster.yaml:7: notifications.statuses.insecure: must be true or false
cluster.yaml:8: notifications.statuses.link: must be a URL such as https://host/path`,
	},
	{
		name: "a path too deep", text: statusesOf + "{forge: github, repository: a/b/c, token: t}",
		problems: `cluster.yaml:3: notifications.statuses.repository: "a/b/c" is not owner/name`,
	},
	{
		name: "a token in clear is not repeated", text: statusesOf + "{forge: github, repository: a/b, token: ghp_S3CRET}",
		problems: "cluster.yaml:3: notifications.statuses.token: " + noSecret,
	},
	{
		name: "http to elsewhere", text: statusesOf + "{forge: gitea, api: 'http://git.lan/api/v1', repository: a/b, token: t}",
		problems: "cluster.yaml:3: notifications.statuses.api: must be https: what is sent would be readable on the way; insecure: true allows http",
	},
	{
		name: "bad channels",
		text: channelsOf + "Ops: {type: slack, url: 'https://x'}\n    a: {type: slack, url: 'https://x', url_secret: y, secret: z}\n" +
			"    b: {type: webhook, url: 'https://u:p@x'}\n    c: {type: mail, url: 'https://x#y', events: []}\n    d: []\n    e: {type: slack, url_secret: 'https://x', events: [down]}\n",
		problems: `cluster.yaml:3: notifications.channels.Ops: not a channel name: lower-case letters, digits and dashes
cluster.yaml:4: notifications.channels.a: must have one of url and url_secret
cluster.yaml:4: notifications.channels.a.secret: signs nothing here: Slack knows who posts by the URL
cluster.yaml:5: notifications.channels.b.secret: must be set: it signs what is sent
cluster.yaml:5: notifications.channels.b.url: must not hold a user or password
cluster.yaml:6: notifications.channels.c.events: must be a list of some of awaiting-approval, converged, degraded, drift, node-down, refused
cluster.yaml:6: notifications.channels.c.type: "mail" is none of webhook, slack
cluster.yaml:6: notifications.channels.c.url: must not end in a #fragment
cluster.yaml:7: notifications.channels.d: must be a mapping
cluster.yaml:8: notifications.channels.e.events[0]: "down" is none of awaiting-approval, converged, degraded, drift, node-down, refused
cluster.yaml:8: notifications.channels.e.url_secret: ` + noSecret,
	},
	{name: "no mapping of channels", text: "notifications: {channels: [a]}", problems: "cluster.yaml:1: notifications.channels: must be a mapping of channel names"},
	{name: "too many channels", text: "notifications:\n  channels:\n" + manyChannels(), problems: "cluster.yaml:3: notifications.channels: 17 channels, more than the limit of 16"},
}

// manyChannels is one channel too many.
func manyChannels() string {
	var text strings.Builder
	for n := range maxChannels + 1 {
		fmt.Fprintf(&text, "    c%d: {}\n", n)
	}
	return text.String()
}

func TestNotifications(t *testing.T) {
	for _, test := range notificationTests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseCluster([]byte(test.text))
			if diff := cmp.Diff(test.problems, errText(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if test.want != nil && got != nil {
				if diff := cmp.Diff(test.want, got.Notifications); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			}
			if (test.want == nil) != (got == nil) {
				t.Errorf("read %v", got)
			}
		})
	}
}

func TestCheckEndpoint(t *testing.T) {
	for text, ok := range map[string]bool{
		"https://hooks.example.com/a": true, "https://[fd00::1]:8443/": true, "http://localhost:80": true, "http://127.8.0.1/x": true, "http://[::1]/": true,
		"http://example.com": false, "http://localhost.example.com": false, "http://10.0.0.1": false, "https://": false, "https://:80/": false,
		"/path": false, "file:///etc/passwd": false, "https://user@x": false, "https://x\n": false, "": false,
	} {
		err := CheckEndpoint(text, false)
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
		if err != nil && strings.Contains(err.Error(), "example") {
			t.Errorf("%q is repeated: %v", text, err)
		}
	}
	if err := CheckEndpoint("http://example.com", true); err != nil {
		t.Errorf("insecure: %v", err)
	}
}
