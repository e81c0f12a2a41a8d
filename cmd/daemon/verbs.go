package daemon

import (
	"context"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/evidence"
	"github.com/chancery-project/chancery/authority/provision"
	"github.com/chancery-project/chancery/cluster"
	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/peer"
)

// Verbs between nodes. A node speaks about itself and its own instances only.
const (
	verbConfirm   = "confirm"
	verbReadIndex = "read-index"
	verbMembers   = "members"
	verbFence     = "fence"
	verbBind      = "bind-instance"
	verbCondition = "report-condition"
	verbErased    = "confirm-erased"
	verbUpdate    = "update-node"
	verbRenew     = "renew-certificate"
	verbGossipKey = "gossip-key"
	verbRecord    = "record-signatures"
	verbSeal      = "report-seal"
	verbTally     = "report-tally"
	verbLedger    = "read-ledger"

	verbRenewStatus = "renew-status"

	verbAnnounce      = "issue-intents"
	verbIssued        = "record-issued"
	verbBindCA        = "bind-ca-certificate"
	verbResponder     = "announce-responder"
	verbBindResponder = "bind-responder"
	verbAllocateCRL   = "allocate-crl"
)

type empty struct{}

// bindReq is a command with the proof that its sender holds the key.
type bindReq struct {
	Bind  command.BindInstance `json:"bind"`
	Proof provision.Proof      `json:"proof"`
}

// serveVerbs registers what other nodes may ask of this one.
func serveVerbs(s *peer.Server, n *cluster.Node, svc *authority.Service, i *issuer, g *gossipKeys, journal evidence.Journal) {
	peer.Handle(s, verbConfirm, func(ctx context.Context, from peer.From, req cluster.ConfirmReq) (cluster.ConfirmResp, error) {
		return n.HandleConfirm(ctx, from.Node, req)
	})
	peer.Handle(s, verbReadIndex, func(ctx context.Context, from peer.From, req cluster.ReadIndexReq) (cluster.ReadIndexResp, error) {
		return n.HandleReadIndex(ctx, from.Node, req)
	})
	peer.Handle(s, verbFence, func(ctx context.Context, from peer.From, req lease.FenceRequest) (lease.FenceAck, error) {
		return n.HandleFence(ctx, from.Node, req)
	})
	peer.Handle(s, verbMembers, func(context.Context, peer.From, empty) (map[lifecycle.NodeID]cluster.Seed, error) {
		return n.Members(), nil
	})
	peer.Handle(s, verbBind, func(ctx context.Context, from peer.From, req bindReq) (state.Outcome, error) {
		return bind(ctx, svc.Peer(from.Node, from.Remote), req)
	})
	peer.Handle(s, verbCondition, func(ctx context.Context, from peer.From, req command.ReportCondition) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).ReportCondition(ctx, &req)
	})
	peer.Handle(s, verbErased, func(ctx context.Context, from peer.From, req command.ConfirmErased) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).ConfirmErased(ctx, &req)
	})
	peer.Handle(s, verbUpdate, func(ctx context.Context, from peer.From, req command.UpdateNode) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).UpdateNode(ctx, &req)
	})
	peer.Handle(s, verbRecord, func(ctx context.Context, from peer.From, req command.RecordSignatures) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).RecordSignatures(ctx, &req)
	})
	peer.Handle(s, verbSeal, func(ctx context.Context, from peer.From, req command.ReportSeal) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).ReportSeal(ctx, &req)
	})
	peer.Handle(s, verbTally, func(ctx context.Context, from peer.From, req command.ReportTally) (state.Outcome, error) {
		return svc.Peer(from.Node, from.Remote).ReportTally(ctx, &req)
	})
	peer.Handle(s, verbLedger, func(ctx context.Context, from peer.From, req evidence.Ask) (evidence.Answer, error) {
		if err := svc.Peer(from.Node, from.Remote).ReadLedger(ctx, req.Key); err != nil {
			return evidence.Answer{}, err
		}
		return evidence.Search(ctx, journal, n.NodeID(), req, time.Now())
	})
	peer.Handle(s, verbRenew, i.renew)
	peer.Handle(s, verbRenewStatus, i.renewStatus)
	peer.Handle(s, verbGossipKey, g.handle)
}

func bind(ctx context.Context, p *authority.Peer, req bindReq) (state.Outcome, error) {
	return p.BindInstance(ctx, &req.Bind, func(k *lifecycle.Key, clusterID string) error {
		return provision.CheckProof(k, clusterID, &req.Bind, req.Proof)
	})
}

// caller asks other nodes on behalf of cluster.Node.
type caller struct{ client *peer.Client }

func (c caller) Confirm(ctx context.Context, id lifecycle.NodeID, req cluster.ConfirmReq) (cluster.ConfirmResp, error) {
	return peer.Call[cluster.ConfirmReq, cluster.ConfirmResp](ctx, c.client, id, verbConfirm, req)
}

func (c caller) ReadIndex(ctx context.Context, id lifecycle.NodeID, req cluster.ReadIndexReq) (cluster.ReadIndexResp, error) {
	return peer.Call[cluster.ReadIndexReq, cluster.ReadIndexResp](ctx, c.client, id, verbReadIndex, req)
}

func (c caller) Members(ctx context.Context, id lifecycle.NodeID) (map[lifecycle.NodeID]cluster.Seed, error) {
	return peer.Call[empty, map[lifecycle.NodeID]cluster.Seed](ctx, c.client, id, verbMembers, empty{})
}

func (c caller) Fence(ctx context.Context, id lifecycle.NodeID, req lease.FenceRequest) (lease.FenceAck, error) {
	return peer.Call[lease.FenceRequest, lease.FenceAck](ctx, c.client, id, verbFence, req)
}

// reporter brings this node's reports to whoever leads: itself, or another node.
type reporter struct {
	node    *cluster.Node
	service *authority.Service
	client  *peer.Client
}

const reportTimeout = 10 * time.Second

// report sends one verb to the leader.
func report[Req any](ctx context.Context, r *reporter, verb string, req Req, local func(context.Context, *authority.Peer) (state.Outcome, error)) (state.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	lead := r.node.Leadership()
	switch {
	case lead.Self:
		return local(ctx, r.service.Peer(r.node.NodeID(), "self"))
	case lead.Leader == "":
		return state.Outcome{}, ledger.ErrNotLeader
	}
	return peer.Call[Req, state.Outcome](ctx, r.client, lead.Leader, verb, req)
}

func (r *reporter) Bind(ctx context.Context, c command.BindInstance, proof provision.Proof) error {
	req := bindReq{c, proof}
	_, err := report(ctx, r, verbBind, req, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return bind(ctx, p, req) })
	return err
}

func (r *reporter) Report(ctx context.Context, c command.ReportCondition) error {
	_, err := report(ctx, r, verbCondition, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) {
		return p.ReportCondition(ctx, &c)
	})
	return err
}

func (r *reporter) Erased(ctx context.Context, c command.ConfirmErased) error {
	_, err := report(ctx, r, verbErased, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) {
		return p.ConfirmErased(ctx, &c)
	})
	return err
}

func (r *reporter) update(ctx context.Context, c command.UpdateNode) error {
	_, err := report(ctx, r, verbUpdate, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) {
		return p.UpdateNode(ctx, &c)
	})
	return err
}

func (r *reporter) tally(ctx context.Context, c command.ReportTally) error {
	_, err := report(ctx, r, verbTally, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) { return p.ReportTally(ctx, &c) })
	return err
}

// readLedger asks a node, or this one, what its ledger says.
func (d *Daemon) readLedger(ctx context.Context, id lifecycle.NodeID, ask evidence.Ask) (evidence.Answer, error) {
	if id == d.node.NodeID() {
		return evidence.Search(ctx, d.journal, id, ask, time.Now())
	}
	return peer.Call[evidence.Ask, evidence.Answer](ctx, d.client, id, verbLedger, ask)
}

// recordSignatures is the signer's way into the log.
func (r *reporter) recordSignatures(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
	c := command.RecordSignatures{Node: r.node.NodeID(), Groups: groups}
	return report(ctx, r, verbRecord, c, func(ctx context.Context, p *authority.Peer) (state.Outcome, error) {
		return p.RecordSignatures(ctx, &c)
	})
}
