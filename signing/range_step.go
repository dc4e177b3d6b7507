package signing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// step is one first-parent commit with all that it brings in, while it is
// judged. Nothing of it reaches the judge before every part was found good.
type step struct {
	judge   *judge
	commit  *Commit // on the chain
	root    []TreeEntry
	surface surface
	members []Hash // parents before children, the chain's commit last

	vouches  map[Hash]vouches // by member, until its last child took them
	children map[Hash]int     // members yet to come that have this parent
	held     int              // paths in all of vouches
	claims   []claim
	commits  []SignedCommit
	trust    *Trust // the new one, when the step changes it

	mergeTags  []*tagOffer
	counted    []Hash                 // the offered tags that counted
	first      *Approval              // who signed the anchor's first descendant
	targeted   bool                   // the chain's commit is signed for this branch
	untargeted []newChange            // changes that are not, by themselves
	targets    map[string][]*tagOffer // targetOffers' answers
	below      map[Hash]map[Hash]bool // behind's answers
	revisit    bool                   // only what waits is judged again
}

// maxHeld bounds the paths that one step remembers: who signed them, counted for
// each line of history that is open beside others, and those that lack a target.
// Otherwise some hundred lines that fan out from one large change would fill the
// memory of every node.
const maxHeld = 25 * maxChangedPaths

// advance judges the next commit of the chain and moves the position to it. On
// an error the position is untouched.
func (j *judge) advance(id Hash) error {
	s := &step{judge: j, vouches: make(map[Hash]vouches), children: make(map[Hash]int)}
	if err := s.open(id); err != nil {
		return blame(id, err)
	}
	for _, member := range s.members {
		if err := s.member(member); err != nil {
			return blame(member, err)
		}
	}
	if err := s.checkTarget(); err != nil {
		return blame(id, err)
	}
	if s.trust != nil {
		j.openHold(s)
	}
	if err := s.settle(); err != nil {
		if s.trust != nil {
			j.hold = nil
		}
		return blame(id, err)
	}
	return blame(id, j.collect(s))
}

// open reads the chain's commit and finds what it brings in. Its signature is
// checked first: what nobody signed is not worth a walk.
func (s *step) open(id Hash) error {
	j := s.judge
	if _, err := j.signer(id); err != nil {
		return err
	}
	var err error
	if s.commit, err = j.history.commit(id); err != nil {
		return err
	}
	if s.root, err = j.history.tree(s.commit.Tree); err != nil {
		return err
	}
	s.surface = surfaceOf(s.root)
	if len(s.commit.Parents) > 1 && !j.trust.FirstParent {
		if s.members, err = j.history.newCommits(id, j.opts.MaxStep-1); err != nil {
			return err
		}
		j.sides[id] = s.members
		j.signatures.check(s.members, j.trust)
	}
	s.members = append(s.members, id)
	for _, member := range s.members {
		for _, parent := range distinctParents(j.history.nodes[member].parents) {
			s.children[parent]++
		}
	}
	return nil
}

// member judges one commit: its signature, and what it changes itself.
func (s *step) member(id Hash) error {
	j := s.judge
	who, err := j.signer(id)
	if err != nil {
		return err
	}
	c, err := j.history.commit(id)
	if err != nil {
		return err
	}
	changes, err := s.changesOf(c, who)
	if err != nil {
		return err
	}
	if err := s.checkChanges(c, changes, who); err != nil {
		return err
	}
	held := s.inherit(c)
	for _, change := range changes {
		if change.area != areaTrust {
			held[change.path] = []vouch{{content: change.now, signers: j.trust.vouchers(who)}}
		}
	}
	if id == s.commit.ID {
		if err := s.vouchOnChain(held, who); err != nil {
			return err
		}
	}
	s.vouches[id] = held
	s.held += len(held)
	s.note(c, changes, who)
	if s.held+len(s.untargeted) > maxHeld {
		return refuse(ReasonTooLarge, "what it brings in changes more than %d paths, counted for each line of history", maxHeld)
	}
	return nil
}

// changesOf returns what a commit changes by itself: of a merge that vouches
// for what it merges, all that it brings in.
func (s *step) changesOf(c *Commit, who Approval) ([]change, error) {
	j := s.judge
	if j.trust.isForge(who.Signer) {
		if err := j.checkForge(c, who); err != nil {
			return nil, err
		}
	}
	if j.trust.FirstParent && len(c.Parents) > 1 {
		return j.history.changes([]surface{s.surface, j.surface}, same)
	}
	return j.history.ownChanges(c)
}

// vouchers is the signer of a change, unless his signature vouches for nothing.
func (t *Trust) vouchers(who Approval) []Approval {
	if t.isForge(who.Signer) {
		return nil
	}
	return []Approval{who}
}

// vouchOnChain makes the signer of the chain's commit vouch for what that
// stands for beyond its own changes: everything behind the anchor, and what a
// merge brings in where merging approves.
func (s *step) vouchOnChain(held vouches, who Approval) error {
	j := s.judge
	if j.anchor {
		if !j.trust.isForge(who.Signer) {
			s.first = &who
		}
		return s.vouchForAll(held, who)
	}
	if !j.trust.MergesApprove || len(s.commit.Parents) < 2 || j.trust.isForge(who.Signer) {
		return nil
	}
	brought, err := j.history.changes([]surface{s.surface, j.surface}, same)
	if err != nil {
		return err
	}
	for _, change := range brought {
		if change.area != areaTrust {
			held.add(change.path, []vouch{{content: change.now, signers: []Approval{who}}})
		}
	}
	return nil
}

// note remembers what a good commit says.
func (s *step) note(c *Commit, changes []change, who Approval) {
	trust := s.judge.trust
	if !trust.isForge(who.Signer) {
		s.claims = append(s.claims, claimsOf(c, who, maxClaims-len(s.claims))...)
	}
	if tags := mergeTags(c); len(s.mergeTags)+len(tags) <= maxClaims {
		s.mergeTags = append(s.mergeTags, tags...)
	}
	s.noteTarget(c, changes, who)
	made := SignedCommit{
		Commit: c.ID, Signer: who.Signer, Key: who.Key,
		TrustVersion: trust.Version, Subject: showSubject(c), Paths: len(changes),
	}
	if !trust.isForge(who.Signer) {
		made.RollbackFloor = slices.Contains(c.Trailers("Rollback-Floor"), "true")
	}
	if trust.isRoot(who.Signer) {
		made.AllowPrune = allowPrune(c)
	}
	s.commits = append(s.commits, made)
}

// allowPrune reads the trailer "Allow-Prune: N"; of several the highest.
func allowPrune(c *Commit) int {
	most := 0
	for _, value := range c.Trailers("Allow-Prune") {
		n, err := strconv.ParseUint(value, 10, 31)
		if err == nil && value[0] != '0' && value[0] != '+' {
			most = max(most, int(n))
		}
	}
	return most
}

// maxSubject bounds, in bytes, the subject in a SignedCommit.
const maxSubject = 200

// showSubject makes the subject fit for JSON, logs and terminals.
func showSubject(c *Commit) string {
	subject := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(c.Subject(), "\uFFFD"))
	if len(subject) <= maxSubject {
		return subject
	}
	return strings.ToValidUTF8(subject[:maxSubject], "") + "…"
}

// change is one path that a commit changed itself.
type change struct {
	path string
	area area
	unit string // "" for a path that belongs to none
	now  version
}

// ownChanges returns what a commit changed itself: against its parent; of a
// merge, what does not follow from the three-way rule; of a root, everything.
func (h *history) ownChanges(c *Commit) ([]change, error) {
	own, err := h.surface(c.ID)
	if err != nil {
		return nil, err
	}
	surfaces := []surface{own}
	for _, parent := range c.Parents {
		s, err := h.surface(parent)
		if err != nil {
			return nil, fmt.Errorf("parent %s: %w", parent.Short(), err)
		}
		surfaces = append(surfaces, s)
	}
	if len(c.Parents) == 0 {
		surfaces = append(surfaces, surface{})
	}
	if !slices.ContainsFunc(surfaces, func(s surface) bool { return s != own }) {
		return nil, nil
	}
	settled := same
	if len(c.Parents) > 1 {
		shape := mergeShape{parents: len(c.Parents)}
		for i := 1; i < len(c.Parents); i++ {
			bases, err := h.baseSurfaces(c.Parents[:i], c.Parents[i])
			if err != nil {
				return nil, err
			}
			shape.bases = append(shape.bases, len(bases))
			surfaces = append(surfaces, bases...)
		}
		settled = shape.follows
	}
	return h.changes(surfaces, settled)
}

// baseSurfaces returns the surfaces of the merge bases; unrelated histories
// have an empty one.
func (h *history) baseSurfaces(others []Hash, one Hash) ([]surface, error) {
	bases, err := h.mergeBases(others, one)
	if err != nil {
		return nil, err
	}
	if len(bases) == 0 {
		return []surface{{}}, nil
	}
	surfaces := make([]surface, len(bases))
	for i, base := range bases {
		if surfaces[i], err = h.surface(base); err != nil {
			return nil, fmt.Errorf("merge base %s: %w", base.Short(), err)
		}
	}
	return surfaces, nil
}

// changes compares surfaces; the first is the present one.
func (h *history) changes(surfaces []surface, settled func([]version) bool) ([]change, error) {
	var changes []change
	c := comparison{read: h.tree, settled: settled}
	err := c.walk(places(surfaces, settled), func(path string, versions []version) error {
		in, unit := areaOf(path)
		changes = append(changes, change{path: path, area: in, unit: unit, now: versions[0]})
		return nil
	})
	return changes, err
}

// checkChanges applies the rules that make a commit bad, whoever signed it.
func (s *step) checkChanges(c *Commit, changes []change, who Approval) error {
	trust := 0
	for _, change := range changes {
		if change.area == areaTrust {
			trust++
			if err := checkTrustFile(change); err != nil {
				return err
			}
			continue
		}
		if err := s.judge.trust.checkChange(change); err != nil {
			return err
		}
	}
	onChain := c.ID == s.commit.ID
	switch {
	case trust > 0 && !onChain:
		return refuse(ReasonTrust, "trust.yaml and keys/ change on the branch itself only, never on a side branch")
	case trust > 0:
		return s.changeTrust(who)
	case onChain && (s.surface[surfaceTrust] != s.judge.surface[surfaceTrust] ||
		s.surface[surfaceKeys] != s.judge.surface[surfaceKeys]):
		return refuse(ReasonTrust, "the merge brings in another trust.yaml or keys/")
	}
	return nil
}

// checkChange refuses a path that cannot be deployed, and one that no rule
// decides about.
func (t *Trust) checkChange(c change) error {
	if !c.now.id.IsZero() {
		if err := checkDeployable(c); err != nil {
			return err
		}
	}
	if c.area == areaDeploy && t.rule(c.path) == nil {
		return refuse(ReasonNoRule, "%s: no rule matches this path. The rules in trust.yaml decide who may change what below deployments/",
			showPath(c.path))
	}
	return nil
}
