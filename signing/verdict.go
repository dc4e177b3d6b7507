package signing

import "time"

// Position is what a node has accepted so far: all that is needed, beside the
// objects themselves, to judge the next range. It is a plain value that
// marshals to JSON; the trust in force at a position is the trust.yaml of its
// commit (LoadTrust).
type Position struct {
	// Commit is the accepted commit.
	Commit Hash `json:"commit"`
	// Anchor says that Commit is the pinned anchor and nothing was accepted
	// after it: the first descendant is judged as if every path in its tree
	// had changed.
	Anchor bool `json:"anchor,omitempty"`
	// Units holds one entry for each deployment folder that exists or waits,
	// by name, and ClusterUnit for cluster.yaml.
	Units map[string]Unit `json:"units,omitempty"`
}

// The names of units that are no deployment's folder. No deployment can have
// one of them.
const (
	// ClusterUnit consists of cluster.yaml alone.
	ClusterUnit = "cluster"
	// TrustUnit is trust.yaml and keys/. It stands in Pending, never in a
	// Position: a trust change is accepted whole or not at all.
	TrustUnit = "trust"
	// ReanchorUnit is the jump to a rewritten history. It stands in Pending
	// only.
	ReanchorUnit = "reanchor"
)

// allUnits stands for every deployment in an approval.
const allUnits = "all"

// Unit is the approval state of one deployment folder or of cluster.yaml.
type Unit struct {
	// Revision is the commit at which the unit was last approved; zero when
	// it never was.
	Revision Hash `json:"revision"`
	// Tree is the unit's content at Revision: the folder's tree id, or the
	// blob id of cluster.yaml. Zero: absent (never approved, or removed).
	Tree Hash `json:"tree"`
	// At is the entry's time at which Revision was approved; zero when it is
	// not known.
	At time.Time `json:"at,omitzero"`
	// Signers approved Revision.
	Signers []Approval `json:"signers,omitempty"`
	// Grounds says whose approvals the paths rest on, those first that changed
	// with Revision: a hundred, for judging them again (Trust.Judge).
	Grounds []Ground `json:"grounds,omitempty"`
	// Since is the commit on the branch that brought the content that waits,
	// Waits that content as Tree has it. Both are zero when nothing waits;
	// Waits is zero for a removed unit too.
	Since Hash `json:"since,omitzero"`
	Waits Hash `json:"waits,omitzero"`
	// Vouched lists, for each path of the unit that differs from the
	// approved content, who signed its present content. Sorted by path.
	Vouched []Vouch `json:"vouched,omitempty"`
}

// Ground says who approved some paths of a unit, by their names in trust.yaml.
type Ground struct {
	Paths   []string `json:"paths"`
	Signers []string `json:"signers"`
	// Approvals are theirs, and At is when they counted, where that was for an
	// earlier revision than the unit's, since which the paths have not changed;
	// otherwise they are among the unit's.
	Approvals []Approval `json:"approvals,omitempty"`
	At        time.Time  `json:"at,omitzero"`
}

// Approval names one signer whose signature counted, and where it stands.
type Approval struct {
	// Signer is the name in trust.yaml.
	Signer string `json:"signer"`
	// Key is the fingerprint of the key: "SHA256:…" for SSH, upper-case
	// hexadecimal for OpenPGP.
	Key string `json:"key"`
	// Commit is the signed object.
	Commit Hash `json:"commit"`
	// Tree is set when the signer approved the unit as a whole, by a tag or a
	// trailer: the content it named, git's empty tree for a removed unit. Such an
	// approval is void once the unit's content is another. Zero: the signer
	// changed the path, and approves that content of it.
	Tree Hash `json:"tree,omitzero"`
}

// Vouch says who signed the present content of one path.
type Vouch struct {
	Path string `json:"path"`
	// Content is the path's object id, zero for a removed path; Mode its git
	// file mode, zero for a removed path.
	Content Hash       `json:"content"`
	Mode    uint32     `json:"mode"`
	Signers []Approval `json:"signers"`
}

// Verdict is the judgement on a range.
type Verdict struct {
	// Position is the new accepted position: the last first-parent commit
	// before the first bad one. It equals the old one when nothing moved.
	Position Position
	// Commits lists what was newly accepted, in the order it was judged
	// (parents first, side branches before the merge that brings them in).
	Commits []SignedCommit
	// Approved names the units whose approved revision moved, sorted.
	Approved []string
	// Pending lists the units that wait for a signature, sorted by unit:
	// deployments and ClusterUnit as they stand at Position, and TrustUnit or
	// ReanchorUnit when Refusal is that one waits.
	Pending []Pending
	// Tags lists those of Options.Tags that counted, sorted. The same range
	// judged with these alone has the same verdict.
	Tags []Hash
	// Reanchored says that the position jumped to a rewritten history; nil
	// mostly.
	Reanchored *Reanchored
	// Refusal says why the range was not accepted up to its tip; nil when it
	// was.
	Refusal *Refusal
}

// SignedCommit is one commit with a valid signature of a listed signer.
type SignedCommit struct {
	Commit Hash
	Signer string
	Key    string
	// TrustVersion is the version of the trust.yaml that it was judged by.
	TrustVersion int
	Subject      string
	// Paths counts the paths that the commit itself changed below deployments/
	// and keys/, cluster.yaml and trust.yaml; others are not looked at.
	Paths int
	// RollbackFloor says that it carries the trailer "Rollback-Floor: true":
	// nothing goes back behind it.
	RollbackFloor bool
	// AllowPrune is the number in its trailer "Allow-Prune: N" when a root
	// signer signed it; 0 otherwise.
	AllowPrune int
}

// Reanchored is a jump from an accepted commit to one of a rewritten history,
// which root ordered.
type Reanchored struct {
	From, To Hash
	Signers  []Approval
}

// Pending is one unit whose newest content waits for approval.
type Pending struct {
	Unit string
	// Revision is the commit on the branch that brought the waiting content:
	// the one to approve.
	Revision Hash
	// Have names who signed so far, Need is the number of approvals the
	// strictest of the waiting paths' rules asks for, Eligible who may give
	// those that lack, Paths the paths that wait. All sorted.
	Have     []string
	Need     int
	Eligible []string
	Paths    []string
	// Reason is a sentence for people, Command what an eligible signer runs.
	Reason  string
	Command string
}

// Reason is the machine-readable cause of a refusal. The values reach JSON and
// the audit log: never rename one.
type Reason string

// The reasons for which a range is refused.
const (
	ReasonUnsigned      Reason = "unsigned"        // no signature at all
	ReasonUnknownSigner Reason = "unknown-signer"  // signed by a key that trust.yaml does not list
	ReasonBadSignature  Reason = "bad-signature"   // a signature that does not verify, or of a refused kind
	ReasonRevoked       Reason = "revoked-key"     // signed by a revoked key
	ReasonExpired       Reason = "expired-signer"  // signer or key no longer valid at the entry's time
	ReasonMalformed     Reason = "malformed"       // a commit or tree that the strict decoder refuses
	ReasonRewritten     Reason = "rewritten"       // the tip does not descend from the accepted commit
	ReasonFoxtrot       Reason = "foxtrot-merge"   // the accepted commit is not on the tip's first-parent chain
	ReasonTrust         Reason = "trust-change"    // trust.yaml or keys/ changed against the rules
	ReasonNoRule        Reason = "no-rule"         // a path below deployments/ that no rule matches
	ReasonMerge         Reason = "merge"           // a merge that the rules do not allow
	ReasonTooLarge      Reason = "too-large"       // a limit was exceeded
	ReasonTrustPending  Reason = "trust-pending"   // a trust change that waits for root's approvals
	ReasonNoTarget      Reason = "no-target"       // require_target, and nobody signed that it is meant for this branch
	ReasonTampered      Reason = "tampered-object" // bytes that do not match their id
)

// Refusal names the first bad commit of a range.
type Refusal struct {
	// Commit is the bad commit, Chain the first-parent commit that brings it
	// in (the same unless it came by a side branch).
	Commit Hash
	Chain  Hash
	Reason Reason
	// Detail says what is wrong with it, Advice what to do, with commands.
	Detail string
	Advice string
}

// Options are the bounds of one judgement.
type Options struct {
	// Now is the entry's time: valid_until is judged by it.
	Now time.Time
	// Branch is the branch's name, as it stands in advice and in Deploy-Target
	// trailers; default "main".
	Branch string
	// Tags are the ids of annotated tags offered as approvals, in any order.
	// One that is malformed, unsigned, of another name than approve/<unit>/…,
	// by nobody who counts or of anything but what waits counts for nothing and
	// stops nothing. One that the source does not have is missing evidence.
	Tags []Hash
	// MaxStep is the number of commits that one first-parent step may bring
	// in, itself included; default 500.
	MaxStep int
}
