package state

import (
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Gate is where a version stands before a gate of its rotation.
type Gate struct {
	Open      bool
	OpensAt   lifecycle.Instant // when time alone has done its part; 0 = time alone never opens it
	Skip      *lifecycle.Skip   // who opened it before its time, nil = nobody
	Confirmed bool              // withdraw: it is open because all that it asks have confirmed
	Holdouts  []Holdout         // required consumers that have not confirmed what it asks, by name; of withdraw: who could open it before its time

	// Uncertified are the nodes that could not issue with the version of an issuer,
	// because their instance has no CA certificate that is valid; of activate.
	Uncertified []*lifecycle.Node
}

// Gate judges whether the version may pass the gate at the time now. Apply and the
// leader's plan judge by it both.
func (v *View) Gate(k *lifecycle.Key, ver *lifecycle.Version, gate lifecycle.Gate, now lifecycle.Instant) Gate {
	if gate == lifecycle.GateActivate {
		return v.atActivate(k, ver, now)
	}
	return v.atWithdraw(k, ver, now)
}

// atActivate judges whether a published version may begin to sign: its lead has passed,
// and every required consumer has proven that it knows it. Of an issuer, each node that
// would sign has its CA certificate. It says nothing of instances that are not there: a
// version that nobody could sign with is another matter.
func (v *View) atActivate(k *lifecycle.Key, ver *lifecycle.Version, now lifecycle.Instant) (g Gate) {
	g.Skip = ver.Skips(lifecycle.GateActivate)
	if !ver.Gated() {
		g.Open = true
		return g
	}
	if ver.PublishedAt == 0 {
		return g
	}
	g.OpensAt = ver.PublishedAt.Add(k.Policy.Lead)
	if k.Policy.ConfirmActivate {
		g.Holdouts = v.Holdouts(k.ID, lifecycle.GateActivate, ver.Number, now)
	}
	g.Uncertified = v.uncertified(k.ID, ver.Number, now)
	g.Open = now >= g.OpensAt && len(g.Holdouts) == 0 && len(g.Uncertified) == 0
	return g
}

// uncertified lists the nodes that sign and whose ready instance of an issuer's version
// has no valid CA certificate; none of a key that is no issuer's.
func (v *View) uncertified(key lifecycle.KeyID, version uint64, now lifecycle.Instant) (nodes []*lifecycle.Node) {
	if v.Issuer(key) == nil {
		return nil
	}
	for _, i := range v.Instances(key, version) {
		n, ca := v.Node(i.Node), v.CACert(key, version, i.Node)
		if i.Condition == lifecycle.Ready && n != nil && n.Signs() && (ca == nil || ca.Revocation != nil || now >= ca.NotAfter) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// atWithdraw judges whether a deactivated version may leave the trust set: its verify
// window has passed, or the required consumers that there are have all said that they
// are without it.
func (v *View) atWithdraw(k *lifecycle.Key, ver *lifecycle.Version, now lifecycle.Instant) (g Gate) {
	g.Skip = ver.Skips(lifecycle.GateWithdraw)
	if k.Policy.VerifyWindow > 0 {
		g.OpensAt = ver.DeactivatedAt.Add(k.Policy.VerifyWindow)
	}
	if k.Policy.ConfirmWithdraw {
		all := v.RequiredOf(k.ID, lifecycle.GateWithdraw, ver.Number, now)
		for _, h := range all {
			if h.Holds() {
				g.Holdouts = append(g.Holdouts, h)
			}
		}
		g.Confirmed = len(all) > 0 && len(g.Holdouts) == 0
	}
	g.Open = g.Skip != nil || g.Confirmed || g.OpensAt != 0 && now >= g.OpensAt
	return g
}

// view reads what the entry has made of the state so far.
func (x *tx) view() *View { return &View{root: &Root{hot: x.hot.freeze()}} }

func (x *tx) gate(k *lifecycle.Key, v *lifecycle.Version, gate lifecycle.Gate) Gate {
	return x.view().Gate(k, v, gate, x.clock)
}

// namesOf lists nodes in a sentence.
func namesOf(nodes []*lifecycle.Node) string {
	names := make([]string, len(nodes))
	for i, n := range nodes {
		names[i] = n.Name
	}
	return strings.Join(names, ", ")
}

// owned names holdouts with who answers for them.
func owned(holdouts []Holdout) string {
	const most = 5 // a sentence, not a list: the gate's answer has them all
	var parts []string
	for i, h := range holdouts {
		if i == most {
			parts = append(parts, fmt.Sprintf("%d more", len(holdouts)-most))
			break
		}
		parts = append(parts, fmt.Sprintf("%s of %s (%d of %d instances)", h.Consumer.Name, h.Consumer.Owner, h.Have, h.Expect))
	}
	return strings.Join(parts, ", ")
}
