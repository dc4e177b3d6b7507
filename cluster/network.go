package cluster

import (
	"maps"
	"slices"

	"github.com/jaco-sh/jaco/desired"
)

// Networks are the networks of the mesh that a view declares, by the engine's
// name, which is what makes two networks one.
type Networks map[string]DeclaredNetwork

// DeclaredNetwork is a network with the deployment that declares it.
type DeclaredNetwork struct {
	Deployment string
	Definition desired.Network
}

// Networks returns the networks that accepted revisions declare, and those before
// them, whose replicas may still run. An external network is one of the mesh only
// where another deployment declares it: else it is the host's own, which JACO
// neither makes nor isolates. Where two revisions declare one name, the present
// one before an earlier one, the deployment that is first by name decides.
func (v *View) Networks() Networks {
	all := make(Networks, len(v.Deployments))
	names := slices.Sorted(maps.Keys(v.Deployments))
	for _, name := range names {
		all.declare(v.Deployments[name])
	}
	for _, name := range names {
		all.declare(v.Deployments[name].Previous)
	}
	return all
}

func (n Networks) declare(a *Accepted) {
	if a == nil || a.Desired == nil {
		return
	}
	for i := range a.Desired.Services {
		for _, at := range a.Desired.Services[i].Container.Networks {
			definition := networkOf(a.Desired, at.Network)
			engine := a.Desired.EngineNetwork(at.Network)
			if _, known := n[engine]; !known && !definition.External {
				n[engine] = DeclaredNetwork{Deployment: a.Name, Definition: definition}
			}
		}
	}
}

// networkOf is a deployment's definition of a network; one that says nothing of
// it has its defaults.
func networkOf(d *desired.Deployment, name string) desired.Network {
	for _, n := range d.Networks {
		if n.Name == name {
			return n
		}
	}
	return desired.Network{Name: name}
}

// Of lists the networks of the mesh that a service of d is attached to, by the
// engine's name, in the order of its attachments. It is empty for one that needs
// none: without networks, or on the host's own alone.
func (n Networks) Of(d *desired.Deployment, spec *desired.Service) []string {
	var out []string
	if d == nil || spec == nil {
		return nil
	}
	for _, at := range spec.Container.Networks {
		engine := d.EngineNetwork(at.Network)
		if _, ours := n[engine]; ours && !slices.Contains(out, engine) {
			out = append(out, engine)
		}
	}
	return out
}
