package authority

import (
	"context"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Level is how far an accepted request has come.
type Level string

const (
	Committed Level = "committed"
	Approved  Level = "approved"  // the approvals it needs, if any, are there, and it was carried out
	Prepared  Level = "prepared"  // every instance that the policy requires is ready
	Published Level = "published" // the public keys are in the trust set
	Activated Level = "active"
	Fenced    Level = "fenced"    // no correct node releases a signature with the right that was withdrawn
	Settled   Level = "settled"   // and no client of ours accepts one that was on its way then
	Destroyed Level = "destroyed" // every private key of the version is erased, with evidence
	Confirmed Level = "confirmed" // every required consumer has let go of the old versions and loaded the new one
)

// AllLevels are the levels there are.
var AllLevels = []Level{Committed, Approved, Prepared, Published, Activated, Fenced, Settled, Destroyed, Confirmed}

// Levels are the levels a command of a kind can pass through, in order. Those that
// end with their entry have only the first.
func Levels(k command.Kind) []Level {
	switch {
	case k == command.KindCreateKey, k == command.KindPrepareVersion:
		return []Level{Committed, Prepared, Published, Activated}
	case k == command.KindReplace:
		return []Level{Committed, Fenced, Settled, Published, Activated, Confirmed}
	case k == command.KindScheduleDestroy:
		return []Level{Committed, Destroyed}
	case Narrows(k):
		return []Level{Committed, Fenced, Settled}
	}
	return []Level{Committed}
}

// LevelsOf are the levels of one accepted command. What took nothing away, such as a
// policy that only became wider, opened no fence and ends with its entry.
func LevelsOf(v *state.View, k command.Kind, o state.Outcome) []Level {
	levels := Levels(k)
	if Narrows(k) && k != command.KindReplace && v.Fence(o.Index) == nil {
		return levels[:1]
	}
	return levels
}

// Progress is how far a version has come; an instant is 0 while its level is not
// reached. Ended says that no further level can be reached.
type Progress struct {
	PreparedAt  lifecycle.Instant
	PublishedAt lifecycle.Instant
	ActiveAt    lifecycle.Instant
	DestroyedAt lifecycle.Instant
	Ended       bool
}

// ProgressOf looks at one version; a version that does not exist has ended.
func ProgressOf(v *state.View, key lifecycle.KeyID, number uint64) Progress {
	k, ver := v.Key(key), v.Version(key, number)
	if k == nil || ver == nil {
		return Progress{Ended: true}
	}
	p := Progress{PublishedAt: ver.PublishedAt, ActiveAt: ver.ActivatedAt}
	planned, ready, erased := 0, 0, 0
	var readyAt, erasedAt lifecycle.Instant
	for _, i := range v.Instances(key, number) {
		planned++
		if i.ReadyAt != 0 {
			ready, readyAt = ready+1, max(readyAt, i.ReadyAt)
		}
		if i.Condition == lifecycle.Erased {
			erased, erasedAt = erased+1, max(erasedAt, i.ErasedAt)
		}
	}
	need := planned
	if k.Policy.MinReady > 0 {
		need = min(need, k.Policy.MinReady)
	}
	switch {
	case ver.PublishedAt != 0:
		p.PreparedAt = min(max(readyAt, 1), ver.PublishedAt)
	case planned > 0 && ready >= need:
		p.PreparedAt = readyAt
	}
	if ver.State == lifecycle.Destroyed {
		p.DestroyedAt = ver.SinceAt
	} else if planned > 0 && erased == planned {
		p.DestroyedAt = erasedAt
	}
	switch ver.State {
	case lifecycle.Deactivated, lifecycle.Compromised:
		p.Ended = ver.DestroyAt == 0 && !ver.Erasing
	case lifecycle.Destroyed:
		p.Ended = true
	}
	return p
}

// At is when a level was reached, 0 = not yet. Committed is reached by everything
// that can be asked about; its time is the operation's own.
func (p Progress) At(l Level) lifecycle.Instant {
	switch l {
	case Prepared:
		return p.PreparedAt
	case Published:
		return p.PublishedAt
	case Activated:
		return p.ActiveAt
	case Destroyed:
		return p.DestroyedAt
	}
	return 0
}

// Reached looks once whether what the outcome began has come to the level.
func (s *Service) Reached(o state.Outcome, l Level) (v *state.View, reached bool) {
	v = s.ledger.View()
	reached, _ = stands(v, o, l)
	return v, reached
}

// Await holds until what the outcome began has reached the level, can no longer
// reach it, or ctx ends, and returns the View it last looked at. reached is false
// only when more waiting could help or the level is out of reach. It works on every
// node: the levels are facts of the state.
func (s *Service) Await(ctx context.Context, o state.Outcome, l Level) (v *state.View, reached bool) {
	for {
		v = s.ledger.View()
		done, over := stands(v, o, l)
		if done || over {
			return v, done
		}
		select {
		case <-ctx.Done():
			return v, false
		case <-s.ledger.Changed(v.Position().Index):
		}
	}
}

// stands reports whether the level is reached, and whether waiting is over without it.
func stands(v *state.View, o state.Outcome, l Level) (reached, over bool) {
	if p := ProposalOf(v, o); p != nil {
		if p.Status != lifecycle.ProposalExecuted {
			return false, p.Status.Ended() || l != Approved // people take hours: whoever does not ask for it is not held
		}
		o = Executed(p)
	}
	switch l {
	case "", Committed, Approved:
		return true, false
	case Fenced, Settled:
		f := v.Fence(o.Index)
		if f == nil { // it took nothing away, or this node is behind
			return v.Position().Index >= o.Index, false
		}
		return fenceAt(f, l) != 0, false
	}
	if len(o.Versions) == 0 {
		return true, false
	}
	number := o.Versions[len(o.Versions)-1]
	p := ProgressOf(v, o.Key, number)
	// A version that an older View does not know yet has not ended: this node is
	// only behind.
	over = p.Ended && v.Version(o.Key, number) != nil
	if l == Confirmed {
		return ConfirmationOf(v, o).At != 0, over
	}
	return p.At(l) != 0, over
}

// fenceAt is when a fence reached a level, 0 = not yet.
func fenceAt(f *lifecycle.Fence, l Level) lifecycle.Instant {
	if l == Settled {
		return f.SettledAt
	}
	return f.FencedAt
}
