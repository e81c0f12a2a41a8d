//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// InitToken makes a token on the module's first slot whose token is not
// initialised, with a security officer's PIN and a user's. It is for software
// tokens of development clusters: a real device is set up with its vendor's tool.
// The PINs are handed to the module in memory, never on a command line.
//
// It initialises the module and finalizes it, so no key store may be open on the
// same module in this process.
func InitToken(module, label, soPIN, userPIN string) (err error) {
	p := pkcs11.New(module)
	if p == nil {
		return fmt.Errorf("load PKCS#11 module %s: it is missing, or not a PKCS#11 library", module)
	}
	defer p.Destroy()
	if err := p.Initialize(); err != nil {
		return fmt.Errorf("initialise module %s: %w", module, err)
	}
	defer func() { err = errors.Join(err, p.Finalize()) }()
	slot, err := emptySlot(p)
	if err != nil {
		return err
	}
	if err := p.InitToken(slot, soPIN, label); err != nil {
		return fmt.Errorf("initialise token %q: %w", label, err)
	}
	session, err := p.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION)
	if err != nil {
		return fmt.Errorf("open a session on token %q: %w", label, err)
	}
	defer func() { err = errors.Join(err, p.CloseSession(session)) }()
	if err := p.Login(session, pkcs11.CKU_SO, soPIN); err != nil {
		return fmt.Errorf("log in to the new token %q: %w", label, err)
	}
	if err := p.InitPIN(session, userPIN); err != nil {
		return fmt.Errorf("set the PIN of token %q: %w", label, err)
	}
	if err := p.Logout(session); err != nil {
		return fmt.Errorf("log out of token %q: %w", label, err)
	}
	return nil
}

func emptySlot(p *pkcs11.Ctx) (uint, error) {
	slots, err := p.GetSlotList(true)
	if err != nil {
		return 0, fmt.Errorf("list the slots: %w", err)
	}
	for _, s := range slots {
		if info, err := p.GetTokenInfo(s); err == nil && info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			return s, nil
		}
	}
	return 0, errors.New("the module has no slot with an empty token")
}
