package state

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Gate is where a version stands before a gate of its rotation.
type Gate struct {
	Open    bool
	OpensAt lifecycle.Instant // when time alone has done its part; 0 = time alone never opens it
	Skip    *lifecycle.Skip   // who opened it before its time, nil = nobody
}

// atActivate judges whether a published version may begin to sign. It says nothing of
// instances: a version that nobody could sign with is another matter.
func (x *tx) atActivate(k *lifecycle.Key, v *lifecycle.Version, now lifecycle.Instant) (g Gate) {
	g.Skip = v.Skips(lifecycle.GateActivate)
	if !v.Gated() {
		g.Open = true
		return g
	}
	if v.PublishedAt == 0 {
		return g
	}
	g.OpensAt = v.PublishedAt.Add(k.Policy.Lead)
	g.Open = now >= g.OpensAt
	return g
}

// atWithdraw judges whether a deactivated version may leave the trust set.
func (x *tx) atWithdraw(k *lifecycle.Key, v *lifecycle.Version, now lifecycle.Instant) (g Gate) {
	g.Skip = v.Skips(lifecycle.GateWithdraw)
	if k.Policy.VerifyWindow > 0 {
		g.OpensAt = v.DeactivatedAt.Add(k.Policy.VerifyWindow)
	}
	g.Open = g.Skip != nil || g.OpensAt != 0 && now >= g.OpensAt
	return g
}

// Gate judges whether the version may pass the gate at the time now, as Apply would.
func (v *View) Gate(k *lifecycle.Key, ver *lifecycle.Version, gate lifecycle.Gate, now lifecycle.Instant) Gate {
	if gate == lifecycle.GateActivate {
		return v.tx().atActivate(k, ver, now)
	}
	return v.tx().atWithdraw(k, ver, now)
}
