package lease

import (
	"fmt"
	"time"
)

// Limits of what a cluster may set.
const (
	MinDuration = time.Second
	MaxDuration = time.Minute
	MinAge      = 100 * time.Millisecond
)

// Terms are the lengths of time of one cluster. The ratios between them carry the
// proof, so only TermsOf makes them.
type Terms struct {
	Duration time.Duration // L: a lease, from before it was asked for
	Renew    time.Duration // the longest time between two requests: three may be lost
	Wait     time.Duration // W: what a leader waits for a lease to end
	Age      time.Duration // D: how old a request may be when its signature is released and accepted
	AgeWait  time.Duration // what a leader waits after fenced for answers on their way to be too old
}

// DefaultTerms are PROTOCOL.md's.
func DefaultTerms() Terms { return TermsOf(3*time.Second, 2*time.Second) }

// TermsOf is the terms of a lease and an age limit. A waiter waits for a quarter
// more than a holder counts: one clock may run 10 % slow and the other 10 % fast
// (1.1 / 0.9 < 1.25).
func TermsOf(duration, age time.Duration) Terms {
	return Terms{Duration: duration, Renew: duration / 3, Wait: waitFor(duration), Age: age, AgeWait: waitFor(age)}
}

func waitFor(d time.Duration) time.Duration { return d + (d+3)/4 }

// Under is t while leases of up to ceiling may still be out: the wait is for them,
// the grants are as short as t says.
func (t Terms) Under(ceiling time.Duration) Terms {
	t.Wait = max(t.Wait, waitFor(ceiling))
	return t
}

// Check refuses terms outside the limits or the ratios.
func (t Terms) Check() error {
	switch {
	case t.Duration < MinDuration || t.Duration > MaxDuration:
		return fmt.Errorf("a lease of %v: it must be from %v to %v", t.Duration, MinDuration, MaxDuration)
	case t.Age < MinAge || t.Age > t.Duration:
		return fmt.Errorf("an age limit of %v: it must be from %v to the lease, %v", t.Age, MinAge, t.Duration)
	case t.Renew <= 0 || t.Renew > t.Duration/3:
		return fmt.Errorf("a lease of %v renewed each %v: it must be at least three times as often as it ends", t.Duration, t.Renew)
	case t.Wait < waitFor(t.Duration) || t.Wait > waitFor(MaxDuration):
		return fmt.Errorf("a wait of %v for leases of %v: it must be at least %v and at most %v", t.Wait, t.Duration, waitFor(t.Duration), waitFor(MaxDuration))
	case t.AgeWait < waitFor(t.Age) || t.AgeWait > waitFor(MaxDuration):
		return fmt.Errorf("a wait of %v for requests of %v: it must be at least %v and at most %v", t.AgeWait, t.Age, waitFor(t.Age), waitFor(MaxDuration))
	}
	return nil
}
