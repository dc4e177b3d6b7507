package gitsync

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// forgeDeliveries are deliveries as git hosts document them, each with the page.
// {…} stands for what the sender computes.
var forgeDeliveries = []struct {
	name    string
	secret  string
	headers string
	body    string
	// unsigned are the headers without which the delivery proves nothing.
	unsigned []string
	// timed says that a signed time goes along.
	timed bool
}{
	{
		// https://docs.github.com/en/webhooks/webhook-events-and-payloads#delivery-headers
		name: "GitHub", secret: "It's a Secret to Everybody", unsigned: []string{"X-Hub-Signature-256"},
		headers: `
			X-GitHub-Delivery: 72d3162e-cc78-11e3-81ab-4c9367dc0958
			X-GitHub-Hook-ID: 292430182
			X-GitHub-Hook-Installation-Target-ID: 79929171
			X-GitHub-Hook-Installation-Target-Type: repository
			X-Hub-Signature: sha1=7d38cdd689735b008b3c702edd92eea23791c5f6
			X-Hub-Signature-256: sha256={hex}
			User-Agent: GitHub-Hookshot/044aadd
			Content-Type: application/json
			X-GitHub-Event: push`,
		body: `{"ref":"refs/heads/main","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","after":"0000000000000000000000000000000000000001"}`,
	},
	{
		// https://docs.gitlab.com/user/project/integrations/webhooks/#delivery-headers
		name: "GitLab, secret token", secret: "glwh-a-token", unsigned: []string{"X-Gitlab-Token"},
		headers: `
			User-Agent: GitLab/15.5.0-pre
			Idempotency-Key: f5e57f05-ba9d-4a63-9b0f-7f6b9d4e6b1c
			X-Gitlab-Instance: https://gitlab.com
			X-Gitlab-Webhook-UUID: 02affd2d-2cba-4033-917d-ec22d5dc4b38
			X-Gitlab-Event: Push Hook
			X-Gitlab-Event-UUID: 13792a34-cac6-4fda-95a8-c58e00a3954e
			X-Gitlab-Token: {secret}
			Content-Type: application/json`,
		body: `{"object_kind":"push","before":"95790bf891e76fee5e1747ab589903a6a1f80f22","after":"da1560886d4f094c3e6c9ef40349f7d38b5d27d7","ref":"refs/heads/master"}`,
	},
	{
		// The same page, and https://gitlab.com/gitlab-org/gitlab/-/merge_requests/230944:
		// webhook-id is the Idempotency-Key.
		name: "GitLab, signing token", secret: "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q=", unsigned: []string{"webhook-signature"}, timed: true,
		headers: `
			User-Agent: GitLab/19.0.0
			Idempotency-Key: f5e57f05-ba9d-4a63-9b0f-7f6b9d4e6b1c
			X-Gitlab-Instance: https://gitlab.com
			X-Gitlab-Webhook-UUID: 02affd2d-2cba-4033-917d-ec22d5dc4b38
			X-Gitlab-Event: Push Hook
			X-Gitlab-Event-UUID: 13792a34-cac6-4fda-95a8-c58e00a3954e
			webhook-id: f5e57f05-ba9d-4a63-9b0f-7f6b9d4e6b1c
			webhook-timestamp: {time}
			webhook-signature: {standard}
			Content-Type: application/json`,
		body: `{"object_kind":"push","ref":"refs/heads/master"}`,
	},
	{
		// https://docs.gitea.com/usage/webhooks
		name: "Gitea", secret: "gitea", unsigned: []string{"X-Gitea-Signature", "X-Hub-Signature-256"},
		headers: `
			X-GitHub-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-GitHub-Event: push
			X-Gogs-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-Gogs-Event: push
			X-Gogs-Signature: {hex}
			X-Gitea-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-Gitea-Event: push
			X-Gitea-Signature: {hex}
			X-Hub-Signature: sha1=7d38cdd689735b008b3c702edd92eea23791c5f6
			X-Hub-Signature-256: sha256={hex}
			Content-Type: application/json`,
		body: `{"ref":"refs/heads/develop","before":"28e1879d029cb852e4844d9c718537df08844e03","after":"bffeb74224043ba2feb48d137756c8a9331c449a"}`,
	},
	{
		// https://forgejo.org/docs/latest/user/webhooks/
		name: "Forgejo", secret: "forgejo", unsigned: []string{"X-Forgejo-Signature", "X-Gitea-Signature", "X-Hub-Signature-256"},
		headers: `
			X-Forgejo-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-Forgejo-Event: push
			X-Forgejo-Signature: {hex}
			X-GitHub-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-GitHub-Event: push
			X-Gogs-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-Gogs-Event: push
			X-Gitea-Delivery: f6266f16-1bf3-46a5-9ea4-602e06ead473
			X-Gitea-Event: push
			X-Gitea-Signature: {hex}
			X-Hub-Signature-256: sha256={hex}
			Content-Type: application/json`,
		body: `{"ref":"refs/heads/develop","before":"28e1879d029cb852e4844d9c718537df08844e03","after":"bffeb74224043ba2feb48d137756c8a9331c449a"}`,
	},
	{
		// https://support.atlassian.com/bitbucket-cloud/docs/event-payloads/ and manage-webhooks/
		name: "Bitbucket", secret: "bitbucket", unsigned: []string{"X-Hub-Signature"},
		headers: `
			User-Agent: Bitbucket-Webhooks/2.0
			X-Event-Key: repo:push
			X-Hook-UUID: 1ccf6f4f-0d0c-4a8b-9f6a-6ba2a0f6e5e5
			X-Request-UUID: 7a5bb4e9-4a29-4e1e-8d3c-9bb1b4bb9f3f
			X-Attempt-Number: 1
			X-Hub-Signature: sha256={hex}
			Content-Type: application/json`,
		body: `{"push":{"changes":[{"new":{"type":"branch","name":"main"}}]}}`,
	},
	{
		// https://confluence.atlassian.com/bitbucketserver/event-payload-938025882.html
		name: "Bitbucket Data Center", secret: "bitbucket", unsigned: []string{"x-hub-signature"},
		headers: `
			X-Event-Key: repo:refs_changed
			X-Request-Id: 7a5bb4e9-4a29-4e1e-8d3c-9bb1b4bb9f3f
			x-hub-signature: sha256={hex}
			Content-Type: application/json; charset=utf-8`,
		body: `{"eventKey":"repo:refs_changed"}`,
	},
	{
		// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
		name: "Standard Webhooks", secret: signingSecret, unsigned: []string{"webhook-signature"}, timed: true,
		headers: `
			webhook-id: msg_2KWPBgLlAfxdpx2AI54pPJ85f4W
			webhook-timestamp: {time}
			webhook-signature: v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg== v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4= {standard}
			Content-Type: application/json`,
		body: `{"type":"contact.created","timestamp":"2022-11-03T20:26:10.344522Z","data":{"id":"1f81eb52-5198-4599-803e-771906343485"}}`,
	},
	{
		name: "ours", secret: "jaco", unsigned: []string{"X-Jaco-Signature"},
		headers: `X-Jaco-Signature: sha256={hex}`, body: "2026-11-25T12:00:00Z",
	},
}

// fill computes what a sender computes.
func fill(t *testing.T, headers, secret, body string, at time.Time) string {
	t.Helper()
	timestamp, id := strconv.FormatInt(at.Unix(), 10), ""
	for line := range strings.Lines(headers) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), "webhook-id: "); found {
			id = value
		}
	}
	pairs := []string{"{hex}", sum(secret, body), "{secret}", secret, "{time}", timestamp}
	if strings.HasPrefix(secret, signingPrefix) {
		pairs = append(pairs, "{standard}", signStandard(t, secret, id, timestamp, body))
	}
	return strings.NewReplacer(pairs...).Replace(headers)
}

// without leaves headers out.
func without(headers string, names []string) string {
	var kept strings.Builder
	for line := range strings.Lines(headers) {
		keep := true
		for _, name := range names {
			keep = keep && !strings.HasPrefix(strings.TrimSpace(line), name+":")
		}
		if keep {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// TestForgeDeliveries is the conformance table: what each git host sends is
// taken, and what somebody else makes of it is not.
func TestForgeDeliveries(t *testing.T) {
	for _, d := range forgeDeliveries {
		other := "another secret"
		if d.timed {
			other = "whsec_" + strings.Repeat("QUJD", 8)
		}
		good := fill(t, d.headers, d.secret, d.body, webhookNow)
		for _, test := range []struct {
			name, secrets, headers, body string
			want                         int
		}{
			{"good", d.secret, good, d.body, http.StatusAccepted},
			{"good, the secret is the new one of two", other + "\n" + d.secret, good, d.body, http.StatusAccepted},
			{"good, the secret is the old one of two", d.secret + "\n" + other, good, d.body, http.StatusAccepted},
			{"bad: signed by another", d.secret, fill(t, d.headers, other, d.body, webhookNow), d.body, http.StatusUnauthorized},
			{"bad: nothing proves it", d.secret, without(good, d.unsigned), d.body, http.StatusUnauthorized},
			{"oversized", d.secret, fill(t, d.headers, d.secret, strings.Repeat(" ", mebibyte)+d.body, webhookNow), strings.Repeat(" ", mebibyte) + d.body, http.StatusRequestEntityTooLarge},
			{"5 minutes late", d.secret, fill(t, d.headers, d.secret, d.body, webhookNow.Add(-5*time.Minute)), d.body, http.StatusAccepted},
		} {
			t.Run(d.name+"/"+test.name, func(t *testing.T) {
				h := newHook(t, test.secrets)
				if w := h.post(http.MethodPost, test.headers, strings.NewReader(test.body)); w.Code != test.want || (h.pokes == 1) != (test.want == http.StatusAccepted) {
					t.Errorf("answered %d %q with %d pokes, want %d", w.Code, w.Body, h.pokes, test.want)
				}
			})
		}
		t.Run(d.name+"/bad: another body", func(t *testing.T) {
			want := http.StatusUnauthorized
			if strings.Contains(d.headers, "{secret}") {
				want = http.StatusAccepted // a token in clear says nothing of the body
			}
			h := newHook(t, d.secret)
			if w := h.post(http.MethodPost, good, strings.NewReader(d.body+" ")); w.Code != want {
				t.Errorf("answered %d, want %d", w.Code, want)
			}
		})
		t.Run(d.name+"/replayed", func(t *testing.T) {
			h := newHook(t, d.secret)
			for n, want := range []int{http.StatusAccepted, http.StatusOK, http.StatusOK} {
				if w := h.post(http.MethodPost, good, strings.NewReader(d.body)); w.Code != want || h.pokes != 1 {
					t.Errorf("delivery %d: answered %d with %d pokes, want %d with 1", n, w.Code, h.pokes, want)
				}
			}
			next := d.body + "\n"
			headers := strings.ReplaceAll(fill(t, strings.ReplaceAll(d.headers, "webhook-id: ", "webhook-id: 2"), d.secret, next, webhookNow), "Idempotency-Key: ", "Idempotency-Key: 2")
			if w := h.post(http.MethodPost, headers, strings.NewReader(next)); w.Code != http.StatusAccepted || h.pokes != 2 {
				t.Errorf("the next push: answered %d with %d pokes", w.Code, h.pokes)
			}
		})
		if !d.timed {
			continue
		}
		for name, off := range map[string]time.Duration{"late": -5*time.Minute - time.Second, "early": 5*time.Minute + time.Second, "a year late": -365 * 24 * time.Hour} {
			t.Run(d.name+"/"+name, func(t *testing.T) {
				h := newHook(t, d.secret)
				w := h.post(http.MethodPost, fill(t, d.headers, d.secret, d.body, webhookNow.Add(off)), strings.NewReader(d.body))
				if w.Code != http.StatusUnauthorized || h.pokes != 0 || !strings.Contains(w.Body.String(), "more than 5 minutes off this node's clock") {
					t.Errorf("answered %d %q with %d pokes", w.Code, w.Body, h.pokes)
				}
			})
		}
		t.Run(d.name+"/a retry has another time", func(t *testing.T) {
			h := newHook(t, d.secret)
			for n, want := range []int{http.StatusAccepted, http.StatusOK} {
				headers := fill(t, d.headers, d.secret, d.body, h.now)
				if w := h.post(http.MethodPost, headers, strings.NewReader(d.body)); w.Code != want || h.pokes != 1 {
					t.Errorf("attempt %d: answered %d with %d pokes, want %d with 1", n, w.Code, h.pokes, want)
				}
				h.now = h.now.Add(10 * time.Minute)
			}
		})
	}
}

// TestPublishedVectors takes what others computed.
func TestPublishedVectors(t *testing.T) {
	for _, test := range []struct{ name, secret, headers, body string }{
		// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries#testing-the-webhook-payload-validation
		{"GitHub", "It's a Secret to Everybody", "X-Hub-Signature-256: sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17", "Hello, World!"},
		// https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/
		{"Bitbucket", "It's a Secret to Everybody", "X-Hub-Signature: sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9", "Hello World!"},
		// https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries
		{"Standard Webhooks", signingSecret, "webhook-id: msg_p5jXN8AQM9LWM0D4loKWxJek\nwebhook-timestamp: 1614265330\nwebhook-signature: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=", `{"test": 2432232314}`},
	} {
		h := newHook(t, test.secret)
		if w := h.post(http.MethodPost, test.headers, strings.NewReader(test.body)); w.Code != http.StatusAccepted {
			t.Errorf("%s: answered %d %q", test.name, w.Code, w.Body)
		}
	}
}

// TestStandardHeadersAreStrict: what could be read in two ways is not read.
func TestStandardHeadersAreStrict(t *testing.T) {
	for name, test := range map[string]struct{ id, timestamp, version string }{
		"a full stop in the id":    {"msg.1", "1614265330", "v1,"},
		"no id":                    {"", "1614265330", "v1,"},
		"an id without end":        {strings.Repeat("x", 257), "1614265330", "v1,"},
		"a sign before the time":   {"msg", "+1614265330", "v1,"},
		"a time with a fraction":   {"msg", "1614265330.0", "v1,"},
		"a time of too many digit": {"msg", "0001614265330", "v1,"},
		"no time":                  {"msg", "", "v1,"},
		"another version":          {"msg", "1614265330", "v2,"},
		"no version":               {"msg", "1614265330", ""},
	} {
		h := newHook(t, signingSecret)
		signature := test.version + strings.TrimPrefix(signStandard(t, signingSecret, test.id, test.timestamp, "x"), "v1,")
		headers := "Webhook-Id: " + test.id + "\nWebhook-Timestamp: " + test.timestamp + "\nWebhook-Signature: " + signature
		if w := h.post(http.MethodPost, headers, strings.NewReader("x")); w.Code != http.StatusUnauthorized || h.pokes != 0 {
			t.Errorf("%s: answered %d with %d pokes", name, w.Code, h.pokes)
		}
	}
}
