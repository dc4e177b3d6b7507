package desired

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var clusterTests = []struct {
	name, text string
	want       *Cluster
	problems   string // the error, a line each
}{
	{name: "empty", want: &Cluster{}},
	{name: "comment only", text: "# nothing\n", want: &Cluster{}},
	{
		name: "everything",
		text: "nodes:\n  node-1: {labels: {zone: eu, ssd: true, rack: 5}}\n  node-2: {}\n" +
			"  node-3: {availability: removed}\n  node-4: {availability: active, labels: {a: b}}\nsync: {interval: 1m}\n",
		want: &Cluster{
			SyncInterval: time.Minute,
			Nodes: map[string]NodeSettings{
				"node-1": {Labels: map[string]string{"zone": "eu", "ssd": "true", "rack": "5"}},
				"node-2": {},
				"node-3": {Availability: NodeRemoved},
				"node-4": {Availability: NodeActive, Labels: map[string]string{"a": "b"}},
			},
		},
	},
	{name: "prune", text: "prune: {max_deployments: 5}", want: &Cluster{MaxPrune: 5}},
	{name: "least interval", text: "sync: {interval: 5s}", want: &Cluster{SyncInterval: 5 * time.Second}},
	{name: "most interval", text: "sync: {interval: 1h}", want: &Cluster{SyncInterval: time.Hour}},
	{name: "interval too short", text: "sync: {interval: 4s}", problems: "cluster.yaml:1: sync.interval: 4s is not between 5s and 1h0m0s"},
	{name: "interval too long", text: "sync:\n  interval: 61m", problems: "cluster.yaml:2: sync.interval: 1h1m0s is not between 5s and 1h0m0s"},
	{name: "interval no duration", text: "sync: {interval: soon}", problems: `cluster.yaml:1: sync.interval: "soon" is no duration such as 30s`},
	{name: "interval a number", text: "sync: {interval: 30}", problems: "cluster.yaml:1: sync.interval: must be a text"},
	{
		name: "not yet",
		text: `
nodes:
  n:
    availability: drain
    ingress: true
  m: {availability: pause}
registries: {}
ingress: {}
sync: {windows: []}
rollout: {}
placement: {}
backup: {}
upgrade: {}
notifications: {}
prune: {max_deployments: 0}
`,
		problems: `cluster.yaml:4: not supported yet: nodes.n.availability: drain
cluster.yaml:5: not supported yet: nodes.n.ingress
cluster.yaml:6: not supported yet: nodes.m.availability: pause
cluster.yaml:8: not supported yet: ingress
cluster.yaml:9: not supported yet: sync.windows
cluster.yaml:10: not supported yet: rollout
cluster.yaml:11: not supported yet: placement
cluster.yaml:12: not supported yet: backup
cluster.yaml:13: not supported yet: upgrade
cluster.yaml:14: not supported yet: notifications
cluster.yaml:15: prune.max_deployments: must be a whole number from 1 to 10000`,
	},
	{
		name: "bad availability",
		text: "nodes:\n  n: {availability: gone}\n  m:\n    availability: [removed]\n  o: {availability: }\n  p: {availability: Removed}\n",
		problems: `cluster.yaml:2: nodes.n.availability: "gone" is not active or removed
cluster.yaml:4: nodes.m.availability: must be a text
cluster.yaml:5: nodes.o.availability: must be a text
cluster.yaml:6: nodes.p.availability: "Removed" is not active or removed`,
	},
	{
		name: "unknown fields",
		text: "nods: {}\nnodes:\n  n: {label: {}}\nsync: {intervall: 1s}\n",
		problems: `cluster.yaml:1: nods: unknown field
cluster.yaml:3: nodes.n.label: unknown field
cluster.yaml:4: sync.intervall: unknown field`,
	},
	{
		name: "wrong types",
		text: "nodes: [a]\nsync: 5\n",
		problems: `cluster.yaml:1: nodes: must be a mapping of node names
cluster.yaml:2: sync: must be a mapping`,
	},
	{
		name: "bad labels",
		text: "nodes:\n  n:\n    labels:\n      a b: x\n      empty: \"\"\n      none:\n      list: [x]\n      spaced: \"a b\"\n  \"bad name\": {}\n  m: {labels: 5}\n  o:\n",
		problems: `cluster.yaml:4: nodes.n.labels.a b: not a label name: letters, digits, . _ / and -, at most 63
cluster.yaml:5: nodes.n.labels.empty: a label's value must be a text without spaces, at most 255
cluster.yaml:6: nodes.n.labels.none: a label's value must be a text without spaces, at most 255
cluster.yaml:7: nodes.n.labels.list: a label's value must be a text without spaces, at most 255
cluster.yaml:8: nodes.n.labels.spaced: a label's value must be a text without spaces, at most 255
cluster.yaml:9: nodes.bad name: not a node name
cluster.yaml:10: nodes.m.labels: must be a mapping
cluster.yaml:11: nodes.o: must be a mapping`,
	},
	{name: "not YAML", text: "nodes: [", problems: "cluster.yaml:1: not readable as YAML: did not find expected node content"},
	{name: "two documents", text: "nodes: {}\n---\nnodes: {}\n", problems: "cluster.yaml:2: more than one YAML document in the file"},
	{name: "too deep", text: "nodes: " + strings.Repeat("[", 40) + strings.Repeat("]", 40), problems: "cluster.yaml:1: nested deeper than the limit of 32"},
}

func TestParseCluster(t *testing.T) {
	for _, test := range clusterTests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseCluster([]byte(test.text))
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.problems, errText(err)); diff != "" {
				t.Errorf("error (-want +got):\n%s", diff)
			}
			if err != nil && !errors.As(err, new(Problems)) {
				t.Errorf("error of type %T", err)
			}
		})
	}
}
