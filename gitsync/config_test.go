package gitsync

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jaco-sh/jaco/tests/rig"
)

func TestParseEndpoint(t *testing.T) {
	for raw, want := range map[string]endpoint{
		"https://git.example.com/ops/fleet.git":     {scheme: "https", host: "git.example.com", path: "/ops/fleet.git"},
		"https://git.example.com:8443/fleet":        {scheme: "https", host: "git.example.com", port: 8443, path: "/fleet"},
		"http://[::1]:3000/fleet.git":               {scheme: "http", host: "::1", port: 3000, path: "/fleet.git"},
		"ssh://git@git.example.com/ops/fleet.git":   {scheme: "ssh", user: "git", host: "git.example.com", port: 22, path: "/ops/fleet.git"},
		"ssh://git.example.com:2222/fleet.git":      {scheme: "ssh", user: "git", host: "git.example.com", port: 2222, path: "/fleet.git"},
		"ssh://bob@git.example.com/~/fleet.git":     {scheme: "ssh", user: "bob", host: "git.example.com", port: 22, path: "~/fleet.git"},
		"ssh://bob@git.example.com/~bob/fleet.git":  {scheme: "ssh", user: "bob", host: "git.example.com", port: 22, path: "~bob/fleet.git"},
		"git@git.example.com:ops/fleet.git":         {scheme: "ssh", user: "git", host: "git.example.com", port: 22, path: "ops/fleet.git"},
		"git@[fd00::1]:/srv/fleet.git":              {scheme: "ssh", user: "git", host: "fd00::1", port: 22, path: "/srv/fleet.git"},
		"/var/lib/jaco/repo/":                       {path: "/var/lib/jaco/repo"},
		"/srv/my fleet: the best.git":               {path: "/srv/my fleet: the best.git"},
		"https://git.example.com/a%20b/fleet.git":   {scheme: "https", host: "git.example.com", path: "/a b/fleet.git"},
		"ssh://git@git.example.com/it's/fleet.git":  {scheme: "ssh", user: "git", host: "git.example.com", port: 22, path: "/it's/fleet.git"},
		"deploy.user@git-1.example.com:~/fleet.git": {scheme: "ssh", user: "deploy.user", host: "git-1.example.com", port: 22, path: "~/fleet.git"},
	} {
		got, err := parseEndpoint(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(endpoint{})); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", raw, diff)
		}
	}
}

func TestParseEndpointRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"":                                   "no URL",
		"fleet.git":                          "want https://",
		"./fleet.git":                        "want https://",
		"git.example.com:fleet.git":          "want https://",
		"C:\\fleet":                          "want https://",
		"file:///srv/fleet.git":              "scheme file:// is not supported",
		"git://git.example.com/fleet.git":    "scheme git:// is not supported",
		"ftp://git.example.com/fleet.git":    "scheme ftp:// is not supported",
		"ext::sh -c id":                      "want https://",
		"ext::ssh://x/y":                     "scheme ext:// is not supported",
		"https://":                           "host or path is missing",
		"https://git.example.com":            "host or path is missing",
		"https:///fleet.git":                 "host or path is missing",
		"https://bob:hunter2@example.com/f":  "must not hold a password",
		"https://ghp_token@example.com/f":    "token file",
		"ssh://bob:hunter2@example.com/f":    "must not hold a password",
		"https://example.com/f?x=1":          "query",
		"https://example.com/f#x":            "query or fragment",
		"ssh://-oProxyCommand=id/f":          "",
		"git@-oProxyCommand=id:f":            "",
		"git@example.com:-x":                 "want https://",
		"ssh://git@example.com:99999/f":      "",
		"https://example.com/f\nx":           "control characters",
		"git@example.com::f":                 "want https://",
		"https://bob:hunter2@exa mple.com/f": "",
	} {
		_, err := parseEndpoint(raw)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", raw, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the error %v shows the password", raw, err)
		}
	}
}

func TestValidate(t *testing.T) {
	git := rig.StartGit(t)
	key, err := git.NewSSHKey(t.Context(), "deploy", "ed25519")
	if err != nil {
		t.Fatal(err)
	}
	private := readTestFile(t, key.Private)
	hosts := []byte("git.example.com " + key.Public + "\n")
	lockedPath := t.TempDir() + "/locked"
	if out, err := rig.NetNS("").Command(t.Context(), "ssh-keygen", "-q", "-N", "passphrase", "-f", lockedPath).CombinedOutput(); err != nil {
		t.Fatal(err, string(out))
	}
	locked := readTestFile(t, lockedPath)

	ssh := func(c Credentials) Repository {
		return Repository{URL: "git@git.example.com:fleet.git", Credentials: c}
	}
	token := func(url string) Repository {
		return Repository{URL: url, Credentials: Credentials{Token: []byte("s3cret")}}
	}
	for name, test := range map[string]struct {
		repository Repository
		want       string // of the error, empty for none
	}{
		"https":              {Repository{URL: "https://example.com/f"}, ""},
		"https with token":   {token("https://example.com/f"), ""},
		"http":               {Repository{URL: "http://example.com/f"}, ""},
		"http with token":    {token("http://example.com/f"), "in clear"},
		"http to loopback":   {token("http://127.0.0.1:3000/f"), ""},
		"http to localhost":  {token("http://localhost:3000/f"), ""},
		"http to ::1":        {token("http://[::1]:3000/f"), ""},
		"http to private":    {token("http://192.168.1.10/f"), ""},
		"http to 172.32":     {token("http://172.32.0.1/f"), "in clear"},
		"http to public":     {token("http://8.8.8.8/f"), "in clear"},
		"http to a name":     {token("http://git.local/f"), "in clear"},
		"token of two lines": {Repository{URL: "https://example.com/f", Credentials: Credentials{Token: []byte("a\nb")}}, "single line"},
		"token with newline": {Repository{URL: "https://example.com/f", Credentials: Credentials{Token: []byte("a\n")}}, ""},
		"path":               {Repository{URL: "/srv/fleet.git"}, ""},
		"ssh":                {ssh(Credentials{SSHKey: private, KnownHosts: hosts}), ""},
		"ssh without key":    {ssh(Credentials{KnownHosts: hosts}), "needs a private key"},
		"ssh without hosts":  {ssh(Credentials{SSHKey: private}), "ssh-keyscan git.example.com"},
		"ssh, broken key":    {ssh(Credentials{SSHKey: []byte("x"), KnownHosts: hosts}), "read ssh private key"},
		"ssh, locked key":    {ssh(Credentials{SSHKey: locked, KnownHosts: hosts}), "has a passphrase"},
		"ssh, broken hosts": {
			ssh(Credentials{SSHKey: private, KnownHosts: append(hosts[:len(hosts):len(hosts)], "git.example.com ssh-ed25519\n"...)}), "line 2",
		},
		"branch":             {Repository{URL: "/srv/f", Branch: "release/1.2"}, ""},
		"branch as ref":      {Repository{URL: "/srv/f", Branch: "refs/heads/main"}, "without refs/heads/"},
		"branch that climbs": {Repository{URL: "/srv/f", Branch: "../../etc/passwd"}, "not a branch's name"},
		"branch as option":   {Repository{URL: "/srv/f", Branch: "--upload-pack=x"}, "not a branch's name"},
		"branch as lock":     {Repository{URL: "/srv/f", Branch: "a.lock/b"}, "not a branch's name"},
		"branch with space":  {Repository{URL: "/srv/f", Branch: "a b"}, "not a branch's name"},
	} {
		t.Run(name, func(t *testing.T) {
			c := DefaultConfig()
			c.Repository, c.Directory = test.repository, "/var/lib/jaco/mirror"
			err := c.Validate()
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Errorf("the error %v shows the token", err)
			}
		})
	}
	c := DefaultConfig()
	c.Repository.URL, c.Directory = "https://example.com/f", "relative"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "absolute") {
		t.Errorf("relative directory: %v", err)
	}
	c.Directory, c.Limits.Bytes = "/x", -1
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "negative") {
		t.Errorf("negative limit: %v", err)
	}
}
