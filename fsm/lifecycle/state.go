package lifecycle

import "fmt"

// State is the state of a Version (SP 800-57 Part 1 Rev. 5, section 7). The zero
// value is invalid, so that a forgotten field can never pass for a real state.
type State uint8

const (
	PreActivation State = iota + 1
	Active
	Suspended
	Deactivated
	Compromised // terminal
	Destroyed   // terminal
)

// States lists every valid state in table order.
var States = []State{PreActivation, Active, Suspended, Deactivated, Compromised, Destroyed}

var stateNames = [...]string{"invalid", "pre-activation", "active", "suspended", "deactivated", "compromised", "destroyed"}

func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return "invalid"
}

// Valid reports whether s is one of States.
func (s State) Valid() bool { return s >= PreActivation && s <= Destroyed }

// MarshalText gives the SP 800-57 name.
func (s State) MarshalText() ([]byte, error) {
	if !s.Valid() {
		return nil, fmt.Errorf("invalid state %d", uint8(s))
	}
	return []byte(s.String()), nil
}

// UnmarshalText accepts exactly the names MarshalText gives.
func (s *State) UnmarshalText(b []byte) error {
	for _, v := range States {
		if v.String() == string(b) {
			*s = v
			return nil
		}
	}
	return fmt.Errorf("unknown state %q", b)
}

// Verb is what can be done to a Version. Revoke is not a verb of the table: by
// its reason it is Compromise, Retire or Suspend (see Reason.Verb).
type Verb uint8

const (
	Activate Verb = iota + 1
	Suspend
	Resume
	Deactivate
	Retire     // revoke with a reason that says nothing about compromise
	Compromise // revoke with a compromise reason
	Destroy    // the private keys were erased, with evidence
)

// Verbs lists every valid verb in table order.
var Verbs = []Verb{Activate, Suspend, Resume, Deactivate, Retire, Compromise, Destroy}

var verbNames = [...]string{"invalid", "activate", "suspend", "resume", "deactivate", "retire", "compromise", "destroy"}

func (v Verb) String() string {
	if int(v) < len(verbNames) {
		return verbNames[v]
	}
	return "invalid"
}

// resumed stands in the table for "the state it was suspended from".
const resumed State = 255

// transitions is the table: what a verb makes of a state. A missing pair is
// illegal. Two rows need a word. Retire closes a version that was never activated,
// which SP 800-57 has no arrow for: revoking a whole Key must close the version
// that waits to replace the old one, or it would come up as if nothing had
// happened. Destroy leaves compromised as it is: that a key was compromised must
// outlive its private bytes; that they are gone is the condition of its instances.
var transitions = map[State]map[Verb]State{
	PreActivation: {Activate: Active, Suspend: Suspended, Retire: Deactivated, Compromise: Compromised},
	Active:        {Suspend: Suspended, Deactivate: Deactivated, Retire: Deactivated, Compromise: Compromised},
	Suspended:     {Resume: resumed, Deactivate: Deactivated, Retire: Deactivated, Compromise: Compromised},
	Deactivated:   {Suspend: Suspended, Retire: Deactivated, Compromise: Compromised, Destroy: Destroyed},
	Compromised:   {Compromise: Compromised, Destroy: Compromised},
	Destroyed:     {},
}

// Next applies a verb to a state. from is the state a suspended version was
// suspended from, and is only looked at by Resume. ok is false when the table has
// no such transition.
func Next(s State, v Verb, from State) (next State, ok bool) {
	next, ok = transitions[s][v]
	if ok && next == resumed {
		return from, from == PreActivation || from == Active || from == Deactivated
	}
	return next, ok
}

// Terminal reports whether no verb leads out of the state.
func (s State) Terminal() bool { return s == Compromised || s == Destroyed }

// MaySign reports whether a version in this state may release signatures for
// callers. Pre-activation signs only proofs of possession and canaries, each in a
// fixed domain, and that is decided elsewhere.
func (s State) MaySign() bool { return s == Active }
