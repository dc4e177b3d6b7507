package signing

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Privilege is one kind of privilege that trust.yaml may allow to a
// deployment. The names reach trust.yaml and error messages: never rename one.
type Privilege struct {
	// Name is the word in trust.yaml. One that ends in a colon is followed by
	// a value.
	Name string
	// About says what it lets a deployment do.
	About string

	check func(value string) bool // of the value behind the colon; nil: there is none
	want  string                  // the form of the value, for errors
}

// PrivilegeTable returns every privilege that there is, the closed list that
// `allow` is checked against. Sorted by name.
func PrivilegeTable() []Privilege {
	return []Privilege{
		{"bind:", "mount this path of the node, exactly this one", isBindPath, "a clean absolute path, as in bind:/srv/backup"},
		{"cap:", "add this capability beyond Docker's default set", isCapability, "a name without CAP_, as in cap:NET_ADMIN"},
		{"devices", "use devices of the node", nil, ""},
		{"domain:", "share this domain with another deployment", isDomain, "a lower-case domain, as in domain:shop.example.com"},
		{"env-secrets", "hand secrets over as environment, which the engine stores in clear", nil, ""},
		{"ipc:host", "share the node's interprocess communication", nil, ""},
		{"network:", "join this network, which belongs to no deployment or to another", isEngineName, "the engine's name of the network"},
		{"network_mode:host", "use the node's own network", nil, ""},
		{"pid:host", "see and signal every process of the node", nil, ""},
		{"privileged", "have every capability and device of the node", nil, ""},
		{"security_opt", "loosen seccomp, AppArmor or SELinux", nil, ""},
		{"userns_mode:host", "use the node's own user ids", nil, ""},
		{"uts:host", "use the node's own host name", nil, ""},
		{"volume:", "mount this volume, which belongs to no deployment or to another", isEngineName, "the engine's name of the volume"},
	}
}

// Privileges returns what trust.yaml allows the deployment, sorted; nil for
// nothing.
func (t *Trust) Privileges(deployment string) []string {
	return slices.Clone(t.privileges[deployment])
}

// checkPrivilege refuses a privilege that does not exist: one that is written
// wrongly must not allow nothing in silence.
func checkPrivilege(text string) error {
	var names []string
	for _, p := range PrivilegeTable() {
		if p.check == nil && text == p.Name {
			return nil
		}
		value, found := strings.CutPrefix(text, p.Name)
		if p.check != nil && found {
			if !p.check(value) {
				return fmt.Errorf("privilege %q: want %s", clip([]byte(text)), p.want)
			}
			return nil
		}
		names = append(names, p.Name)
	}
	return fmt.Errorf("privilege %q does not exist: there are %s", clip([]byte(text)), strings.Join(names, ", "))
}

// The bounds of a privilege's value in bytes.
const (
	maxBindPath   = 1_024
	maxEngineName = 255
	maxDomain     = 253
)

const (
	lowerLetters = "abcdefghijklmnopqrstuvwxyz"
	upperLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits       = "0123456789"
)

func isBindPath(s string) bool {
	return len(s) <= maxBindPath && strings.HasPrefix(s, "/") && path.Clean(s) == s && showPath(s) == s
}

func isCapability(s string) bool {
	return s != "" && len(s) <= 64 && !strings.HasPrefix(s, "CAP_") && strings.Trim(s, upperLetters+digits+"_") == ""
}

func isEngineName(s string) bool {
	const first = lowerLetters + upperLetters + digits
	return s != "" && len(s) <= maxEngineName && strings.IndexByte(first, s[0]) >= 0 && strings.Trim(s, first+"_.-") == ""
}

func isDomain(s string) bool {
	if s == "" || len(s) > maxDomain {
		return false
	}
	for i, label := range strings.Split(s, ".") {
		if i == 0 && label == "*" {
			continue
		}
		if label == "" || len(label) > 63 || strings.Trim(label, lowerLetters+digits+"-") != "" ||
			label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}
