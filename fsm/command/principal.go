package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// PrincipalRecord is a principal as it is added.
type PrincipalRecord struct {
	Name    string                  `cbor:"1,keyasint"`
	Kind    lifecycle.PrincipalKind `cbor:"2,keyasint"`
	Grants  []lifecycle.Grant       `cbor:"3,keyasint,omitempty"`
	SSHKeys []string                `cbor:"4,keyasint,omitempty"`
	Certs   []string                `cbor:"5,keyasint,omitempty"`
}

func (p *PrincipalRecord) check() error {
	if err := lifecycle.CheckName("principal", p.Name); err != nil {
		return err
	}
	if p.Name == "system" {
		return fmt.Errorf("the name %q is Chancery's own", p.Name)
	}
	if p.Kind != lifecycle.Person && p.Kind != lifecycle.Service {
		return fmt.Errorf("unknown principal kind %q: person or service", string(p.Kind))
	}
	if err := count("roles", len(p.Grants), MaxGrants); err != nil {
		return err
	}
	for _, g := range p.Grants {
		if err := g.Check(); err != nil {
			return err
		}
	}
	if err := count("SSH keys", len(p.SSHKeys), MaxSSHKeys); err != nil {
		return err
	}
	for _, k := range p.SSHKeys {
		if err := size("SSH key", len(k), 1, MaxSSHKeyBytes); err != nil {
			return err
		}
		if err := printable("SSH key", k); err != nil {
			return err
		}
	}
	if err := count("certificates", len(p.Certs), MaxSSHKeys); err != nil {
		return err
	}
	for _, c := range p.Certs {
		if err := lowerHex("certificate SPKI hash", c, 64); err != nil {
			return err
		}
	}
	return nil
}

// AddPrincipal adds a principal, or with Replace gives an existing one new roles
// and keys.
type AddPrincipal struct {
	Principal PrincipalRecord `cbor:"1,keyasint"`
	Replace   bool            `cbor:"2,keyasint,omitempty"`
}

func (*AddPrincipal) Kind() Kind     { return KindAddPrincipal }
func (c *AddPrincipal) Check() error { return c.Principal.check() }

// RevokePrincipal ends a principal for ever; its tokens go with it.
type RevokePrincipal struct {
	Name string `cbor:"1,keyasint"`
}

func (*RevokePrincipal) Kind() Kind     { return KindRevokePrincipal }
func (c *RevokePrincipal) Check() error { return lifecycle.CheckName("principal", c.Name) }

// AddToken adds a bearer token of a principal.
type AddToken struct {
	ID        string            `cbor:"1,keyasint"`
	Principal string            `cbor:"2,keyasint"`
	Hash      []byte            `cbor:"3,keyasint"`
	Label     string            `cbor:"4,keyasint,omitempty"`
	ExpiresAt lifecycle.Instant `cbor:"5,keyasint"`
}

func (*AddToken) Kind() Kind { return KindAddToken }

func (c *AddToken) Check() error {
	if err := tokenID(c.ID); err != nil {
		return err
	}
	if err := size("token hash", len(c.Hash), sha256.Size, sha256.Size); err != nil {
		return err
	}
	if err := text("token label", c.Label, false); err != nil {
		return err
	}
	return lifecycle.CheckName("principal", c.Principal)
}

// RevokeToken ends a token.
type RevokeToken struct {
	ID string `cbor:"1,keyasint"`
}

func (*RevokeToken) Kind() Kind     { return KindRevokeToken }
func (c *RevokeToken) Check() error { return tokenID(c.ID) }
