//go:build cgo && !nopkcs11

package pkcs11

import (
	"fmt"
	"strings"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// token is an initialized token and the slot it is in at the moment; slot numbers
// change over restarts.
type token struct {
	slot uint
	info pkcs11.TokenInfo
}

func (t token) String() string {
	return fmt.Sprintf("%q (serial %s)", t.info.Label, t.info.SerialNumber)
}

// tokens lists the initialized tokens of a module. The library is initialized.
func (m *module) tokens() ([]token, error) {
	slots, err := m.raw.GetSlotList(true)
	if err != nil {
		return nil, fail("list slots", err)
	}
	var found []token
	for _, slot := range slots {
		info, err := m.raw.GetTokenInfo(slot)
		if err != nil || info.Flags&pkcs11.CKF_TOKEN_INITIALIZED == 0 {
			continue // an unreadable or blank neighbour does not concern our token
		}
		found = append(found, token{slot: slot, info: info})
	}
	return found, nil
}

// pick selects the one token that label and serial (either may be empty) describe.
func pick(all []token, label, serial string) (token, error) {
	var matches []token
	for _, t := range all {
		if (label == "" || t.info.Label == label) && (serial == "" || t.info.SerialNumber == serial) {
			matches = append(matches, t)
		}
	}
	wanted := describe(label, serial)
	switch {
	case label == "" && serial == "":
		return token{}, fmt.Errorf("select token: neither token_label nor token_serial is set. %s", inventoryOf(all))
	case len(matches) == 0:
		return token{}, fmt.Errorf("select token: %w: %s is not there. %s", hsm.ErrUnavailable, wanted, inventoryOf(all))
	case len(matches) > 1:
		return token{}, fmt.Errorf("select token: %d tokens are %s; set token_serial to the right one. %s", len(matches), wanted, inventoryOf(matches))
	}
	return matches[0], nil
}

func describe(label, serial string) string {
	switch {
	case serial == "":
		return fmt.Sprintf("token %q", label)
	case label == "":
		return fmt.Sprintf("token with serial %s", serial)
	}
	return fmt.Sprintf("token %q with serial %s", label, serial)
}

func inventoryOf(all []token) string {
	if len(all) == 0 {
		return "The module shows no initialized token at all (for SoftHSM check SOFTHSM2_CONF and file permissions)"
	}
	names := make([]string, len(all))
	for i, t := range all {
		names[i] = t.String()
	}
	return "Tokens there: " + strings.Join(names, ", ")
}

// checkPINState refuses a login that could lock the token, before it is tried.
func (t token) checkPINState() error {
	flags := t.info.Flags
	switch {
	case flags&pkcs11.CKF_USER_PIN_INITIALIZED == 0:
		return locked("token %s has no user PIN yet. Initialize it with its own tool.", t)
	case flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return locked("token %s is locked after wrong PINs. Not tried. Unlock it as security officer, then restart.", t)
	case flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return locked("token %s has one PIN attempt left. Not used. Log in once with its own tool and the right PIN, which resets the count, then restart.", t)
	case flags&pkcs11.CKF_USER_PIN_TO_BE_CHANGED != 0:
		return locked("the PIN of token %s must be changed first, with its own tool.", t)
	}
	return nil
}

// sessionLimit is the token's bound on open sessions, 0 = none stated.
func (t token) sessionLimit() uint {
	limit := uint(0)
	for _, n := range []uint{t.info.MaxSessionCount, t.info.MaxRwSessionCount} {
		if n != pkcs11.CK_EFFECTIVELY_INFINITE && n != pkcs11.CK_UNAVAILABLE_INFORMATION && (limit == 0 || n < limit) {
			limit = n
		}
	}
	return limit
}
