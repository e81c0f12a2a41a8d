package wire

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
)

// Error is the body of every answer that is not a success.
type Error struct {
	Code      Code      `json:"code"`
	Message   string    `json:"message"`
	Hint      string    `json:"hint,omitempty"` // what to do next
	Retryable bool      `json:"retryable"`
	RequestID string    `json:"request_id,omitempty"`
	Index     uint64    `json:"index,omitempty"`
	Position  *Position `json:"position,omitempty"`

	Status int `json:"-"` // of HTTP, as received; 0 = the code's own
}

// Errorf makes an error of the table.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...), Retryable: code.Info().Retryable}
}

// WithHint says what to do next.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

func (e *Error) Error() string {
	if e.Message == "" {
		return string(e.Code)
	}
	return e.Message
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// HTTPStatus is the status to answer with.
func (e *Error) HTTPStatus() int {
	if e.Status != 0 {
		return e.Status
	}
	return e.Code.Info().Status
}

// CodeOf finds the code of an error, "" when it carries none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// maxErrorBytes is what ReadError looks at: proxies in between answer with pages.
const maxErrorBytes = 64 << 10

// ReadError reads the body of an answer that is no success. A body that is not an
// error object (a proxy's page, say) still gives an *Error, told by its status.
// Unknown fields are ignored: a newer server may add some.
func ReadError(status int, body io.Reader) *Error {
	b, err := io.ReadAll(io.LimitReader(body, maxErrorBytes))
	e := new(Error)
	if err != nil || json.Unmarshal(b, e) != nil || e.Code == "" {
		e = Errorf(codeOfStatus(status), "the server answered %d %s without an error object", status, http.StatusText(status))
		e.Retryable = status == http.StatusServiceUnavailable || status == http.StatusBadGateway ||
			status == http.StatusGatewayTimeout || status == http.StatusTooManyRequests
	}
	e.Status = status
	return e
}

func codeOfStatus(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return Malformed
	case http.StatusUnauthorized:
		return Unauthenticated
	case http.StatusForbidden:
		return Denied
	case http.StatusNotFound:
		return NotFound
	case http.StatusMethodNotAllowed:
		return MethodNotAllowed
	case http.StatusRequestEntityTooLarge:
		return TooLarge
	case http.StatusTooManyRequests:
		return RateLimited
	case http.StatusServiceUnavailable, http.StatusBadGateway, http.StatusGatewayTimeout:
		return Busy
	case http.StatusRequestHeaderFieldsTooLarge:
		return HeaderTooLarge
	}
	return Internal
}
