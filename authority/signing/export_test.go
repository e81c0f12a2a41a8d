package signing

import (
	"context"

	"github.com/chancery-project/chancery/fsm/command"
)

// Admitted is a request between S1 and S5.
type Admitted = job

// Admit is S1.
func (s *Signer) Admit(r Request) (*Admitted, error) { return s.admit(r) }

// Gate is S5.
func (s *Signer) Gate(j *Admitted) error {
	_, err := s.gate(j)
	return err
}

// Waiting is how many strict requests wait for an entry that is not on its way yet.
func (s *Signer) Waiting() int {
	s.notary.mu.Lock()
	defer s.notary.mu.Unlock()
	return len(s.notary.waiting)
}

// Put records one request's signatures.
func (s *Signer) Put(ctx context.Context, g command.SignatureGroup) (uint64, error) {
	return s.notary.put(ctx, g)
}
