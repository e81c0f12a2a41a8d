// Package fresh decides, from numbers alone, whether a node may answer a read now.
//
// It exists because neither Raft nor its heartbeats say how old a state is: a
// follower that hears its leader every few milliseconds can be many commits behind.
// The only evidence counted here is a read-index exchange: at s0 the node asked, the
// leader confirmed with a majority of voters that it still leads, and answered its
// FSM index; once the node has applied that index, its state is as fresh as s0.
//
// Threat model: a node that is partitioned, restarted, or fed by a leader that
// starves it must not call a revoked key good. So there is an asymmetry. Bad news
// (revoked, compromised, destroyed) is true at any staleness, because it never
// becomes untrue; good news needs fresh evidence.
//
// Everything is a value and a pure function of it. Instants are readings of one
// Clock, in nanoseconds of an arbitrary origin that is the same for one process.
package fresh

import (
	"fmt"
	"time"
)

// Instant is a reading of a Clock. It means nothing outside the process.
type Instant time.Duration

// Defaults of PROTOCOL.md, "Freshness of reads".
const (
	DefaultBound = 5 * time.Second // of a bounded read
	MaxWait      = 2 * time.Second // of an at-least read
	Exchange     = 500 * time.Millisecond
)

// State is what a node knows about its own freshness. The zero value is a node
// that has just started: it has applied nothing and was never fresh.
type State struct {
	Epoch   uint64
	Applied uint64 // the index our FSM has published, not raft's AppliedIndex

	// AsOf is when the newest completed exchange began; it counts only if Fresh.
	AsOf  Instant
	Fresh bool
}

// Staleness is how old the state may be, and whether that is known at all.
func (s State) Staleness(now Instant) (d time.Duration, known bool) {
	if !s.Fresh {
		return 0, false
	}
	// A clock that ran backwards proves nothing about the age.
	if now < s.AsOf {
		return 0, false
	}
	return time.Duration(now - s.AsOf), true
}

// Exchanged is an answer to a read-index exchange.
type Exchanged struct {
	Epoch uint64
	Began Instant // s0: before the request was sent
	Index uint64  // the leader's FSM index, read after the confirmation
}

// Observe returns the state with an exchange taken into account. An exchange whose
// index is not applied yet, that is older than what is known, or of another epoch
// changes nothing; offer it again after the next Apply.
func (s State) Observe(e Exchanged) State {
	if e.Epoch != s.Epoch || s.Applied < e.Index || s.Fresh && e.Began <= s.AsOf {
		return s
	}
	s.AsOf, s.Fresh = e.Began, true
	return s
}

// Kind is the consistency a reader asks for.
type Kind uint8

const (
	// Stale answers at once, marked, and never says good. It is the zero value: who
	// forgets to ask gets the least.
	Stale Kind = iota
	// Bounded answers when the state is at most Bound old.
	Bounded
	// Linearizable answers from an exchange that began after the request.
	Linearizable
)

// String is the word of the Chancery-Consistency header.
func (k Kind) String() string {
	switch k {
	case Stale:
		return "stale"
	case Bounded:
		return "bounded"
	case Linearizable:
		return "linearizable"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Position is the highest position a client has seen: its reads never go back.
// The zero value asks for nothing.
type Position struct {
	Epoch uint64
	Index uint64
}

// Query is one read.
type Query struct {
	Kind  Kind
	Bound time.Duration // of Bounded; 0 means DefaultBound
	Min   Position

	ReceivedAt Instant
}

// Verdict is what to do with a read.
type Verdict uint8

const (
	Serve        Verdict = iota + 1
	Wait                 // not yet: ask again after the next Apply or exchange
	RefuseStale          // 503 with Retry-After: too old, another node may do
	RefuseBehind         // 412: the position was not reached in time, or is far ahead
	RefuseEpoch          // the client knows another epoch: it must re-anchor, not retry
)

// String names the verdict for logs and tests.
func (v Verdict) String() string {
	switch v {
	case Serve:
		return "serve"
	case Wait:
		return "wait"
	case RefuseStale:
		return "refuse: stale"
	case RefuseBehind:
		return "refuse: behind"
	case RefuseEpoch:
		return "refuse: epoch"
	}
	return fmt.Sprintf("Verdict(%d)", uint8(v))
}

// MaxAhead is how many entries ahead of us a position may be that we wait for. One
// farther ahead is refused at once, so that nobody holds connections with positions
// that will not come within MaxWait.
const MaxAhead = 100_000

// Answer is a verdict with what the reply must say.
type Answer struct {
	Verdict Verdict
	// MayBeGood reports whether the reply may say that a key or certificate is good.
	// Without it the reply says revoked, or indeterminate. False unless Serve.
	MayBeGood bool
	// Staleness of the state served; Known is false for a node that was never fresh.
	Staleness time.Duration
	Known     bool
}

// Decide answers one read. Call it again after each change of the state while the
// verdict is Wait; time alone ends the waiting after MaxWait.
func Decide(s State, q Query, now Instant) Answer {
	a := Answer{}
	a.Staleness, a.Known = s.Staleness(now)
	waited := now < q.ReceivedAt || time.Duration(now-q.ReceivedAt) >= MaxWait

	if q.Min != (Position{}) {
		if q.Min.Epoch != s.Epoch {
			a.Verdict = RefuseEpoch
			return a
		}
		if q.Min.Index > s.Applied {
			a.Verdict = Wait
			if waited || q.Min.Index-s.Applied > MaxAhead {
				a.Verdict = RefuseBehind
			}
			return a
		}
	}
	bound := q.Bound
	if bound <= 0 {
		bound = DefaultBound
	}
	withinBound := a.Known && a.Staleness <= bound
	switch q.Kind {
	case Stale:
		a.Verdict = Serve // whatever there is, marked; MayBeGood stays false
	case Bounded:
		// Waiting would not help: the exchange that would make it fresh runs anyway,
		// and a node that has missed several is likely to miss the next.
		a.Verdict, a.MayBeGood = RefuseStale, false
		if withinBound {
			a.Verdict, a.MayBeGood = Serve, true
		}
	case Linearizable:
		switch {
		case a.Known && s.AsOf >= q.ReceivedAt:
			a.Verdict, a.MayBeGood = Serve, true
		case waited:
			a.Verdict = RefuseStale
		default:
			a.Verdict = Wait
		}
	default:
		a.Verdict = RefuseStale // an unknown kind gets nothing
	}
	return a
}

// MaySay applies the asymmetry to one fact: what is bad may be said by any node
// that serves, what is good only where the answer may be good.
func (a Answer) MaySay(good bool) bool {
	return a.Verdict == Serve && (!good || a.MayBeGood)
}
