package authority_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// told is what a node is told of what it announced or recorded.
type told struct {
	state.Outcome
	err error
}

// intent is the announcement of a certificate that corp's instance on a node would sign.
func (c *crowd) intent(node int, host string) *command.IssueIntents {
	c.Helper()
	ca := c.town.Corp[node]
	cert := ca.Issue(c.T, host, nil).Cert
	serial, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes())
	if !ok {
		c.Fatalf("serial %x is of another form", cert.SerialNumber)
	}
	hash := func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	return &command.IssueIntents{Node: c.town.Nodes[node], Items: []command.IssueItem{{Serial: serial, Issuer: pkitest.CorpName, Version: 1, KID: ca.KID, Profile: "server",
		ProfileHash: hash([]byte("server")), TBSHash: hash(cert.RawTBSCertificate), SPKIHash: hash(cert.RawSubjectPublicKeyInfo), Subject: cert.Subject.CommonName, DNS: cert.DNSNames,
		NotBefore: lifecycle.Instant(cert.NotBefore.UnixMilli()), NotAfter: lifecycle.Instant(cert.NotAfter.UnixMilli()),
		DeadlineAt: c.town.Ledger.Clock().At().Add(lifecycle.Minute), Requester: "web-01"}}}
}

// signed is the record of a certificate that was announced.
func (c *crowd) signed(node int, host string) *command.RecordIssued {
	c.Helper()
	l := c.town.Announce(node, host)
	return &command.RecordIssued{Node: c.town.Nodes[node], Items: []command.IssuedItem{{Serial: l.Serial(), DER: l.Cert.Raw}}}
}

// peer has a node announce or record something and says later what it was told.
func (c *crowd) peer(ctx context.Context, node int, body command.Body) *told {
	o, p := &told{}, c.service.Peer(c.town.Nodes[node], "192.0.2.1:1")
	c.done.Go(func() {
		switch b := body.(type) {
		case *command.IssueIntents:
			o.Outcome, o.err = p.IssueIntents(ctx, b)
		case *command.RecordIssued:
			o.Outcome, o.err = p.RecordIssued(ctx, b)
		}
	})
	return o
}

// parts holds until so many announcements and records wait for the next entry.
func (c *crowd) parts(n int) {
	c.Helper()
	for end := time.Now().Add(10 * time.Second); c.service.IssuancesWaiting() != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("%d wait, not %d", c.service.IssuancesWaiting(), n)
		}
	}
}

// proposed takes the next proposal, which must be of a kind.
func (c *crowd) proposed(kind command.Kind) command.Body {
	c.Helper()
	b := <-c.ledger.came
	if b.Kind() != kind {
		c.Fatalf("proposed is %+v, not %s", b, kind)
	}
	return b
}

// TestIssuanceSharesAnEntry: what nodes announce and record while an entry is on its way
// shares the next, and each has its own answer. What comes alone goes alone, at once.
func TestIssuanceSharesAnEntry(t *testing.T) {
	c := newCrowd(t)
	records := []*command.RecordIssued{c.signed(0, "a.test"), c.signed(1, "b.test"), c.signed(0, "c.test")}
	announced := []*command.IssueIntents{c.intent(0, "d.test"), c.intent(1, "e.test")}
	alone := c.peer(ctx, 0, records[0])
	c.proposed(command.KindRecordIssued)
	d := c.peer(ctx, 0, announced[0])
	c.parts(1)
	b := c.peer(ctx, 1, records[1])
	c.parts(2)
	again := c.peer(ctx, 0, announced[0])
	c.parts(3)
	foreign := c.peer(ctx, 1, &command.RecordIssued{Node: c.town.Nodes[1], Items: records[2].Items})
	c.parts(4)
	e := c.peer(ctx, 1, announced[1])
	c.parts(5)
	c.ledger.let <- nil
	g := c.proposed(command.KindGatherIssuance).(*command.GatherIssuance)
	if len(g.Records) != 2 || len(g.Announcements) != 3 {
		t.Errorf("the entry is %+v", g)
	}
	c.ledger.let <- nil
	c.done.Wait()
	for i, x := range []struct {
		got  *told
		want state.Code
	}{{alone, ""}, {b, ""}, {d, ""}, {e, ""}, {again, state.AlreadyExists}, {foreign, state.InstanceNotHere}} {
		if x.got.err != nil || len(x.got.Groups) != 1 || x.got.Groups[0].Code != x.want {
			t.Errorf("part %d came to %+v, want %q", i, x.got, x.want)
		}
	}
	if alone.Index >= b.Index || b.Index != d.Index || d.Index != e.Index || e.Index != foreign.Index {
		t.Errorf("entries %d, %d, %d, %d", alone.Index, b.Index, d.Index, e.Index)
	}
	for _, want := range []struct {
		serial lifecycle.Serial
		state  lifecycle.CertState
	}{{records[0].Items[0].Serial, lifecycle.CertIssued}, {records[1].Items[0].Serial, lifecycle.CertIssued}, {records[2].Items[0].Serial, lifecycle.CertIntent},
		{announced[0].Items[0].Serial, lifecycle.CertIntent}, {announced[1].Items[0].Serial, lifecycle.CertIntent}} {
		if row, err := c.town.Ledger.View().Certificate(want.serial); err != nil || row == nil || row.State != want.state {
			t.Errorf("certificate %s is %+v, %v; want %s", want.serial, row, err, want.state)
		}
	}
}

// TestLostIssuance: when nobody knows what became of an entry nobody who shared it is told
// that nothing happened. Who gives up takes nobody along.
func TestLostIssuance(t *testing.T) {
	c := newCrowd(t)
	a, b, d := c.signed(0, "a.test"), c.signed(1, "b.test"), c.intent(0, "d.test")
	first := c.peer(ctx, 0, a)
	c.proposed(command.KindRecordIssued)
	impatient, cancel := context.WithCancel(ctx)
	gone, stays, other := c.peer(impatient, 1, b), c.peer(ctx, 1, b), c.peer(ctx, 0, d)
	c.parts(3)
	c.ledger.let <- ledger.ErrIndeterminate
	g := c.proposed(command.KindGatherIssuance).(*command.GatherIssuance)
	cancel()
	c.ledger.let <- nil
	c.done.Wait()
	if !errors.Is(first.err, ledger.ErrIndeterminate) || gone.err != nil && !errors.Is(gone.err, ledger.ErrIndeterminate) {
		t.Errorf("%v; %v", first.err, gone.err)
	}
	if len(g.Records) != 2 || stays.err != nil || other.err != nil {
		t.Errorf("of %+v: %v, %v", g, stays.err, other.err)
	}
	last := c.peer(ctx, 0, a)
	c.proposed(command.KindRecordIssued)
	both := []*told{c.peer(ctx, 0, a), c.peer(ctx, 1, b)}
	c.parts(2)
	c.ledger.let <- ledger.ErrNotLeader
	c.proposed(command.KindGatherIssuance)
	c.ledger.let <- ledger.ErrNotLeader
	c.done.Wait()
	for _, o := range append(both, last) {
		if !errors.Is(o.err, ledger.ErrNotLeader) || errors.Is(o.err, ledger.ErrIndeterminate) {
			t.Error(o.err)
		}
	}
}

// TestIssuanceIsBounded: however many certificates wait, an entry is of as many as it may
// hold.
func TestIssuanceIsBounded(t *testing.T) {
	c := newCrowd(t)
	one := c.signed(0, "a.test")
	c.peer(ctx, 0, one)
	c.proposed(command.KindRecordIssued)
	large := &command.RecordIssued{Node: one.Node, Items: slices.Repeat(one.Items, command.MaxIssueItems)}
	small := c.intent(0, "b.test")
	small.Items = slices.Repeat(small.Items, command.MaxIssueItems)
	const parts = 5
	for i := range parts {
		c.peer(ctx, 0, []command.Body{large, small}[i%2])
	}
	c.parts(parts)
	c.ledger.let <- nil
	for left := parts; left > 0; {
		b := <-c.ledger.came
		n := 1
		if g, ok := b.(*command.GatherIssuance); ok {
			n = len(g.Records) + len(g.Announcements)
		}
		if err := b.(interface{ Check() error }).Check(); err != nil {
			t.Error(err)
		}
		if raw, err := (&command.Command{Header: command.Header{At: c.town.Ledger.Clock().At(), Actor: "system", Node: one.Node}, Body: b}).Encode(); err != nil || len(raw) > command.MaxEntryBytes/2 {
			t.Errorf("an entry of %d parts has %d bytes: %v", n, len(raw), err)
		}
		left -= n
		c.ledger.let <- nil
	}
	c.done.Wait()
}

// TestIssuanceBeforeTheFormat: until every member understands it what each node announces
// and records has an entry of its own.
func TestIssuanceBeforeTheFormat(t *testing.T) {
	c := newCrowdAt(t, command.MinFormat(command.KindGatherIssuance)-1)
	for i := range 3 {
		c.peer(ctx, 0, c.signed(0, fmt.Sprintf("h%d.test", i)))
	}
	for range 3 {
		c.proposed(command.KindRecordIssued)
	}
	for range 3 {
		c.ledger.let <- nil
	}
	c.done.Wait()
	authority.NewClerk(authority.New(authority.Config{Ledger: c.town.Ledger, Members: &members{}, Audit: c.audit, Clock: c.town.Ledger.Clock().Now})).Tend(ctx, c.town.Ledger.View())
	if f := c.town.Ledger.View().Cluster().Format; f != command.MaxFormat {
		t.Errorf("the format is %d", f)
	}
}

// TestIssuanceOfAnotherNode: a node that speaks for another is turned away before anything
// is gathered.
func TestIssuanceOfAnotherNode(t *testing.T) {
	c := newCrowd(t)
	c.peer(ctx, 0, c.signed(0, "a.test"))
	c.proposed(command.KindRecordIssued)
	forged := c.signed(0, "b.test")
	if _, err := c.service.Peer(c.town.Nodes[1], "192.0.2.2:1").RecordIssued(ctx, forged); err == nil {
		t.Error("a node recorded what another signed")
	} else {
		code(t, err, "denied")
	}
	if n := c.service.IssuancesWaiting(); n != 0 {
		t.Errorf("%d wait", n)
	}
	c.ledger.let <- nil
	c.done.Wait()
}
