package cluster

import "fmt"

// maxName bounds the names of nodes, deployments, services and sealed items.
const maxName = 128

// checkName checks a name that becomes part of keys, labels and file names.
// What the fleet repository allows is narrower; this is what state relies on.
func checkName(what, name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("%w: %s name of %d characters", ErrInvalid, what, len(name))
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case i > 0 && (c == '-' || c == '.'):
		default:
			return fmt.Errorf("%w: %s name %q", ErrInvalid, what, name)
		}
	}
	return nil
}

func checkKey(k ServiceKey) error {
	if err := checkName("deployment", k.Deployment); err != nil {
		return err
	}
	return checkName("service", k.Service)
}
