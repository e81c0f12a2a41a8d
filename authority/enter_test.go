package authority_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// slow is a ledger whose proposals wait until they are let go; it keeps their kinds.
type slow struct {
	*ledgertest.Ledger
	let  chan error // what a proposal comes to instead; nil = it is carried out
	came chan command.Body
}

func (s *slow) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	s.came <- cmd.Body
	if err := <-s.let; err != nil {
		return state.Outcome{}, err
	}
	return s.Ledger.Propose(ctx, cmd)
}

// crowd is a service over a PKI whose proposals are slow.
type crowd struct {
	*testing.T
	town    *pkitest.Town
	ledger  *slow
	audit   *recorder
	service *authority.Service
	done    sync.WaitGroup
}

func newCrowd(t *testing.T) *crowd { return newCrowdAt(t, command.MaxFormat) }

// newCrowdAt is one of a cluster that was raised to a format.
func newCrowdAt(t *testing.T, format uint64) *crowd {
	c := &crowd{T: t, town: pkitest.NewTown(t, 2)}
	c.town.Ledger.Must(t, &command.RaiseFormat{Format: format})
	c.ledger = &slow{Ledger: c.town.Ledger, let: make(chan error), came: make(chan command.Body, 16)}
	c.audit = &recorder{ledger: c.town.Ledger}
	c.service = authority.New(authority.Config{Ledger: c.ledger, Members: &members{}, Audit: c.audit, Clock: c.town.Ledger.Clock().Now, Logger: slog.New(slog.DiscardHandler)})
	return c
}

// verdict is what became of one revocation.
type verdict struct {
	authority.Result
	err error
}

// revoke asks for one and says later what became of it.
func (c *crowd) revoke(ctx context.Context, req authority.Request, serial lifecycle.Serial, reason lifecycle.Reason) *verdict {
	v := &verdict{}
	c.done.Go(func() {
		v.Result, v.err = c.service.RevokeCertificates(ctx, req, "corp", []command.RevokeItem{{Serial: serial, Reason: reason}})
	})
	return v
}

// waiting holds until so many wait for the next entry.
func (c *crowd) waiting(n int) {
	c.Helper()
	for end := time.Now().Add(10 * time.Second); c.service.RevocationsWaiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("%d wait, not %d", c.service.RevocationsWaiting(), n)
		}
	}
}

// gathered takes the next proposal, which must be of so many requests.
func (c *crowd) gathered(n int) {
	c.Helper()
	if g, ok := (<-c.ledger.came).(*command.GatherRevocations); !ok || len(g.Requests) != n {
		c.Fatalf("proposed is %+v, not one entry for %d", g, n)
	}
}

// TestRevocationsShareAnEntry: those that come while an entry is on its way share the next,
// and each has its own answer.
func TestRevocationsShareAnEntry(t *testing.T) {
	c := newCrowd(t)
	var leaves []lifecycle.Serial
	for i := range 4 {
		leaves = append(leaves, c.town.Issue(0, fmt.Sprintf("h%d.test", i)).Serial())
	}
	first := c.revoke(ctx, as("web-01"), leaves[0], lifecycle.Superseded)
	c.gathered(1) // it did not wait for company
	same := as("admin")
	second, third := c.revoke(ctx, as("web-01"), leaves[1], lifecycle.KeyCompromise), c.revoke(ctx, same, leaves[2], lifecycle.CertificateHold)
	c.waiting(2)
	repeat := c.revoke(ctx, same, leaves[2], lifecycle.CertificateHold)
	c.waiting(3)
	late := c.revoke(ctx, as("web-01"), leaves[2], lifecycle.CertificateHold) // it was tried before the other's entry
	c.waiting(4)
	c.ledger.let <- nil
	c.gathered(4)
	c.ledger.let <- nil
	c.done.Wait()
	for i, v := range []*verdict{first, second, third, repeat} {
		if v.err != nil || v.Outcome.Key != "corp" || len(v.Outcome.Groups) != 1 || v.Outcome.Replayed != (i == 3) {
			t.Errorf("revocation %d came to %+v, %v", i, v.Result, v.err)
		}
	}
	code(t, late.err, string(state.CertificateRevoked))
	if first.Outcome.Index >= second.Outcome.Index || second.Outcome.Index != third.Outcome.Index || repeat.Outcome.Index != third.Outcome.Index {
		t.Errorf("entries %d, %d, %d, %d", first.Outcome.Index, second.Outcome.Index, third.Outcome.Index, repeat.Outcome.Index)
	}
	view := c.town.Ledger.View()
	for i, want := range []lifecycle.CertState{lifecycle.CertRevoked, lifecycle.CertRevoked, lifecycle.CertHeld, lifecycle.CertIssued} {
		if row, err := view.Certificate(leaves[i]); err != nil || row.State != want {
			t.Errorf("certificate %d is %s, %v; want %s", i, row.State, err, want)
		}
	}
	if op, err := view.Operation("web-01", second.RequestID); err != nil || op == nil || op.At != second.At {
		t.Errorf("operation %+v, %v; asked at %s", op, err, second.At)
	}
	decisions := 0
	for _, r := range c.audit.records {
		if r.Kind == audit.Decision && r.Allowed && r.Verb == string(access.CertRevokeOwn) {
			decisions++
		}
	}
	if decisions != 3 {
		t.Errorf("%d decisions of web-01 are on record: %+v", decisions, c.audit.records)
	}
}

// TestRevocationOfARevokedCaller: whose rights end before the shared entry is refused, and
// nobody with them.
func TestRevocationOfARevokedCaller(t *testing.T) {
	c := newCrowd(t)
	a, b, d := c.town.Issue(0, "a.test").Serial(), c.town.Issue(0, "b.test").Serial(), c.town.Issue(0, "d.test").Serial()
	c.revoke(ctx, as("admin"), a, lifecycle.Superseded)
	c.gathered(1)
	gone, stays := c.revoke(ctx, as("web-01"), b, lifecycle.Superseded), c.revoke(ctx, as("admin"), d, lifecycle.Superseded)
	c.waiting(2)
	c.town.Ledger.Must(t, &command.RevokePrincipal{Name: "web-01"})
	c.ledger.let <- nil
	c.gathered(2)
	c.ledger.let <- nil
	c.done.Wait()
	code(t, gone.err, "denied")
	if row, err := c.town.Ledger.View().Certificate(b); err != nil || row.State != lifecycle.CertIssued {
		t.Errorf("%+v, %v", row, err)
	}
	if stays.err != nil {
		t.Error(stays.err)
	}
}

// TestLostRevocations: when nobody knows what became of an entry, nobody who shared it is
// told that nothing happened; who gives up waiting for a place in one is not either.
func TestLostRevocations(t *testing.T) {
	c := newCrowd(t)
	a, b := c.town.Issue(0, "a.test").Serial(), c.town.Issue(0, "b.test").Serial()
	impatient, cancel := context.WithCancel(ctx)
	first := c.revoke(ctx, as("web-01"), a, lifecycle.Superseded)
	c.gathered(1)
	second := c.revoke(impatient, as("web-01"), b, lifecycle.Superseded)
	c.waiting(1)
	cancel()
	c.ledger.let <- ledger.ErrIndeterminate
	c.done.Wait()
	for _, v := range []*verdict{first, second} {
		if !errors.Is(v.err, ledger.ErrIndeterminate) {
			t.Errorf("%v", v.err)
		}
	}
	third := c.revoke(ctx, as("web-01"), a, lifecycle.Superseded)
	c.gathered(1)
	c.ledger.let <- ledger.ErrNotLeader
	c.done.Wait()
	if !errors.Is(third.err, ledger.ErrNotLeader) || errors.Is(third.err, ledger.ErrIndeterminate) {
		t.Error(third.err)
	}
}

// TestRevocationsBeforeTheFormat: until every member understands shared entries each
// revocation has its own.
func TestRevocationsBeforeTheFormat(t *testing.T) {
	town, s := office(t)
	r, err := s.RevokeCertificates(ctx, as("web-01"), "corp", []command.RevokeItem{{Serial: town.Issue(0, "a.test").Serial(), Reason: lifecycle.Superseded}})
	if err != nil || !r.Outcome.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	authority.NewClerk(s).Tend(ctx, town.Ledger.View())
	if f := town.Ledger.View().Cluster().Format; f != command.MaxFormat {
		t.Errorf("the format is %d", f)
	}
}

// TestFormatIsRaisedByAll: one member that has not said that it knows it holds it.
func TestFormatIsRaisedByAll(t *testing.T) {
	w := build(t)
	n := w.ledger.View().Node(w.node2)
	w.ledger.Must(t, &command.UpdateNode{ID: n.ID, Addrs: n.Addrs, MaxFormat: command.MaxFormat - 1, Version: n.Version, Driver: n.Driver})
	clerk := authority.NewClerk(w.service)
	clerk.Tend(ctx, w.ledger.View())
	if f := w.ledger.View().Cluster().Format; f != command.MaxFormat-1 {
		t.Fatalf("the format is %d", f)
	}
	w.ledger.Must(t, &command.UpdateNode{ID: n.ID, Addrs: n.Addrs, MaxFormat: command.MaxFormat, Version: n.Version, Driver: n.Driver})
	clerk.Tend(ctx, w.ledger.View())
	if f := w.ledger.View().Cluster().Format; f != command.MaxFormat {
		t.Errorf("the format is %d", f)
	}
}
