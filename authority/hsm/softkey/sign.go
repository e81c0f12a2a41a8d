package softkey

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Sign implements hsm.KeyStore.
func (s *Store) Sign(ctx context.Context, ref hsm.Ref, input []byte) ([]byte, error) {
	if err := hsm.CheckInput(ref.Alg, input); err != nil {
		return nil, err
	}
	release, err := s.admit(ctx)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", ref.ID, err)
	}
	defer release()
	p, err := s.lookup(ctx, ref)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", ref.ID, err)
	}
	sig, err := p.sign(ref.Alg, input)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w: %w", ref.ID, hsm.ErrUnavailable, err)
	}
	return sig, nil
}

// admit waits for a slot. It refuses at once when too many wait already, and drops
// a call whose deadline passed while it waited.
func (s *Store) admit(ctx context.Context) (release func(), err error) {
	if s.pending.Add(1) > s.bound {
		s.pending.Add(-1)
		return nil, hsm.ErrBusy
	}
	select {
	case s.slots <- struct{}{}:
		return s.leave, nil
	case <-ctx.Done():
		s.pending.Add(-1)
		return nil, fmt.Errorf("%w: deadline passed in the queue: %w", hsm.ErrBusy, ctx.Err())
	}
}

func (s *Store) leave() {
	<-s.slots
	s.pending.Add(-1)
}

// lookup finds the pair for ref, from memory if it was opened before.
func (s *Store) lookup(ctx context.Context, ref hsm.Ref) (*pair, error) {
	s.mu.RLock()
	p, ok := s.pairs[ref.ID]
	err := s.usable(ctx)
	s.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if !ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.closed {
			return nil, hsm.ErrClosed
		}
		if p, err = s.open(ref.ID); err != nil {
			return nil, err
		}
	}
	if !bytes.Equal(p.object.SPKI, ref.SPKI) {
		return nil, hsm.ErrMismatch
	}
	// An RSA key serves both RS256 and PS256 mathematically; the record says which
	// one it was made for, and a key has one algorithm for life.
	if p.alg != ref.Alg {
		return nil, fmt.Errorf("key was made for %s, not %s: %w", p.alg, ref.Alg, hsm.ErrMismatch)
	}
	return p, nil
}

// Probe implements hsm.Prober: it opens every key and makes one signature with a
// pair that exists in memory only.
func (s *Store) Probe(ctx context.Context) (hsm.Report, error) {
	report := hsm.Report{Driver: hsm.DriverSoft, Token: s.dir, Concurrency: cap(s.slots), LoggedIn: true}
	for _, alg := range lifecycle.Algorithms {
		report.Algorithms = append(report.Algorithms, string(alg))
	}
	report.Warnings = append(report.Warnings, warning)
	objects, err := s.Inventory(ctx)
	if err != nil {
		return report, err
	}
	report.KeyPairs = len(objects)
	if h := s.Health(); !h.OK {
		report.Warnings = append(report.Warnings, h.Why)
	}
	return report, probeSignature(&report)
}

func probeSignature(report *hsm.Report) error {
	private, err := generatePrivate(lifecycle.ES256, 0)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	p, err := newPair(hsm.ObjectID{}, "", lifecycle.ES256, private)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	digest := make([]byte, lifecycle.SHA256.Size())
	if _, err := rand.Read(digest); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	sig, err := p.sign(lifecycle.ES256, digest)
	if err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	if err := hsm.VerifySignature(lifecycle.ES256, p.object.SPKI, digest, sig); err != nil {
		return fmt.Errorf("probe: %w", err)
	}
	report.Signed, report.Verified = "ephemeral ES256 key", true
	return nil
}
