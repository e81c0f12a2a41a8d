package client

import (
	"errors"
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/transport/wire"
)

// A refusal by the server is a *wire.Error. What follows is born here.

// ErrLate is returned when a signature came after Config.SignDeadline. It was
// thrown away: nobody may rely on it.
var ErrLate = errors.New("the signature came too late and was discarded")

// ErrWentBack is returned when a node answered from an older state than this
// client has seen already.
var ErrWentBack = errors.New("the node answered from an older state than was seen before")

// What a signed answer can be refused for. Whoever gets one of these knows nothing
// about the key: it must not be relied on.
var (
	// ErrUnsigned is returned when a node answered without a signature.
	ErrUnsigned = errors.New("the node's answer is not signed")
	// ErrForged is returned when a statement is not by a status key of the cluster, or
	// cannot be: its form, algorithm, certificate or signature is wrong.
	ErrForged = errors.New("the statement is not by a node of this cluster")
	// ErrExpired is returned when a statement, or the certificate it verifies with, is
	// outside its time. A wrong clock here or there looks the same.
	ErrExpired = errors.New("the statement is outside its time")
	// ErrOtherQuestion is returned when a statement answers something else than was
	// asked: another subject, another nonce.
	ErrOtherQuestion = errors.New("the statement answers another question")
	// ErrEpoch matches *EpochChanged with errors.Is.
	ErrEpoch = errors.New("the cluster's epoch has changed")
)

// OutcomeUnknown is returned when a mutation may or may not have happened.
// Repeating it with WithRequestID(RequestID) is safe: it cannot happen twice.
type OutcomeUnknown struct {
	RequestID string
	Err       error
}

func (e *OutcomeUnknown) Error() string {
	return fmt.Sprintf("the outcome is not known (request %s): %v", e.RequestID, e.Err)
}

func (e *OutcomeUnknown) Unwrap() error { return e.Err }

// Unavailable is returned when no node carried the request out and nothing was done.
type Unavailable struct {
	Tried []string // "host:port: why", in the order of the attempts
	Err   error    // the last refusal, or of the last attempt when no node answered
}

func (e *Unavailable) Error() string {
	return "no node could do it: " + strings.Join(e.Tried, "; ")
}

func (e *Unavailable) Unwrap() error { return e.Err }

// EpochChanged is returned when the cluster's epoch is another one than before:
// it was restored or recovered, and what this client has seen may be gone.
type EpochChanged struct{ Was, Now uint64 }

func (e *EpochChanged) Error() string {
	return fmt.Sprintf("the cluster is in epoch %d, this client knows epoch %d: it was restored; look at its state, then anchor again", e.Now, e.Was)
}

// Is makes errors.Is(err, ErrEpoch) true.
func (e *EpochChanged) Is(target error) bool { return target == ErrEpoch } //nolint:errorlint // Is compares

// RequestIDOf finds the request id in an error, "" when it carries none.
func RequestIDOf(err error) string {
	var unknown *OutcomeUnknown
	if errors.As(err, &unknown) {
		return unknown.RequestID
	}
	var refused *wire.Error
	if errors.As(err, &refused) {
		return refused.RequestID
	}
	return ""
}
