package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// roundTimeout bounds one round of confirmation or one exchange with the leader.
const roundTimeout = time.Second

// errSender refuses a question in another node's name.
var errSender = errors.New("the sender is not who the question says")

// readPoint is a proven fact: whoever has applied index sees everything that was
// acknowledged before begun.
type readPoint struct {
	begun   time.Duration // lease clock, before the first message was sent
	wall    time.Time     // wall clock at the same moment
	offset  time.Duration // of the wall clock from the leader's; a leader's from the voters' median
	index   uint64
	reports []Report
}

// readPoint asks for one: of the voters when this node leads, of the leader else. When
// a lease is due it comes by the same way.
func (n *Node) readPoint(ctx context.Context) (p readPoint, err error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	p.begun, p.wall = n.Elapsed(), n.Wall()
	lead := n.Leadership()
	switch {
	case lead.Self && lead.Ready:
		asked := n.recordLease(n.ID, lead.Term, n.askLease(lead))
		if p.index, err = n.confirmedIndex(ctx, lead.Term); err == nil || fault.On(fault.NoConfirmation) {
			grant, refused := n.grant(asked, lead.Term)
			n.takeLease(n.ID, grant, refused)
		}
		median, _ := n.clockOff()
		p.offset = -median
		return p, err
	case lead.Self || lead.Leader == "":
		return p, ledger.ErrNotLeader
	}
	req := ReadIndexReq{Nonce: nonce(), Report: n.report(), Lease: n.askLease(lead)}
	if c := n.View().Cluster(); c != nil {
		req.Cluster, req.Epoch = c.ID, c.Epoch
	}
	sent := n.Clock()
	resp, err := n.Peers.ReadIndex(ctx, lead.Leader, req)
	if err != nil {
		return p, fmt.Errorf("ask the leader for a read index: %w", err)
	}
	if resp.Nonce != req.Nonce || resp.Leader != lead.Leader || resp.Term < lead.Term {
		return p, fmt.Errorf("ask the leader for a read index: %w: the answer is not for this question", ledger.ErrStale)
	}
	n.takeLease(lead.Leader, resp.Grant, resp.Refused)
	for i := range resp.Reports {
		switch r := &resp.Reports[i]; r.Node {
		case lead.Leader:
			n.compareRates(r, sent)
		case n.ID:
			p.offset = time.Duration(r.OffsetMS) * time.Millisecond
		}
	}
	p.index, p.reports = resp.Index, resp.Reports
	return p, nil
}

// confirmedIndex is how far whoever reads must have applied to see everything that
// was acknowledged, or shown to a reader, before the call: what was committed then, once
// a round begun after that has shown that this node led, in the term it became Ready in,
// and once this leader has applied it too. What earlier leaders committed was applied
// here before this one became Ready.
//
// The term matters. A node that lost and regained leadership between two looks of
// watchLeadership is still called Ready here for its old term, and may not have
// applied what others acknowledged in between.
func (n *Node) confirmedIndex(ctx context.Context, term uint64) (uint64, error) {
	index, err := n.committedCommand()
	if err != nil {
		return 0, err
	}
	confirmed, err := n.confirm.call(ctx)
	if err == nil && confirmed != term {
		err = fmt.Errorf("%w: it leads term %d and is not ready in it", ledger.ErrNotLeader, confirmed)
	}
	if err != nil {
		return index, err
	}
	return index, n.reach(ctx, index)
}

func nonce() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

// HandleReadIndex answers a follower, when this node leads.
func (n *Node) HandleReadIndex(ctx context.Context, from lifecycle.NodeID, req ReadIndexReq) (ReadIndexResp, error) {
	lead := n.Leadership()
	if !lead.Self || !lead.Ready {
		return ReadIndexResp{}, ledger.ErrNotLeader
	}
	if c := n.View().Cluster(); c == nil || req.Cluster != "" && (req.Cluster != c.ID || req.Epoch != c.Epoch) {
		return ReadIndexResp{}, fmt.Errorf("%w: the question is for another cluster or epoch", ledger.ErrEpoch)
	}
	if req.Report.Node != from {
		return ReadIndexResp{}, fmt.Errorf("%w: node %s reports for node %s", errSender, from.Short(), req.Report.Node.Short())
	}
	n.hear(req.Report)
	asked := n.recordLease(from, lead.Term, req.Lease)
	index, err := n.confirmedIndex(ctx, lead.Term)
	if err != nil && !fault.On(fault.NoConfirmation) {
		return ReadIndexResp{}, err
	}
	resp := ReadIndexResp{Nonce: req.Nonce, Term: lead.Term, Leader: n.ID, Index: index, Reports: append(n.peers.reports(n.Elapsed()), n.report())}
	resp.Grant, resp.Refused = n.grant(asked, lead.Term)
	return resp, nil
}

// hear notes a report. The offset is off by the message's way here, which is far
// below what it is compared with.
func (n *Node) hear(r Report) {
	n.peers.hear(r, n.Elapsed(), time.UnixMilli(r.WallMS).Sub(n.Wall()))
}

// confirmRound proves that this node still leads, and in which term: a majority of
// voters answers, after being asked in this round, that it knows of no later term.
// VerifyLeader will not do, because it counts non-voters.
//
// ctx is the node's. A round may be decided before the last voter answers, whose
// report is still wanted, so the askers are left to end by themselves.
func (n *Node) confirmRound(ctx context.Context) (uint64, error) {
	term, voters := n.raft.CurrentTerm(), n.voterServers()
	if n.raft.State() != raft.Leader {
		return 0, ledger.ErrNotLeader
	}
	answers := make(chan bool, len(voters))
	agreed, asked := 0, 0
	for _, id := range voters {
		if id == n.serverID {
			agreed++
			continue
		}
		asked++
		n.running.Go(func() { answers <- n.confirmWith(ctx, id, term) })
	}
	for ; 2*agreed <= len(voters) && asked > 0; asked-- {
		if <-answers {
			agreed++
		}
	}
	if 2*agreed <= len(voters) || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return 0, fmt.Errorf("%w: %d of %d voters confirm term %d", ledger.ErrNotLeader, agreed, len(voters), term)
	}
	return term, nil
}

// confirmWith ends within roundTimeout.
func (n *Node) confirmWith(ctx context.Context, server raft.ServerID, term uint64) bool {
	node := nodeOf(server)
	if !n.peers.ask(node) {
		return false // it has left too many questions open already
	}
	defer n.peers.asked(node)
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	req := ConfirmReq{Nonce: nonce(), Term: term, Leader: n.ID}
	sent := n.Clock()
	resp, err := n.Peers.Confirm(ctx, node, req)
	if err != nil || resp.Nonce != req.Nonce || resp.Node != node || resp.Server != string(server) || resp.Report.Node != node {
		return false
	}
	n.hear(resp.Report)
	n.compareRates(&resp.Report, sent)
	return resp.Term == term
}

// HandleConfirm answers a leader with the term this node knows.
func (n *Node) HandleConfirm(_ context.Context, from lifecycle.NodeID, req ConfirmReq) (ConfirmResp, error) {
	if n.closed.Load() {
		return ConfirmResp{}, ledger.ErrStopped
	}
	if req.Leader != from {
		return ConfirmResp{}, fmt.Errorf("%w: node %s asks in the name of node %s", errSender, from.Short(), req.Leader.Short())
	}
	return ConfirmResp{Nonce: req.Nonce, Term: n.raft.CurrentTerm(), Node: n.ID, Server: string(n.serverID), Report: n.report()}, nil
}

// keepFresh renews the proof of freshness and the lease, and looks for unknown
// members while it fails.
func (n *Node) keepFresh(ctx context.Context) {
	var failing time.Duration // since when, or since it last asked around
	for {
		n.leaseDue.Store(true)
		next := min(n.RefreshEvery, terms(n.View()).Renew)
		if err := n.renew(ctx); err == nil {
			failing = 0
		} else {
			next = n.RefreshEvery / 4 // whoever leads next may be Ready any moment
			switch now := n.Elapsed(); {
			case failing == 0:
				failing = now
			case now-failing > 4*n.RefreshEvery:
				failing = now
				n.askAround(ctx)
			}
		}
		n.tendClock()
		changed := n.LeadershipChanged()
		wait := time.NewTimer(next)
		select {
		case <-ctx.Done():
		case <-wait.C:
		case <-changed:
		}
		wait.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// renew gets a read point and publishes it once this node has applied it.
func (n *Node) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*roundTimeout)
	defer cancel()
	p, err := n.refresh.call(ctx)
	if err != nil {
		return err
	}
	if err := n.reach(ctx, p.index); err != nil {
		return err
	}
	n.publish(&p)
	n.peers.dropSeeds() // a state this new knows every member, and which incarnation it has
	return nil
}

// publish keeps the newest read point.
func (n *Node) publish(p *readPoint) {
	for {
		old := n.freshest.Load()
		if old != nil && old.begun >= p.begun {
			return
		}
		if n.freshest.CompareAndSwap(old, p) {
			return
		}
	}
}

// reach waits until our FSM has published index.
func (n *Node) reach(ctx context.Context, index uint64) error {
	for n.fsm.Position().Index < index {
		select {
		case <-n.fsm.Changed(index - 1):
		case <-ctx.Done():
			return ledger.ErrBehind
		}
	}
	return nil
}

// tendClock gives leadership up when this clock is the wrong one, and moves the
// cluster's clock after a long stop.
func (n *Node) tendClock() {
	if lead := n.Leadership(); !lead.Self || !lead.Ready {
		return
	}
	if offset, off := n.clockOff(); off {
		n.Logger.Error("this leader's clock disagrees with the voters: it hands leadership over and proposes nothing; set the clock", "node", n.ID.Short(), "offset_ms", offset.Milliseconds())
		n.handOver()
		return
	}
	if why := n.rates.Outvoted(n.voters()); why != "" {
		n.Logger.Error("this leader cannot tell when a lease ends: it grants none and hands leadership over; look at this machine's clocks", "node", n.ID.Short(), "reason", why)
		n.handOver()
		return
	}
	n.catchUpClock()
}

func (n *Node) handOver() {
	if err := n.raft.LeadershipTransfer().Error(); err != nil {
		n.Logger.Warn("hand leadership over", "node", n.ID.Short(), "err", err)
	}
}
