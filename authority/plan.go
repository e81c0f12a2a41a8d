package authority

import (
	"context"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// What people say to the plan of a key. The plan itself is package rotation's.

// PauseRotation holds the plan of a key until it is resumed.
func (s *Service) PauseRotation(ctx context.Context, req Request, key, reason string) (Result, error) {
	if reason == "" {
		return Result{}, refuse("invalid", "--reason 'a verifier is down'", "a pause needs a reason: whoever finds the plan paused must know what to wait for")
	}
	return s.aboutPlan(ctx, req, access.KeyRotate, key, func(_ *state.View, k *lifecycle.Key) (command.Body, error) {
		return &command.PauseRotation{Key: k.ID, Reason: reason}, nil
	})
}

// ResumeRotation lets the plan of a key go on.
func (s *Service) ResumeRotation(ctx context.Context, req Request, key, comment string) (Result, error) {
	return s.aboutPlan(ctx, req, access.KeyRotate, key, func(_ *state.View, k *lifecycle.Key) (command.Body, error) {
		return &command.ResumeRotation{Key: k.ID, Comment: comment}, nil
	})
}

// SkipSpec names the gate to open; without a Gate it is the one that the version stands
// before, without a Version the version that stands before one.
type SkipSpec struct {
	Key     string
	Version uint64
	Gate    string
	Comment string
}

// SkipGate opens a gate before its time.
func (s *Service) SkipGate(ctx context.Context, req Request, spec SkipSpec) (Result, error) {
	if spec.Comment == "" {
		return Result{}, refuse("invalid", "add --comment 'why'", "skipping a gate needs a comment: verifiers may not know the new key yet, or still need the old one")
	}
	if spec.Gate != "" {
		if _, err := lifecycle.ParseGate(spec.Gate); err != nil {
			return Result{}, refuse("invalid", "", "%v", err)
		}
	}
	return s.aboutPlan(ctx, req, access.KeySkip, spec.Key, func(v *state.View, k *lifecycle.Key) (command.Body, error) {
		n, gate, err := gateMeant(v, k, spec)
		return &command.SkipGate{Key: k.ID, Version: n, Gate: gate, Comment: spec.Comment}, err
	})
}

// gateMeant finds the version and the gate where the caller left them out: a version that
// waits to be activated comes before those that retire.
func gateMeant(v *state.View, k *lifecycle.Key, spec SkipSpec) (uint64, lifecycle.Gate, error) {
	var before []*lifecycle.Version // the gate withdraw
	for _, ver := range v.Versions(k.ID) {
		switch {
		case spec.Version != 0 && ver.Number != spec.Version:
			continue
		case ver.State == lifecycle.PreActivation && spec.Gate != string(lifecycle.GateWithdraw):
			return ver.Number, lifecycle.GateActivate, nil
		case ver.State == lifecycle.Deactivated && ver.InTrustSet() && spec.Gate != string(lifecycle.GateActivate):
			before = append(before, ver)
		}
	}
	switch {
	case spec.Version != 0 && spec.Gate != "": // Apply says what is wrong with it
		_, err := findVersion(v, k, spec.Version)
		return spec.Version, lifecycle.Gate(spec.Gate), err
	case len(before) == 1:
		return before[0].Number, lifecycle.GateWithdraw, nil
	case len(before) > 1:
		return 0, "", refuse("invalid", "add --version", "versions %d to %d of %s stand before the gate %s", before[0].Number, before[len(before)-1].Number, k.ID, lifecycle.GateWithdraw)
	}
	return 0, "", refuse(string(state.IllegalTransition), "chancery rotation show "+string(k.ID), "no version of %s stands before a gate", k.ID)
}

// RollBack gives a version up that waits to be activated.
func (s *Service) RollBack(ctx context.Context, req Request, spec VersionSpec) (Result, error) {
	if spec.Comment == "" {
		return Result{}, refuse("invalid", "add --comment 'why'", "rolling a version back needs a comment: it is never used again")
	}
	return s.aboutPlan(ctx, req, access.KeyRotate, spec.Key, func(v *state.View, k *lifecycle.Key) (command.Body, error) {
		n := spec.Version
		for _, ver := range v.Versions(k.ID) {
			if n == 0 && ver.State == lifecycle.PreActivation {
				n = ver.Number
			}
		}
		if n == 0 {
			return nil, refuse(string(state.IllegalTransition), "chancery rotation show "+spec.Key, "no version of %s waits to be activated: there is nothing to roll back", k.ID)
		}
		_, err := findVersion(v, k, n)
		return &command.RollBack{Key: k.ID, Version: n, Comment: spec.Comment}, err
	})
}

func (s *Service) aboutPlan(ctx context.Context, req Request, verb access.Verb, key string, make func(*state.View, *lifecycle.Key) (command.Body, error)) (Result, error) {
	return s.change(ctx, req, verb, lifecycle.KeyID(key), func(v *state.View) (command.Body, []command.RowRef, error) {
		k, err := findKey(v, key)
		if err != nil {
			return nil, nil, err
		}
		body, err := make(v, k)
		if err != nil {
			return nil, nil, err
		}
		return body, []command.RowRef{state.RefKey(k)}, nil
	})
}
