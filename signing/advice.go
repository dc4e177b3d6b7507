package signing

import "fmt"

// advice says what to do about a refusal, with commands that work as they
// stand in a clone of the branch. Good is the accepted commit.
func advice(r *Refusal, good Hash, branch string) string {
	push := "git push --force-with-lease"
	drop := fmt.Sprintf("git fetch && git switch %s && git rebase -S --onto %s %s %s && %s",
		branch, good, r.Chain, branch, push)
	sign := fmt.Sprintf("git fetch && git switch %s && git rebase -S --force-rebase %s && %s", branch, good, push)
	remerge := fmt.Sprintf("git fetch && git switch -C %s %s && git merge -S --no-ff %s && git push", branch, good, r.Chain)
	if r.Commit != r.Chain {
		// The bad commit came by a merge, which goes as a whole.
		sign = drop
	}
	switch r.Reason {
	case ReasonUnsigned, ReasonUnknownSigner, ReasonBadSignature, ReasonExpired, ReasonRevoked:
		if sign == drop {
			return fmt.Sprintf("Drop the merge %s: %s. Then sign the side branch's commits (git rebase -S --force-rebase) and merge it again.",
				r.Chain.Short(), drop)
		}
		return fmt.Sprintf("Drop the commit: %s. Or, as a signer that trust.yaml lists, sign it and what follows: %s.", drop, sign)
	case ReasonRewritten:
		return fmt.Sprintf("Accepted history moves forward only. Put the branch back on the accepted commit: "+
			"git fetch && git switch %s && git rebase -S %s && %s.", branch, good, push)
	case ReasonFoxtrot:
		return fmt.Sprintf("Merge the other way round, so that the accepted commit is the first parent: %s.", remerge)
	case ReasonTrust:
		return fmt.Sprintf("Drop the commit: %s. Then change trust.yaml and keys/ on %s alone in one commit, "+
			"version one higher, signed by root.", drop, branch)
	case ReasonNoRule:
		return fmt.Sprintf("Drop the commit: %s. Or let root push a rule for the path in trust.yaml first, "+
			"then push the commit again behind it.", drop)
	case ReasonTooLarge:
		return fmt.Sprintf("Drop the commit: %s. Then bring the change in by smaller steps.", drop)
	case ReasonTampered:
		return "The objects of the repository or of its mirror are damaged or forged: run git fsck --full where the branch comes from."
	case ReasonMalformed, ReasonMerge:
	}
	return fmt.Sprintf("Drop the commit: %s. Then push the change again without the fault.", drop)
}
