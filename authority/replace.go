package authority

import (
	"context"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// ReplaceSpec says which versions of a key an emergency ends, and why. The next
// version is made in the same entry.
type ReplaceSpec struct {
	Key              string
	Versions         []uint64 // empty = all
	Reason           string
	CompromisedSince lifecycle.Instant
	Comment          string
	Distrust         bool
}

// sameIncident is how long after a replacement another one, of no named version, is
// taken for the same alarm raised twice: it would throw away the keys just made.
const sameIncident = lifecycle.Day

// Replace revokes and re-issues in one act. From then on everything happens by itself:
// the fence, and on each node that is reachable a key pair, published and used at once.
func (s *Service) Replace(ctx context.Context, req Request, spec ReplaceSpec) (Result, error) {
	reason, err := lifecycle.ParseReason(spec.Reason)
	if err != nil {
		return Result{}, refuse("invalid", "", "%v", err)
	}
	if reason == lifecycle.CertificateHold {
		return Result{}, refuse("invalid", "chancery key suspend "+spec.Key, "a hold can be taken back and a replacement cannot: suspend the key, or choose another reason")
	}
	if spec.CompromisedSince, err = s.happened("compromised_since", spec.CompromisedSince); err != nil {
		return Result{}, err
	}
	return s.change(ctx, req, access.KeyReplace, lifecycle.KeyID(spec.Key), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, spec.Key)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range spec.Versions {
			if _, err := findVersion(v, k, n); err != nil {
				return nil, nil, err
			}
		}
		if err := s.replacedBefore(v, k, spec); err != nil {
			return nil, nil, err
		}
		if err := holderGone(v, k, reason); err != nil {
			return nil, nil, err
		}
		intents, err := s.intents(v, k.Custody, k.Node)
		if err != nil {
			return nil, nil, err
		}
		// Like a revocation it rests on no row: whatever the versions are by then, they
		// end. Only the number of the new one must still be free, and Apply looks.
		return &command.Replace{Key: k.ID, Versions: spec.Versions, Version: k.Newest + 1, Instances: intents, Reason: reason,
			CompromisedSince: spec.CompromisedSince, Comment: spec.Comment, Distrust: spec.Distrust}, nil, nil
	})
}

// replacedBefore refuses the second of two people who saw the same alarm. Whoever means
// the version that the first one made has to name it.
func (s *Service) replacedBefore(v *state.View, k *lifecycle.Key, spec ReplaceSpec) error {
	last := v.Version(k.ID, k.Newest)
	if last == nil || !last.Emergency || len(spec.Versions) > 0 || s.Now() >= last.Created.At.Add(sameIncident) {
		return nil
	}
	switch last.State {
	case lifecycle.PreActivation, lifecycle.Active, lifecycle.Suspended:
		return refuse(AlreadyReplaced, fmt.Sprintf("chancery key replace %s --emergency --version %d --reason %s", k.ID, last.Number, spec.Reason),
			"%s was replaced at %s by %s (request %s): version %d is %s and was left alone; name it if it is compromised too",
			k.ID, last.Created.At, last.Created.By, last.Created.RequestID, last.Number, last.State)
	}
	return nil
}

// AlreadyReplaced is the code of a replacement that was carried out just before.
const AlreadyReplaced = "already_replaced"

// holderGone refuses to replace a singleton key whose node cannot hold a new one. To
// revoke it and have nothing is a decision of its own.
func holderGone(v *state.View, k *lifecycle.Key, reason lifecycle.Reason) error {
	if k.Custody != lifecycle.Singleton {
		return nil
	}
	n := v.Node(k.Node)
	if n != nil && n.Signs() {
		return nil
	}
	name, is := k.Node.Short(), string(lifecycle.Removed)
	if n != nil {
		name, is = n.Name, string(n.Status)
	}
	if is == string(lifecycle.Member) {
		is = "no signer"
	}
	readmit := ""
	if is == string(lifecycle.Quarantined) {
		readmit = fmt.Sprintf("if %s may be trusted: chancery node quarantine %s --release; if not: ", name, name)
	}
	return refuse(string(state.NotReady), fmt.Sprintf("%schancery key revoke %s --reason %s, then make a key of another name on a node that signs: chancery key create NAME --custody singleton --node NODE", readmit, k.ID, reason),
		"nothing was changed: %s is held by node %s alone, which is %s and can make no new version", k.ID, name, is)
}

// Exchanged are the versions that a replacement ended, and the one that it made.
func Exchanged(o state.Outcome) (old []uint64, made uint64) {
	last := len(o.Versions) - 1
	if last < 0 {
		return nil, 0
	}
	return o.Versions[:last:last], o.Versions[last]
}

// Confirmation is how far those who verify have followed a replacement. Nothing waits
// for them: it says who still has to be called.
type Confirmation struct {
	At       lifecycle.Instant // since when every required consumer has followed; 0 = some have not
	Missing  []state.Holdout   // required consumers that have not loaded the new version, or still have an old one
	Trusting []state.Holdout   // of any class: they may accept a signature of an old version still
}

// ConfirmationOf a replacement, by the log's clock.
func ConfirmationOf(v *state.View, o state.Outcome) Confirmation {
	old, made := Exchanged(o)
	now := v.Clock()
	c := Confirmation{Trusting: v.StillTrusting(o.Key, old, now)}
	ver := v.Version(o.Key, made)
	if ver == nil || ver.PublishedAt == 0 {
		return c
	}
	for _, h := range c.Trusting {
		if h.Consumer.Class == lifecycle.Required {
			c.Missing = append(c.Missing, h)
		}
	}
	for _, h := range v.Holdouts(o.Key, lifecycle.GateActivate, made, now) {
		if !slices.ContainsFunc(c.Missing, func(m state.Holdout) bool { return m.Consumer.Name == h.Consumer.Name }) {
			c.Missing = append(c.Missing, h)
		}
	}
	if len(c.Missing) > 0 {
		return c
	}
	c.At = ver.PublishedAt
	for _, r := range v.RequiredOf(o.Key, lifecycle.GateActivate, made, now) {
		for _, conf := range v.ConfirmationsOf(r.Consumer.Name, o.Key) {
			if conf.Standing(now) {
				c.At = max(c.At, conf.FirstAt)
			}
		}
	}
	return c
}
