package authority

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// EnrolPrefix begins every enrolment token. It begins with TokenPrefix, so that
// scanners find both, and is never taken for a bearer token: no such secret is stored
// among theirs.
const EnrolPrefix = TokenPrefix + "enrol_"

// enrolledTTL is what the bearer token of an enrolled consumer lives, if the cluster
// lets tokens live that long.
const enrolledTTL = 366 * lifecycle.Day

// drawEnrolment makes the one-time secret of a consumer. Only its hash goes into the log.
func (s *Service) drawEnrolment() (secret string, e command.Enrolment, err error) {
	var raw [32]byte
	if err := s.draw(raw[:]); err != nil {
		return "", e, err
	}
	secret = EnrolPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	hash := HashToken(secret)
	return secret, command.Enrolment{Hash: hash[:], ExpiresAt: s.Now().Add(lifecycle.DefaultEnrolment)}, nil
}

// RegisterConsumer registers a verifier. The enrolment token is returned here and never
// again: a repeat of the request answers with the outcome and an empty token.
func (s *Service) RegisterConsumer(ctx context.Context, req Request, r command.ConsumerRecord) (Result, string, lifecycle.Instant, error) {
	secret, enrolment, err := s.drawEnrolment()
	if err != nil {
		return Result{}, "", 0, err
	}
	res, err := s.change(ctx, req, access.ConsumerEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		if err := mayEditConsumer(v, req.Caller, r.Keys); err != nil {
			return nil, nil, err
		}
		return &command.RegisterConsumer{Consumer: r, Enrolment: enrolment}, nil, nil
	})
	if err != nil || res.DryRun || res.Outcome.Replayed {
		return res, "", 0, err
	}
	return res, secret, enrolment.ExpiresAt, nil
}

// UpdateConsumer replaces what is registered of a consumer, and with enrol makes it
// another enrolment token. ifMatch is the revision it was edited from, 0 = any. While
// the change waits for approvals the token is of no use; it lives as much longer.
func (s *Service) UpdateConsumer(ctx context.Context, req Request, ifMatch uint64, r command.ConsumerRecord, enrol bool) (Result, string, lifecycle.Instant, error) {
	secret, enrolment, err := s.drawEnrolment()
	if err != nil {
		return Result{}, "", 0, err
	}
	body := &command.UpdateConsumer{Consumer: r}
	if enrol {
		enrolment.ExpiresAt = enrolment.ExpiresAt.Add(lifecycle.DefaultProposalLife)
		body.Enrolment = &enrolment
	} else {
		secret, enrolment.ExpiresAt = "", 0
	}
	res, err := s.change(ctx, req, access.ConsumerEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		c, err := FindConsumer(v, r.Name)
		if err != nil {
			return nil, nil, err
		}
		if ifMatch != 0 && ifMatch != c.Rev {
			return nil, nil, refuse("precondition_failed", "chancery consumer show "+r.Name, "the consumer is at revision %d, yours was made from %d", c.Rev, ifMatch)
		}
		if err := mayEditConsumer(v, req.Caller, append(r.Keys[:len(r.Keys):len(r.Keys)], c.Keys...)); err != nil {
			return nil, nil, err
		}
		return body, []command.RowRef{state.RefConsumer(c)}, nil
	})
	if err != nil || res.DryRun || res.Outcome.Replayed {
		return res, "", 0, err
	}
	return res, secret, enrolment.ExpiresAt, nil
}

// RetireConsumer ends a consumer and its principal.
func (s *Service) RetireConsumer(ctx context.Context, req Request, name, comment string) (Result, error) {
	return s.change(ctx, req, access.ConsumerEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		c, err := FindConsumer(v, name)
		if err != nil {
			return nil, nil, err
		}
		return &command.RetireConsumer{Name: name, Comment: comment}, []command.RowRef{state.RefConsumer(c)}, mayEditConsumer(v, req.Caller, c.Keys)
	})
}

// WaiveConsumer lets a gate pass without a consumer.
func (s *Service) WaiveConsumer(ctx context.Context, req Request, c command.WaiveConsumer) (Result, error) {
	return s.change(ctx, req, access.ConsumerWaive, c.Key, func(v *state.View) (command.Body, []command.RowRef, error) {
		if _, err := FindConsumer(v, c.Consumer); err != nil {
			return nil, nil, err
		}
		return &c, nil, nil // a confirmation meanwhile makes a waiver no worse
	})
}

// Enrolled is the bearer token that an enrolment gave.
type Enrolled struct {
	TokenID, Token string
	ExpiresAt      lifecycle.Instant
}

// EnrolConsumer trades an enrolment token for a bearer token, once. It needs no other
// credential. What is wrong with a secret nobody is told who does not have it.
func (s *Service) EnrolConsumer(ctx context.Context, req Request, name, secret, label string) (Result, Enrolled, error) {
	if len(secret) > maxTokenBytes || !strings.HasPrefix(secret, EnrolPrefix) {
		return Result{}, Enrolled{}, fmt.Errorf("%w: an enrolment token begins with %s", ErrUnauthenticated, EnrolPrefix)
	}
	hash := HashToken(secret)
	c := s.View().Consumer(name)
	if c == nil || c.RetiredAt != 0 || string(c.EnrolHash) != string(hash[:]) {
		return Result{}, Enrolled{}, fmt.Errorf("%w: the enrolment token is not one of consumer %.80q, or was used: an operator makes another with chancery consumer register %.80s --again", ErrUnauthenticated, name, name)
	}
	id, err := s.drawHex(8)
	if err != nil {
		return Result{}, Enrolled{}, err
	}
	var raw [32]byte
	if err := s.draw(raw[:]); err != nil {
		return Result{}, Enrolled{}, err
	}
	e := Enrolled{TokenID: id}
	e.Token = TokenPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(raw[:])
	bought := HashToken(e.Token)
	if label == "" {
		label = "enrolled"
	}
	req.Caller = Caller{Principal: name, Remote: req.Caller.Remote}
	r, err := s.change(ctx, req, access.TokenSelf, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		e.ExpiresAt = s.Now().Add(min(enrolledTTL, v.Cluster().Settings.MaxTokenTTL))
		return &command.EnrolConsumer{Consumer: name, Spent: hash[:], TokenID: id, TokenHash: bought[:], Label: label, ExpiresAt: e.ExpiresAt}, nil, nil
	})
	if err != nil || r.DryRun || r.Outcome.Replayed {
		e = Enrolled{}
	}
	return r, e, err
}

// FindConsumer finds a consumer by name.
func FindConsumer(v *state.View, name string) (*lifecycle.Consumer, error) {
	if c := v.Consumer(name); c != nil {
		return c, nil
	}
	return nil, refuse(string(state.ConsumerNotFound), "chancery consumer list", "there is no consumer %.80q", name)
}

// mayEditConsumer asks about every key of the consumer: whoever may say who trusts one
// key has no say about the others.
func mayEditConsumer(v *state.View, c Caller, keys []lifecycle.KeyID) error {
	p := v.Principal(c.Principal)
	for _, k := range keys {
		if d := access.Decide(p, access.ConsumerEdit, k); !d.Allowed {
			return &Denied{d.Why}
		}
	}
	return nil
}
