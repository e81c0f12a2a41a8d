package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// CreateIssuer makes a key of purpose certificate and the issuer that signs with it, in
// one entry.
type CreateIssuer struct {
	Key    CreateKey             `cbor:"1,keyasint"`
	Of     lifecycle.IssuerKind  `cbor:"2,keyasint"`
	Parent lifecycle.KeyID       `cbor:"3,keyasint,omitempty"` // issuing only
	Terms  lifecycle.IssuerTerms `cbor:"4,keyasint"`
}

func (*CreateIssuer) Kind() Kind { return KindCreateIssuer }

func (c *CreateIssuer) Check() error {
	if err := c.Key.Check(); err != nil {
		return err
	}
	if c.Key.Purpose != lifecycle.ForCertificate {
		return fmt.Errorf("the key of an issuer has the purpose certificate, not %s", c.Key.Purpose)
	}
	switch c.Of {
	case lifecycle.RootIssuer, lifecycle.ExternalIssuer:
		if c.Parent != "" {
			return fmt.Errorf("an issuer of kind %s has no parent here", c.Of)
		}
	case lifecycle.IssuingIssuer:
		if err := lifecycle.CheckName("parent issuer", string(c.Parent)); err != nil {
			return err
		}
	default:
		return fmt.Errorf("unknown kind of issuer %q: choose root, issuing or external", string(c.Of))
	}
	if c.Of == lifecycle.RootIssuer && c.Key.Custody != lifecycle.Singleton {
		return fmt.Errorf("a root has one key pair, on one named node: use custody singleton")
	}
	return c.Terms.Check()
}

// BindCACert makes the CA certificate of an instance known: from here on it may issue.
type BindCACert struct {
	Issuer  lifecycle.KeyID  `cbor:"1,keyasint"`
	Version uint64           `cbor:"2,keyasint"`
	Node    lifecycle.NodeID `cbor:"3,keyasint"` // whose instance it is
	DER     []byte           `cbor:"4,keyasint"`
	Subject string           `cbor:"5,keyasint"` // common name in the certificate

	// Above are the certificates above that of an external issuer, as far as they were
	// brought along: nearest first, the root last.
	Above [][]byte `cbor:"6,keyasint,omitempty"`
}

func (*BindCACert) Kind() Kind { return KindBindCACert }

func (c *BindCACert) Check() error {
	if err := checkInstance(c.Issuer, c.Version, c.Node); err != nil {
		return err
	}
	if err := text("subject", c.Subject, true); err != nil {
		return err
	}
	if len(c.Above) > MaxCertsAbove {
		return fmt.Errorf("%d certificates above it: at most %d are allowed", len(c.Above), MaxCertsAbove)
	}
	for _, der := range c.Above {
		if err := checkCertificate(der); err != nil {
			return err
		}
	}
	return checkCertificate(c.DER)
}

// checkCertificate refuses what is too large, or no certificate at all.
func checkCertificate(der []byte) error {
	if err := size("certificate", len(der), 1, MaxCertBytes); err != nil {
		return err
	}
	_, err := lifecycle.ReadCertificate(der)
	return err
}

// SetIssuer replaces the terms by which the issuer's next CA certificates, CRLs and OCSP
// answers are made.
type SetIssuer struct {
	Issuer lifecycle.KeyID       `cbor:"1,keyasint"`
	Terms  lifecycle.IssuerTerms `cbor:"2,keyasint"`
}

func (*SetIssuer) Kind() Kind { return KindSetIssuer }

func (c *SetIssuer) Check() error {
	if err := lifecycle.CheckName("issuer", string(c.Issuer)); err != nil {
		return err
	}
	return c.Terms.Check()
}

// SetProfile adds a profile, or replaces the one of its name.
type SetProfile struct {
	Name  string                 `cbor:"1,keyasint"`
	Terms lifecycle.ProfileTerms `cbor:"2,keyasint"`
}

func (*SetProfile) Kind() Kind { return KindSetProfile }

func (c *SetProfile) Check() error {
	if err := checkProfile(c.Name); err != nil {
		return err
	}
	return c.Terms.Check()
}

func checkProfile(name string) error {
	if name == lifecycle.ProfileCA || name == lifecycle.ProfileOCSP {
		return fmt.Errorf("the profiles %s and %s are the cluster's own: choose another name", lifecycle.ProfileCA, lifecycle.ProfileOCSP)
	}
	return lifecycle.CheckName("profile", name)
}

// DropProfile ends a profile; a built-in one of its name counts again.
type DropProfile struct {
	Name string `cbor:"1,keyasint"`
}

func (*DropProfile) Kind() Kind     { return KindDropProfile }
func (c *DropProfile) Check() error { return checkProfile(c.Name) }

// ProfileHash is what certificates name a profile by: SHA-256 over its name and terms,
// whoever set them when.
func ProfileHash(name string, terms *lifecycle.ProfileTerms) [sha256.Size]byte {
	return sha256.Sum256(Marshal(&SetProfile{Name: name, Terms: *terms}))
}

// AllocateCRL gives out the next number of an instance's CRL, for one TBSCertList. It
// comes before the signature: of one number there is one CRL, whatever crashes when.
type AllocateCRL struct {
	Node       lifecycle.NodeID  `cbor:"1,keyasint"` // whose instance signs
	KID        string            `cbor:"2,keyasint"`
	Shard      uint64            `cbor:"3,keyasint,omitempty"` // 0 = the full CRL
	Number     uint64            `cbor:"4,keyasint"`           // one more than the last
	TBSHash    []byte            `cbor:"5,keyasint"`           // SHA-256
	ThisUpdate lifecycle.Instant `cbor:"6,keyasint"`
	NextUpdate lifecycle.Instant `cbor:"7,keyasint"`
	Entries    uint64            `cbor:"8,keyasint,omitempty"`
	AtIndex    uint64            `cbor:"9,keyasint"` // state the entries were read from
}

func (*AllocateCRL) Kind() Kind { return KindAllocateCRL }

func (c *AllocateCRL) Check() error {
	if err := lifecycle.CheckNodeID(c.Node); err != nil {
		return err
	}
	if err := checkKID(c.KID); err != nil {
		return err
	}
	switch {
	case c.Shard > MaxCRLShards:
		return fmt.Errorf("shard %d: at most %d are allowed", c.Shard, MaxCRLShards)
	case c.Number == 0:
		return fmt.Errorf("CRL numbers count from 1")
	case c.AtIndex == 0:
		return fmt.Errorf("the CRL was made from no state")
	case c.ThisUpdate <= 0 || c.NextUpdate <= c.ThisUpdate || c.NextUpdate > MaxInstant:
		return fmt.Errorf("a CRL from %s to %s", c.ThisUpdate, c.NextUpdate)
	}
	return hash("TBS hash", c.TBSHash)
}

func hash(what string, b []byte) error { return size(what, len(b), sha256.Size, sha256.Size) }

// AnnounceResponder makes the key known with which a node answers OCSP requests.
type AnnounceResponder struct {
	Node lifecycle.NodeID `cbor:"1,keyasint"`
	SPKI []byte           `cbor:"2,keyasint"`
}

func (*AnnounceResponder) Kind() Kind { return KindAnnounceResponder }

func (c *AnnounceResponder) Check() error {
	if err := size("public key", len(c.SPKI), 1, MaxSPKIBytes); err != nil {
		return err
	}
	return lifecycle.CheckNodeID(c.Node)
}

// BindResponder makes the certificate known by which a node answers OCSP requests for
// one instance of an issuer. It was issued by that instance under the profile ocsp.
type BindResponder struct {
	Node   lifecycle.NodeID `cbor:"1,keyasint"` // who answers
	Serial lifecycle.Serial `cbor:"2,keyasint"`
}

func (*BindResponder) Kind() Kind { return KindBindResponder }

func (c *BindResponder) Check() error {
	if err := checkSerial(c.Serial); err != nil {
		return err
	}
	return lifecycle.CheckNodeID(c.Node)
}
