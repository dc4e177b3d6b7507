package cluster

import (
	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

func (w *encoder) meta(v Meta) *jacov1.Meta {
	return &jacov1.Meta{
		Id: v.ID, Name: v.Name, Ca: v.CA,
		Repo: &jacov1.Repo{
			Url: v.Repo.URL, Branch: v.Repo.Branch, Owner: v.Repo.Owner, KnownHosts: v.Repo.KnownHosts,
		},
		Anchor: w.hash(v.Anchor), InitializedAt: w.time(v.InitializedAt),
		CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex, Pool: w.prefix(v.Pool),
	}
}

func (r *decoder) meta(m *jacov1.Meta) Meta {
	return Meta{
		ID: m.GetId(), Name: m.GetName(), CA: r.bytes(m.GetCa()),
		Repo: Repo{
			URL: m.GetRepo().GetUrl(), Branch: m.GetRepo().GetBranch(), Owner: m.GetRepo().GetOwner(),
			KnownHosts: r.bytes(m.GetRepo().GetKnownHosts()),
		},
		Anchor: r.hash(m.GetAnchor()), InitializedAt: r.time(m.GetInitializedAt()),
		CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(), Pool: r.prefix(m.GetPool()),
	}
}

func (w *encoder) node(v Node) *jacov1.Node {
	return &jacov1.Node{
		Name: v.Name, Address: v.Address, CertificateKey: w.digest(v.CertificateKey), SealKey: v.SealKey,
		State: string(v.State), Since: w.time(v.Since), Reason: w.text(v.Reason), Version: v.Version,
		Cpu: v.CPU, Memory: v.Memory, CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) node(m *jacov1.Node) Node {
	return Node{
		Name: m.GetName(), Address: m.GetAddress(), CertificateKey: r.digest(m.GetCertificateKey()), SealKey: m.GetSealKey(),
		State: NodeState(m.GetState()), Since: r.time(m.GetSince()), Reason: m.GetReason(), Version: m.GetVersion(),
		CPU: m.GetCpu(), Memory: m.GetMemory(), CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) claim(v Claim) *jacov1.Claim {
	return &jacov1.Claim{
		Number: v.Number, From: w.hash(v.From), Commit: w.hash(v.Commit), Digest: w.digest(v.Digest),
		Time: w.time(v.Time), Index: v.Index, Tags: each(v.Tags, w.hash),
	}
}

func (r *decoder) claim(m *jacov1.Claim) Claim {
	return Claim{
		Number: m.GetNumber(), From: r.hash(m.GetFrom()), Commit: r.hash(m.GetCommit()), Digest: r.digest(m.GetDigest()),
		Time: r.time(m.GetTime()), Index: m.GetIndex(), Tags: each(m.GetTags(), r.hash),
	}
}

func (w *encoder) refusal(v Refusal) *jacov1.Refusal {
	return &jacov1.Refusal{
		Head: w.hash(v.Head), Commit: w.hash(v.Commit), Reason: string(v.Reason), Detail: w.text(v.Detail),
		Advice: w.text(v.Advice), Time: w.time(v.Time), CreateIndex: v.CreateIndex,
	}
}

func (r *decoder) refusal(m *jacov1.Refusal) Refusal {
	return Refusal{
		Head: r.hash(m.GetHead()), Commit: r.hash(m.GetCommit()), Reason: signing.Reason(m.GetReason()), Detail: m.GetDetail(),
		Advice: m.GetAdvice(), Time: r.time(m.GetTime()), CreateIndex: m.GetCreateIndex(),
	}
}

func (w *encoder) sync(v Sync) *jacov1.Sync {
	return &jacov1.Sync{
		State: string(v.State), Reason: w.text(v.Reason), Head: w.hash(v.Head), Since: w.time(v.Since),
		ModifyIndex: v.ModifyIndex, Awaits: w.pending(v.Awaits),
	}
}

func (r *decoder) sync(m *jacov1.Sync) Sync {
	return Sync{
		State: SyncState(m.GetState()), Reason: m.GetReason(), Head: r.hash(m.GetHead()), Since: r.time(m.GetSince()),
		ModifyIndex: m.GetModifyIndex(), Awaits: r.pending(m.GetAwaits()),
	}
}

func (w *encoder) pending(v *signing.Pending) *jacov1.Pending {
	if v == nil {
		return nil
	}
	return &jacov1.Pending{
		Unit: w.text(v.Unit), Revision: w.hash(v.Revision), Have: each(v.Have, w.text), Need: int64(v.Need),
		Eligible: each(v.Eligible, w.text), Paths: each(v.Paths, w.text), Reason: w.text(v.Reason), Command: w.text(v.Command),
	}
}

func (r *decoder) pending(m *jacov1.Pending) *signing.Pending {
	if m == nil {
		return nil
	}
	return &signing.Pending{
		Unit: m.GetUnit(), Revision: r.hash(m.GetRevision()), Have: m.GetHave(), Need: int(m.GetNeed()),
		Eligible: m.GetEligible(), Paths: m.GetPaths(), Reason: m.GetReason(), Command: m.GetCommand(),
	}
}

func (w *encoder) replica(v Replica) *jacov1.Replica {
	return &jacov1.Replica{
		Id: v.ID, Deployment: v.Deployment, Service: v.Service, Slot: int64(v.Slot), Serial: v.Serial,
		Node: v.Node, Revision: w.hash(v.Revision), SpecHash: v.SpecHash, Stop: v.Stop,
		Attempt: int64(v.Attempt), CreatedAt: w.time(v.CreatedAt), Phase: w.phase(v.Phase),
		Reason: w.text(v.Reason), ContainerId: v.ContainerID, ImageDigest: v.ImageDigest, Address: v.Address,
		ExitCode: int64(v.ExitCode), Drift: v.Drift, StartedAt: w.time(v.StartedAt), HealthyAt: w.time(v.HealthyAt),
		FinishedAt: w.time(v.FinishedAt), CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
		Addresses: string(v.Addresses),
	}
}

func (r *decoder) replica(m *jacov1.Replica) Replica {
	return Replica{
		ID: m.GetId(), Deployment: m.GetDeployment(), Service: m.GetService(), Slot: int(m.GetSlot()), Serial: m.GetSerial(),
		Node: m.GetNode(), Revision: r.hash(m.GetRevision()), SpecHash: m.GetSpecHash(), Stop: m.GetStop(),
		Attempt: int(m.GetAttempt()), CreatedAt: r.time(m.GetCreatedAt()), Phase: r.phase(m.GetPhase()),
		Reason: m.GetReason(), ContainerID: m.GetContainerId(), ImageDigest: m.GetImageDigest(), Address: m.GetAddress(),
		ExitCode: int(m.GetExitCode()), Drift: m.GetDrift(), StartedAt: r.time(m.GetStartedAt()), HealthyAt: r.time(m.GetHealthyAt()),
		FinishedAt: r.time(m.GetFinishedAt()), CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
		Addresses: NetworkAddresses(m.GetAddresses()),
	}
}

func (w *encoder) service(v Service) *jacov1.Service {
	return &jacov1.Service{
		Deployment: v.Deployment, Name: v.Name, NextSerial: v.NextSerial,
		Rollout: &jacov1.Rollout{
			State: string(v.Rollout.State), Revision: w.hash(v.Rollout.Revision), SpecHash: v.Rollout.SpecHash,
			Reason: w.text(v.Rollout.Reason), Failures: int64(v.Rollout.Failures),
			StartedAt: w.time(v.Rollout.StartedAt), StepAt: w.time(v.Rollout.StepAt),
		},
		Reason: w.text(v.Reason), CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) service(m *jacov1.Service) Service {
	ro := m.GetRollout()
	return Service{
		Deployment: m.GetDeployment(), Name: m.GetName(), NextSerial: m.GetNextSerial(),
		Rollout: Rollout{
			State: RolloutState(ro.GetState()), Revision: r.hash(ro.GetRevision()), SpecHash: ro.GetSpecHash(),
			Reason: ro.GetReason(), Failures: int(ro.GetFailures()),
			StartedAt: r.time(ro.GetStartedAt()), StepAt: r.time(ro.GetStepAt()),
		},
		Reason: m.GetReason(), CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) deployment(v DeploymentStatus) *jacov1.DeploymentStatus {
	return &jacov1.DeploymentStatus{
		Name: v.Name, Converged: w.hash(v.Converged), ConvergedAt: w.time(v.ConvergedAt),
		CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) deployment(m *jacov1.DeploymentStatus) DeploymentStatus {
	return DeploymentStatus{
		Name: m.GetName(), Converged: r.hash(m.GetConverged()), ConvergedAt: r.time(m.GetConvergedAt()),
		CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) sealed(v SealedItem) *jacov1.SealedItem {
	return &jacov1.SealedItem{Name: v.Name, Recipients: v.Recipients, Ciphertext: v.Ciphertext, ModifyIndex: v.ModifyIndex}
}

func (r *decoder) sealed(m *jacov1.SealedItem) SealedItem {
	return SealedItem{
		Name: m.GetName(), Recipients: m.GetRecipients(), Ciphertext: r.bytes(m.GetCiphertext()), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) token(v Token) *jacov1.Token {
	return &jacov1.Token{
		Id: v.ID, Kind: string(v.Kind), Hash: w.digest(v.Hash), ExpiresAt: w.time(v.ExpiresAt), UsedBy: v.UsedBy,
		Checkpoint: v.Checkpoint, CreateIndex: v.CreateIndex, ModifyIndex: v.ModifyIndex,
	}
}

func (r *decoder) token(m *jacov1.Token) Token {
	return Token{
		ID: m.GetId(), Kind: TokenKind(m.GetKind()), Hash: r.digest(m.GetHash()), ExpiresAt: r.time(m.GetExpiresAt()), UsedBy: m.GetUsedBy(),
		Checkpoint: r.bytes(m.GetCheckpoint()), CreateIndex: m.GetCreateIndex(), ModifyIndex: m.GetModifyIndex(),
	}
}

func (w *encoder) segment(v Segment) *jacov1.AuditSegment {
	return &jacov1.AuditSegment{First: v.First, Last: v.Last, Head: w.digest(v.Head), Hash: w.digest(v.Hash)}
}

func (r *decoder) segment(m *jacov1.AuditSegment) Segment {
	return Segment{First: m.GetFirst(), Last: m.GetLast(), Head: r.digest(m.GetHead()), Hash: r.digest(m.GetHash())}
}

func (w *encoder) position(v position) *jacov1.SnapshotHead {
	return &jacov1.SnapshotHead{
		Index: v.Index, Time: w.time(v.Time), AuditNumber: v.Audit.Number, AuditHash: w.digest(v.Audit.Hash),
	}
}

func (r *decoder) position(m *jacov1.SnapshotHead) position {
	return position{
		Index: m.GetIndex(), Time: r.time(m.GetTime()),
		Audit: AuditHead{Number: m.GetAuditNumber(), Hash: r.digest(m.GetAuditHash())},
	}
}
