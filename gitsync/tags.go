package gitsync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/signing"
)

// Approvals are annotated tags below approveRefs; the name of a tag is that of
// its ref without tagRefs.
const (
	tagRefs     = "refs/tags/"
	approveRefs = tagRefs + "approve/"
)

// tagRef is one ref below approveRefs that points to an annotated tag.
type tagRef struct {
	name string // "approve/…"
	id   signing.Hash
}

// sortTags puts tags into an order that does not depend on how they were
// listed, and bounds their number.
func sortTags(tags []tagRef, most int) ([]tagRef, error) {
	if len(tags) > most {
		return nil, fmt.Errorf("%w: it has %d tags below %s, more than %d; those that have approved something may be deleted",
			ErrTooLarge, len(tags), strings.TrimPrefix(approveRefs, tagRefs), most)
	}
	slices.SortFunc(tags, func(a, b tagRef) int { return strings.Compare(a.name, b.name) })
	return tags, nil
}

// tags picks the approvals out of the refs. A lightweight tag is no object of
// its own and can carry no signature: it is left out.
func (a *advertised) tags(most int) ([]tagRef, error) {
	var tags []tagRef
	for ref, id := range a.refs {
		name, found := strings.CutPrefix(ref, tagRefs)
		if _, annotated := a.peeled[ref]; found && annotated && strings.HasPrefix(ref, approveRefs) {
			tags = append(tags, tagRef{name: name, id: signing.Hash(id)})
		}
	}
	return sortTags(tags, most)
}

// missingTags returns the tags whose objects are not here, each once. Those that
// were too large before are not asked for again. The caller holds fetching.
func (m *Mirror) missingTags(tags []tagRef) []signing.Hash {
	var missing []signing.Hash
	for _, tag := range tags {
		if m.have[tag.id] || m.unwanted[tag.id] || slices.Contains(missing, tag.id) {
			continue
		}
		if _, err := m.store.Object(tag.id); err == nil {
			m.have[tag.id] = true
			continue
		}
		missing = append(missing, tag.id)
	}
	return missing
}

// collect receives what is wanted and the tags into a git directory. When that
// exceeds a limit, each tag is received by itself, and those that are to blame
// are left out: who may push tags must not be able to stop the sync. The caller
// holds fetching.
func (m *Mirror) collect(ctx context.Context, c conversation, refs *advertised, t transfer, tags []signing.Hash) error {
	branch := t.want
	t.want = slices.Concat(branch, tags)
	err := receive(ctx, c, refs, t)
	if !errors.Is(err, ErrTooLarge) || len(tags) == 0 {
		return err
	}
	if len(branch) > 0 {
		t.want = branch
		if err := m.receiveAgain(ctx, t); err != nil {
			return err
		}
		t.have = slices.Concat(branch, t.have)
	}
	for _, tag := range tags {
		t.want = []signing.Hash{tag}
		switch err := m.receiveAgain(ctx, t); {
		case errors.Is(err, ErrTooLarge):
			m.config.Logger.Warn("a tag below approve/ was left out", "tag", tag.String(), "error", err)
			m.unwanted[tag] = true
		case err != nil:
			return err
		}
	}
	return nil
}

// receiveAgain receives in a conversation of its own.
func (m *Mirror) receiveAgain(ctx context.Context, t transfer) error {
	c, refs, _, err := m.query(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // what was to be read was read
	return receive(ctx, c, refs, t)
}

// offer takes note of which tags the repository has now. Only those whose own
// name is that of their ref are offered to the judge: the signature covers the
// name, never the ref. The caller holds fetching.
func (m *Mirror) offer(tags []tagRef) {
	genuine := make(map[tagRef]bool, len(tags))
	var ids []signing.Hash
	for _, tag := range tags {
		good, known := m.genuine[tag]
		if !known {
			object, err := m.store.Object(tag.id)
			if err != nil {
				continue // too large, or left out by the server: it is looked for again
			}
			good = m.isGenuine(tag, object)
		}
		genuine[tag] = good
		if good && !slices.Contains(ids, tag.id) {
			ids = append(ids, tag.id)
		}
	}
	m.genuine = genuine
	m.mu.Lock()
	defer m.mu.Unlock()
	m.offered = ids
}

// isGenuine reports whether the object is a tag with the name of its ref.
func (m *Mirror) isGenuine(tag tagRef, object signing.Object) bool {
	if object.Type != signing.TagObject {
		return false // a lightweight tag of a repository that is read in place
	}
	decoded, err := signing.DecodeTag(object.Data)
	if err == nil && len(object.Data) > signing.MaxApprovalTag {
		err = fmt.Errorf("%w: it has %d bytes, an approval at most %d", ErrTooLarge, len(object.Data), signing.MaxApprovalTag)
	}
	if err != nil || decoded.Name != tag.name {
		m.config.Logger.Warn("a tag counts for nothing", "ref", tagRefs+tag.name, "error", err,
			"advice", "an approval is a signed tag whose own name is that of its ref")
		return false
	}
	return true
}

// Tags returns the approval tags that the repository had at the last Fetch, in
// the order of their names: annotated ones below refs/tags/approve/ whose own
// name is that of their ref. Their signatures are not looked at. The slice must
// not be changed.
func (m *Mirror) Tags() []signing.Hash {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.offered
}

// fingerprint tells one list of tags from another.
func fingerprint(tags []signing.Hash) [sha256.Size]byte {
	h := sha256.New()
	for _, id := range tags {
		h.Write(id[:])
	}
	return [sha256.Size]byte(h.Sum(nil))
}
