package desired

import (
	"regexp"
	"time"
)

// The bounds and the default of sync.interval in cluster.yaml.
const (
	MinSyncInterval     = 5 * time.Second
	MaxSyncInterval     = time.Hour
	DefaultSyncInterval = 30 * time.Second
)

// maxPrune bounds prune.max_deployments.
const maxPrune = 10_000

// ClusterFile is the name of the cluster's own file at the repository's root.
const ClusterFile = "cluster.yaml"

var (
	nodeName  = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]*$`)
	labelName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._/-]*$`)
)

// ParseCluster reads cluster.yaml. The error is of type Problems. An empty
// file is a cluster with every default.
func ParseCluster(data []byte) (*Cluster, error) {
	rep := newReport(ClusterFile)
	cluster := &Cluster{}
	if tree := parseDocument(data, rep); tree != nil {
		rep.fields(tree, "", map[string]func(entry, string){
			"nodes": func(e entry, name string) { cluster.Nodes = readNodes(e.value, name, rep) },
			"sync": func(e entry, name string) {
				rep.fields(e.value, name, map[string]func(entry, string){
					"interval": func(e entry, name string) { cluster.SyncInterval = readInterval(e.value, name, rep) },
					"windows":  notYet(rep),
				})
			},
			"registries":    func(e entry, name string) { cluster.Registries = readRegistries(e.value, name, rep) },
			"ingress":       notYet(rep),
			"rollout":       notYet(rep),
			"placement":     notYet(rep),
			"backup":        notYet(rep),
			"upgrade":       notYet(rep),
			"notifications": notYet(rep),
			"prune": func(e entry, name string) {
				rep.fields(e.value, name, map[string]func(entry, string){
					"max_deployments": func(e entry, name string) { cluster.MaxPrune, _ = rep.integer(e.value, name, 1, maxPrune) },
				})
			},
		})
	}
	if err := rep.err(); err != nil {
		return nil, err
	}
	return cluster, nil
}

// notYet answers a field of the design that this build does not know: taking
// it without acting on it would be a lie.
func notYet(rep *report) func(entry, string) {
	return func(e entry, name string) { rep.addf(e.line, "", "not supported yet: %s", name) }
}

func readNodes(v *value, name string, rep *report) map[string]NodeSettings {
	if v.shape != mapping {
		rep.addf(v.line, name, "must be a mapping of node names")
		return nil
	}
	nodes := make(map[string]NodeSettings, len(v.entries))
	for _, e := range v.entries {
		here := join(name, e.key)
		if len(e.key) > MaxName || !nodeName.MatchString(e.key) {
			rep.addf(e.line, here, "not a node name")
			continue
		}
		var node NodeSettings
		rep.fields(e.value, here, map[string]func(entry, string){
			"labels":       func(e entry, name string) { node.Labels = readNodeLabels(e.value, name, rep) },
			"availability": func(e entry, name string) { node.Availability = readAvailability(e.value, name, rep) },
			"ingress":      notYet(rep),
		})
		nodes[e.key] = node
	}
	return nodes
}

// readAvailability reads what a node is there for. The two that are planned get
// the answer of every field that is.
func readAvailability(v *value, name string, rep *report) NodeAvailability {
	text, ok := rep.text(v, name)
	if !ok {
		return ""
	}
	switch availability := NodeAvailability(text); availability {
	case NodeActive, NodeRemoved:
		return availability
	case "pause", "drain":
		rep.addf(v.line, "", "not supported yet: %s: %s", name, text)
	default:
		rep.addf(v.line, name, "%s is not %s or %s", quoted(text), NodeActive, NodeRemoved)
	}
	return ""
}

// readNodeLabels reads labels; numbers and booleans count as their text, as
// constraints compare text.
func readNodeLabels(v *value, name string, rep *report) map[string]string {
	if v.shape != mapping {
		rep.addf(v.line, name, "must be a mapping")
		return nil
	}
	labels := make(map[string]string, len(v.entries))
	for _, e := range v.entries {
		here := join(name, e.key)
		switch {
		case len(e.key) > MaxName || !labelName.MatchString(e.key):
			rep.addf(e.line, here, "not a label name: letters, digits, . _ / and -, at most %d", MaxName)
		case e.value.shape != scalar || e.value.scalar == nil || !nodeLabelValue.MatchString(e.value.text):
			rep.addf(e.value.line, here, "a label's value must be a text without spaces, at most 255")
		default:
			labels[e.key] = e.value.text
		}
	}
	return labels
}

// nodeLabelValue has no spaces, because a constraint could not name them.
var nodeLabelValue = regexp.MustCompile(`^\S{1,255}$`)

func readInterval(v *value, name string, rep *report) time.Duration {
	text, ok := rep.text(v, name)
	if !ok {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		rep.addf(v.line, name, "%s is no duration such as 30s", quoted(text))
		return 0
	}
	if d < MinSyncInterval || d > MaxSyncInterval {
		rep.addf(v.line, name, "%s is not between %s and %s", d, MinSyncInterval, MaxSyncInterval)
		return 0
	}
	return d
}
