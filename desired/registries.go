package desired

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
)

// Registry is the account with which images below a prefix are pulled.
type Registry struct {
	Prefix   string // "registry.example.com/team"
	Username string
	// Password is an age file in armor, encrypted to the cluster's recipient.
	Password string
}

// armorHeader starts an age file in armor.
const armorHeader = "-----BEGIN AGE ENCRYPTED FILE-----"

// The bounds, in bytes, of what one registry has.
const (
	maxPrefix   = 255
	maxUsername = 255
	maxPassword = 128 << 10
)

var (
	// registryPrefix is a host with a dot, a port or the name localhost, and path
	// segments: without one of the three the engine takes it for Docker Hub's.
	registryPrefix = regexp.MustCompile(`^(localhost|[a-zA-Z0-9-]+(\.[a-zA-Z0-9-]+)+|[a-zA-Z0-9.-]+:[0-9]{1,5}|localhost:[0-9]{1,5})(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	registryUser   = regexp.MustCompile(`^[^\s:[:cntrl:]]+$`)
)

// Registry returns the account for an image: that of the longest prefix, at the
// border of a segment. Nil: it is pulled without one. Docker Hub's images are
// below docker.io.
func (c *Cluster) Registry(image string) *Registry {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil
	}
	var best *Registry
	for i := range c.Registries {
		r := &c.Registries[i]
		if named.Name() != r.Prefix && !strings.HasPrefix(named.Name(), r.Prefix+"/") {
			continue
		}
		if best == nil || len(r.Prefix) > len(best.Prefix) {
			best = r
		}
	}
	return best
}

func readRegistries(v *value, name string, rep *report) []Registry {
	if v.shape != mapping {
		rep.addf(v.line, name, "must be a mapping of prefixes of image names")
		return nil
	}
	var out []Registry
	for _, e := range v.entries {
		here := join(name, e.key)
		if len(e.key) > maxPrefix || !registryPrefix.MatchString(e.key) {
			rep.addf(e.line, here, "not the start of an image's name, such as registry.example.com/team")
			continue
		}
		r := Registry{Prefix: e.key}
		rep.fields(e.value, here, map[string]func(entry, string){
			"username": func(e entry, name string) { r.Username = readUsername(e.value, name, rep) },
			"password": func(e entry, name string) { r.Password = readPassword(e.value, name, rep) },
		})
		for _, field := range []string{"username", "password"} {
			if e.value.shape == mapping && e.value.get(field) == nil {
				rep.addf(e.line, join(here, field), "is missing")
			}
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b Registry) int { return cmp.Compare(a.Prefix, b.Prefix) })
	return out
}

func readUsername(v *value, name string, rep *report) string {
	text, ok := rep.text(v, name)
	if ok && (len(text) > maxUsername || !registryUser.MatchString(text)) {
		rep.addf(v.line, name, "must be a name without spaces and colons, at most %d bytes", maxUsername)
	}
	return text
}

// readPassword never repeats what it read: it may be a password in clear.
func readPassword(v *value, name string, rep *report) string {
	if v.shape != scalar || len(v.text) > maxPassword || !strings.HasPrefix(strings.TrimSpace(v.text), armorHeader) {
		rep.addf(v.line, name, "%s", `must be an age file in armor: printf %s "$PASSWORD" | age -a -r "$(jaco status recipient cluster)"; `+
			"what stood here in clear is in the history: change it")
		return ""
	}
	return v.text
}
