package authority

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// CommitSlack is what is added to every bound for the round trips and the entry that
// end a phase, with a leader and a majority at hand. An election adds its own time.
const CommitSlack = lifecycle.Second / 2

// Bounds are the longest times from a withdrawal to its levels while there is a
// leader, whatever else fails: counted from the entry that withdraws.
type Bounds struct {
	Committed lifecycle.Milliseconds
	Lease     lifecycle.Milliseconds // until the last lease of a node that nobody hears has run out
	Fenced    lifecycle.Milliseconds
	Settled   lifecycle.Milliseconds
}

// BoundsOf are the bounds under the cluster's present settings. The ratios are the
// waiter's of the protocol: a quarter more than the holder may use, for clocks that
// run at different rates.
func BoundsOf(v *state.View) Bounds {
	lease, age := v.Cluster().LongestTerms()
	b := Bounds{Committed: CommitSlack, Lease: lease + lease/4}
	b.Fenced = b.Lease + CommitSlack
	b.Settled = b.Fenced + age + age/4 + CommitSlack
	return b
}

// NodeEnd is how the right ends on one node.
type NodeEnd struct {
	Node    lifecycle.NodeID
	Outcome lifecycle.FenceOutcome // "" = it may still have the right
	At      lifecycle.Instant      // when the leader knew; 0 = not yet
	By      lifecycle.Instant      // not yet: when its lease ends at the latest
}

// Withdrawal is how far the end of a right has come.
type Withdrawal struct {
	*lifecycle.Fence
	FencedBy  lifecycle.Instant // at the latest, with a leader; 0 = it is fenced
	SettledBy lifecycle.Instant // likewise; 0 = it is settled
	Ends      []NodeEnd         // nodes that may have signed
}

// WithdrawalOf looks at a fence at the time now. Until it is fenced the nodes that
// might have signed are pending, each for as long as a lease can last that it got
// before the withdrawal.
func WithdrawalOf(v *state.View, f *lifecycle.Fence, now lifecycle.Instant) Withdrawal {
	w, b := Withdrawal{Fence: f}, BoundsOf(v)
	if f.FencedAt != 0 {
		for _, n := range f.Nodes {
			w.Ends = append(w.Ends, NodeEnd{Node: n.Node, Outcome: n.Outcome, At: n.At})
		}
		if f.SettledAt == 0 {
			w.SettledBy = soon(f.FencedAt.Add(b.Settled-b.Fenced), now)
		}
		return w
	}
	// A leader that came after the entry counts anew from its own election.
	w.FencedBy = f.OpenedAt.Add(b.Fenced)
	if now > w.FencedBy {
		w.FencedBy = now.Add(b.Fenced)
	}
	w.SettledBy = w.FencedBy.Add(b.Settled - b.Fenced)
	for _, n := range v.Nodes() {
		if n.Status != lifecycle.Removed && (n.Signer || n.Name == f.Subject) {
			w.Ends = append(w.Ends, NodeEnd{Node: n.ID, By: f.OpenedAt.Add(b.Lease)})
		}
	}
	return w
}

// soon is a bound that has not passed: the entry that confirms it is on its way.
func soon(by, now lifecycle.Instant) lifecycle.Instant { return max(by, now.Add(CommitSlack)) }

// Narrows reports whether commands of this kind can take a right to sign away. What
// one of them really did is told by its fence.
func Narrows(k command.Kind) bool {
	switch k {
	case command.KindRevoke, command.KindReplace, command.KindSuspendVersion, command.KindDeactivateVersion, command.KindActivateVersion, command.KindSetPolicy,
		command.KindAddPrincipal, command.KindRevokePrincipal, command.KindRevokeToken, command.KindRollBack,
		command.KindSetNodeStatus, command.KindSetNodeRoles, command.KindSetSettings, command.KindBreakGlass:
		return true
	}
	return false
}

// DefaultLevel is what a request is waited for when its caller names no level. Whoever
// takes a right away wants to know that it is gone; an activation ends the version
// before it too, but is waited for by those who want to sign.
func DefaultLevel(k command.Kind) Level {
	if Narrows(k) && k != command.KindActivateVersion {
		return Fenced
	}
	return Committed
}
