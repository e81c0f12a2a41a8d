package authority

import (
	"errors"
	"fmt"
)

// Sentinels that callers test with errors.Is.
var (
	// ErrUnauthenticated is returned when nobody or nobody known is calling.
	ErrUnauthenticated = errors.New("no valid credential")
	// ErrAudit is returned when the audit record could not be written: nothing was done.
	ErrAudit = errors.New("the audit record could not be written, so nothing was done")
	// ErrFull is returned while the leader's disk is full, for what takes nothing away.
	ErrFull = errors.New("the leader's disk is full, and what it has in reserve is for withdrawals")
)

// Denied is returned when the caller may not do what was asked.
type Denied struct{ Why string }

func (d *Denied) Error() string { return d.Why }

// Refusal is returned for a request that is understood and cannot be carried out.
// Code is one of the wire's error codes; Hint says what to do next.
type Refusal struct {
	Code    string
	Message string
	Hint    string
}

func (r *Refusal) Error() string { return r.Message }

func refuse(code, hint, format string, args ...any) error {
	return &Refusal{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}
