package state_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// asking is a request to revoke one certificate; what is asked is the serial and reason.
func (p *pki) asking(n int, who string, s lifecycle.Serial, reason lifecycle.Reason) command.RevocationRequest {
	return command.RevocationRequest{Actor: who, RequestID: uuid(p.now(), n), RequestDigest: hash32([]byte(s.String() + string(reason))),
		Reads: []command.RowRef{state.RefPrincipal(p.l.View().Principal(who))}, Item: command.RevokeItem{Serial: s, Reason: reason}}
}

// gathered applies requests in one entry.
func (p *pki) gathered(requests ...command.RevocationRequest) state.Outcome {
	p.Helper()
	o := p.system(&command.GatherRevocations{Requests: requests})
	if !o.OK() || len(o.Requests) != len(requests) {
		p.Fatalf("outcome %+v", o)
	}
	return o
}

func codes(o state.Outcome) (out []state.Code) {
	for _, r := range o.Requests {
		out = append(out, r.Code)
	}
	return out
}

// TestGatheredRevocations: of requests that share an entry each has its own outcome, leaf,
// row and operation, whatever becomes of the others.
func TestGatheredRevocations(t *testing.T) {
	p := newPKI(t)
	f, g, h := p.issued("a.test", "web-01"), p.issued("b.test", "web-02"), p.issued("c.test", "web-02")
	p.pass(lifecycle.Hour)
	stranger := p.serial()
	requests := []command.RevocationRequest{
		p.asking(1, "web-01", f.serial, lifecycle.KeyCompromise), p.asking(2, "web-01", stranger, lifecycle.Superseded),
		p.asking(3, ledgertest.Admin, f.serial, lifecycle.Superseded), p.asking(4, "web-02", g.serial, lifecycle.CertificateHold),
		p.asking(5, "web-02", h.serial, lifecycle.Superseded),
	}
	requests[0].Item.InvalidityAt, requests[0].Item.Comment = p.now()-5000, "laptop stolen"
	requests[4].Reads[0].Rev--
	o := p.gathered(requests...)
	if want := []state.Code{"", state.CertificateNotFound, state.CertificateRevoked, "", state.Conflict}; !slices.Equal(codes(o), want) {
		t.Fatalf("outcomes %q, want %q", codes(o), want)
	}
	p.is(f.serial, lifecycle.CertRevoked, true)
	p.is(g.serial, lifecycle.CertHeld, true)
	p.is(h.serial, lifecycle.CertIssued, false)
	if r := p.cert(f.serial).Revocation; r.By != "web-01" || r.InvalidityAt != requests[0].Item.InvalidityAt || r.Comment != "laptop stolen" || r.Index != o.Index || r.At != p.l.Clock().At() {
		t.Errorf("revocation %+v", r)
	}
	if tally := p.l.View().CertTally(p.kid(corp, 1, 0)); tally.Revoked != 1 || tally.Held != 1 || tally.RevokedIndex != o.Index {
		t.Errorf("tally %+v", tally)
	}
	leaves := p.leavesOf(o.Index)
	if len(leaves) != 2 {
		t.Fatalf("leaves %+v", leaves)
	}
	for i, r := range []command.RevocationRequest{requests[0], requests[3]} {
		if l := leaves[i]; l.Kind != "cert.revoked" || l.Sub != i || l.Actor != r.Actor || l.RequestID != r.RequestID || l.Reason != string(r.Item.Reason) ||
			l.Detail != r.Item.Comment || l.Key != corp || !slices.Equal(l.Serials, []lifecycle.Serial{r.Item.Serial}) {
			t.Errorf("leaf %+v of %+v", l, r)
		}
	}
	for i, r := range requests {
		op, err := p.l.View().Operation(r.Actor, r.RequestID)
		if err != nil {
			t.Fatal(err)
		}
		if i == 4 {
			if op != nil {
				t.Errorf("remembered is what is planned again: %+v", op)
			}
			continue
		}
		if op == nil || op.Kind != command.KindRevokeCertificates || op.Outcome.Code != o.Requests[i].Code || op.Outcome.Index != o.Index || op.At != p.now() {
			t.Errorf("operation of request %d: %+v", i, op)
		}
	}
}

// TestGatheredIsWhatItWouldBeAlone: a request leaves the same rows and operation whether it
// shares its entry or not.
func TestGatheredIsWhatItWouldBeAlone(t *testing.T) {
	p := newPKI(t)
	f := p.issued("a.test", "web-01")
	p.pass(lifecycle.Hour)
	for _, serial := range []lifecycle.Serial{f.serial, p.serial()} {
		r := p.asking(1, "web-01", serial, lifecycle.Superseded)
		alone := &command.Command{Header: *r.EntryHeader(&p.l.Command(&command.MarkCheckpoint{}).Header), Body: revokeCert(lifecycle.Superseded, serial)}
		shared := p.l.Command(&command.GatherRevocations{Requests: []command.RevocationRequest{r}})
		shared.Header.Actor = "system"
		var left [2]string
		for i, cmd := range []*command.Command{alone, shared} {
			b := ledgertest.Restore(p.l.Rows())
			m, err := state.LoadMachine(b)
			if err != nil {
				t.Fatal(err)
			}
			entry, err := cmd.Encode()
			if err != nil {
				t.Fatal(err)
			}
			o := m.Apply(b, m.Index()+1, 0, entry)
			if i == 1 {
				o = o.Requests[0]
			}
			left[i] = fmt.Sprintf("%+v %x", o, m.Seal(b).Meta.Digest())
		}
		if left[0] != left[1] {
			t.Errorf("alone it comes to\n%s\nshared to\n%s", left[0], left[1])
		}
	}
}

// TestGatheredRepeats: a request that comes again gets its first answer, in the same entry,
// in a later one and in one of its own; another one under its id is refused.
func TestGatheredRepeats(t *testing.T) {
	p := newPKI(t)
	f, g := p.issued("a.test", "web-01"), p.issued("b.test", "web-01")
	p.pass(lifecycle.Hour)
	r, refused := p.asking(1, "web-01", f.serial, lifecycle.Superseded), p.asking(2, "web-01", p.serial(), lifecycle.Superseded)
	other := p.asking(1, "web-01", g.serial, lifecycle.Superseded)
	first := p.gathered(r, r, refused, other)
	if want := []state.Code{"", "", state.CertificateNotFound, state.RequestIDReused}; !slices.Equal(codes(first), want) {
		t.Fatalf("outcomes %q, want %q", codes(first), want)
	}
	if first.Requests[0].Replayed || !first.Requests[1].Replayed || first.Requests[1].Index != first.Index {
		t.Errorf("outcomes %+v", first.Requests)
	}
	size := p.l.View().Position().LogSize
	p.pass(lifecycle.Minute)
	again := p.gathered(r, refused)
	if want := []state.Code{"", state.CertificateNotFound}; !slices.Equal(codes(again), want) {
		t.Errorf("outcomes %q, want %q", codes(again), want)
	}
	for _, o := range again.Requests {
		if !o.Replayed || o.Index != first.Index {
			t.Errorf("outcome %+v of entry %d", o, first.Index)
		}
	}
	cmd := p.l.Command(revokeCert(lifecycle.Superseded, f.serial))
	cmd.Header.Actor, cmd.Header.RequestID, cmd.Header.RequestDigest = r.Actor, r.RequestID, r.RequestDigest
	if o := p.propose(cmd); !o.OK() || !o.Replayed || o.Index != first.Index || o.Subject != f.serial.String() {
		t.Errorf("outcome %+v", o)
	}
	if p.l.View().Position().LogSize != size {
		t.Error("a repeat left a leaf")
	}
	p.is(g.serial, lifecycle.CertIssued, false)
	p.pass(25 * lifecycle.Hour)
	if o := p.gathered(r); o.Requests[0].Code != state.StaleRequestID {
		t.Errorf("outcome %+v", o)
	}
}

// TestGatheredForgets: operations are forgotten as fast as if each request had an entry.
func TestGatheredForgets(t *testing.T) {
	p := newPKI(t)
	var requests []command.RevocationRequest
	for i := range 8 {
		requests = append(requests, p.asking(i, "web-01", p.serial(), lifecycle.Superseded))
	}
	p.gathered(requests...)
	had := p.operations()
	p.pass(25 * lifecycle.Hour)
	for i := range requests {
		requests[i].RequestID = uuid(p.now(), i)
	}
	p.gathered(requests[:4]...)
	if got := p.operations(); got != had-4 {
		t.Errorf("%d operations were remembered, %d are: four came, twice as many should have gone", had, got)
	}
}

// TestGatheredIsOfTheCluster: nobody gathers but the leader, and not before every member
// understands it.
func TestGatheredIsOfTheCluster(t *testing.T) {
	p := newPKI(t)
	c := &command.GatherRevocations{Requests: []command.RevocationRequest{p.asking(1, "web-01", p.serial(), lifecycle.Superseded)}}
	p.no(state.Invalid, c)
	w := newWorld(t)
	cmd := w.l.Command(c)
	cmd.Header.Actor = "system"
	if o := w.propose(cmd); o.Code != state.FormatTooLow {
		t.Errorf("outcome %+v", o)
	}
}
