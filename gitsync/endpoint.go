package gitsync

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path"
	"regexp"
	"strconv"
	"strings"
)

const (
	schemeHTTP  = "http"
	schemeHTTPS = "https"
	schemeSSH   = "ssh"
	schemeLocal = "" // an absolute path
)

// endpoint is a parsed Repository.URL.
type endpoint struct {
	scheme string
	user   string // ssh only
	host   string // without port and brackets
	port   int    // ssh: 22 when the URL names none; http: 0
	path   string // as the server, or this machine, knows it
}

// scpLike is user@host:path, as git clone takes it. Without "user@" it is not
// told apart from a drive or a typing error, so the user is asked for.
var scpLike = regexp.MustCompile(`^([A-Za-z0-9._][A-Za-z0-9._-]*)@([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):(.+)$`)

func parseEndpoint(raw string) (endpoint, error) {
	const want = "want https://host/path, ssh://user@host/path, user@host:path or an absolute path"
	if raw == "" {
		return endpoint{}, errors.New("repository: no URL; " + want)
	}
	if strings.ContainsAny(raw, "\x00\r\n") {
		return endpoint{}, fmt.Errorf("repository %q: control characters in the URL", raw)
	}
	if strings.HasPrefix(raw, "/") {
		return endpoint{path: path.Clean(raw)}, nil
	}
	if !strings.Contains(raw, "://") {
		if m := scpLike.FindStringSubmatch(raw); m != nil && !strings.HasPrefix(m[3], "-") && !strings.HasPrefix(m[3], ":") {
			return endpoint{scheme: schemeSSH, user: m[1], host: strings.Trim(m[2], "[]"), port: 22, path: m[3]}, nil
		}
		return endpoint{}, fmt.Errorf("repository %q: %s", raw, want)
	}
	u, err := url.Parse(raw)
	if err != nil {
		// url.Error repeats the URL, which may hold a password.
		return endpoint{}, fmt.Errorf("repository: not a URL; %s", want)
	}
	if _, set := u.User.Password(); set {
		return endpoint{}, fmt.Errorf("repository %s: the URL is shown in status and must not hold a password; use --token-file", u.Redacted())
	}
	return endpointOf(u, raw, want)
}

func endpointOf(u *url.URL, raw, want string) (endpoint, error) {
	where := endpoint{scheme: u.Scheme, user: u.User.Username(), host: u.Hostname(), path: u.Path}
	switch u.Scheme {
	case schemeHTTP, schemeHTTPS:
		if where.user != "" {
			return endpoint{}, fmt.Errorf("repository %s: a user in the URL; put user:token into the token file", u.Redacted())
		}
	case schemeSSH:
		where.port = 22
		if where.user == "" {
			where.user = "git"
		}
		// ssh://host/~user/x is relative to a home, as git has it.
		where.path = strings.TrimPrefix(where.path, "/~")
		if where.path != u.Path {
			where.path = "~" + where.path
		}
	default:
		return endpoint{}, fmt.Errorf("repository %q: scheme %s:// is not supported; %s", raw, u.Scheme, want)
	}
	if where.host == "" || strings.HasPrefix(where.host, "-") || strings.Trim(where.path, "/") == "" {
		return endpoint{}, fmt.Errorf("repository %q: host or path is missing", raw)
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return endpoint{}, fmt.Errorf("repository %q: a query or fragment has no meaning here", raw)
	}
	if p := u.Port(); p != "" {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 || n > 65535 {
			return endpoint{}, fmt.Errorf("repository %q: port %s is not a port", raw, p)
		}
		where.port = n
	}
	return where, nil
}

// private says whether the host is this machine or an RFC 1918 address, by the
// look of it: no name but localhost counts, since whoever answers for the name
// could point it elsewhere.
func (e endpoint) private() bool {
	if e.host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(e.host)
	if err != nil {
		return false
	}
	ip = ip.Unmap()
	return ip.IsLoopback() || ip.Is4() && ip.IsPrivate()
}

// address is host:port for ssh.
func (e endpoint) address() string { return net.JoinHostPort(e.host, strconv.Itoa(e.port)) }

// keyscanAdvice says how to pin the host's key.
func (e endpoint) keyscanAdvice() string {
	port := ""
	if e.port != 22 {
		port = fmt.Sprintf("-p %d ", e.port)
	}
	return fmt.Sprintf("run `ssh-keyscan %s%s > known_hosts`, compare it with what the host publishes, and pass it with --known-hosts known_hosts", port, e.host)
}
