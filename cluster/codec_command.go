package cluster

import (
	"fmt"

	jacov1 "github.com/jaco-sh/jaco/proto/jaco/v1"
	"github.com/jaco-sh/jaco/signing"
)

func (w *encoder) actor(a Actor) *jacov1.Actor {
	return &jacov1.Actor{Kind: string(a.Kind), Name: a.Name}
}

func (r *decoder) actor(m *jacov1.Actor) Actor {
	return Actor{Kind: ActorKind(m.GetKind()), Name: m.GetName()}
}

// command sets the command of m.
func (w *encoder) command(m *jacov1.Entry, c Command) {
	switch c := c.(type) {
	case *InitCluster:
		m.Command = &jacov1.Entry_InitCluster{InitCluster: &jacov1.InitCluster{Meta: w.meta(c.Meta), Node: w.node(c.Node)}}
	case *UpdateNode:
		m.Command = &jacov1.Entry_UpdateNode{UpdateNode: &jacov1.UpdateNode{Node: w.node(c.Node), Expect: c.Expect}}
	case *PutObjects:
		m.Command = &jacov1.Entry_PutObjects{PutObjects: &jacov1.PutObjects{Objects: each(c.Objects, w.object)}}
	case *AdvanceRevision:
		m.Command = &jacov1.Entry_AdvanceRevision{AdvanceRevision: &jacov1.AdvanceRevision{Claim: w.claim(c.Claim)}}
	case *RecordRefusal:
		m.Command = &jacov1.Entry_RecordRefusal{RecordRefusal: &jacov1.RecordRefusal{Refusal: w.refusal(c.Refusal)}}
	case *SetSync:
		m.Command = &jacov1.Entry_SetSync{SetSync: &jacov1.SetSync{
			State: string(c.State), Reason: w.text(c.Reason), Head: w.hash(c.Head), Awaits: w.pending(c.Awaits),
		}}
	case *ApplyPlan:
		m.Command = &jacov1.Entry_ApplyPlan{ApplyPlan: w.plan(c)}
	case *ReportReplicas:
		m.Command = &jacov1.Entry_ReportReplicas{ReportReplicas: &jacov1.ReportReplicas{
			Node: c.Node, Reports: each(c.Reports, w.report),
		}}
	case *RecordEvents:
		m.Command = &jacov1.Entry_RecordEvents{RecordEvents: &jacov1.RecordEvents{Events: each(c.Events, w.event)}}
	case *PutSealed:
		m.Command = &jacov1.Entry_PutSealed{PutSealed: &jacov1.PutSealed{Items: each(c.Items, w.sealed)}}
	case *PutToken:
		m.Command = &jacov1.Entry_PutToken{PutToken: &jacov1.PutToken{Token: w.token(c.Token)}}
	case *AdmitNode:
		m.Command = &jacov1.Entry_AdmitNode{AdmitNode: &jacov1.AdmitNode{Node: w.node(c.Node), Token: c.Token}}
	case *RemoveNode:
		m.Command = &jacov1.Entry_RemoveNode{RemoveNode: &jacov1.RemoveNode{Name: c.Name, Reason: w.text(c.Reason)}}
	case *ReportMesh:
		m.Command = &jacov1.Entry_ReportMesh{ReportMesh: &jacov1.ReportMesh{
			Node: c.Node, PublicKey: w.digest(c.PublicKey), Port: uint32(c.Port), Mode: c.Mode,
		}}
	case *objectDigests:
		m.Command = &jacov1.Entry_ObjectDigests{ObjectDigests: &jacov1.ObjectDigests{Objects: each(c.Objects, w.objectDigest)}}
	default:
		w.fail(fmt.Errorf("%w: command of type %T", ErrInvalid, c))
	}
}

// command returns the command of m; an entry without one is malformed.
func (r *decoder) command(m *jacov1.Entry) Command {
	switch c := m.GetCommand().(type) {
	case *jacov1.Entry_InitCluster:
		return &InitCluster{Meta: r.meta(c.InitCluster.GetMeta()), Node: r.node(c.InitCluster.GetNode())}
	case *jacov1.Entry_UpdateNode:
		return &UpdateNode{Node: r.node(c.UpdateNode.GetNode()), Expect: c.UpdateNode.GetExpect()}
	case *jacov1.Entry_PutObjects:
		return &PutObjects{Objects: each(c.PutObjects.GetObjects(), r.object)}
	case *jacov1.Entry_AdvanceRevision:
		return &AdvanceRevision{Claim: r.claim(c.AdvanceRevision.GetClaim())}
	case *jacov1.Entry_RecordRefusal:
		return &RecordRefusal{Refusal: r.refusal(c.RecordRefusal.GetRefusal())}
	case *jacov1.Entry_SetSync:
		s := c.SetSync
		return &SetSync{State: SyncState(s.GetState()), Reason: s.GetReason(), Head: r.hash(s.GetHead()), Awaits: r.pending(s.GetAwaits())}
	case *jacov1.Entry_ApplyPlan:
		return r.plan(c.ApplyPlan)
	case *jacov1.Entry_ReportReplicas:
		return &ReportReplicas{Node: c.ReportReplicas.GetNode(), Reports: each(c.ReportReplicas.GetReports(), r.report)}
	case *jacov1.Entry_RecordEvents:
		return &RecordEvents{Events: each(c.RecordEvents.GetEvents(), r.event)}
	case *jacov1.Entry_PutSealed:
		return &PutSealed{Items: each(c.PutSealed.GetItems(), r.sealed)}
	case *jacov1.Entry_PutToken:
		return &PutToken{Token: r.token(c.PutToken.GetToken())}
	case *jacov1.Entry_AdmitNode:
		return &AdmitNode{Node: r.node(c.AdmitNode.GetNode()), Token: c.AdmitNode.GetToken()}
	case *jacov1.Entry_RemoveNode:
		return &RemoveNode{Name: c.RemoveNode.GetName(), Reason: c.RemoveNode.GetReason()}
	case *jacov1.Entry_ReportMesh:
		p := c.ReportMesh
		return &ReportMesh{Node: p.GetNode(), PublicKey: r.digest(p.GetPublicKey()), Port: r.port(p.GetPort()), Mode: p.GetMode()}
	case *jacov1.Entry_ObjectDigests:
		return &objectDigests{Objects: each(c.ObjectDigests.GetObjects(), r.objectDigest)}
	}
	r.fail(fmt.Errorf("%w: no command", ErrInvalid))
	return nil
}

func (w *encoder) plan(p *ApplyPlan) *jacov1.ApplyPlan {
	return &jacov1.ApplyPlan{
		Expect:      each(p.Expect, w.expectation),
		Create:      each(p.Create, w.replica),
		Stop:        p.Stop,
		Remove:      p.Remove,
		Services:    each(p.Services, w.service),
		DropService: each(p.DropService, w.serviceKey),
		Deployments: each(p.Deployments, w.deployment),
		DropStatus:  p.DropStatus,
		Lose:        p.Lose,
		Blocks:      each(p.Blocks, w.nodeBlock),
		Slices:      each(p.Slices, w.slice),
		DropSlices:  each(p.DropSlices, w.sliceKey),
	}
}

func (r *decoder) plan(m *jacov1.ApplyPlan) *ApplyPlan {
	return &ApplyPlan{
		Expect:      each(m.GetExpect(), r.expectation),
		Create:      each(m.GetCreate(), r.replica),
		Stop:        m.GetStop(),
		Remove:      m.GetRemove(),
		Services:    each(m.GetServices(), r.service),
		DropService: each(m.GetDropService(), r.serviceKey),
		Deployments: each(m.GetDeployments(), r.deployment),
		DropStatus:  m.GetDropStatus(),
		Lose:        m.GetLose(),
		Blocks:      each(m.GetBlocks(), r.nodeBlock),
		Slices:      each(m.GetSlices(), r.slice),
		DropSlices:  each(m.GetDropSlices(), r.sliceKey),
	}
}

func (w *encoder) expectation(e Expectation) *jacov1.Expectation {
	return &jacov1.Expectation{Kind: w.expectKind(e.Kind), Key: e.Key, ModifyIndex: e.ModifyIndex}
}

func (r *decoder) expectation(m *jacov1.Expectation) Expectation {
	return Expectation{Kind: r.expectKind(m.GetKind()), Key: m.GetKey(), ModifyIndex: m.GetModifyIndex()}
}

func (w *encoder) serviceKey(k ServiceKey) *jacov1.ServiceKey {
	return &jacov1.ServiceKey{Deployment: k.Deployment, Service: k.Service}
}

func (r *decoder) serviceKey(m *jacov1.ServiceKey) ServiceKey {
	return ServiceKey{Deployment: m.GetDeployment(), Service: m.GetService()}
}

func (w *encoder) report(p ReplicaReport) *jacov1.ReplicaReport {
	return &jacov1.ReplicaReport{
		Id: p.ID, Phase: w.phase(p.Phase), Reason: w.text(p.Reason), ContainerId: p.ContainerID,
		ImageDigest: p.ImageDigest, Address: p.Address, ExitCode: int64(p.ExitCode),
		StartedAt: w.time(p.StartedAt), NoHealthcheck: p.NoHealthcheck, Drift: p.Drift,
		Addresses: string(p.Addresses),
	}
}

func (r *decoder) report(m *jacov1.ReplicaReport) ReplicaReport {
	return ReplicaReport{
		ID: m.GetId(), Phase: r.phase(m.GetPhase()), Reason: m.GetReason(), ContainerID: m.GetContainerId(),
		ImageDigest: m.GetImageDigest(), Address: m.GetAddress(), ExitCode: int(m.GetExitCode()),
		StartedAt: r.time(m.GetStartedAt()), NoHealthcheck: m.GetNoHealthcheck(), Drift: m.GetDrift(),
		Addresses: NetworkAddresses(m.GetAddresses()),
	}
}

func (w *encoder) event(e Event) *jacov1.Event {
	return &jacov1.Event{
		Type: string(e.Type), Node: e.Node, Deployment: e.Deployment, Service: e.Service,
		Replica: e.Replica, Revision: w.hash(e.Revision), Message: w.text(e.Message),
	}
}

func (r *decoder) event(m *jacov1.Event) Event {
	return Event{
		Type: EventType(m.GetType()), Node: m.GetNode(), Deployment: m.GetDeployment(), Service: m.GetService(),
		Replica: m.GetReplica(), Revision: r.hash(m.GetRevision()), Message: m.GetMessage(),
	}
}

func (w *encoder) object(o StoredObject) *jacov1.StoredObject {
	return &jacov1.StoredObject{Id: w.hash(o.ID), Type: w.objectType(o.Type), Data: o.Data}
}

func (r *decoder) object(m *jacov1.StoredObject) StoredObject {
	return StoredObject{
		ID:     r.hash(m.GetId()),
		Object: signing.Object{Type: r.objectType(m.GetType()), Data: r.bytes(m.GetData())},
	}
}

func (w *encoder) objectDigest(o objectDigest) *jacov1.ObjectDigest {
	return &jacov1.ObjectDigest{
		Id: w.hash(o.ID), Type: w.objectType(signing.ObjectType(o.Type)), Size: o.Size, Sha256: w.digest(o.SHA256),
	}
}

func (r *decoder) objectDigest(m *jacov1.ObjectDigest) objectDigest {
	return objectDigest{
		ID: r.hash(m.GetId()), Type: uint8(r.objectType(m.GetType())), Size: m.GetSize(), SHA256: r.digest(m.GetSha256()),
	}
}
