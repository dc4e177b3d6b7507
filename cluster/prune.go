package cluster

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jaco-sh/jaco/desired"
	"github.com/jaco-sh/jaco/signing"
)

// ReasonPrune is why a claim is not taken that removes more deployments at once
// than it may. The text is in journals and reports: never change it.
const ReasonPrune signing.Reason = "mass-deletion"

// pruneTrailer is the signed line by which a root signer allows it.
const pruneTrailer = "Allow-Prune"

// PruneGuard returns why a verdict must not be taken as a whole, nil when it may:
// it removes more deployments than prune.max_deployments of the cluster.yaml
// accepted before (by default one, or a third of them, whichever is more), or
// the last one, and no root signer said "Allow-Prune: N" with an N of at least
// as many in a commit of the range. Branch is the branch's name for advice. An
// error means missing evidence.
//
// It counts from the last accepted claim, so that it is the claims, which every
// node has in the same order, that decide, and not when a poll came.
func PruneGuard(src signing.Source, from signing.Position, verdict *signing.Verdict, branch string) (*signing.Refusal, error) {
	before, removed, left := countDeployments(from, verdict.Position)
	if len(removed) == 0 {
		return nil, nil
	}
	most, err := maxRemoved(src, from, before)
	if err != nil {
		return nil, fmt.Errorf("prune guard: %w", err)
	}
	if len(removed) <= most && left > 0 {
		return nil, nil
	}
	trust, err := signing.LoadTrust(src, verdict.Position.Commit)
	if err != nil {
		return nil, fmt.Errorf("prune guard: %w", err)
	}
	allowed := 0
	for _, c := range verdict.Commits {
		allowed = max(allowed, c.AllowPrune)
	}
	if len(removed) <= allowed {
		return nil, nil
	}
	return pruneRefusal(pruning{removed: removed, before: before, most: most, left: left}, trust.Root, verdict.Position.Commit, branch), nil
}

// countDeployments compares two positions: how many deployments there were,
// which of them are gone, and how many there are.
func countDeployments(from, to signing.Position) (before int, removed []string, left int) {
	for name, unit := range from.Units {
		if name == signing.ClusterUnit || unit.Tree.IsZero() {
			continue
		}
		before++
		if to.Units[name].Tree.IsZero() {
			removed = append(removed, name)
		}
	}
	for name, unit := range to.Units {
		if name != signing.ClusterUnit && !unit.Tree.IsZero() {
			left++
		}
	}
	slices.Sort(removed)
	return before, removed, left
}

// maxRemoved is how many of the deployments one claim may remove. A cluster.yaml
// that cannot be read allows no more than the default.
func maxRemoved(src signing.Source, from signing.Position, before int) (int, error) {
	fallback := max(1, before/3)
	unit := from.Units[signing.ClusterUnit]
	if unit.Tree.IsZero() {
		return fallback, nil
	}
	data, err := signing.ReadObject(src, unit.Tree, signing.BlobObject)
	if err != nil {
		return 0, fmt.Errorf("cluster.yaml: %w", err)
	}
	settings, err := desired.ParseCluster(data)
	if err != nil || settings.MaxPrune == 0 {
		return fallback, nil //nolint:nilerr // what cannot be read is not in force
	}
	return settings.MaxPrune, nil
}

// pruning is what a refused claim would remove.
type pruning struct {
	removed            []string
	before, most, left int
}

func pruneRefusal(p pruning, root []string, tip signing.Hash, branch string) *signing.Refusal {
	n := len(p.removed)
	why := fmt.Sprintf("more than %d at once (prune.max_deployments)", p.most)
	if p.left == 0 {
		why = "which leaves none"
	}
	if branch == "" {
		branch = "main"
	}
	begin := fmt.Sprintf("git switch %s && git pull --ff-only", branch)
	return &signing.Refusal{
		Commit: tip, Chain: tip, Reason: ReasonPrune,
		Detail: fmt.Sprintf("it removes %d of %d deployments (%s), %s: nothing of it is taken until %s allows that",
			n, p.before, some(p.removed), why, strings.Join(root, " or ")),
		Advice: fmt.Sprintf("If that is meant, %s, as root, runs:\n  %s && git commit --allow-empty -S -m \"Remove %d deployments\" --trailer \"%s: %d\" && git push\n"+
			"If not, bring the folders back (git revert) and push.", strings.Join(root, " or "), begin, n, pruneTrailer, n),
	}
}
