package signing

import (
	"context"

	"github.com/chancery-project/chancery/fsm/command"
)

// Waiting is how many strict requests wait for an entry that is not on its way yet.
func (s *Signer) Waiting() int {
	return s.notary.groups.Waiting()
}

// Put records one request's signatures.
func (s *Signer) Put(ctx context.Context, g command.SignatureGroup) (uint64, error) {
	return s.notary.Put(ctx, g)
}
