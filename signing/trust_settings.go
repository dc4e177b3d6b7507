package signing

import (
	"slices"

	"go.yaml.in/yaml/v3"
)

// maxAllowed bounds the deployments in `allow` and the privileges of each.
const maxAllowed = 1_000

// settings reads the fields that hold one value.
func (r *trustReader) settings(top map[string]*yaml.Node) error {
	flags := []struct {
		name string
		to   *bool
	}{
		{"merges_approve", &r.trust.MergesApprove},
		{"require_target", &r.trust.RequireTarget},
	}
	for _, f := range flags {
		if n := top[f.name]; n != nil {
			var err error
			if *f.to, err = flag(n, f.name); err != nil {
				return err
			}
		}
	}
	choices := []struct {
		name, standard, other string
		to                    *bool
	}{
		{"history", "every-commit", "first-parent", &r.trust.FirstParent},
		{"images", "any", "pinned", &r.trust.ImagesPinned},
	}
	for _, c := range choices {
		if n := top[c.name]; n != nil {
			value, err := choice(n, c.name, c.standard, c.other)
			if err != nil {
				return err
			}
			*c.to = value == c.other
		}
	}
	return r.freshness(top["freshness"])
}

// freshness reads after how long without a commit there is an alert.
func (r *trustReader) freshness(n *yaml.Node) error {
	if n == nil {
		return nil
	}
	f, err := fields(n, "freshness", "max_age")
	if err != nil {
		return err
	}
	if age := f["max_age"]; age != nil {
		r.trust.MaxAge, err = duration(age, "freshness: max_age")
	}
	return err
}

// allow reads the privileges of the deployments; none without it.
func (r *trustReader) allow(n *yaml.Node) error {
	if n == nil {
		return nil
	}
	nodes, err := items(n, "allow")
	if err != nil {
		return err
	}
	if len(nodes) > maxAllowed {
		return trustError(n.Line, "allow: more than %d entries", maxAllowed)
	}
	for _, node := range nodes {
		if err := r.allowed(node); err != nil {
			return err
		}
	}
	return nil
}

// allowed reads one entry of allow.
func (r *trustReader) allowed(n *yaml.Node) error {
	f, err := fields(n, "allow", "deployment", "privileges")
	if err != nil {
		return err
	}
	for _, name := range []string{"deployment", "privileges"} {
		if f[name] == nil {
			return trustError(n.Line, "allow: field %q is missing", name)
		}
	}
	deployment, err := text(f["deployment"], "allow: deployment")
	if err != nil {
		return err
	}
	if deploymentNameProblem(deployment) != "" {
		return trustError(f["deployment"].Line, "allow: deployment %q: want the name of a folder below deployments/, no pattern",
			clip([]byte(deployment)))
	}
	if _, twice := r.trust.privileges[deployment]; twice {
		return trustError(f["deployment"].Line, "allow: deployment %q stands twice", deployment)
	}
	privileges, err := texts(f["privileges"], "allow: privileges")
	if err != nil {
		return err
	}
	if len(privileges) > maxAllowed {
		return trustError(f["privileges"].Line, "allow: more than %d privileges", maxAllowed)
	}
	for i, privilege := range privileges {
		if err := checkPrivilege(privilege); err != nil {
			return trustError(f["privileges"].Content[i].Line, "allow: %w", err)
		}
	}
	slices.Sort(privileges)
	r.trust.privileges[deployment] = privileges
	return nil
}
