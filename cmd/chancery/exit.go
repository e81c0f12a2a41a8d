package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// Exit codes, part of the interface.
const (
	exitDone        = 0
	exitRefused     = 1 // refused or invalid
	exitUsage       = 2
	exitUnavailable = 3 // or a wait timed out; the operation goes on
	exitUnknown     = 4 // repeat with the printed request id
	exitCheckFailed = 5 // verify, log verify, audit verify
	exitPending     = 6 // waits for approval
)

// exitLocked ends a server whose token refused the PIN (EX_NOPERM of sysexits): a
// service manager must not start it again, because each start is one more attempt.
const exitLocked = 77

// coded is an error that ends the process with a code of its own.
type coded struct {
	error
	exit int
}

func (e *coded) Unwrap() error { return e.error }

// usageError is a command line that says nothing that could be done.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// checkFailed is a check that was carried out and has a bad result.
type checkFailed struct{ message string }

func (e *checkFailed) Error() string { return e.message }

func failedf(format string, args ...any) error { return &checkFailed{fmt.Sprintf(format, args...)} }

// waitTimedOut is a level that was not reached in time, or of which no node could be
// asked any more.
type waitTimedOut struct {
	op    *wire.Operation
	level string
	gone  error // nil = the time was up
}

func (e *waitTimedOut) Error() string {
	message := fmt.Sprintf("%s is %s, not %s yet; it goes on", e.op.RequestID, orDash(e.op.Reached), e.level)
	if why := missing(e.op); why != "" {
		message += ". " + why
	}
	if e.gone != nil {
		message += ". Now " + e.gone.Error()
	}
	return message
}

// pendingApproval is an operation that waits for people.
type pendingApproval struct{ op *wire.Operation }

func (e *pendingApproval) Error() string {
	return fmt.Sprintf("waits for approval: proposal %s has %d of %d", e.op.Proposal, e.op.Standing(), e.op.Needs)
}

// cliError is an error as -o json shows it.
type cliError struct {
	Code      string          `json:"code"`
	Message   string          `json:"message"`
	Hint      string          `json:"hint,omitempty"`
	Retryable bool            `json:"retryable"`
	RequestID string          `json:"request_id,omitempty"`
	Index     uint64          `json:"index,omitempty"`
	Operation *wire.Operation `json:"operation,omitempty"`
	Exit      int             `json:"exit"`
}

// describe sorts an error into what a script and a person need of it.
func describe(err error) cliError {
	var (
		usage     *usageError
		check     *checkFailed
		late      *waitTimedOut
		pending   *pendingApproval
		unknown   *client.OutcomeUnknown
		gone      *client.Unavailable
		epoch     *client.EpochChanged
		refused   *wire.Error
		special   *coded
		kept      *keptKey
		rest      *unfinished
		unwritten *unwrittenCertificate
	)
	out := cliError{Code: "failed", Message: err.Error(), Exit: exitRefused, RequestID: client.RequestIDOf(err)}
	switch {
	case errors.As(err, &special):
		out.Exit = special.exit
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "Required flag"): // urfave/cli has no type for it
		out.Code, out.Exit = "usage", exitUsage
	case errors.As(err, &check):
		out.Code, out.Exit = "check_failed", exitCheckFailed
	case errors.As(err, &late):
		out.Code, out.Exit, out.RequestID, out.Operation = "wait_timed_out", exitUnavailable, late.op.RequestID, late.op
		out.Hint = fmt.Sprintf("chancery wait %s --for %s", late.op.RequestID, late.level)
	case errors.As(err, &pending):
		out.Code, out.Exit, out.RequestID, out.Operation = wire.PendingApproval, exitPending, pending.op.RequestID, pending.op
		out.Hint = "chancery proposal show " + pending.op.Proposal
	case errors.As(err, &unknown):
		out.Code, out.Exit, out.Retryable = string(wire.OutcomeUnknown), exitUnknown, true
		out.Hint = "repeat the command with --request-id " + unknown.RequestID + ": it cannot happen twice"
	case errors.As(err, &epoch):
		out.Code = string(wire.EpochChanged)
		out.Hint = "look at chancery status and key list; the next command goes on with the restored cluster"
	case errors.As(err, &gone):
		out.Code, out.Exit, out.Retryable = "unavailable", exitUnavailable, true
		out.Hint = "check --addr and the nodes: chancery status"
		if errors.As(gone.Err, &refused) {
			out.Code = string(refused.Code)
			if refused.Hint != "" {
				out.Hint = refused.Hint
			}
		}
	case errors.As(err, &refused):
		out.Code, out.Hint, out.Retryable, out.Index = string(refused.Code), refused.Hint, refused.Retryable, refused.Index
		switch {
		case refused.Code == wire.OutcomeUnknown:
			out.Exit = exitUnknown
		case refused.HTTPStatus() == http.StatusServiceUnavailable:
			out.Exit = exitUnavailable
		}
		if refused.Code == wire.Unauthenticated && out.Hint == "" {
			out.Hint = "log in with chancery login --ssh-key FILE, or name a --token-file"
		}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		out.Code, out.Exit, out.Retryable = "timed_out", exitUnavailable, true
		if err == context.DeadlineExceeded {
			out.Message, out.Hint = "the time was up before there was an answer", "give it more with --timeout; the nodes: chancery status"
		}
	}
	if errors.As(err, &rest) {
		out.Hint = rest.hint()
	}
	if errors.As(err, &unwritten) {
		out.Hint = unwritten.hint()
	}
	if errors.As(err, &kept) {
		out.Hint, out.RequestID = kept.hint(), kept.requestID
	}
	return out
}

// report prints an error and returns the exit code.
func report(w io.Writer, asJSON bool, err error) int {
	e := describe(err)
	if asJSON {
		b, merr := json.Marshal(e)
		if merr != nil {
			b = []byte(`{"code":"internal"}`)
		}
		fmt.Fprintf(w, "%s\n", b)
		return e.Exit
	}
	fmt.Fprintf(w, "chancery: %s\n", plain(e.Message))
	if e.Hint != "" {
		fmt.Fprintf(w, "hint: %s\n", plain(e.Hint))
	}
	return e.Exit
}

// wantsJSON looks for -o json in arguments that could not be parsed, perhaps.
func wantsJSON(args []string) bool {
	for i, a := range args {
		if a == "--" {
			break
		}
		name, value, found := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if !strings.HasPrefix(a, "-") || name != "o" && name != "output" {
			continue
		}
		if !found && i+1 < len(args) {
			value = args[i+1]
		}
		return value == "json"
	}
	return os.Getenv("CHANCERY_OUTPUT") == "json"
}

// plain takes control characters out of text that came from elsewhere, so that it
// cannot write on the terminal what it likes.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '\ufffd'
		}
		return r
	}, s)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
