package signing

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
)

// defaultMaxStep is Options.MaxStep when it is zero.
const defaultMaxStep = 500

// Verify judges what the tip adds to an accepted position. The first-parent
// chain is walked commit by commit and the position moves up to the last one
// before the first bad one, so that the outcome does not depend on how a
// history is cut into ranges. Everything it answers about the history is a
// Verdict; an error says that no verdict was reached: evidence is missing (it
// wraps ErrNotFound), or the source or the accepted position is broken.
func Verify(src Source, from Position, tip Hash, opts Options) (*Verdict, error) {
	j, err := newJudge(src, from, opts)
	if err != nil {
		return nil, fmt.Errorf("judge from accepted commit %s: %w", from.Commit, err)
	}
	defer j.signatures.stop()
	if err := j.revisit(); err != nil {
		return nil, fmt.Errorf("judge tags at accepted commit %s: %w", from.Commit, err)
	}
	chain, err := j.history.chain(from.Commit, tip)
	if _, detached := asRefusal(err); detached {
		chain, err = j.reanchor(tip, err)
	}
	if err != nil {
		return j.finish(Hash{}, err)
	}
	for i, id := range chain {
		j.ahead = chain[i:]
		if err := j.advance(id); err != nil {
			return j.finish(id, err)
		}
	}
	return j.finish(Hash{}, nil)
}

// chain returns the first-parent chain from behind the accepted commit up to
// the tip, oldest first.
func (h *history) chain(accepted, tip Hash) ([]Hash, error) {
	var chain []Hash
	for id := tip; id != accepted; {
		n, err := h.node(id)
		if err != nil {
			return nil, blame(id, err)
		}
		chain = append(chain, id)
		if len(n.parents) == 0 {
			slices.Reverse(chain)
			return nil, h.detached(accepted, tip, chain)
		}
		id = n.parents[0]
	}
	slices.Reverse(chain)
	return chain, nil
}

// detached says why the accepted commit is not on the chain, which goes back
// to a root: a merge brings it in from the side, or nothing does. Every commit
// is looked at once.
func (h *history) detached(accepted, tip Hash, chain []Hash) error {
	seen := make(map[Hash]bool)
	for _, id := range chain {
		stack := []Hash{id}
		for len(stack) > 0 {
			at := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if at == accepted {
				return &refusalError{commit: id, reason: ReasonFoxtrot, detail: fmt.Sprintf(
					"it brings in the accepted commit %s as a side branch (not as its first parent)", accepted.Short())}
			}
			if seen[at] {
				continue
			}
			seen[at] = true
			n, err := h.node(at)
			if err != nil {
				return blame(at, err)
			}
			stack = append(stack, n.parents...)
		}
	}
	return &refusalError{commit: tip, reason: ReasonRewritten, detail: fmt.Sprintf(
		"the branch does not hold the accepted commit %s any more", accepted.Short())}
}

// judge carries one judgement from commit to commit.
type judge struct {
	history    *history
	opts       Options
	ahead      []Hash // the chain commits not judged yet
	signatures signatures

	// The position reached, with the trust in force there.
	commit  Hash
	anchor  bool
	surface surface
	trust   *Trust
	units   map[string]unitState

	commits  []SignedCommit
	approved map[string]bool
	counted  map[Hash]bool // the offered tags that counted

	tags  tagOffers
	sides map[Hash][]Hash // what merges on the chain brought in
	hold  *hold           // the trust change that is not approved yet; nil mostly

	reanchored *Reanchored
	awaits     *Pending // what the refusal waits for
}

func newJudge(src Source, from Position, opts Options) (*judge, error) {
	if opts.Now.IsZero() {
		return nil, errors.New("no time to judge by")
	}
	if opts.MaxStep <= 0 {
		opts.MaxStep = defaultMaxStep
	}
	if opts.Branch == "" {
		opts.Branch = "main"
	}
	h := newHistory(src)
	j := &judge{
		history:    h,
		opts:       opts,
		signatures: signatures{history: h, now: opts.Now, known: make(map[Hash]checked)},
		commit:     from.Commit,
		anchor:     from.Anchor,
		units:      unitsOf(from),
		approved:   make(map[string]bool),
		counted:    make(map[Hash]bool),
		tags:       newTagOffers(opts.Tags),
		sides:      make(map[Hash][]Hash),
	}
	c, err := j.history.commit(from.Commit)
	if err != nil {
		return nil, err
	}
	if j.surface, err = j.history.surface(from.Commit); err != nil {
		return nil, err
	}
	if j.trust, err = loadTrust(j.history.src, c.Tree); err != nil {
		return nil, err
	}
	return j, nil
}

// signer returns who signed a commit, or why that does not count.
func (j *judge) signer(id Hash) (Approval, error) {
	return j.signatures.of(id, j.ahead, j.trust)
}

// finish makes the verdict: of the position reached, and of the refusal that
// stopped there. Chain is the first-parent commit that was looked at, zero when
// the refused commit is one itself.
func (j *judge) finish(chain Hash, stopped error) (*Verdict, error) {
	if _, refused := asRefusal(stopped); stopped != nil && !refused {
		return nil, stopped
	}
	if j.hold != nil {
		chain, stopped = Hash{}, j.rollBack()
	}
	v := &Verdict{
		Position:   Position{Commit: j.commit, Anchor: j.anchor, Units: unitsFrom(j.units)},
		Commits:    j.commits,
		Approved:   slices.Sorted(maps.Keys(j.approved)),
		Pending:    j.pending(),
		Tags:       sortedHashes(j.counted),
		Reanchored: j.reanchored,
	}
	r, refused := asRefusal(stopped)
	if !refused {
		return v, nil
	}
	v.Refusal = &Refusal{Commit: r.commit, Chain: chain, Reason: r.reason, Detail: r.detail}
	if chain.IsZero() {
		v.Refusal.Chain = r.commit
	}
	v.Refusal.Advice = advice(v.Refusal, j)
	if j.awaits != nil {
		v.Pending = append(v.Pending, *j.awaits)
		slices.SortFunc(v.Pending, func(a, b Pending) int { return cmp.Compare(a.Unit, b.Unit) })
	}
	return v, nil
}

// sortedHashes returns the members of a set, nil for none.
func sortedHashes(set map[Hash]bool) []Hash {
	return slices.SortedFunc(maps.Keys(set), func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
}
