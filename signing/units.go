package signing

import (
	"bytes"
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// area says which rules decide about a path.
type area uint8

const (
	areaDeploy  area = iota + 1 // deployments/
	areaCluster                 // cluster.yaml
	areaTrust                   // trust.yaml and keys/
)

// emptyTree is the id of git's empty tree. It stands for a removed unit where
// the zero hash means something else.
var emptyTree = Hash{
	0x4b, 0x82, 0x5d, 0xc6, 0x42, 0xcb, 0x6e, 0xb9, 0xa0, 0x60,
	0xe5, 0x4b, 0xf8, 0xd6, 0x92, 0x88, 0xfb, 0xee, 0x49, 0x04,
}

// areaOf returns the area and the unit of a path on the surface. A file
// directly below deployments/ belongs to no unit.
func areaOf(path string) (area, string) {
	top, below, nested := strings.Cut(path, "/")
	switch top {
	case trustFile, keysDir:
		return areaTrust, ""
	case clusterFile:
		return areaCluster, ClusterUnit
	}
	if name, _, inFolder := strings.Cut(below, "/"); nested && inFolder {
		return areaDeploy, name
	}
	return areaDeploy, ""
}

// isFile reports whether the mode is that of a plain file.
func isFile(mode uint32) bool { return mode == ModeFile || mode == ModeExecutable }

// checkDeployable refuses what can never be deployed. Names must be readable
// text: they travel in JSON, logs and terminals.
func checkDeployable(c change) error {
	switch {
	case !utf8.ValidString(c.path) || strings.ContainsFunc(c.path, unicode.IsControl):
		return refuse(ReasonMalformed, "%s: the name holds control characters or is not UTF-8", showPath(c.path))
	case c.now.mode == ModeSymlink:
		return refuse(ReasonMalformed, "%s is a symbolic link: only plain files can be deployed", c.path)
	case c.now.mode == ModeSubmodule:
		return refuse(ReasonMalformed, "%s is a submodule: only plain files can be deployed", c.path)
	case !isFile(c.now.mode):
		return refuse(ReasonMalformed, "%s has the mode %o: only plain files can be deployed", c.path, c.now.mode)
	case c.path == deployDir:
		return refuse(ReasonMalformed, "deployments is a file, it must be a folder")
	case c.area == areaCluster && c.path != clusterFile:
		return refuse(ReasonMalformed, "cluster.yaml is a folder, it must be a file")
	case c.area == areaDeploy && c.unit != "":
		return checkDeploymentName(c.unit)
	}
	return nil
}

// checkTrustFile refuses below keys/ what is no plain file, whether trust.yaml
// names it or not: a claim's digest covers all of it.
func checkTrustFile(c change) error {
	switch {
	case c.now.id.IsZero():
		return nil
	case !utf8.ValidString(c.path) || strings.ContainsFunc(c.path, unicode.IsControl):
		return refuse(ReasonTrust, "%s: the name holds control characters or is not UTF-8", showPath(c.path))
	case !isFile(c.now.mode):
		return refuse(ReasonTrust, "%s has the mode %o: trust.yaml and keys/ are plain files", c.path, c.now.mode)
	}
	return nil
}

// showPath quotes a path that holds more than plain text.
func showPath(path string) string {
	if quoted := strconv.Quote(path); quoted != `"`+path+`"` {
		return quoted
	}
	return path
}

// checkDeploymentName refuses a folder that cannot be a deployment's name.
func checkDeploymentName(name string) error {
	if problem := deploymentNameProblem(name); problem != "" {
		return refuse(ReasonMalformed, "deployments/%s: %s", clip([]byte(name)), problem)
	}
	return nil
}

// deploymentNameProblem says why a folder cannot be a deployment's name; ""
// when it can.
func deploymentNameProblem(name string) string {
	const letters = lowerLetters + digits
	if name == "" || len(name) > 63 || strings.IndexByte(letters, name[0]) < 0 || strings.Trim(name, letters+"-") != "" {
		return "the folder's name is the deployment's: a-z, 0-9 and hyphens, at most 63, no hyphen first"
	}
	switch name {
	case allUnits, TrustUnit, ClusterUnit, ReanchorUnit:
		return "this name is taken by the approve/" + name + "/… tags"
	case "status", "audit", "bootstrap", "version", "completion", "help",
		"sync", "nodes", "routes", "certs", "events", "logs", "plan", "recipient":
		return "this name is taken by a command of jaco"
	}
	return ""
}

// vouch says who signed one content of one path.
type vouch struct {
	content version
	signers []Approval
}

// vouches holds, by path, who signed which content of it. More than one
// content of a path can be on its way to the branch.
type vouches map[string][]vouch

// add merges the vouches of one path.
func (v vouches) add(path string, more []vouch) {
	for _, m := range more {
		at := slices.IndexFunc(v[path], func(have vouch) bool { return have.content == m.content })
		if at < 0 {
			v[path] = append(v[path], vouch{content: m.content, signers: slices.Clone(m.signers)})
			continue
		}
		v[path][at].signers = append(v[path][at].signers, m.signers...)
	}
}

// of returns who signed this content of the path.
func (v vouches) of(path string, content version) []Approval {
	for _, have := range v[path] {
		if have.content == content {
			return have.signers
		}
	}
	return nil
}

// clone copies deeply enough for add and for replacing.
func (v vouches) clone() vouches {
	c := make(vouches, len(v))
	for path, list := range v {
		c[path] = make([]vouch, len(list))
		for i, have := range list {
			c[path][i] = vouch{content: have.content, signers: slices.Clip(have.signers)}
		}
	}
	return c
}

// unitState is a Unit at work. Its values are never changed in place.
type unitState struct {
	revision Hash
	tree     Hash
	at       time.Time
	signers  []Approval
	grounds  []Ground
	vouched  map[string]vouch // by path, for each that differs from the approved content
	since    Hash             // the chain's commit that brought the content that waits
	waits    Hash             // that content, zero for a removed unit
}

// unitsOf reads the units of a position.
func unitsOf(p Position) map[string]unitState {
	units := make(map[string]unitState, len(p.Units))
	for name, u := range p.Units {
		s := unitState{
			revision: u.Revision, tree: u.Tree, at: u.At, signers: u.Signers, grounds: u.Grounds,
			since: u.Since, waits: u.Waits,
		}
		if len(u.Vouched) > 0 {
			s.vouched = make(map[string]vouch, len(u.Vouched))
		}
		for _, v := range u.Vouched {
			s.vouched[v.Path] = vouch{content: version{mode: v.Mode, id: v.Content}, signers: v.Signers}
		}
		units[name] = s
	}
	return units
}

// unitsFrom is the inverse of unitsOf; nil for none.
func unitsFrom(units map[string]unitState) map[string]Unit {
	if len(units) == 0 {
		return nil
	}
	made := make(map[string]Unit, len(units))
	for name, s := range units {
		u := Unit{
			Revision: s.revision, Tree: s.tree, At: s.at, Signers: s.signers, Grounds: s.grounds,
			Since: s.since, Waits: s.waits,
		}
		for _, path := range slices.Sorted(maps.Keys(s.vouched)) {
			v := s.vouched[path]
			u.Vouched = append(u.Vouched, Vouch{
				Path: path, Content: v.content.id, Mode: v.content.mode, Signers: v.signers,
			})
		}
		made[name] = u
	}
	return made
}

// compareApprovals orders approvals for people; the commit only breaks ties.
func compareApprovals(a, b Approval) int {
	return cmp.Or(
		cmp.Compare(a.Signer, b.Signer),
		cmp.Compare(a.Key, b.Key),
		bytes.Compare(a.Tree[:], b.Tree[:]),
		bytes.Compare(a.Commit[:], b.Commit[:]))
}

// distinct sorts approvals and drops repeated ones.
func distinct(approvals []Approval) []Approval {
	sorted := slices.Clone(approvals)
	slices.SortFunc(sorted, compareApprovals)
	return slices.Compact(sorted)
}

// oneOfEach sorts approvals and keeps one of each signer, key and tree.
func oneOfEach(approvals []Approval) []Approval {
	return slices.CompactFunc(distinct(approvals), func(a, b Approval) bool {
		return a.Signer == b.Signer && a.Key == b.Key && a.Tree == b.Tree
	})
}
