package publish

import (
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const (
	// minMaxAge is the shortest max-age ever answered: below a second every
	// verifier asks for each signature.
	minMaxAge = lifecycle.Second
	// stackedCaches is by how much the time until a new kid signs is divided: a
	// proxy behind a proxy may each count max-age anew.
	stackedCaches = 4
)

// horizon is the rotation plan as a cache sees it.
//
// The rule: a cached answer must have expired before a kid it does not list can
// sign. A kid is published one lead before it signs, at a time nobody can foretell,
// so max-age is never longer than the lead. With a lead of 0, and for the first
// version of a key, a kid signs the moment it is published; then max-age is one
// second for as long as such a kid is being made, and a verifier has to ask again
// when it meets a kid it does not know. While a kid waits for its lead, max-age
// shrinks with the time that is left, so that caches behind caches follow too; and
// no answer outlives a planned withdrawal.
type horizon struct {
	cap        lifecycle.Milliseconds // longest answer; 0 = no key yet
	imminent   bool                   // an unpublished kid may sign without a lead
	signing    []lifecycle.Instant    // when a published kid may begin to sign
	withdrawal []lifecycle.Instant    // when a version leaves the trust set
}

func newHorizon(k *lifecycle.Key) horizon {
	h := horizon{cap: k.Policy.JWKSMaxAge}
	if lead := k.Policy.Lead; lead > 0 {
		h.cap = min(h.cap, lead)
	}
	h.cap = max(h.cap, minMaxAge)
	return h
}

// look takes in what is planned for one version.
func (h *horizon) look(k *lifecycle.Key, v *lifecycle.Version, instances []*lifecycle.Instance) {
	switch {
	case v.State == lifecycle.PreActivation && v.PublishedAt == 0:
		h.imminent = h.imminent || k.Active == 0 || k.Policy.Lead == 0
	case v.State == lifecycle.PreActivation:
		h.signing = append(h.signing, v.PublishedAt.Add(k.Policy.Lead))
	case v.State == lifecycle.Active:
		for _, i := range instances {
			switch {
			case i.Condition == lifecycle.Pending:
				h.imminent = h.imminent || k.Policy.Lead == 0
			case i.Condition == lifecycle.Ready && i.PublishedAt != 0 && i.AdmittedAt == 0:
				h.signing = append(h.signing, i.PublishedAt.Add(k.Policy.Lead))
			}
		}
	case v.State == lifecycle.Deactivated && v.InTrustSet() && k.Policy.VerifyWindow > 0:
		h.withdrawal = append(h.withdrawal, v.DeactivatedAt.Add(k.Policy.VerifyWindow))
	}
}

func (h horizon) merge(o horizon) horizon {
	if h.cap == 0 || o.cap < h.cap {
		h.cap = o.cap
	}
	h.imminent = h.imminent || o.imminent
	h.signing = append(h.signing, o.signing...)
	h.withdrawal = append(h.withdrawal, o.withdrawal...)
	return h
}

// MaxAge is how long an answer given at now may be cached (Cache-Control: max-age),
// in whole seconds. It depends on now because plans come nearer; the rest of the
// set does not.
func (s *TrustSet) MaxAge(now lifecycle.Instant) time.Duration {
	age := s.horizon.cap
	if s.horizon.imminent || age == 0 {
		age = minMaxAge
	}
	for _, at := range s.horizon.signing {
		if at > now {
			age = min(age, lifecycle.Milliseconds(at-now)/stackedCaches)
		}
	}
	for _, at := range s.horizon.withdrawal {
		if at > now {
			age = min(age, lifecycle.Milliseconds(at-now))
		}
	}
	age = max(age, minMaxAge) / lifecycle.Second
	return time.Duration(age) * time.Second
}
