package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/cluster/lease"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// barEvery is how often a node looks whether it must give its lease up.
const barEvery = 100 * time.Millisecond

// terms of leases under the settings that a View holds. Grants are as short as the
// settings say; whoever waits does so for the longest that may still be out.
func terms(v *state.View) lease.Terms {
	c := v.Cluster()
	if c == nil {
		return lease.DefaultTerms()
	}
	duration, age := c.Settings.SigningTerms()
	longest, oldest := c.LongestTerms()
	t := lease.TermsOf(lasting(duration), lasting(age)).Under(lasting(longest))
	t.AgeWait = lease.TermsOf(lasting(longest), lasting(oldest)).AgeWait
	return t
}

func lasting(ms lifecycle.Milliseconds) time.Duration { return time.Duration(ms) * time.Millisecond }

// Usable implements ledger.Lease.
func (n *Node) Usable(v *state.View) error { return n.holder.Usable(n.applied(v)) }

// GiveUpLease ends this node's right to release signatures, for good: no other lease
// is asked for. why completes "this node holds no signing lease: ".
func (n *Node) GiveUpLease(why string) {
	n.leaving.CompareAndSwap(nil, &why)
	n.holder.Drop(why)
}

// keepLease gives the lease up when there is a reason to. Asking for another one is
// part of the exchange with the leader, and is not done while there is.
func (n *Node) keepLease(ctx context.Context) {
	tick := time.NewTicker(barEvery)
	defer tick.Stop()
	for {
		if why := n.barred(); why != "" {
			n.holder.Drop(why)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// barred says why this node must not hold a lease, "" when it may.
func (n *Node) barred() string {
	if why := n.leaving.Load(); why != nil {
		return *why
	}
	if err := n.fsm.Err(); err != nil {
		return err.Error()
	}
	select {
	case <-n.fsm.Verified():
	default:
		return "its state file is still being verified after the start"
	}
	if why := n.Hold(); why != "" {
		return why
	}
	if ok, why := n.HSM(); !ok {
		return "its key store does not work: " + why
	}
	if why := unfit(n.View(), n.ID); why != "" {
		return why
	}
	return n.wrongRate()
}

// unfit says why the state lets a node hold no lease.
func unfit(v *state.View, id lifecycle.NodeID) string {
	switch row := v.Node(id); {
	case row == nil:
		return "it is not a member yet"
	case row.Status != lifecycle.Member:
		return fmt.Sprintf("node %s is %s", row.Name, row.Status)
	case !row.Signer:
		return fmt.Sprintf("node %s has not got the role signer", row.Name)
	}
	return ""
}

// wrongRate says why a lease counted with this node's clock would mean something
// else to those who wait for its end.
func (n *Node) wrongRate() string {
	lead := n.Leadership()
	switch {
	case lead.Self:
		return n.rates.Outvoted(n.voters())
	case lead.Leader != "":
		return n.rates.Against(lead.Leader)
	}
	return ""
}

// askLease makes the request for a lease that goes with the next question to the
// leader: nil when none is due, or there is a reason to hold none.
func (n *Node) askLease(lead ledger.Leadership) *lease.Request {
	v := n.View()
	c := v.Cluster()
	if c == nil || !n.leaseDue.Swap(false) || n.barred() != "" {
		return nil
	}
	ok, _ := n.HSM()
	at, digest := n.fsm.Digest()
	r := n.holder.Ask(lease.Observed{Cluster: c.ID, Epoch: c.Epoch, Term: lead.Term, Applied: at.Index, LogSize: at.LogSize,
		Root: at.LogRoot[:], Digest: digest[:], HSMOK: ok})
	return &r
}

// takeLease takes in what the leader made of a request.
func (n *Node) takeLease(from lifecycle.NodeID, grant *lease.Grant, refused string) {
	switch grant = tampered(grant); {
	case grant != nil:
		if err := n.holder.Accept(from, *grant, n.applied(n.View())); err != nil {
			n.Logger.Debug("take a lease", "node", n.ID.Short(), "leader", from.Short(), "err", err)
		}
	case refused != "":
		n.holder.Drop("the leader grants none: " + refused)
	}
}

// compareRates takes in how another node's clock stood between question and answer.
func (n *Node) compareRates(r *Report, sent lease.Reading) {
	n.rates.Add(r.Node, lease.Sample{Boot: r.Lease.Boot, Sent: sent, Theirs: r.Lease.Clock, Received: n.Clock()})
}

func (n *Node) leaseReport(applied uint64) LeaseReport {
	s := n.holder.Status(applied)
	return LeaseReport{Usable: s.Usable, Why: s.Why, ExpiresInMS: s.ExpiresIn.Milliseconds(), MinIndex: s.MinIndex, Boot: s.Boot, Fenced: s.Fenced, Clock: s.Clock}
}
