package desired

import (
	"fmt"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// overlay is a jaco.yaml. Where it says something it beats compose.
type overlay struct {
	environment *value // nil: the default
	services    []*overlayService
}

// overlayService holds what jaco.yaml says of one service; what it leaves out
// is nil.
type overlayService struct {
	name      string
	at        *value // the name
	replicas  *value
	placement *value
	hosts     *value
	networks  *value
}

func (o *overlay) service(name string) *overlayService {
	for _, s := range o.services {
		if s.name == name {
			return s
		}
	}
	return &overlayService{name: name}
}

// readOverlay reads jaco.yaml, which may be missing.
func (c *compilation) readOverlay() *overlay {
	o := &overlay{}
	if c.exists("jaco.yml") {
		c.fileReport("jaco.yml").addf(0, "", "its name must be %s", OverlayFile)
	}
	if !c.exists(OverlayFile) {
		return o
	}
	rep := c.fileReport(OverlayFile)
	data, err := readFile(c.fsys, OverlayFile)
	if err != nil {
		rep.addf(0, "", "%s", readError(err))
		return o
	}
	tree := parseDocument(data, rep)
	if tree == nil {
		return o
	}
	rep.fields(tree, "", map[string]func(entry, string){
		"deployment": func(e entry, name string) {
			if got, ok := rep.text(e.value, name); ok && got != c.name {
				rep.addf(e.value.line, name, "%s is not the name of the folder, %s", quoted(got), quoted(c.name))
			}
		},
		"environment": func(e entry, name string) {
			if _, ok := rep.text(e.value, name); ok {
				o.environment = e.value
			}
		},
		"services": func(e entry, name string) { o.readServices(e.value, name, rep) },
		"routes":   func(e entry, _ string) { rep.addf(e.line, "", "not supported yet: routes") },
	})
	return o
}

func (o *overlay) readServices(v *value, name string, rep *report) {
	if v.shape != list {
		rep.addf(v.line, name, "must be a list")
		return
	}
	for i, item := range v.items {
		s := &overlayService{}
		here := fmt.Sprintf("%s[%d]", name, i)
		ok := rep.fields(item, here, map[string]func(entry, string){
			"name": func(e entry, name string) {
				s.name, _ = rep.text(e.value, name)
				s.at = e.value
			},
			"replicas": func(e entry, name string) {
				if _, ok := rep.integer(e.value, name, 0, MaxReplicas); ok {
					s.replicas = e.value
				}
			},
			"placement": func(e entry, name string) {
				if got, ok := rep.text(e.value, name); ok && s.setPlacement(e.value, got) != nil {
					rep.addf(e.value.line, name, "%s is none of spread, pack, hosts, global", quoted(got))
				}
			},
			"hosts": func(e entry, name string) {
				if rep.texts(e.value, name) {
					s.hosts = e.value
				}
			},
			"networks": func(e entry, name string) {
				if rep.texts(e.value, name) {
					s.networks = e.value
				}
			},
		})
		switch {
		case !ok:
		case s.at == nil:
			rep.addf(item.line, here, "a name is missing")
		case s.name == "":
		case slices.ContainsFunc(o.services, func(other *overlayService) bool { return other.name == s.name }):
			rep.addf(s.at.line, here+".name", "service %s is listed twice", quoted(s.name))
		default:
			s.check(here, rep)
			o.services = append(o.services, s)
		}
	}
}

func (s *overlayService) setPlacement(v *value, text string) error {
	switch text {
	case string(Spread), string(Pack), string(Hosts), string(Global):
		s.placement = v
		return nil
	}
	return errValue
}

// check holds the fields of one service against each other.
func (s *overlayService) check(name string, rep *report) {
	placement := ""
	if s.placement != nil {
		placement = s.placement.text
	}
	switch {
	case placement == string(Hosts) && (s.hosts == nil || len(s.hosts.items) == 0):
		rep.addf(s.placement.line, join(name, "placement"), "hosts needs a list of hosts")
	case placement != string(Hosts) && s.hosts != nil:
		rep.addf(s.hosts.line, join(name, "hosts"), "only means something with placement: hosts")
	case placement == string(Global) && s.replicas != nil:
		rep.addf(s.replicas.line, join(name, "replicas"), "cannot be set with placement: global, which runs one on each node")
	}
	if s.networks != nil && len(s.networks.items) == 0 {
		rep.addf(s.networks.line, join(name, "networks"), "at least one network is needed")
	}
}

// checkServices reports services that the compose file does not have.
func (o *overlay) checkServices(project *types.Project, rep *report) {
	for _, s := range o.services {
		if _, ok := project.Services[s.name]; !ok {
			rep.addf(s.at.line, "services", "the compose file has no service %s", quoted(s.name))
		}
	}
}

// words are the texts of a list that was checked when it was read.
func words(v *value) []string {
	out := make([]string, 0, len(v.items))
	for _, item := range v.items {
		out = append(out, item.text)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
