package desired

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Notifications is the part of cluster.yaml that says whom the cluster tells
// what happens.
type Notifications struct {
	// Statuses has commit statuses written to the forge; nil: none.
	Statuses *CommitStatuses
	Channels []Channel // sorted by name
}

// CommitStatuses is where and how commit statuses are written.
type CommitStatuses struct {
	Forge Forge
	// API is the base URL of the forge's API; the default of the public forges is
	// filled in.
	API        string
	Repository string // "owner/name"; with GitLab also deeper
	Token      string // a secret (IsEncrypted, or a name) that may write statuses
	Link       string // what a status links to; "" for nothing
	Insecure   bool   // API may be http
}

// Forge is a kind of git host with an API for commit statuses.
type Forge string

// The forges.
const (
	GitHub  Forge = "github"
	GitLab  Forge = "gitlab"
	Gitea   Forge = "gitea"
	Forgejo Forge = "forgejo"
)

// Channel is one receiver of notifications.
type Channel struct {
	Name string
	Type ChannelType
	// URL is where to post; "" when the secret URLSecret holds it.
	URL       string
	URLSecret string
	Secret    string       // the secret that signs; WebhookChannel only
	Events    []NoticeKind // sorted; never empty
	Insecure  bool         // the URL may be http
}

// ChannelType is the form of what a channel is sent.
type ChannelType string

// The types of channels.
const (
	WebhookChannel ChannelType = "webhook" // JSON, signed as Standard Webhooks says
	SlackChannel   ChannelType = "slack"   // an incoming webhook of Slack, or one that is compatible
)

// NoticeKind is what a notification is about.
type NoticeKind string

// The kinds of notifications.
const (
	NoticeRefused   NoticeKind = "refused"           // a commit, or content that does not compile
	NoticeAwaiting  NoticeKind = "awaiting-approval" // a change waits for a signature
	NoticeConverged NoticeKind = "converged"         // a deployment runs its accepted revision, whole and healthy
	NoticeDegraded  NoticeKind = "degraded"          // a deployment does not
	NoticeDrift     NoticeKind = "drift"             // a container was changed by hand, and corrected
	NoticeNodeDown  NoticeKind = "node-down"
)

// NoticeKinds are all of them, sorted.
func NoticeKinds() []NoticeKind {
	return []NoticeKind{NoticeAwaiting, NoticeConverged, NoticeDegraded, NoticeDrift, NoticeNodeDown, NoticeRefused}
}

const maxChannels = 16

var (
	channelName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]*$`)
	secretName  = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	forgePath   = regexp.MustCompile(`^[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)+$`)
)

func readNotifications(v *value, name string, rep *report) *Notifications {
	n := &Notifications{}
	rep.fields(v, name, map[string]func(entry, string){
		"statuses": func(e entry, name string) { n.Statuses = readStatuses(e.value, name, rep) },
		"channels": func(e entry, name string) { n.Channels = readChannels(e.value, name, rep) },
	})
	return n
}

func readStatuses(v *value, name string, rep *report) *CommitStatuses {
	s := &CommitStatuses{}
	ok := rep.fields(v, name, map[string]func(entry, string){
		"forge": func(e entry, name string) {
			s.Forge = oneOf(rep, e.value, name, []Forge{GitHub, GitLab, Gitea, Forgejo})
		},
		"api":        func(e entry, name string) { s.API, _ = rep.text(e.value, name) },
		"repository": func(e entry, name string) { s.Repository = readForgePath(e.value, name, rep) },
		"token":      func(e entry, name string) { s.Token = readSecret(e.value, name, rep) },
		"link":       func(e entry, name string) { s.Link, _ = rep.text(e.value, name) },
		"insecure":   func(e entry, name string) { s.Insecure = rep.truth(e.value, name) },
	})
	if !ok {
		return nil
	}
	rep.required(v, name, "forge", "repository", "token")
	if v.child("api") == nil {
		s.API = map[Forge]string{GitHub: "https://api.github.com", GitLab: "https://gitlab.com/api/v4"}[s.Forge]
		if s.API == "" && s.Forge != "" {
			rep.addf(v.line, join(name, "api"), "must be set for %s: the URL of its API, such as https://git.example.com/api/v1", s.Forge)
		}
	}
	s.API = strings.TrimSuffix(s.API, "/")
	rep.endpoint(v, name, "api", s.API, s.Insecure)
	rep.endpoint(v, name, "link", s.Link, true)
	if s.Forge != GitLab && strings.Count(s.Repository, "/") > 1 {
		rep.addf(v.child("repository").line, join(name, "repository"), "%s is not owner/name", quoted(s.Repository))
	}
	return s
}

func readChannels(v *value, name string, rep *report) []Channel {
	if v.shape != mapping {
		rep.addf(v.line, name, "must be a mapping of channel names")
		return nil
	}
	if len(v.entries) > maxChannels {
		rep.addf(v.line, name, "%d channels, more than the limit of %d", len(v.entries), maxChannels)
		return nil
	}
	var channels []Channel
	for _, e := range v.entries {
		here := join(name, e.key)
		if len(e.key) > MaxName || !channelName.MatchString(e.key) {
			rep.addf(e.line, here, "not a channel name: lower-case letters, digits and dashes")
			continue
		}
		channels = append(channels, readChannel(e, here, rep))
	}
	slices.SortFunc(channels, func(a, b Channel) int { return strings.Compare(a.Name, b.Name) })
	return channels
}

func readChannel(of entry, name string, rep *report) Channel {
	c := Channel{Name: of.key, Events: NoticeKinds()}
	ok := rep.fields(of.value, name, map[string]func(entry, string){
		"type": func(e entry, name string) {
			c.Type = oneOf(rep, e.value, name, []ChannelType{WebhookChannel, SlackChannel})
		},
		"url":        func(e entry, name string) { c.URL, _ = rep.text(e.value, name) },
		"url_secret": func(e entry, name string) { c.URLSecret = readSecret(e.value, name, rep) },
		"secret":     func(e entry, name string) { c.Secret = readSecret(e.value, name, rep) },
		"events":     func(e entry, name string) { c.Events = readKinds(e.value, name, rep) },
		"insecure":   func(e entry, name string) { c.Insecure = rep.truth(e.value, name) },
	})
	if !ok {
		return c
	}
	rep.required(of.value, name, "type")
	if (of.value.child("url") == nil) == (of.value.child("url_secret") == nil) {
		rep.addf(of.value.line, name, "must have one of url and url_secret")
	}
	switch signs := of.value.child("secret") != nil; {
	case c.Type == WebhookChannel && !signs:
		rep.addf(of.value.line, join(name, "secret"), "must be set: it signs what is sent")
	case c.Type == SlackChannel && signs:
		rep.addf(of.value.child("secret").line, join(name, "secret"), "signs nothing here: Slack knows who posts by the URL")
	}
	rep.endpoint(of.value, name, "url", c.URL, c.Insecure)
	return c
}

func readKinds(v *value, name string, rep *report) []NoticeKind {
	if v.shape != list || len(v.items) == 0 {
		rep.addf(v.line, name, "must be a list of some of %s", listed(NoticeKinds()))
		return nil
	}
	var kinds []NoticeKind
	for i, item := range v.items {
		kinds = append(kinds, oneOf(rep, item, fmt.Sprintf("%s[%d]", name, i), NoticeKinds()))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

// IsEncrypted reports whether a secret of cluster.yaml is an age file in armor,
// encrypted to the cluster's recipient; otherwise it is the name of one that lies
// on the nodes.
func IsEncrypted(secret string) bool {
	return strings.HasPrefix(strings.TrimSpace(secret), "-----BEGIN AGE ENCRYPTED FILE-----")
}

// maxEncrypted bounds, in bytes, an encrypted secret of notifications.
const maxEncrypted = 16 << 10

// readSecret reads a secret that is encrypted, or the name of one. What else
// stands there may be the secret itself, so that no message repeats it.
func readSecret(v *value, name string, rep *report) string {
	if v.shape == scalar && len(v.text) <= maxEncrypted && (IsEncrypted(v.text) || secretName.MatchString(v.text)) {
		if _, text := v.scalar.(string); text {
			return v.text
		}
	}
	rep.addf(v.line, name, "%s", `must be an age file in armor, printf %s "$SECRET" | age -a -r "$(jaco status recipient cluster)", `+
		"or the name of a file of secret_files in jacod.yaml: lower-case letters, digits and dashes; what stood here in clear is in the history: change it")
	return ""
}

func readForgePath(v *value, name string, rep *report) string {
	text, ok := rep.text(v, name)
	if !ok {
		return ""
	}
	if !forgePath.MatchString(text) || slices.ContainsFunc(strings.Split(text, "/"), func(part string) bool { return part == "." || part == ".." }) {
		rep.addf(v.line, name, "%s is not owner/name", quoted(text))
		return ""
	}
	return text
}

// required reports the keys that a mapping lacks.
func (r *report) required(v *value, name string, keys ...string) {
	for _, key := range keys {
		if v.child(key) == nil {
			r.addf(v.line, join(name, key), "must be set")
		}
	}
}

// truth reads a boolean.
func (r *report) truth(v *value, name string) bool {
	b, ok := v.scalar.(bool)
	if v.shape != scalar || !ok {
		r.addf(v.line, name, "must be true or false")
	}
	return b
}

// endpoint checks the URL that a key holds, if it holds one.
func (r *report) endpoint(v *value, name, key, text string, insecure bool) {
	at := v.child(key)
	if at == nil || text == "" {
		return
	}
	if err := CheckEndpoint(text, insecure); err != nil {
		r.addf(at.line, join(name, key), "%s", err)
	}
}

// CheckEndpoint says why nothing may be sent to a URL, nil when it may: it is
// https, or http to this machine, or to anywhere where insecure says so, and
// holds no user and password. The error does not repeat the URL, which may be a
// secret.
func CheckEndpoint(text string, insecure bool) error {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Scheme != "https" && u.Scheme != "http":
		return errors.New("must be a URL such as https://host/path")
	case u.User != nil:
		return errors.New("must not hold a user or password")
	case u.Fragment != "":
		return errors.New("must not end in a #fragment")
	case u.Scheme == "http" && !insecure && !loopback(u.Hostname()):
		return errors.New("must be https: what is sent would be readable on the way; insecure: true allows http")
	}
	return nil
}

// loopback reports whether a host is this machine.
func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback()
}

// oneOf reads one of several words.
func oneOf[T ~string](rep *report, v *value, name string, words []T) T {
	text, ok := rep.text(v, name)
	if ok && !slices.Contains(words, T(text)) {
		rep.addf(v.line, name, "%s is none of %s", quoted(text), listed(words))
		return ""
	}
	return T(text)
}

func listed[T ~string](words []T) string {
	texts := make([]string, len(words))
	for i, w := range words {
		texts[i] = string(w)
	}
	return strings.Join(texts, ", ")
}
