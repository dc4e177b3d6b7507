package signing

import (
	"bytes"
	"slices"
	"strings"
)

// approvePrefix begins the name of every approval tag.
const approvePrefix = "approve/"

// tagScope returns the unit that a tag approves by its own name,
// approve/<unit>/<anything>; "" for a name of another form.
func tagScope(name string) string {
	rest, ok := strings.CutPrefix(name, approvePrefix)
	unit, anything, nested := strings.Cut(rest, "/")
	if !ok || !nested || anything == "" {
		return ""
	}
	return unit
}

// tagOffer is a signed tag that may be an approval. Its signature is checked
// when it matters, by the policy then in force.
type tagOffer struct {
	id      Hash
	scope   string
	tag     *Tag
	folded  bool // as a mergetag: it is part of a commit, not of Options.Tags
	trust   *Trust
	answer  Approval
	refused bool
}

// MaxApprovalTag is the size in bytes above which a tag approves nothing. All
// that are offered are held at once, and who may push tags need not be a signer.
const MaxApprovalTag = 16 << 10

// newTagOffer reads a tag as an approval; nil when it can be none: malformed,
// too large, of another name, unsigned, of no commit.
func newTagOffer(id Hash, data []byte) *tagOffer {
	if len(data) > MaxApprovalTag {
		return nil
	}
	tag, err := DecodeTag(data)
	if err != nil || tag.Type != CommitObject || len(tag.Signature) == 0 {
		return nil
	}
	scope := tagScope(tag.Name)
	if scope == "" {
		return nil
	}
	return &tagOffer{id: id, scope: scope, tag: tag}
}

// signer returns who signed the tag, by the policy; false when that counts for
// nothing.
func (o *tagOffer) signer(j *judge, trust *Trust) (Approval, bool) {
	if o.trust != trust {
		who, err := trust.signature(o.tag.Payload, o.tag.Signature, j.opts.Now)
		who.Commit = o.id
		o.trust, o.answer, o.refused = trust, who, err != nil || trust.isForge(who.Signer)
	}
	return o.answer, !o.refused
}

// tagOffers are the tags of one judgement, read when the first is asked for.
type tagOffers struct {
	ids     []Hash
	loaded  bool
	scopes  map[string][]*tagOffer // each in the order of the ids
	objects map[Hash][]*tagOffer   // by the commit that they name
	units   map[string][]*tagOffer // forUnit's answers
}

func newTagOffers(ids []Hash) tagOffers {
	sorted := slices.Clone(ids)
	slices.SortFunc(sorted, func(a, b Hash) int { return bytes.Compare(a[:], b[:]) })
	return tagOffers{ids: slices.Compact(sorted)}
}

// load reads the tags. One that the source does not have is missing evidence;
// one that can be no approval counts for nothing.
func (t *tagOffers) load(h *history) error {
	if t.loaded {
		return nil
	}
	scopes, objects := make(map[string][]*tagOffer), make(map[Hash][]*tagOffer)
	for _, id := range t.ids {
		data, err := ReadObject(h.src, id, TagObject)
		if isSourceError(err) {
			return err
		}
		if err != nil {
			continue // no tag, or bytes that are not its own
		}
		if o := newTagOffer(id, data); o != nil {
			scopes[o.scope] = append(scopes[o.scope], o)
			objects[o.tag.Object] = append(objects[o.tag.Object], o)
		}
	}
	t.scopes, t.objects, t.units, t.loaded = scopes, objects, make(map[string][]*tagOffer), true
	return nil
}

// of returns the tags of a scope.
func (t *tagOffers) of(h *history, scope string) ([]*tagOffer, error) {
	if err := t.load(h); err != nil {
		return nil, err
	}
	return t.scopes[scope], nil
}

// forUnit returns the tags that may approve a unit, in the order of their ids.
func (t *tagOffers) forUnit(h *history, unit string) ([]*tagOffer, error) {
	if err := t.load(h); err != nil {
		return nil, err
	}
	found, known := t.units[unit]
	if !known {
		found = slices.Clip(t.scopes[unit])
		if inScope(allUnits, unit) {
			found = sortOffers(slices.Concat(found, t.scopes[allUnits]))
		}
		t.units[unit] = found
	}
	return found, nil
}

// nameAny reports whether a tag that may approve the unit names one of the
// commits.
func (t *tagOffers) nameAny(h *history, unit string, commits []Hash) (bool, error) {
	if err := t.load(h); err != nil {
		return false, err
	}
	return slices.ContainsFunc(commits, func(id Hash) bool {
		return slices.ContainsFunc(t.objects[id], func(o *tagOffer) bool { return inScope(o.scope, unit) })
	}), nil
}

// sortOffers sorts tags by their ids.
func sortOffers(offers []*tagOffer) []*tagOffer {
	slices.SortFunc(offers, func(a, b *tagOffer) int { return bytes.Compare(a.id[:], b.id[:]) })
	return offers
}

// mergeTags reads the mergetags of a commit as approvals.
func mergeTags(c *Commit) []*tagOffer {
	var offers []*tagOffer
	for _, data := range c.MergeTags {
		id, err := HashObject(Object{Type: TagObject, Data: data})
		if err != nil {
			continue
		}
		if o := newTagOffer(id, data); o != nil {
			o.folded = true
			offers = append(offers, o)
		}
	}
	return offers
}

// inScope reports whether an approval of the scope is one of the unit: "all"
// stands for every deployment, not for cluster.yaml and trust.yaml.
func inScope(scope, unit string) bool {
	return scope == unit || scope == allUnits && unit != ClusterUnit && unit != TrustUnit
}
