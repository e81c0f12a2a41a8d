package issuing

import (
	"crypto/x509"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

var operator = authority.Caller{Principal: "op"}

// abroad is a world with an external issuer, ext, that op may ask for.
func abroad(t *testing.T) *world {
	w := build(t)
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "op", Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Operator, Keys: "*"}}}})
	w.issuer("ext", lifecycle.ExternalIssuer, "")
	return w
}

func (w *world) enquiry(issuer string) Enquiry {
	return Enquiry{Caller: operator, RequestID: newID(w), ReceivedAt: w.gone, Issuer: issuer}
}

func TestApply(t *testing.T) {
	w := abroad(t)
	a, err := w.office.Apply(ctx, w.enquiry("ext"))
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(a.DER)
	if err != nil {
		t.Fatal(err)
	}
	i := w.ledger.View().Instance("ext", 1, w.ledger.NodeID())
	if err := csr.CheckSignature(); err != nil || string(csr.RawSubjectPublicKeyInfo) != string(i.SPKI) {
		t.Errorf("it is not of this instance: %v", err)
	}
	if want := "test ext " + lifecycle.ShortKID(i.KID); csr.Subject.CommonName != want || a.Subject != want || a.KID != i.KID || a.Version != 1 {
		t.Errorf("subject %q, %+v", csr.Subject.CommonName, a)
	}
	asked := map[string]bool{}
	for _, e := range csr.Extensions {
		asked[e.Id.String()] = e.Critical
	}
	if len(asked) != 3 || !asked["2.5.29.15"] || !asked["2.5.29.19"] || asked["2.5.29.14"] {
		t.Errorf("it asks for %v", asked)
	}
	if _, err := pki.ParseCSR(a.DER); err != nil {
		t.Errorf("our own reader: %v", err)
	}
}

// TestApplyRefused: who may not, and what needs no request.
func TestApplyRefused(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked func(w *world, q *Enquiry)
		want  string
	}{
		{"by who may only sign", func(_ *world, q *Enquiry) { q.Caller = web }, "denied"},
		{"by nobody", func(_ *world, q *Enquiry) { q.Caller.Principal = "ghost" }, "denied"},
		{"an issuer of ours", func(_ *world, q *Enquiry) { q.Issuer = "corp" }, string(state.Invalid)},
		{"no issuer", func(_ *world, q *Enquiry) { q.Issuer = "nope" }, string(state.IssuerNotFound)},
		{"no such version", func(_ *world, q *Enquiry) { q.Version = 7 }, string(state.VersionNotFound)},
		{"revoked", func(w *world, _ *Enquiry) {
			w.ledger.Must(w.t, &command.Revoke{Key: "ext", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
		}, string(state.NotPublished)},
		{"sealed", func(w *world, _ *Enquiry) {
			w.ledger.Must(w.t, &command.ReportSeal{Node: w.ledger.NodeID(), ID: "0123456789abcdef", Key: "ext", Reason: "drill", By: "uid 0", SealedAt: w.ledger.Clock().At()})
		}, "sealed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := abroad(t)
			q := w.enquiry("ext")
			c.asked(w, &q)
			used := w.store.Calls(hsmtest.OpSign)
			a, err := w.office.Apply(ctx, q)
			code(t, err, c.want)
			if a != nil || w.store.Calls(hsmtest.OpSign) != used {
				t.Error("the key was used")
			}
		})
	}
}

// TestApplyBeforeActive: the next version of an issuer asks for its certificate before
// it signs anything else, and only once verifiers have it.
func TestApplyBeforeActive(t *testing.T) {
	w := abroad(t)
	next := w.prepare("ext", 2)
	q := w.enquiry("ext")
	q.Version = 2
	_, err := w.office.Apply(ctx, q)
	code(t, err, string(state.NotPublished))
	w.ledger.Must(t, &command.PublishVersion{Key: "ext", Version: 2})
	a, err := w.office.Apply(ctx, w.enquiry("ext"))
	if err != nil || a.KID != next.KID || a.Version != 2 {
		t.Fatalf("%+v, %v", a, err)
	}
}
