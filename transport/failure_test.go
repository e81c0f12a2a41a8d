package transport

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestEveryCodeOfTheState walks the codes of the state machine: each is a code of
// the wire, and a rejection with it keeps subject, sentence and index.
func TestEveryCodeOfTheState(t *testing.T) {
	found := 0
	for _, code := range constants(t, "../fsm/state/outcome.go", "Code") {
		if code == "" {
			continue
		}
		found++
		err := state.Outcome{Code: state.Code(code), Subject: "ci/3", Detail: "no", Index: 7}.Err()
		e := Failure(fmt.Errorf("propose: %w", err))
		if !e.Code.Known() || string(e.Code) != code || e.Message != "ci/3: no" || e.Index != 7 || e.HTTPStatus() == http.StatusInternalServerError {
			t.Errorf("%s = %+v", code, e)
		}
	}
	if found < 20 {
		t.Fatalf("only %d codes found", found)
	}
}

// TestEveryCodeOfTheWire walks wire.Codes: each survives Failure, has the status and
// retry advice of its row, and answers as an error object.
func TestEveryCodeOfTheWire(t *testing.T) {
	for _, row := range wire.Codes {
		e := Failure(fmt.Errorf("wrapped: %w", wire.Errorf(row.Code, "because")))
		if e.Code != row.Code || e.HTTPStatus() != row.Status || e.Retryable != row.Retryable {
			t.Errorf("%s = %+v", row.Code, e)
		}
		e2 := Failure(&authority.Refusal{Code: string(row.Code), Message: "no", Hint: "do this"})
		if e2.Code != row.Code || e2.Hint != "do this" {
			t.Errorf("refusal %s = %+v", row.Code, e2)
		}
		soon := row.Code == wire.BeingReplaced // sooner than the header can say
		if row.Status == http.StatusServiceUnavailable && (RetryAfter(e) == 0) != soon {
			t.Errorf("%s is unavailable and does not say when to try again", row.Code)
		}
		if !row.Retryable && RetryAfter(e) != 0 {
			t.Errorf("%s cannot be retried and says when to", row.Code)
		}
	}
}

// TestEveryRefusal reads the source of the authority: each code that a refusal
// names is one of the wire's.
func TestEveryRefusal(t *testing.T) {
	found := 0
	for _, dir := range []string{"../authority", "../authority/signing", "../authority/provision", "../authority/rotation"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(f, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok || len(call.Args) < 3 {
					return true
				}
				if name, ok := call.Fun.(*ast.Ident); !ok || name.Name != "refuse" {
					return true
				}
				lit, ok := call.Args[0].(*ast.BasicLit)
				if !ok {
					return true
				}
				code, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				if found++; !wire.Code(code).Known() {
					t.Errorf("%s refuses with %q, which is no code of the wire", file, code)
				}
				return true
			})
		}
	}
	if found < 30 {
		t.Fatalf("only %d refusals found", found)
	}
}

// TestEverySentinel reads the exported errors of the layers below out of their
// source: each has a row in the table.
func TestEverySentinel(t *testing.T) {
	all := map[string]error{
		"ErrUnauthenticated": authority.ErrUnauthenticated, "ErrAudit": authority.ErrAudit, "ErrFull": authority.ErrFull,
		"ErrNotLeader": ledger.ErrNotLeader, "ErrStale": ledger.ErrStale, "ErrNoLease": ledger.ErrNoLease, "ErrBehind": ledger.ErrBehind, "ErrEpoch": ledger.ErrEpoch, "ErrBusy": ledger.ErrBusy,
		"ErrClock": ledger.ErrClock, "ErrIndeterminate": ledger.ErrIndeterminate, "ErrStopped": ledger.ErrStopped,
		"hsm.ErrNotFound": hsm.ErrNotFound, "hsm.ErrExists": hsm.ErrExists, "hsm.ErrAmbiguous": hsm.ErrAmbiguous, "hsm.ErrMismatch": hsm.ErrMismatch,
		"hsm.ErrUnsupported": hsm.ErrUnsupported, "hsm.ErrBusy": hsm.ErrBusy, "hsm.ErrUnavailable": hsm.ErrUnavailable, "hsm.ErrLocked": hsm.ErrLocked,
		"hsm.ErrInput": hsm.ErrInput, "hsm.ErrClosed": hsm.ErrClosed, "hsm.ErrCorrupt": hsm.ErrCorrupt, "hsm.ErrSignature": hsm.ErrSignature,
		"audit.ErrUnavailable": audit.ErrUnavailable, "audit.ErrBusy": audit.ErrBusy, "audit.ErrInvalid": audit.ErrInvalid, "audit.ErrClosed": audit.ErrClosed,
		"publish.ErrNoKey": publish.ErrNoKey, "publish.ErrNoInstance": publish.ErrNoInstance, "publish.ErrUntrusted": publish.ErrUntrusted,
		"publish.ErrNoStatusKey": publish.ErrNoStatusKey, "publish.ErrSigningBusy": publish.ErrSigningBusy,
		"publish.ErrSeveral": publish.ErrSeveral, "publish.ErrFormat": publish.ErrFormat,
		"deadline": context.DeadlineExceeded, "canceled": context.Canceled, "timeout": os.ErrDeadlineExceeded, "body": &http.MaxBytesError{Limit: 3},
	}
	for name, err := range all {
		e := Failure(fmt.Errorf("do it: %w", err))
		if e.Code == wire.Internal || e.Message == "" {
			t.Errorf("%s = %+v", name, e)
		}
	}
	for file, prefix := range map[string]string{"../fsm/ledger/ledger.go": "", "../authority/errors.go": "", "../authority/hsm/hsm.go": "hsm.", "../authority/publish/errors.go": "publish."} {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // the sentinels of publish stand in doc.go
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(b), "\n") {
			name, _, ok := strings.Cut(strings.TrimSpace(line), " ")
			if ok && strings.HasPrefix(name, "Err") && strings.Contains(line, "errors.New(") && all[prefix+name] == nil {
				t.Errorf("%s of %s has no row in this test", name, file)
			}
		}
	}
}

// TestNoLeaseSaysWhy: a caller who is refused for want of a lease learns the reason.
func TestNoLeaseSaysWhy(t *testing.T) {
	e := Failure(fmt.Errorf("release a signature: %w: its partition of the key store is empty", ledger.ErrNoLease))
	if e.Code != wire.NoLease || !strings.HasSuffix(e.Message, "nothing was released: its partition of the key store is empty") {
		t.Errorf("%+v", e)
	}
}

func TestUnknownErrorsSayNothing(t *testing.T) {
	e := Failure(errors.New("open /var/lib/secret: PIN 1234"))
	if e.Code != wire.Internal || strings.Contains(e.Message+e.Hint, "1234") {
		t.Errorf("%+v", e)
	}
	// Nothing that may have happened is told as a failure, whatever else it wraps.
	e = Failure(fmt.Errorf("%w: %w", ledger.ErrNotLeader, ledger.ErrIndeterminate))
	if e.Code != wire.OutcomeUnknown || !e.Retryable {
		t.Errorf("%+v", e)
	}
}

// constants reads the string constants of a type out of a Go file.
func constants(t *testing.T, file, typ string) (out []string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if name, ok := v.Type.(*ast.Ident); ok && name.Name == typ {
			if lit, ok := v.Values[0].(*ast.BasicLit); ok {
				s, err := strconv.Unquote(lit.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, s)
			}
		}
		return true
	})
	return out
}
