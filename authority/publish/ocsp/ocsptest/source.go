// Package ocsptest is a state that OCSP answers are made from, changed by hand.
package ocsptest

import (
	"context"
	"crypto/ecdsa"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Source implements ocsp.Source. The zero offset means that the state is as of now.
type Source struct {
	mu        sync.Mutex // owns everything below
	directory *ocsp.Directory
	delegates map[string]*ocsp.Delegate
	standings map[lifecycle.Serial]ocsp.Standing
	index     uint64
	moved     uint64 // index of the last change that was no issuing
	stale     bool
	age       time.Duration
	valid     time.Duration
	looks     int
	rows      int
	looking   func()
	clock     func() time.Time
}

// New makes a source for the issuers, with a responder certificate for each. clock nil =
// time.Now.
func New(t testing.TB, key *ecdsa.PrivateKey, clock func() time.Time, issuers ...*pkitest.CA) *Source {
	t.Helper()
	if clock == nil {
		clock = time.Now
	}
	s := &Source{delegates: map[string]*ocsp.Delegate{}, standings: map[lifecycle.Serial]ocsp.Standing{}, index: 1, valid: time.Hour, clock: clock}
	list := make([]ocsp.Issuer, len(issuers))
	for i, ca := range issuers {
		list[i] = ocsp.Issuer{KID: ca.KID, Certificate: ca.Cert.Raw}
		s.Delegated(t, ca, key, 12*time.Hour)
	}
	var err error
	if s.directory, err = ocsp.NewDirectory(list); err != nil {
		t.Fatal(err)
	}
	return s
}

// Delegated gives the node a responder certificate for an instance.
func (s *Source) Delegated(t testing.TB, ca *pkitest.CA, key *ecdsa.PrivateKey, ttl time.Duration) {
	t.Helper()
	d, err := ocsp.NewDelegate(key, ca.Responder(t, key, ttl))
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delegates[ca.KID] = d
}

// Undelegated takes the responder certificate away.
func (s *Source) Undelegated(ca *pkitest.CA) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.delegates, ca.KID)
}

// Set says how a certificate stands from now on, and gives the index of that state.
func (s *Source) Set(serial lifecycle.Serial, standing ocsp.Standing) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index++
	if old, has := s.standings[serial]; has && old != standing {
		s.moved = s.index
	}
	s.standings[serial] = standing
	return s.index
}

// Moved implements ocsp.Source.
func (s *Source) Moved(string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.moved
}

// SetStale says whether the state is too old, and how old.
func (s *Source) SetStale(stale bool, age time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale, s.age = stale, age
}

// Looks is how often the state was looked at.
func (s *Source) Looks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

// Rows is how often a certificate's standing was read.
func (s *Source) Rows() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// OnLook has f called by the next Look, after it read the state.
func (s *Source) OnLook(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looking = f
}

// Directory implements ocsp.Source.
func (s *Source) Directory() *ocsp.Directory { return s.directory }

// Delegate implements ocsp.Source.
func (s *Source) Delegate(kid string) *ocsp.Delegate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.delegates[kid]
}

// Look implements ocsp.Source.
func (s *Source) Look(_ context.Context, _ string, serials []lifecycle.Serial, out []ocsp.Standing) (ocsp.Basis, error) {
	s.mu.Lock()
	s.looks, s.rows = s.looks+1, s.rows+len(serials)
	for i, serial := range serials {
		out[i] = s.standings[serial]
	}
	basis := ocsp.Basis{Index: s.index, AsOf: s.clock().Add(-s.age), Fresh: !s.stale, Valid: s.valid}
	hook := s.looking
	s.looking = nil
	s.mu.Unlock()
	if hook != nil {
		hook()
	}
	return basis, nil
}
