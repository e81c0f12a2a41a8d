package authority

import (
	"context"
	"fmt"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// VersionSpec names a version of a key; Version 0 lets the verb choose the one it
// can only mean.
type VersionSpec struct {
	Key     string
	Version uint64
	Comment string
	Early   bool // activate: skip the publication lead; Comment says why
}

// pick finds the version a verb means when none is named: the newest one in a
// state that the verb leads out of, and only if there is exactly one.
func pick(v *state.View, spec VersionSpec, verb lifecycle.Verb, in ...lifecycle.State) (*lifecycle.Key, *lifecycle.Version, error) {
	k, err := findKey(v, spec.Key)
	if err != nil {
		return nil, nil, err
	}
	if spec.Version != 0 {
		ver, err := findVersion(v, k, spec.Version)
		return k, ver, err
	}
	var found *lifecycle.Version
	for _, ver := range v.Versions(k.ID) {
		for _, s := range in {
			if ver.State != s {
				continue
			}
			if found != nil {
				return nil, nil, refuse("invalid", fmt.Sprintf("add --version %d or --version %d", found.Number, ver.Number), "several versions of %s could be meant", k.ID)
			}
			found = ver
		}
	}
	if found == nil {
		return nil, nil, refuse(string(state.IllegalTransition), "chancery key versions "+spec.Key, "key %s has no version to %s", k.ID, verb)
	}
	return k, found, nil
}

func findVersion(v *state.View, k *lifecycle.Key, number uint64) (*lifecycle.Version, error) {
	if ver := v.Version(k.ID, number); ver != nil {
		return ver, nil
	}
	return nil, refuse(string(state.VersionNotFound), "chancery key versions "+string(k.ID), "key %s has no version %d; its newest is %d", k.ID, number, k.Newest)
}

func (s *Service) moveVersion(ctx context.Context, req Request, spec VersionSpec, may access.Verb, verb lifecycle.Verb,
	make func(k *lifecycle.Key, ver *lifecycle.Version) command.Body, in ...lifecycle.State) (Result, error) {
	return s.change(ctx, req, may, lifecycle.KeyID(spec.Key), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, ver, err := pick(v, spec, verb, in...)
		if err != nil {
			return nil, nil, err
		}
		return make(k, ver), []command.RowRef{state.RefKey(k), state.RefVersion(ver)}, nil
	})
}

// ActivateVersion makes a published version the signing one.
func (s *Service) ActivateVersion(ctx context.Context, req Request, spec VersionSpec) (Result, error) {
	if spec.Early && spec.Comment == "" {
		return Result{}, refuse("invalid", "add --comment 'why'", "activating before the lead has passed needs a comment: verifiers may not know the key yet")
	}
	return s.moveVersion(ctx, req, spec, access.KeyActivate, lifecycle.Activate, func(k *lifecycle.Key, ver *lifecycle.Version) command.Body {
		return &command.ActivateVersion{Key: k.ID, Version: ver.Number, Early: spec.Early, Comment: spec.Comment}
	}, lifecycle.PreActivation)
}

// SuspendVersion stops a version from signing until it is resumed.
func (s *Service) SuspendVersion(ctx context.Context, req Request, spec VersionSpec) (Result, error) {
	return s.moveVersion(ctx, req, spec, access.KeySuspend, lifecycle.Suspend, func(k *lifecycle.Key, ver *lifecycle.Version) command.Body {
		return &command.SuspendVersion{Key: k.ID, Version: ver.Number, Comment: spec.Comment}
	}, lifecycle.Active)
}

// ResumeVersion ends a suspension.
func (s *Service) ResumeVersion(ctx context.Context, req Request, spec VersionSpec) (Result, error) {
	return s.moveVersion(ctx, req, spec, access.KeyResume, lifecycle.Resume, func(k *lifecycle.Key, ver *lifecycle.Version) command.Body {
		return &command.ResumeVersion{Key: k.ID, Version: ver.Number, Comment: spec.Comment}
	}, lifecycle.Suspended)
}

// DeactivateVersion ends the signing life of a version.
func (s *Service) DeactivateVersion(ctx context.Context, req Request, spec VersionSpec) (Result, error) {
	return s.moveVersion(ctx, req, spec, access.KeyDeactivate, lifecycle.Deactivate, func(k *lifecycle.Key, ver *lifecycle.Version) command.Body {
		return &command.DeactivateVersion{Key: k.ID, Version: ver.Number, Comment: spec.Comment}
	}, lifecycle.Active)
}

// DestroySpec asks for the erasure of a version's private keys, or takes it back.
type DestroySpec struct {
	VersionSpec
	After  lifecycle.Milliseconds // on top of now; 0 = the policy's waiting period
	Cancel bool
}

// DestroyVersion schedules, or cancels, a destruction.
func (s *Service) DestroyVersion(ctx context.Context, req Request, spec DestroySpec) (Result, error) {
	return s.moveVersion(ctx, req, spec.VersionSpec, access.KeyDestroy, lifecycle.Destroy, func(k *lifecycle.Key, ver *lifecycle.Version) command.Body {
		c := &command.ScheduleDestroy{Key: k.ID, Version: ver.Number, Cancel: spec.Cancel, Comment: spec.Comment}
		if !spec.Cancel {
			c.DestroyAt = s.Now().Add(max(spec.After, k.Policy.DestroyWait)) + 1
		}
		return c
	}, lifecycle.Deactivated, lifecycle.Compromised)
}

// RevokeSpec says what is revoked: a whole key, some versions, one instance by
// kid, or one node's instances.
type RevokeSpec struct {
	Key              string
	Versions         []uint64
	Instance         string // kid, or at least 8 characters of it
	Node             string // name
	Reason           string
	CompromisedSince lifecycle.Instant
	Comment          string
	Distrust         bool
}

// Revoke withdraws trust.
func (s *Service) Revoke(ctx context.Context, req Request, spec RevokeSpec) (Result, error) {
	reason, err := lifecycle.ParseReason(spec.Reason)
	if err != nil {
		return Result{}, refuse("invalid", "", "%v", err)
	}
	if spec.CompromisedSince, err = s.happened("compromised_since", spec.CompromisedSince); err != nil {
		return Result{}, err
	}
	return s.change(ctx, req, access.KeyRevoke, lifecycle.KeyID(spec.Key), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, spec.Key)
		if err != nil {
			return nil, nil, err
		}
		for _, n := range spec.Versions {
			if _, err := findVersion(v, k, n); err != nil {
				return nil, nil, err
			}
		}
		c := &command.Revoke{Key: k.ID, Versions: spec.Versions, Reason: reason, CompromisedSince: spec.CompromisedSince, Comment: spec.Comment, Distrust: spec.Distrust}
		switch {
		case spec.Instance != "":
			i, err := FindInstance(v, k.ID, spec.Instance)
			if err != nil {
				return nil, nil, err
			}
			c.Node, c.Versions = i.Node, []uint64{i.Version}
		case spec.Node != "":
			n := v.NodeByName(spec.Node)
			if n == nil {
				return nil, nil, refuse(string(state.NodeNotFound), "chancery node list", "there is no node %q", spec.Node)
			}
			c.Node = n.ID
		}
		// A revocation is never held up by a change of the rows it revokes: it says
		// what must be true after it, whatever was true before.
		return c, nil, nil
	})
}

// callerAhead is how far a caller's clock may run ahead of the node's.
const callerAhead = 5 * lifecycle.Minute

// happened is when a compromise was, by a caller whose clock may run ahead a little: it
// is now at the latest. A time that is still to come is a typing error, by which
// everything that the thief signs until then would count as signed before.
func (s *Service) happened(what string, at lifecycle.Instant) (lifecycle.Instant, error) {
	now := s.Now()
	if at > now.Add(callerAhead) {
		return 0, refuse("invalid", "", "%s %s lies in the future; it is %s", what, at, now)
	}
	return min(at, now), nil
}

// minPrefix is the shortest prefix of a kid or id that is accepted.
const minPrefix = 8

// FindInstance finds an instance by kid or kid prefix, of one key ("" = any).
func FindInstance(v *state.View, key lifecycle.KeyID, kid string) (*lifecycle.Instance, error) {
	if len(kid) < minPrefix {
		return nil, refuse("invalid", "", "the kid %q is too short: give at least %d characters", kid, minPrefix)
	}
	found := v.ByKID(kid)
	switch {
	case len(found) == 0:
		return nil, refuse(string(state.InstanceNotFound), "", "no instance has the kid %s", kid)
	case len(found) > 1:
		return nil, refuse("invalid", "", "the kid prefix %s fits %d instances: give more characters", kid, len(found))
	case key != "" && found[0].Key != key:
		return nil, refuse(string(state.InstanceNotFound), "", "the kid %s is an instance of %s, not of %s", kid, found[0].Key, key)
	}
	return found[0], nil
}
