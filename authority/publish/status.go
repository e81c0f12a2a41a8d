package publish

import (
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Answer is what a verifier is told about a key.
type Answer string

const (
	Good          Answer = "good"          // in the trust set now; only ever from a fresh View
	Revoked       Answer = "revoked"       // compromised, destroyed or distrusted; for ever
	OnHold        Answer = "suspended"     // on hold: do not rely on it now; only from a fresh View, a hold can be lifted
	Unknown       Answer = "unknown"       // never published, withdrawn, or not ours; only from a fresh View
	Indeterminate Answer = "indeterminate" // this node's state is too old to say anything that may have changed
)

// Status is the answer with its reasons. For a whole key it speaks of the version
// that signs, or that signed last.
type Status struct {
	Answer           Answer
	Key              lifecycle.KeyID
	Version          uint64
	KID              string              // "" when a key was asked for
	Node             lifecycle.NodeID    // holder of the kid
	State            lifecycle.State     // of the version; 0 when there is none
	Condition        lifecycle.Condition // of the kid's instance
	InTrustSet       bool
	Reason           lifecycle.Reason  // of the revocation, also of a harmless one
	SinceAt          lifecycle.Instant // when State was entered, or the kid was revoked
	CompromisedSince lifecycle.Instant
	Comment          string
}

// KIDStatus answers for one instance by its whole kid. fresh says that the View met
// the freshness the caller asked for.
func KIDStatus(view *state.View, kid string, fresh bool) Status {
	s := Status{Answer: absent(fresh), KID: kid}
	var i *lifecycle.Instance
	for _, found := range view.ByKID(kid) {
		if found.KID == kid {
			i = found
		}
	}
	if i == nil {
		return s
	}
	v := view.Version(i.Key, i.Version)
	s = versionStatus(v, fresh)
	s.KID, s.Node, s.Condition, s.InTrustSet = i.KID, i.Node, i.Condition, i.InTrustSet(v)
	switch {
	case s.Answer == Revoked:
		s.earlier(i.Revocation)
	case i.Condition == lifecycle.InstanceBad:
		s.Answer = Revoked
		s.because(i.Revocation)
	case s.Answer == Good && !s.InTrustSet:
		s.Answer = absent(fresh)
	}
	return s
}

// KeyStatus answers for a key by name.
func KeyStatus(view *state.View, name lifecycle.KeyID, fresh bool) Status {
	k := view.Key(name)
	if k == nil {
		return Status{Answer: absent(fresh), Key: name}
	}
	var v *lifecycle.Version
	for _, candidate := range view.Versions(name) { // ascending
		if k.Active == 0 && (v == nil || candidate.ActivatedAt != 0 || v.ActivatedAt == 0) || candidate.Number == k.Active {
			v = candidate
		}
	}
	if v == nil {
		return Status{Answer: absent(fresh), Key: name}
	}
	return versionStatus(v, fresh)
}

// VersionStatus answers for one version of a key.
func VersionStatus(view *state.View, name lifecycle.KeyID, number uint64, fresh bool) Status {
	v := view.Version(name, number)
	if v == nil {
		return Status{Answer: absent(fresh), Key: name, Version: number}
	}
	return versionStatus(v, fresh)
}

// absent is the answer for what the View does not know as trusted: a stale View may
// simply not have heard of it yet.
func absent(fresh bool) Answer {
	if fresh {
		return Unknown
	}
	return Indeterminate
}

func versionStatus(v *lifecycle.Version, fresh bool) Status {
	s := Status{Key: v.Key, Version: v.Number, State: v.State, InTrustSet: v.InTrustSet(), SinceAt: v.SinceAt}
	s.because(v.Revocation)
	switch {
	case v.Distrusts():
		s.Answer = Revoked
	case fresh && v.State == lifecycle.Suspended:
		s.Answer = OnHold
	case fresh && s.InTrustSet:
		s.Answer = Good
	default:
		s.Answer = absent(fresh)
	}
	return s
}

func (s *Status) because(r *lifecycle.Revocation) {
	if r != nil {
		s.Reason, s.SinceAt, s.CompromisedSince, s.Comment = r.Reason, r.At, r.CompromisedSince, r.Comment
	}
}

// earlier moves the dates back to those of the instance's own revocation: a kid
// compromised before its version was is bad since then.
func (s *Status) earlier(r *lifecycle.Revocation) {
	if r == nil {
		return
	}
	if r.At < s.SinceAt || s.SinceAt == 0 {
		s.SinceAt, s.Reason, s.Comment = r.At, r.Reason, r.Comment
	}
	if r.CompromisedSince != 0 && (s.CompromisedSince == 0 || r.CompromisedSince < s.CompromisedSince) {
		s.CompromisedSince = r.CompromisedSince
	}
}
