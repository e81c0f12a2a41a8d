package command

import (
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Replace revokes versions of a key and prepares the next one as an emergency: in one
// entry, so that nothing can come between the end of the old and the beginning of the
// new. What Revoke says of a whole key or of versions holds for it word for word.
type Replace struct {
	Key              lifecycle.KeyID   `cbor:"1,keyasint"`
	Versions         []uint64          `cbor:"2,keyasint,omitempty"` // to revoke, ascending; empty = all
	Version          uint64            `cbor:"3,keyasint"`           // to make
	Instances        []Intent          `cbor:"4,keyasint"`
	Reason           lifecycle.Reason  `cbor:"5,keyasint"`
	CompromisedSince lifecycle.Instant `cbor:"6,keyasint,omitempty"`
	Comment          string            `cbor:"7,keyasint,omitempty"`
	Distrust         bool              `cbor:"8,keyasint,omitempty"`
}

func (*Replace) Kind() Kind { return KindReplace }

// Revocation is the part that revokes.
func (c *Replace) Revocation() *Revoke {
	return &Revoke{Key: c.Key, Versions: c.Versions, Reason: c.Reason, CompromisedSince: c.CompromisedSince, Comment: c.Comment, Distrust: c.Distrust}
}

func (c *Replace) Check() error {
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	if err := c.Revocation().Check(); err != nil {
		return err
	}
	if c.Reason == lifecycle.CertificateHold {
		return fmt.Errorf("a hold can be taken back and a replacement cannot: suspend the key, or choose another reason")
	}
	return checkIntents(c.Instances)
}
