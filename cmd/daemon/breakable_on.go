//go:build chancery_faults && linux

package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/fault"
)

// breakable lets the laboratory delay, stop, fail and falsify what the key store does.
func breakable(s hsm.KeyStore) hsm.KeyStore { return &breakableStore{s} }

// breakableStore passes every call on, and does what the laboratory orders.
type breakableStore struct{ hsm.KeyStore }

// Sign can be slow, fail or be wrong. (fault.SignInHSM is in the drivers.)
func (b *breakableStore) Sign(ctx context.Context, ref hsm.Ref, input []byte) ([]byte, error) {
	o := fault.Take(fault.KeyStoreSign)
	switch o.Do {
	case fault.Fail:
		return nil, fmt.Errorf("%w: by order of the laboratory", hsm.ErrUnavailable)
	case fault.Sleep: // a slow device does not hear that nobody waits any more
		time.Sleep(time.Duration(o.MS) * time.Millisecond)
	}
	sig, err := b.KeyStore.Sign(ctx, ref, input)
	if err == nil && o.Do == fault.Wrong {
		sig[len(sig)-1] ^= 1
	}
	return sig, err
}

// Health can be that of a device which is gone, or of another token.
func (b *breakableStore) Health() hsm.Health {
	h := b.KeyStore.Health()
	switch fault.Take(fault.KeyStoreState).Do {
	case fault.Fail:
		h.OK, h.Why = false, "the device is gone by order of the laboratory"
	case fault.Wrong:
		h.Serial += "-another"
	}
	return h
}
