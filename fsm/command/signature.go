package command

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// SignatureItem names one signature without giving it away.
type SignatureItem struct {
	TBS []byte `cbor:"1,keyasint"` // SHA-256 of the bytes that were signed
	Sig []byte `cbor:"2,keyasint"` // SHA-256 of the signature as it would be released
}

// SignatureGroup is what one request had signed. It is recorded whole or not at all.
type SignatureGroup struct {
	Key       lifecycle.KeyID `cbor:"1,keyasint"`
	Version   uint64          `cbor:"2,keyasint"`
	KID       string          `cbor:"3,keyasint"` // of the node's instance of Version
	Principal string          `cbor:"4,keyasint"`
	TokenID   string          `cbor:"5,keyasint,omitempty"` // "" = the caller showed a certificate
	RequestID string          `cbor:"6,keyasint,omitempty"`
	Items     []SignatureItem `cbor:"7,keyasint"`
}

func (g *SignatureGroup) check() error {
	if err := checkVersion(g.Key, g.Version); err != nil {
		return err
	}
	if err := checkKID(g.KID); err != nil {
		return err
	}
	if err := lifecycle.CheckName("principal", g.Principal); err != nil {
		return err
	}
	if g.TokenID != "" {
		if err := tokenID(g.TokenID); err != nil {
			return err
		}
	}
	if err := text("request id", g.RequestID, false); err != nil {
		return err
	}
	if len(g.Items) == 0 {
		return fmt.Errorf("a request without a signature is recorded")
	}
	if err := count("signatures of one request", len(g.Items), MaxGroupItems); err != nil {
		return err
	}
	for _, it := range g.Items {
		if len(it.TBS) != sha256.Size || len(it.Sig) != sha256.Size {
			return fmt.Errorf("a signature is recorded without the SHA-256 of what was signed and of itself")
		}
	}
	return nil
}

// RecordSignatures writes signatures down before they are released, each request's
// only if its right to sign still stands in this very entry. It is a node's verb
// and carries no request id: a repeat records again, and releases once.
type RecordSignatures struct {
	Node   lifecycle.NodeID `cbor:"1,keyasint"` // whose instances signed
	Groups []SignatureGroup `cbor:"2,keyasint"`
}

func (*RecordSignatures) Kind() Kind { return KindRecordSignatures }

func (c *RecordSignatures) Check() error {
	if err := lifecycle.CheckNodeID(c.Node); err != nil {
		return err
	}
	if len(c.Groups) == 0 {
		return fmt.Errorf("no signatures are recorded")
	}
	if err := count("requests", len(c.Groups), MaxGroups); err != nil {
		return err
	}
	for i := range c.Groups {
		if err := c.Groups[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// checkKID validates an RFC 7638 SHA-256 thumbprint.
func checkKID(kid string) error {
	if raw, err := base64.RawURLEncoding.Strict().DecodeString(kid); err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("kid %q is not the base64url of a SHA-256", kid)
	}
	return nil
}
