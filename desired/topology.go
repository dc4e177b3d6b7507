package desired

import (
	"cmp"
	"slices"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"
)

// defaultNetwork is what a service joins that names no network.
const defaultNetwork = "default"

// bridgeMark stands in the names of the further bridges that the engine has of a
// network (cluster.SliceNetwork). A network of such a name would be one of them.
const bridgeMark = ".jaco-"

// attachments are the networks of a service, sorted by name: those of
// jaco.yaml where it names some, else compose's.
func (b *builder) attachments(svc types.ServiceConfig, over *overlayService) []Attachment {
	names := sortedKeys(svc.Networks)
	if svc.NetworkMode != "" {
		if over.networks != nil {
			b.fileReport(OverlayFile).addf(over.networks.line, "services", "service %s has no networks: the compose file sets its network_mode", quoted(svc.Name))
		}
		return nil
	}
	if len(names) == 0 {
		names = []string{defaultNetwork}
	}
	if over.networks != nil {
		names = words(over.networks)
		b.noteBeaten([]string{"services", svc.Name, "networks"}, over.networks.line)
	}
	out := make([]Attachment, 0, len(names))
	for _, name := range names {
		if _, ok := b.project.Networks[name]; !ok && name != defaultNetwork {
			if over.networks != nil {
				b.fileReport(OverlayFile).addf(over.networks.line, "services", "the compose file has no network %s", quoted(name))
			} else {
				b.failf([]string{"services", svc.Name, "networks", name}, "network %s is not declared under networks", quoted(name))
			}
			continue
		}
		a := Attachment{Network: name}
		if config := svc.Networks[name]; config != nil {
			a.Aliases = slices.Compact(slices.Sorted(slices.Values(config.Aliases)))
		}
		out = append(out, a)
	}
	return out
}

// noteBeaten notes a field of compose that jaco.yaml overrides.
func (b *builder) noteBeaten(steps []string, line int) {
	if at := locate(b.tree, steps); at.found {
		b.rep.notef(at.line, at.name, "overridden by %s:%d", OverlayFile, line)
	}
}

// networks are the definitions of the networks that services use.
func (b *builder) networks(d *Deployment) []Network {
	used := map[string]bool{}
	for _, s := range d.Services {
		for _, a := range s.Container.Networks {
			used[a.Network] = true
		}
	}
	names := sortedKeys(b.project.Networks)
	if _, ok := b.project.Networks[defaultNetwork]; !ok {
		names = append(names, defaultNetwork)
		slices.Sort(names)
	}
	var out []Network
	for _, name := range names {
		config := b.project.Networks[name]
		place := []string{"networks", name}
		b.checkObjectName("networks", name)
		if config.Driver != "" && config.Driver != "bridge" {
			b.failf(append(place, "driver"), "%s", refused(notPlanned, quoted(config.Driver)+" is not bridge; remove it, JACO connects the nodes itself"))
		}
		n := Network{Name: name, Internal: config.Internal, Labels: b.labels(config.Labels, append(place, "labels"))}
		n.Engine, n.External = b.beyond("networks", name, config.Name, bool(config.External), privilegeNetwork)
		if strings.Contains(cmp.Or(n.Engine, name), bridgeMark) {
			b.failf(place, "names with %s in them are given by JACO; choose another", bridgeMark)
		}
		if used[name] {
			out = append(out, n)
		}
	}
	return out
}

func (b *builder) dependencies(svc types.ServiceConfig) []Dependency {
	var out []Dependency
	for _, name := range sortedKeys(svc.DependsOn) {
		place := []string{"services", svc.Name, "depends_on", name}
		d := Dependency{Service: name, Required: svc.DependsOn[name].Required}
		switch condition := svc.DependsOn[name].Condition; condition {
		case "", types.ServiceConditionStarted:
			d.Condition = Started
		case types.ServiceConditionHealthy:
			d.Condition = Healthy
		case types.ServiceConditionCompletedSuccessfully:
			b.failf(append(place, "condition"), "%s", refused(planned,
				condition+" needs jobs; do the task in the entrypoint until then"))
		default:
			b.failf(append(place, "condition"), "unknown condition %s", quoted(condition))
		}
		if _, ok := b.project.Services[name]; !ok {
			b.failf(place, "there is no service %s", quoted(name))
			continue
		}
		out = append(out, d)
	}
	return out
}

// checkCycles reports services that wait for each other, each cycle once, at
// its first service by name.
func (b *builder) checkCycles(d *Deployment) {
	state := map[string]int{} // 0 unseen, 1 on the path, 2 done
	var way []string
	var visit func(name string)
	visit = func(name string) {
		state[name] = 1
		way = append(way, name)
		s := d.Service(name)
		if s == nil {
			return
		}
		for _, dep := range s.DependsOn {
			switch state[dep.Service] {
			case 0:
				visit(dep.Service)
			case 1:
				cycle := append(slices.Clone(way[slices.Index(way, dep.Service):]), dep.Service)
				b.failf([]string{"services", name, "depends_on", dep.Service}, "services wait for each other: %s", quoted(strings.Join(cycle, " → ")))
			}
		}
		way = way[:len(way)-1]
		state[name] = 2
	}
	for i := range d.Services {
		if state[d.Services[i].Name] == 0 {
			visit(d.Services[i].Name)
		}
	}
}
