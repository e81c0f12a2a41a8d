package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// roundTimeout bounds one round of confirmation or one exchange with the leader.
const roundTimeout = time.Second

// readPoint is a proven fact: whoever has applied index sees everything that was
// acknowledged before begun.
type readPoint struct {
	begun   time.Duration // lease clock, before the first message was sent
	wall    time.Time     // wall clock at the same moment, for people
	index   uint64
	reports []Report
}

// readPoint asks for one: of the voters when this node leads, of the leader else.
func (n *Node) readPoint(ctx context.Context) (readPoint, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	p := readPoint{begun: n.Elapsed(), wall: n.Wall()}
	lead := n.Leadership()
	switch {
	case lead.Self && lead.Ready:
		// The index is read before the round. What was acknowledged before begun was
		// applied here first, if this node still led; that is what the round proves.
		p.index = n.fsm.Position().Index
		_, err := n.confirm.call(ctx)
		return p, err
	case lead.Self || lead.Leader == "":
		return p, ledger.ErrNotLeader
	}
	req := ReadIndexReq{Nonce: nonce(), Report: n.report()}
	if c := n.View().Cluster(); c != nil {
		req.Cluster, req.Epoch = c.ID, c.Epoch
	}
	resp, err := n.Peers.ReadIndex(ctx, lead.Leader, req)
	if err != nil {
		return p, fmt.Errorf("ask the leader for a read index: %w", err)
	}
	if resp.Nonce != req.Nonce || resp.Leader != lead.Leader || resp.Term < lead.Term {
		return p, fmt.Errorf("ask the leader for a read index: %w: the answer is not for this question", ledger.ErrStale)
	}
	p.index, p.reports = resp.Index, resp.Reports
	return p, nil
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
		return ReadIndexResp{}, fmt.Errorf("node %s reports for node %s", from.Short(), req.Report.Node.Short())
	}
	n.hear(req.Report)
	index := n.fsm.Position().Index
	if _, err := n.confirm.call(ctx); err != nil {
		return ReadIndexResp{}, err
	}
	return ReadIndexResp{Nonce: req.Nonce, Term: lead.Term, Leader: n.ID, Index: index, Reports: append(n.peers.reports(n.Elapsed()), n.report())}, nil
}

// hear notes a report. The offset is off by the message's way here, which is far
// below what it is compared with.
func (n *Node) hear(r Report) {
	n.peers.hear(r, n.Elapsed(), time.UnixMilli(r.WallMS).Sub(n.Wall()))
}

// confirmRound proves that this node still leads: a majority of voters answers,
// after being asked in this round, that it knows of no later term. VerifyLeader
// will not do, because it counts non-voters.
func (n *Node) confirmRound(ctx context.Context) (struct{}, error) {
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	term, voters := n.raft.CurrentTerm(), n.voters()
	if n.raft.State() != raft.Leader {
		return struct{}{}, ledger.ErrNotLeader
	}
	answers := make(chan bool, len(voters))
	agreed, asked := 0, 0
	for _, id := range voters {
		if id == n.ID {
			agreed++
			continue
		}
		asked++
		go func() { answers <- n.confirmWith(ctx, id, term) }()
	}
	for ; 2*agreed <= len(voters) && asked > 0; asked-- {
		select {
		case yes := <-answers:
			if yes {
				agreed++
			}
		case <-ctx.Done():
			asked = 0
		}
	}
	if 2*agreed <= len(voters) || n.raft.State() != raft.Leader || n.raft.CurrentTerm() != term {
		return struct{}{}, fmt.Errorf("%w: %d of %d voters confirm term %d", ledger.ErrNotLeader, agreed, len(voters), term)
	}
	return struct{}{}, nil
}

func (n *Node) confirmWith(ctx context.Context, id lifecycle.NodeID, term uint64) bool {
	req := ConfirmReq{Nonce: nonce(), Term: term, Leader: n.ID}
	// The round may be decided before this voter answers; its report is still wanted.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), roundTimeout)
	defer cancel()
	resp, err := n.Peers.Confirm(ctx, id, req)
	if err != nil || resp.Nonce != req.Nonce || resp.Node != id || resp.Report.Node != id {
		return false
	}
	n.hear(resp.Report)
	return resp.Term == term
}

// HandleConfirm answers a leader with the term this node knows.
func (n *Node) HandleConfirm(_ context.Context, _ lifecycle.NodeID, req ConfirmReq) (ConfirmResp, error) {
	return ConfirmResp{Nonce: req.Nonce, Term: n.raft.CurrentTerm(), Node: n.ID, Report: n.report()}, nil
}

// keepFresh renews the proof of freshness, and looks for unknown members while it
// fails.
func (n *Node) keepFresh(ctx context.Context) {
	tick := time.NewTicker(n.RefreshEvery)
	defer tick.Stop()
	failures := 0
	for {
		if err := n.renew(ctx); err != nil {
			if failures++; failures%4 == 0 {
				n.askAround(ctx)
			}
		} else {
			failures = 0
		}
		n.tendClock()
		changed := n.LeadershipChanged()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-changed:
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
		if err := n.raft.LeadershipTransfer().Error(); err != nil {
			n.Logger.Warn("hand leadership over", "node", n.ID.Short(), "err", err)
		}
		return
	}
	n.catchUpClock()
}
