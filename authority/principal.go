package authority

import (
	"context"
	"encoding/base64"
	"slices"

	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/sshsig"
	"github.com/chancery-project/chancery/fsm/state"
)

// AddPrincipal adds a principal, or with replace gives an existing one new roles,
// SSH keys and certificates.
func (s *Service) AddPrincipal(ctx context.Context, req Request, r command.PrincipalRecord, replace bool) (Result, error) {
	if r.Kind == "" {
		r.Kind = lifecycle.Service
		if len(r.SSHKeys) > 0 {
			r.Kind = lifecycle.Person
		}
	}
	for _, line := range r.SSHKeys {
		if _, err := sshsig.ParseAuthorizedKey(line); err != nil {
			return Result{}, refuse("invalid", "give an ed25519 or ecdsa-p256 public key, plain or sk-", "the SSH key cannot be used: %v", err)
		}
	}
	return s.change(ctx, req, access.PrincipalEdit, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		ref := command.RowRef{Table: string(state.TablePrincipals), Key: r.Name}
		if old := v.Principal(r.Name); old != nil {
			ref = state.RefPrincipal(old)
		}
		return &command.AddPrincipal{Principal: r, Replace: replace}, []command.RowRef{ref}, nil
	})
}

// RevokePrincipal ends a principal and its tokens.
func (s *Service) RevokePrincipal(ctx context.Context, req Request, name string) (Result, error) {
	return s.change(ctx, req, access.PrincipalEdit, "", func(*state.View) (command.Body, []command.RowRef, error) {
		return &command.RevokePrincipal{Name: name}, nil, nil
	})
}

// DefaultTokenTTL is what a token lives when nobody says.
const DefaultTokenTTL = 30 * lifecycle.Day

// CreateToken makes a bearer token. The secret is returned here and never again:
// a repeat of the request answers with the outcome and an empty secret.
func (s *Service) CreateToken(ctx context.Context, req Request, principal, label string, ttl lifecycle.Milliseconds) (Result, string, error) {
	if ttl == 0 {
		ttl = DefaultTokenTTL
	}
	if ttl < 0 {
		return Result{}, "", refuse("invalid", "--ttl 30d", "a token cannot live for %s", ttl)
	}
	return s.makeToken(ctx, req, access.TokenEdit, principal, label, ttl)
}

func (s *Service) makeToken(ctx context.Context, req Request, verb access.Verb, principal, label string, ttl lifecycle.Milliseconds) (Result, string, error) {
	id, err := s.drawHex(8)
	if err != nil {
		return Result{}, "", err
	}
	var secret [32]byte
	if err := s.draw(secret[:]); err != nil {
		return Result{}, "", err
	}
	token := TokenPrefix + id + "_" + base64.RawURLEncoding.EncodeToString(secret[:])
	hash := HashToken(token)
	r, err := s.change(ctx, req, verb, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		return &command.AddToken{ID: id, Principal: principal, Hash: hash[:], Label: label, ExpiresAt: s.Now().Add(ttl)}, nil, nil
	})
	if err != nil || r.DryRun || r.Outcome.Replayed {
		token = ""
	}
	return r, token, err
}

// RevokeToken ends a token; everybody may end their own.
func (s *Service) RevokeToken(ctx context.Context, req Request, id string) (Result, error) {
	verb := access.TokenEdit
	if t := s.View().Token(id); t != nil && t.Principal == req.Caller.Principal {
		verb = access.TokenSelf
	}
	return s.change(ctx, req, verb, "", func(v *state.View) (command.Body, []command.RowRef, error) {
		return &command.RevokeToken{ID: id}, nil, nil
	})
}

// Tokens lists what the caller may see: all of them, or the caller's own.
func (s *Service) Tokens(v *state.View, c Caller) []*lifecycle.Token {
	all := access.Decide(v.Principal(c.Principal), access.TokenEdit, "").Allowed
	return slices.DeleteFunc(v.Tokens(), func(t *lifecycle.Token) bool { return !all && t.Principal != c.Principal })
}
