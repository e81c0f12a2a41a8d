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
	Prepared  Level = "prepared"  // every instance that the policy requires is ready
	Published Level = "published" // the public keys are in the trust set
	Activated Level = "active"
	Destroyed Level = "destroyed" // every private key of the version is erased, with evidence
)

// Levels are the levels a command passes through, in order. Those that end with
// their entry have only the first.
func Levels(k command.Kind) []Level {
	switch k {
	case command.KindCreateKey, command.KindPrepareVersion:
		return []Level{Committed, Prepared, Published, Activated}
	case command.KindScheduleDestroy:
		return []Level{Committed, Destroyed}
	}
	return []Level{Committed}
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

// Await holds until the version has reached the level, can no longer reach it, or
// ctx ends, and returns the View it last looked at. It works on every node: the
// levels are facts of the state.
func (s *Service) Await(ctx context.Context, key lifecycle.KeyID, number uint64, l Level) (v *state.View, reached bool) {
	for {
		v = s.ledger.View()
		p := ProgressOf(v, key, number)
		if p.At(l) != 0 {
			return v, true
		}
		// A version that an older View does not know yet has not ended: this node is
		// only behind.
		if p.Ended && v.Version(key, number) != nil {
			return v, false
		}
		select {
		case <-ctx.Done():
			return v, false
		case <-s.ledger.Changed(v.Position().Index):
		}
	}
}
