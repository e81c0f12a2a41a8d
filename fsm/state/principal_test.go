package state_test

import (
	"crypto/sha256"
	"reflect"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

var certA, certB = strings.Repeat("a1", 32), strings.Repeat("b2", 32)

func person(name string, certs ...string) *command.AddPrincipal {
	return &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Person,
		Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "ci-*"}}, Certs: certs}}
}

func (w *world) token(id, principal string) *command.AddToken {
	hash := sha256.Sum256([]byte(id))
	return &command.AddToken{ID: id, Principal: principal, Hash: hash[:], Label: "laptop", ExpiresAt: w.l.Clock().At().Add(lifecycle.Day)}
}

func replace(c *command.AddPrincipal) *command.AddPrincipal {
	c.Replace = true
	return c
}

func TestPrincipals(t *testing.T) {
	w := newWorld(t)
	w.no(state.PrincipalNotFound, replace(person("bob")))
	w.ok(person("bob", certA))
	w.no(state.AlreadyExists, person("bob"))
	w.no(state.AlreadyExists, person("carol", certA))
	w.no(state.AlreadyExists, person("carol", certB, certB))
	if p := w.l.View().PrincipalByCert(certA); p == nil || p.Name != "bob" {
		t.Errorf("by certificate: %+v", p)
	}
	made := w.l.View().Principal("bob").Created
	w.pass(lifecycle.Minute)
	w.ok(replace(person("bob", certB)))
	v := w.l.View()
	if v.PrincipalByCert(certA) != nil || v.PrincipalByCert(certB).Name != "bob" || !reflect.DeepEqual(v.Principal("bob").Created, made) {
		t.Error("the old certificate still works, or the new one does not, or bob is new")
	}
	w.ok(person("carol", certA)) // the certificate is free again
	w.no(state.AlreadyExists, replace(person("carol", certB)))
	if names := w.l.View().Principals(); len(names) != 3 {
		t.Errorf("%d principals", len(names))
	}
}

func TestRevokePrincipal(t *testing.T) {
	w := newWorld(t)
	w.no(state.PrincipalNotFound, &command.RevokePrincipal{Name: "bob"})
	w.ok(person("bob", certA))
	w.ok(w.token("token-bob-1", "bob"))
	w.ok(w.token("token-bob-2", "bob"))
	w.ok(w.token("token-admin", ledgertest.Admin))
	w.ok(&command.RevokePrincipal{Name: "bob"})
	v := w.l.View()
	if p := v.Principal("bob"); p == nil || p.RevokedAt == 0 || p.RevokedBy != ledgertest.Admin {
		t.Errorf("principal %+v", p)
	}
	if v.PrincipalByCert(certA) != nil {
		t.Error("the certificate of a revoked principal still works")
	}
	for _, id := range []string{"token-bob-1", "token-bob-2"} {
		if tok := v.Token(id); tok.RevokedAt == 0 || v.TokenBySecret(sha256.Sum256([]byte(id))) != nil {
			t.Errorf("token %s of a revoked principal still works", id)
		}
	}
	if v.TokenBySecret(sha256.Sum256([]byte("token-admin"))) == nil {
		t.Error("somebody else's token was revoked too")
	}
	w.no(state.IllegalTransition, &command.RevokePrincipal{Name: "bob"})
	w.no(state.AlreadyExists, person("bob"))
	w.no(state.AlreadyExists, replace(person("bob")))
	w.no(state.PrincipalNotFound, w.token("token-bob-3", "bob"))
}

// TestTheLastAdminStays: nobody could ever administer the cluster again.
func TestTheLastAdminStays(t *testing.T) {
	w := newWorld(t)
	some := person("some")
	some.Principal.Grants = []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "ci-*"}}
	w.ok(some)
	w.no(state.IllegalTransition, &command.RevokePrincipal{Name: ledgertest.Admin})
	w.no(state.IllegalTransition, replace(person(ledgertest.Admin)))
	other := person("other")
	other.Principal.Grants = []lifecycle.Grant{{Role: lifecycle.Auditor, Keys: "*"}, {Role: lifecycle.Admin, Keys: "*"}}
	w.ok(other)
	w.ok(replace(person(ledgertest.Admin)))
	w.no(state.IllegalTransition, &command.RevokePrincipal{Name: "other"})
	w.ok(replace(other))
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	w.no(state.PrincipalNotFound, w.token("token-0001", "nobody"))
	w.ok(w.token("token-0001", ledgertest.Admin))
	w.no(state.AlreadyExists, w.token("token-0001", ledgertest.Admin))
	same := w.token("token-0001", ledgertest.Admin)
	same.ID = "token-0002"
	w.no(state.AlreadyExists, same)
	late := w.token("token-0003", ledgertest.Admin)
	late.ExpiresAt = w.l.Clock().At()
	w.no(state.TokenExpired, late)
	late.ExpiresAt = w.l.Clock().At().Add(366*lifecycle.Day + 1)
	w.no(state.Invalid, late)
	late.ExpiresAt--
	w.ok(late)
	w.no(state.TokenNotFound, &command.RevokeToken{ID: "token-0009"})
	w.ok(&command.RevokeToken{ID: "token-0001"})
	if w.l.View().TokenBySecret(sha256.Sum256([]byte("token-0001"))) != nil {
		t.Error("a revoked token still works")
	}
	w.no(state.IllegalTransition, &command.RevokeToken{ID: "token-0001"})
	w.no(state.AlreadyExists, w.token("token-0001", ledgertest.Admin)) // ids are never reused
	if got := len(w.l.View().Tokens()); got != 2 {
		t.Errorf("%d tokens", got)
	}
}
