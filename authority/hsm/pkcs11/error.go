//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// deviceError is a failure after which no session or handle may be trusted: the
// store recovers before the next call. It is an hsm.ErrUnavailable.
type deviceError struct {
	doing string
	err   error
}

func (e *deviceError) Error() string {
	return fmt.Sprintf("%s: %v: %v", e.doing, hsm.ErrUnavailable, e.err)
}

func (e *deviceError) Unwrap() []error { return []error{hsm.ErrUnavailable, e.err} }

// broken reports whether err asks for a recovery.
func broken(err error) bool {
	var device *deviceError
	return errors.As(err, &device)
}

// refusals are answers of a token in good order: it will say the same again, and
// its sessions stay usable. All others, also those nobody foresaw, are treated as a
// broken device, because crypto11 puts a session back into its pool whatever
// happened to it.
var refusals = map[pkcs11.Error]error{
	pkcs11.CKR_MECHANISM_INVALID:            hsm.ErrUnsupported,
	pkcs11.CKR_MECHANISM_PARAM_INVALID:      hsm.ErrUnsupported,
	pkcs11.CKR_KEY_SIZE_RANGE:               hsm.ErrUnsupported,
	pkcs11.CKR_KEY_TYPE_INCONSISTENT:        hsm.ErrUnsupported,
	pkcs11.CKR_KEY_FUNCTION_NOT_PERMITTED:   hsm.ErrUnsupported,
	pkcs11.CKR_CURVE_NOT_SUPPORTED:          hsm.ErrUnsupported,
	pkcs11.CKR_DOMAIN_PARAMS_INVALID:        hsm.ErrUnsupported,
	pkcs11.CKR_FUNCTION_NOT_SUPPORTED:       hsm.ErrUnsupported,
	pkcs11.CKR_TEMPLATE_INCONSISTENT:        hsm.ErrUnsupported,
	pkcs11.CKR_TEMPLATE_INCOMPLETE:          hsm.ErrUnsupported,
	pkcs11.CKR_ATTRIBUTE_TYPE_INVALID:       hsm.ErrUnsupported,
	pkcs11.CKR_ATTRIBUTE_VALUE_INVALID:      hsm.ErrUnsupported,
	pkcs11.CKR_ATTRIBUTE_READ_ONLY:          hsm.ErrUnsupported,
	pkcs11.CKR_TOKEN_WRITE_PROTECTED:        hsm.ErrUnsupported,
	pkcs11.CKR_DATA_LEN_RANGE:               hsm.ErrInput,
	pkcs11.CKR_DATA_INVALID:                 hsm.ErrInput,
	pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED: hsm.ErrUnavailable,
}

// pinRefusals are the answers after which no further login may be tried.
var pinRefusals = map[pkcs11.Error]bool{
	pkcs11.CKR_PIN_INCORRECT: true,
	pkcs11.CKR_PIN_INVALID:   true,
	pkcs11.CKR_PIN_LEN_RANGE: true,
	pkcs11.CKR_PIN_EXPIRED:   true,
	pkcs11.CKR_PIN_LOCKED:    true,
}

// fail wraps an error of the library once.
func fail(doing string, err error) error {
	var code pkcs11.Error
	if errors.As(err, &code) {
		if sentinel, ok := refusals[code]; ok {
			return fmt.Errorf("%s: %w: %w", doing, sentinel, err)
		}
	}
	return &deviceError{doing: doing, err: err}
}

// templateRefused reports whether the token disliked an attribute, so that a shorter
// template is worth trying. Nothing was generated.
func templateRefused(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case pkcs11.CKR_TEMPLATE_INCONSISTENT, pkcs11.CKR_ATTRIBUTE_TYPE_INVALID,
		pkcs11.CKR_ATTRIBUTE_VALUE_INVALID, pkcs11.CKR_ATTRIBUTE_READ_ONLY:
		return true
	}
	return false
}
