package ocsp_test

import (
	"crypto"
	"log/slog"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// overState answers for a town, on its first node.
type overState struct {
	*pkitest.Town
	t         testing.TB
	responder *ocsp.Responder
}

func buildState(t testing.TB) *overState {
	w := &overState{Town: pkitest.NewTown(t, 2), t: t}
	key := pkitest.Key(t)
	source, err := ocsp.NewState(w.Ledger, key, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	w.responder = ocsp.NewResponder(ocsp.Config{Source: source, Clock: w.Ledger.Clock().Now})
	w.Responder(0, 0, key, 20*time.Hour)
	w.Responder(1, 0, key, 20*time.Hour)
	return w
}

func (w *overState) ask(l *pkitest.Leaf) (*xocsp.Response, error) {
	w.t.Helper()
	der, err := xocsp.CreateRequest(l.Cert, l.Issuer.Cert, &xocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		w.t.Fatal(err)
	}
	return xocsp.ParseResponseForCert(w.responder.Respond(ctx, der).Body, l.Cert, l.Issuer.Cert)
}

func (w *overState) is(l *pkitest.Leaf, status, reason int) {
	w.t.Helper()
	r, err := w.ask(l)
	if err != nil || r.Status != status || r.RevocationReason != reason {
		w.t.Errorf("%s: %+v, %v", l.Cert.Subject, r, err)
	}
}

// A node answers for its own instance and for that of another node, from the state.
func TestState(t *testing.T) {
	w := buildState(t)
	own, far, intent := w.Issue(0, "a.test"), w.Issue(1, "b.test"), w.Announce(0, "c.test")
	for range 2 {
		w.is(own, xocsp.Good, 0)
		w.is(far, xocsp.Good, 0)
	}
	w.is(intent, xocsp.Unknown, 0)
	w.Revoke(far.Serial(), lifecycle.KeyCompromise)
	w.is(far, xocsp.Revoked, xocsp.KeyCompromise)
	w.is(own, xocsp.Good, 0)
	w.Revoke(own.Serial(), lifecycle.CertificateHold)
	w.is(own, xocsp.Revoked, xocsp.CertificateHold)
	w.Ledger.Must(t, &command.ReleaseCertificates{Serials: []lifecycle.Serial{own.Serial()}})
	w.is(own, xocsp.Good, 0)
	// The right serial under the wrong issuer is not known there.
	own.Issuer = w.Corp[1]
	w.is(own, xocsp.Unknown, 0)
}

// TestStateOfAFallenIssuer: once a CA certificate is revoked for a compromise, or only the
// version is yet, no kept answer and no delegate of ours says good of what it certified.
func TestStateOfAFallenIssuer(t *testing.T) {
	for name, fall := range map[string]func(*overState){
		"CA certificate": func(w *overState) {
			serial, ok := lifecycle.SerialOf(w.Corp[1].Cert.SerialNumber.Bytes())
			if !ok {
				t.Fatal("the CA certificate has a serial of its own kind")
			}
			w.Revoke(serial, lifecycle.CACompromise)
		},
		"instance": func(w *overState) {
			w.Ledger.Must(t, &command.Revoke{Key: pkitest.CorpName, Versions: []uint64{1}, Node: w.Nodes[1], Reason: lifecycle.KeyCompromise})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := buildState(t)
			own, far, held := w.Issue(0, "a.test"), w.Issue(1, "b.test"), w.Issue(1, "c.test")
			w.Revoke(held.Serial(), lifecycle.CertificateHold)
			for range 2 { // the second is kept
				w.is(own, xocsp.Good, 0)
				w.is(far, xocsp.Good, 0)
			}
			fall(w)
			for range 2 {
				w.is(far, xocsp.Revoked, xocsp.CACompromise)
				w.is(held, xocsp.Revoked, xocsp.CACompromise)
				w.is(own, xocsp.Good, 0)
			}
			view := w.Ledger.View()
			if c, err := publish.CertificateStatus(view, far.Serial(), view.Clock(), true); err != nil || c.Answer != publish.Revoked || c.Revocation == nil {
				t.Errorf("the status of it: %+v, %v", c, err)
			}
		})
	}
}

// The root has no responder certificate here: try later, and never good.
func TestStateWithoutDelegate(t *testing.T) {
	w := buildState(t)
	_, err := w.ask(&pkitest.Leaf{Issuer: w.Root, Cert: w.Corp[0].Cert})
	if e, ok := err.(xocsp.ResponseError); !ok || e.Status != xocsp.TryLater {
		t.Errorf("%v", err)
	}
	// Another key was announced: what was issued for the old one is of no use.
	l := w.Issue(0, "a.test")
	w.Responder(0, 0, pkitest.Key(t), 22*time.Hour)
	_, err = w.ask(l)
	if e, ok := err.(xocsp.ResponseError); !ok || e.Status != xocsp.TryLater {
		t.Errorf("under a certificate for another key: %v", err)
	}
}

func TestStaleState(t *testing.T) {
	w := buildState(t)
	kept, other := w.Issue(0, "a.test"), w.Issue(0, "b.test")
	w.is(kept, xocsp.Good, 0)
	w.Ledger.SetStale(true)
	w.is(kept, xocsp.Good, 0)
	_, err := w.ask(other)
	if e, ok := err.(xocsp.ResponseError); !ok || e.Status != xocsp.TryLater {
		t.Errorf("a stale node signed: %v", err)
	}
}

// BenchmarkState is a kept answer over the real state.
func BenchmarkState(b *testing.B) {
	w := buildState(b)
	l := w.Issue(0, "a.test")
	der, err := xocsp.CreateRequest(l.Cert, l.Issuer.Cert, nil)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		w.responder.Respond(ctx, der)
	}
}
