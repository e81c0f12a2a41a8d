package crl

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Signer is the part of a signing.Signer that signs lists.
type Signer interface {
	Uphold(ctx context.Context, req signing.Request, version uint64, st signing.Structure) (signing.Signature, error)
}

// Upheld makes Config.Sign: through the same admission, audit, verification and release
// gate as every signature of this node. elapsed is the signer's clock; allocate has the
// leader propose AllocateCRL in this node's name. An entry that refuses the number ends
// it before the key is used.
func Upheld(s Signer, node string, elapsed func() time.Duration, allocate func(context.Context, *command.AllocateCRL) (state.Outcome, error)) func(context.Context, *lifecycle.CACert, *command.AllocateCRL, []byte) ([]byte, error) {
	return func(ctx context.Context, ca *lifecycle.CACert, announce *command.AllocateCRL, tbs []byte) ([]byte, error) {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("name a request: %w", err)
		}
		req := signing.Request{Caller: authority.Caller{Principal: "node:" + node}, ID: id.String(), Key: string(ca.Issuer), ReceivedAt: elapsed()}
		sig, err := s.Uphold(ctx, req, ca.Version, signing.Structure{
			Verb: "crl.sign",
			Make: func(signing.Mandate) ([]byte, error) { return tbs, nil },
			Announce: func(ctx context.Context) error {
				o, err := allocate(ctx, announce)
				if err == nil && !o.OK() {
					err = &authority.Refusal{Code: string(o.Code), Message: o.Detail}
				}
				return err
			},
			Enter: func(context.Context, []byte) (uint64, error) { return 0, nil }, // its number stands in the log already
		})
		if err != nil {
			return nil, fmt.Errorf("sign a CRL: %w", err)
		}
		return sig.Bytes, nil
	}
}
