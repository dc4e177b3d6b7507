package signing

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"
)

// Review says what the content of a tree would need before it is accepted. It
// judges no signature: nobody has signed that content yet.
type Review struct {
	// Units lists what differs from what was approved, sorted by name; trust.yaml
	// and keys/ are the unit "trust".
	Units []UnitReview
	// Refused lists what no signature could make acceptable.
	Refused []PathRefusal
}

// UnitReview is one unit that differs.
type UnitReview struct {
	Unit string
	// Tree is its content: the folder's tree id, or the blob id of cluster.yaml.
	// Zero: it is removed, or it is trust.
	Tree Hash
	// Known says that something of it was approved before.
	Known bool
	// Paths that differ, sorted.
	Paths []string
	// Needs lists who has to sign, the strictest first. Several entries must all
	// be met.
	Needs []Requirement
}

// Requirement is a number of distinct people out of a list.
type Requirement struct {
	Need     int
	Eligible []string // who may sign now; sorted
	Have     []string // who signed this very content already; sorted
	Paths    []string // that it is for; sorted
}

// Met reports whether those who signed already are enough.
func (r Requirement) Met() bool { return len(r.Have) >= r.Need }

// PathRefusal is one path that cannot be accepted.
type PathRefusal struct {
	Unit   string // "" when it belongs to none
	Path   string
	Reason Reason
	Detail string
}

// Review compares a tree with what was approved. The policy is the one in force;
// whatever trust.yaml stands in the tree decides nothing, its change included.
// Base is the tree whose trust files are in force; with the zero hash they are
// not compared. An error that wraps ErrNotFound says that content is missing.
func (t *Trust) Review(src Source, base, tree Hash, units map[string]Unit, now time.Time) (*Review, error) {
	r := &reviewer{trust: t, history: newHistory(src), now: now, review: &Review{}}
	var err error
	if r.after, err = r.surface(tree); err != nil {
		return nil, err
	}
	if !base.IsZero() {
		if r.before, err = r.surface(base); err != nil {
			return nil, err
		}
		if err := r.trustFiles(src, tree); err != nil {
			return nil, err
		}
	}
	names, err := r.names(units)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := r.unit(name, units[name]); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(r.review.Units, func(a, b UnitReview) int { return bytes.Compare([]byte(a.Unit), []byte(b.Unit)) })
	return r.review, nil
}

// reviewer makes one Review.
type reviewer struct {
	trust         *Trust
	history       *history
	now           time.Time
	before, after surface
	review        *Review
}

func (r *reviewer) surface(tree Hash) (surface, error) {
	if tree.IsZero() {
		return surface{}, nil
	}
	entries, err := r.history.tree(tree)
	if err != nil {
		return surface{}, err
	}
	return surfaceOf(entries), nil
}

// names lists the units of both sides, and refuses files that belong to none.
func (r *reviewer) names(units map[string]Unit) ([]string, error) {
	names := map[string]bool{}
	for name := range units {
		names[name] = true
	}
	folders, err := r.history.folders(r.after)
	if err != nil {
		return nil, err
	}
	for _, entry := range folders {
		if entry.Mode == ModeTree {
			names[entry.Name] = true
			continue
		}
		path := deployDir + "/" + entry.Name
		err := r.trust.checkChange(change{path: path, area: areaDeploy, now: version{mode: entry.Mode, id: entry.ID}})
		if err := r.refuse("", path, err); err != nil {
			return nil, err
		}
	}
	if at := r.after[surfaceDeploy]; at.mode != 0 && at.mode != ModeTree {
		err := checkDeployable(change{path: deployDir, area: areaDeploy, now: at})
		if err := r.refuse("", deployDir, err); err != nil {
			return nil, err
		}
	}
	if !r.after[surfaceCluster].id.IsZero() {
		names[ClusterUnit] = true
	}
	return slices.Sorted(maps.Keys(names)), nil
}

// refuse notes an error that is a verdict, and returns any other.
func (r *reviewer) refuse(unit, path string, err error) error {
	var refusal *refusalError
	if err == nil || !errors.As(err, &refusal) {
		return err
	}
	r.review.Refused = append(r.review.Refused, PathRefusal{Unit: unit, Path: path, Reason: refusal.reason, Detail: refusal.detail})
	return nil
}

// unit reviews one deployment or cluster.yaml.
func (r *reviewer) unit(name string, approved Unit) error {
	here, err := r.history.unitVersion(r.after, name)
	if err != nil {
		return err
	}
	u := UnitReview{Unit: name, Tree: here.id, Known: !approved.Tree.IsZero()}
	vouched := map[string]Vouch{}
	for _, v := range approved.Vouched {
		vouched[v.Path] = v
	}
	byRule := map[*rule]*Requirement{}
	err = r.history.eachDifference(name, approved.Tree, here, func(path string, now version) error {
		c := change{path: path, area: areaDeploy, unit: name, now: now}
		if name == ClusterUnit {
			c.area = areaCluster
		}
		if err := r.trust.checkChange(c); err != nil {
			return r.refuse(name, path, err)
		}
		var have []Approval
		if v := vouched[path]; v.Content == now.id && v.Mode == now.mode {
			have = r.trust.counting(path, v.Signers)
		}
		r.require(byRule, path, have)
		u.Paths = append(u.Paths, path)
		return nil
	})
	if err != nil || len(u.Paths) == 0 {
		return err
	}
	for _, need := range byRule {
		slices.Sort(need.Paths)
		u.Needs = append(u.Needs, *need)
	}
	slices.SortFunc(u.Needs, func(a, b Requirement) int {
		if a.Need != b.Need {
			return b.Need - a.Need
		}
		return bytes.Compare([]byte(a.Paths[0]), []byte(b.Paths[0]))
	})
	slices.Sort(u.Paths)
	r.review.Units = append(r.review.Units, u)
	return nil
}

// require adds a path to the requirement of its rule. Of several paths, who
// signed is who signed all of them.
func (r *reviewer) require(byRule map[*rule]*Requirement, path string, have []Approval) {
	var names []string
	for _, a := range have {
		names = append(names, a.Signer)
	}
	slices.Sort(names)
	names = slices.Compact(names)
	decides := r.trust.rule(path)
	need := byRule[decides]
	if need == nil {
		byRule[decides] = &Requirement{Need: r.trust.needed(path), Eligible: r.trust.approvers(path, r.now), Have: names, Paths: []string{path}}
		return
	}
	need.Paths = append(need.Paths, path)
	need.Have = slices.DeleteFunc(need.Have, func(n string) bool { return !slices.Contains(names, n) })
}

// trustFiles reviews a change of trust.yaml and keys/: by root of the policy in
// force and of the new one.
func (r *reviewer) trustFiles(src Source, tree Hash) error {
	changes, err := r.history.changes([]surface{r.after, r.before}, same)
	if err != nil {
		return err
	}
	u := UnitReview{Unit: TrustUnit, Known: true}
	for _, c := range changes {
		if c.area == areaTrust {
			u.Paths = append(u.Paths, c.path)
		}
	}
	if len(u.Paths) == 0 {
		return nil
	}
	next, err := loadTrust(src, tree)
	switch {
	case err != nil && isSourceError(err) && !errors.Is(err, fs.ErrNotExist):
		return err
	case err != nil:
		r.refuseTrust("%v", err)
	case next.Version != r.trust.Version+1:
		r.refuseTrust("trust.yaml: version is %d, want %d: one more than before", next.Version, r.trust.Version+1)
	}
	u.Needs = append(u.Needs, r.byRoot(r.trust, u.Paths))
	if next != nil && err == nil {
		if after := r.byRoot(next, u.Paths); after.Need != u.Needs[0].Need || !slices.Equal(after.Eligible, u.Needs[0].Eligible) {
			u.Needs = append(u.Needs, after)
		}
	}
	r.review.Units = append(r.review.Units, u)
	return nil
}

func (r *reviewer) refuseTrust(format string, args ...any) {
	r.review.Refused = append(r.review.Refused, PathRefusal{Unit: TrustUnit, Path: trustFile, Reason: ReasonTrust, Detail: fmt.Sprintf(format, args...)})
}

// byRoot is what a policy asks of its root.
func (r *reviewer) byRoot(t *Trust, paths []string) Requirement {
	return Requirement{Need: t.RootThreshold, Eligible: t.usableRoot(r.now), Paths: paths}
}

// LoadTreeTrust reads the policy of a tree that is in no commit yet. An error
// that wraps fs.ErrNotExist says that a file is missing.
func LoadTreeTrust(src Source, tree Hash) (*Trust, error) {
	trust, err := loadTrust(src, tree)
	if err != nil {
		return nil, fmt.Errorf("trust of tree %s: %w", tree.Short(), err)
	}
	return trust, nil
}

// UnitsOfTree takes everything in a tree for approved: each deployment folder
// and cluster.yaml by its content.
func UnitsOfTree(src Source, tree Hash) (map[string]Unit, error) {
	r := &reviewer{history: newHistory(src)}
	at, err := r.surface(tree)
	if err != nil {
		return nil, err
	}
	folders, err := r.history.folders(at)
	if err != nil {
		return nil, err
	}
	units := map[string]Unit{}
	for _, entry := range folders {
		if entry.Mode == ModeTree {
			units[entry.Name] = Unit{Tree: entry.ID}
		}
	}
	if file := at[surfaceCluster]; isFile(file.mode) {
		units[ClusterUnit] = Unit{Tree: file.id}
	}
	return units, nil
}
