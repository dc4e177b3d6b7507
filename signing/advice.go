package signing

import (
	"fmt"
	"strings"
)

// advice says what to do about a refusal: a sentence a line, and below it,
// indented by two blanks, the command that does it as it stands in a clone of
// the branch. Good is the accepted commit. Rebasing signs anew, by the one who
// does it: -S also where git would take commits over.
func advice(r *Refusal, j *judge) string {
	good, branch := j.commit, j.opts.Branch
	const push = "git push --force-with-lease"
	begin := fmt.Sprintf("git switch %s && git pull --ff-only", branch)
	drop := remedy("Drop the commit:",
		fmt.Sprintf("%s && git rebase -S --onto %s %s %s && %s", begin, good, r.Chain, branch, push))
	switch r.Reason {
	case ReasonUnsigned, ReasonUnknownSigner, ReasonBadSignature, ReasonExpired, ReasonRevoked:
		return drop + "\n" + remedy("Or, as a signer that trust.yaml lists, sign it and all that follows:",
			fmt.Sprintf("%s && git rebase -S --force-rebase %s && %s", begin, good, push))
	case ReasonRewritten:
		return remedy("Accepted history only moves forward. Put the branch on the accepted commit again:",
			fmt.Sprintf("git switch %s && git fetch && git reset --keep @{upstream} && git rebase -S %s && %s", branch, good, push)) +
			"\n" + remedy(fmt.Sprintf("Or, if the history was rewritten on purpose, %d of root (%s) say so, each having looked at it:",
			j.trust.RootThreshold, strings.Join(j.trust.Root, ", ")), reanchorCommand(good, r.Commit, 1))
	case ReasonFoxtrot:
		return remedy("Merge the other way round, so that the accepted commit is the first parent:",
			fmt.Sprintf("git switch %s && git fetch && git reset --keep %s && git merge -S --no-ff --no-edit @{upstream} && git push", branch, good))
	case ReasonTrust:
		return drop + "\nThen change trust.yaml and keys/ alone in one commit on the branch, version one higher, signed by root."
	case ReasonTrustPending:
		return remedy("Approve it, as one of those who are named, after reading it:", j.awaits.Command) +
			"\n" + strings.Replace(drop, "Drop the commit:", "Or drop it:", 1)
	case ReasonNoTarget:
		return drop + "\n" + remedy("Or, if it is the last commit and meant for this branch, say so and sign it again:",
			fmt.Sprintf(`%s && git commit --amend --no-edit -S --trailer "Deploy-Target: %s" && %s`, begin, branch, push))
	case ReasonNoRule:
		return drop + "\nOr let root push a rule for the path in trust.yaml first, then push the change again on top of it."
	case ReasonTooLarge:
		return drop + "\nThen bring the change in by smaller steps."
	case ReasonTampered:
		return remedy("The objects of the repository, or of the copy that was read, are damaged or forged. Where the branch is kept, run:",
			"git fsck --full")
	case ReasonMalformed, ReasonMerge:
	}
	return drop + "\nThen push the change again without the fault."
}

func remedy(sentence, command string) string { return sentence + "\n  " + command }
