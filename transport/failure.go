package transport

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// Failure is the error table: what any error of the layers below is on the wire.
// What the table does not know is Internal, and its text stays here.
func Failure(err error) *wire.Error {
	var (
		known    *wire.Error
		rejected *state.Rejection
		refusal  *authority.Refusal
		denied   *authority.Denied
	)
	switch {
	case errors.Is(err, ledger.ErrIndeterminate):
		// First, because nothing that hides behind it may be told as a failure.
		return wire.Errorf(wire.OutcomeUnknown, "leadership was lost before the answer came: whether it was carried out is not known yet").
			WithHint("repeat the request with the same request id: it cannot happen twice")
	case errors.As(err, &known):
		e := *known
		return &e
	case errors.As(err, &rejected):
		e := wire.Errorf(wire.Code(rejected.Outcome.Code), "%s", rejected.Error())
		e.Index = rejected.Outcome.Index
		return e
	case errors.As(err, &refusal):
		e := wire.Errorf(wire.Code(refusal.Code), "%s", refusal.Message)
		e.Hint = refusal.Hint
		return e
	case errors.As(err, &denied):
		return wire.Errorf(wire.Denied, "%s", denied.Why).WithHint("chancery auth whoami")
	case errors.Is(err, ledger.ErrNoLease):
		return noLease(err)
	}
	for _, row := range failures {
		if errors.Is(err, row.is) {
			e := wire.Errorf(row.code, "%s", row.message)
			if row.message == "" {
				e.Message = err.Error()
			}
			e.Hint = row.hint
			return e
		}
	}
	var tooLarge *http.MaxBytesError
	var network net.Error
	switch {
	case errors.As(err, &tooLarge):
		return wire.Errorf(wire.TooLarge, "the body has more than %d bytes", tooLarge.Limit)
	case errors.As(err, &network) && network.Timeout():
		return bodyTimedOut()
	}
	return wire.Errorf(wire.Internal, "something went wrong inside this node").
		WithHint("look for the request id in the node's log")
}

// noLease says why a node may not sign now: what stands behind the sentinel was
// written for operators and callers.
func noLease(err error) *wire.Error {
	_, why, said := strings.Cut(err.Error(), ledger.ErrNoLease.Error()+": ")
	if !said {
		why = "it holds no lease"
	}
	return wire.Errorf(wire.NoLease, "this node may not release signatures now, nothing was released: %s", why).
		WithHint("try another node; chancery status shows which can sign")
}

func bodyTimedOut() *wire.Error {
	return wire.Errorf(wire.BodyTimedOut, "the body did not arrive within %s", wire.BodyTimeout)
}

// failures maps the sentinels. An empty message means that the error's own text was
// written for callers.
var failures = []struct {
	is      error
	code    wire.Code
	message string
	hint    string
}{
	{authority.ErrUnauthenticated, wire.Unauthenticated, "", "chancery login, or give --token-file or --cert and --cert-key"},
	{authority.ErrAudit, wire.AuditUnavailable, "the audit record could not be written, so nothing was done", "try another node, and look at this node's disk"},

	{authority.ErrFull, wire.DiskFull, "the leader's disk is full, and what it has in reserve is for withdrawals: nothing was done", "free some space under data_dir on the leader; revoke and suspend go on"},

	{ledger.ErrNotLeader, wire.NotLeader, "no leader is known to this node: nothing was done", "try again in a moment, or another node"},
	{ledger.ErrStale, wire.IsStale, "this node has heard nothing from the leader for too long to answer that: nothing was done", "try another node, or ask with Chancery-Consistency: stale"},
	{ledger.ErrBehind, wire.Behind, "this node did not reach the position asked for in time", "try again, or another node"},
	{ledger.ErrEpoch, wire.EpochChanged, "the position asked for is of another epoch: the cluster was restored since", "forget remembered positions, and read anew"},
	{ledger.ErrBusy, wire.Busy, "too much is waiting on this node: nothing was done", "try again in a moment"},
	{ledger.ErrClock, wire.ClockUnsure, "the leader's clock disagrees with the other voters, so it decides nothing: nothing was done", "try again in a moment; chancery status shows the clocks"},
	{ledger.ErrStopped, wire.Stopping, "this node is stopping: nothing was done", "try another node"},

	{hsm.ErrBusy, wire.KeystoreBusy, "the key store's queue is full: nothing was signed", "try another node, or again in a moment"},
	{hsm.ErrLocked, wire.KeystoreLocked, "the token refused the PIN, and is not asked again because it would lock: nothing was signed", "try another node; an operator must fix pin_file and restart this one"},
	{hsm.ErrUnsupported, wire.Unsupported, "the key store of this node cannot do this algorithm", "choose another algorithm, or another key store"},
	{hsm.ErrInput, wire.BadDigest, "", "hash with the key's own algorithm"},
	{hsm.ErrUnavailable, wire.KeystoreUnavailable, "the key store does not answer: nothing was signed", "try another node"},
	{hsm.ErrNotFound, wire.KeystoreUnavailable, "the key store holds no such key pair any more: nothing was signed", "try another node; chancery status shows what is missing"},
	{hsm.ErrMismatch, wire.KeystoreUnavailable, "the key store holds another key pair in its place: nothing was signed", "try another node; chancery status shows what is missing"},
	{hsm.ErrAmbiguous, wire.KeystoreUnavailable, "the key store holds several objects in its place: nothing was signed", "try another node; chancery status shows what is wrong"},
	{hsm.ErrExists, wire.KeystoreUnavailable, "the key store holds an object of this id already", "chancery status"},
	{hsm.ErrCorrupt, wire.KeystoreUnavailable, "the key store cannot open the stored key: nothing was signed", "try another node; chancery status shows what is wrong"},
	{hsm.ErrSignature, wire.KeystoreUnavailable, "the key store gave a signature that does not verify: nothing was released", "try another node, and look at this node's HSM"},
	{hsm.ErrClosed, wire.Stopping, "this node is stopping: nothing was signed", "try another node"},

	{audit.ErrUnavailable, wire.AuditUnavailable, "the audit journal cannot be written, so nothing was done", "try another node, and look at this node's disk"},
	{audit.ErrBusy, wire.AuditUnavailable, "the audit journal's queue is full, so nothing was done", "try another node, or again in a moment"},
	{audit.ErrClosed, wire.Stopping, "this node is stopping: nothing was done", "try another node"},
	{audit.ErrInvalid, wire.Invalid, "", ""},
	{audit.ErrBroken, wire.Internal, "the audit chain of this node is broken", "chancery audit verify"},

	{publish.ErrNoStatusKey, wire.NoStatusKey, "this node has no valid certificate for its status key, so it cannot sign that", "try another node, or again in a moment"},
	{publish.ErrNotDated, wire.ClockUnsure, "this node's clock is not to be relied on, so it cannot sign that", "try another node; chancery status shows the clocks"},
	{publish.ErrSigningBusy, wire.Busy, "too many statements wait to be signed", "ask without a nonce, or another node"},
	{publish.ErrNoKey, wire.KeyNotFound, "", "chancery key list"},
	{publish.ErrNoInstance, wire.InstanceNotFound, "", "chancery key show NAME"},
	{publish.ErrUntrusted, wire.InstanceNotFound, "", "it may not be trusted; an auditor sees it in chancery key show NAME"},
	{publish.ErrSeveral, wire.AmbiguousPrefix, "", "name one with --kid"},
	{publish.ErrFormat, wire.Invalid, "", ""},

	{os.ErrDeadlineExceeded, wire.BodyTimedOut, "the body did not arrive in time", "send it faster, or by digest"},
	{context.DeadlineExceeded, wire.TooLate, "the request took too long and was given up: nothing was released", "try again, or another node"},
	{context.Canceled, wire.TooLate, "the request was given up", "try again"},
}

// RetryAfter is when to try again, in whole seconds; 0 = it makes no sense, or less than one.
func RetryAfter(e *wire.Error) int {
	switch {
	case !e.Retryable:
		return 0
	case e.Code == wire.KeystoreLocked:
		return 60 // an operator has to act first
	case e.Code == wire.BeingReplaced:
		return 0 // it takes a fraction of a second, which cannot be said here
	}
	switch e.HTTPStatus() {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		return 1 // an election or a drained queue takes no longer
	}
	return 0
}
