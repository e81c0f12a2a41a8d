package issuing

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func TestIssue(t *testing.T) {
	w := build(t)
	_, err := w.office.Issue(ctx, w.order(newKey(t), "a.test"))
	code(t, err, string(state.NoCACertificate))
	w.keep()
	order := w.order(newKey(t), "a.test", "b.test")
	is, err := w.office.Issue(ctx, order)
	if err != nil {
		t.Fatal(err)
	}
	leaf := verify(t, w, is, "b.test")
	if leaf.Subject.CommonName != "a.test" || len(is.Chain) != 2 || is.Chain[0].Subject == is.Chain[1].Subject || !strings.HasPrefix(is.Chain[0].Subject, "test corp ") {
		t.Errorf("subject %s, chain %v", leaf.Subject, is.Chain)
	}
	base := "http://pki.test/crl/corp/" + is.Chain[0].KID + ".crl"
	if len(leaf.CRLDistributionPoints) != 1 || leaf.CRLDistributionPoints[0] != base {
		t.Errorf("distribution points %v, want %s", leaf.CRLDistributionPoints, base)
	}
	row, err := w.ledger.View().Certificate(is.Serial)
	if err != nil || row.State != lifecycle.CertIssued || row.Requester != "web-01" || row.Index != is.Index {
		t.Errorf("row %+v, %v", row, err)
	}
	again, err := w.office.Issue(ctx, order)
	if err != nil || again.Serial != is.Serial || !again.Replayed || string(again.DER) != string(is.DER) {
		t.Errorf("the same request again: %+v, %v", again, err)
	}
	order.TTL = lifecycle.Hour
	_, err = w.office.Issue(ctx, order)
	code(t, err, string(state.RequestIDReused))
}

func TestRefusedOrders(t *testing.T) {
	w := build(t)
	w.keep()
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "guest", Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "corp"}}}})
	used := w.store.Calls(hsmtest.OpSign)
	taken := newKey(t)
	if _, err := w.office.Issue(ctx, w.order(taken, "taken.test")); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Order)
		want   string
	}{
		"no role":         {func(o *Order) { o.Caller.Principal = "nobody" }, "denied"},
		"no rule":         {func(o *Order) { o.Caller.Principal = "guest" }, "certificate_refused"},
		"unknown issuer":  {func(o *Order) { o.Issuer = "corpx" }, string(state.IssuerNotFound)},
		"unknown profile": {func(o *Order) { o.Profile = "serverx" }, string(state.ProfileNotFound)},
		"ours":            {func(o *Order) { o.Profile = lifecycle.ProfileOCSP }, string(state.ProfileNotFound)},
		"no request":      {func(o *Order) { o.CSR = []byte("hello") }, "invalid"},
		"too long":        {func(o *Order) { o.TTL = 91 * lifecycle.Day }, "certificate_refused"},
		"bad name":        {func(o *Order) { o.Names.DNS = []string{"a b"} }, "certificate_refused"},
		"old request id":  {func(o *Order) { o.RequestID = "00000000-0000-7000-8000-000000000000" }, string(state.StaleRequestID)},
	} {
		o := w.order(newKey(t), "a.test")
		c.change(&o)
		_, err := w.office.Issue(ctx, o)
		if code(t, err, c.want); t.Failed() {
			t.Fatalf("%s: %v", name, err)
		}
	}
	w.ledger.Must(t, &command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: "guest", Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "corp"}, {Role: lifecycle.Operator, Keys: "corp"}}}})
	o := w.order(taken, "a.test")
	o.Caller.Principal = "guest"
	_, err := w.office.Issue(ctx, o)
	code(t, err, string(state.KeyReused))
	if n := w.store.Calls(hsmtest.OpSign) - used; n != 1 {
		t.Errorf("the key was used %d times, want once", n)
	}
}

// TestLostRecord shows what becomes of a certificate that was signed and whose record
// never came: nobody gets it, a repeat is told, and it is revoked at its deadline.
func TestLostRecord(t *testing.T) {
	w := build(t)
	w.keep()
	w.log.failRecord = ledger.ErrIndeterminate
	order := w.order(newKey(t), "a.test")
	_, err := w.office.Issue(ctx, order)
	code(t, err, "not_recorded")
	w.log.failRecord = nil
	_, err = w.office.Issue(ctx, order)
	code(t, err, "not_recorded")
	if due, err := Due(w.ledger.View(), w.ledger.Clock().At(), true); err != nil || len(due) != 0 {
		t.Fatalf("due at once: %v, %v", due, err)
	}
	w.ledger.Pass(t, 11*time.Minute)
	due, err := Due(w.ledger.View(), w.ledger.Clock().At(), true)
	if err != nil || len(due) != 1 {
		t.Fatalf("due: %v, %v", due, err)
	}
	w.system(due[0])
	serial := due[0].(*command.AbandonIntents).Serials[0]
	if row, err := w.ledger.View().Certificate(serial); err != nil || row.State != lifecycle.CertRevoked || !row.Revocation.Unrecorded {
		t.Errorf("row %+v, %v", row, err)
	}
	if is, err := w.office.Issue(ctx, order); err != nil || is.Serial == serial || is.Replayed {
		t.Errorf("a repeat, when the first is revoked: %+v, %v", is, err)
	}
}

// TestOvertaken: the issuer goes over to its next version while a certificate is signed,
// and whoever asked for it gets one of that version, by the same request.
func TestOvertaken(t *testing.T) {
	for name, ask := range map[string]func(w *world, old *Issued, key *ecdsa.PrivateKey) (*Issued, error){
		"issue": func(w *world, _ *Issued, key *ecdsa.PrivateKey) (*Issued, error) {
			return w.office.Issue(ctx, w.order(key, "b.test"))
		},
		"renew": func(w *world, old *Issued, key *ecdsa.PrivateKey) (*Issued, error) {
			r := Renewal{Serial: old.Serial, CSR: csr(w.t, key), At: w.ledger.Clock().At(), RequestID: newID(w), ReceivedAt: w.gone}
			r.Proof = prove(t, w, &r, key)
			return w.office.Renew(ctx, r)
		},
	} {
		w := build(t)
		w.keep()
		key := newKey(t)
		old, err := w.office.Issue(ctx, w.order(key, "a.test"))
		if err != nil {
			t.Fatal(err)
		}
		next := w.prepare("corp", 2)
		w.ledger.Must(t, &command.PublishVersion{Key: "corp", Version: 2})
		w.keep()
		w.log.beforeEntry = func() {
			w.log.beforeEntry = nil
			w.ledger.Must(t, &command.ActivateVersion{Key: "corp", Version: 2})
		}
		is, err := ask(w, old, key)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if is.Chain[0].KID != next.KID {
			t.Errorf("%s: signed by %s", name, is.Chain[0].KID)
		}
		verify(t, w, is, "")
		verify(t, w, old, "a.test")
		page, err := w.ledger.View().FindCertificates(state.CertQuery{Issuer: "corp", States: []lifecycle.CertState{lifecycle.CertRevoked}, Limit: 10})
		if err != nil || len(page.Certificates) != 1 || !page.Certificates[0].Revocation.Unrecorded {
			t.Errorf("%s: what the version before it signed too late: %+v, %v", name, page.Certificates, err)
		}
	}
}

// TestRevokedMeanwhile takes the right away between signature and record.
func TestRevokedMeanwhile(t *testing.T) {
	for name, body := range map[string]command.Body{
		"principal": &command.RevokePrincipal{Name: "web-01"},
		"key":       &command.Revoke{Key: "corp", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise},
		"hold":      &command.SuspendVersion{Key: "corp", Version: 1},
	} {
		w := build(t)
		w.keep()
		w.log.beforeEntry = func() { w.ledger.Must(t, body) }
		is, err := w.office.Issue(ctx, w.order(newKey(t), "a.test"))
		if err == nil {
			t.Errorf("%s: issued %s", name, is.Serial)
		}
		page, err := w.ledger.View().FindCertificates(state.CertQuery{Name: "a.test", Limit: 10})
		if err != nil || len(page.Certificates) != 1 || page.Certificates[0].State != lifecycle.CertRevoked {
			t.Errorf("%s: the log has %+v, %v", name, page.Certificates, err)
		}
	}
}

func TestRenew(t *testing.T) {
	w := build(t)
	w.keep()
	key := newKey(t)
	is, err := w.office.Issue(ctx, w.order(key, "a.test", "b.test"))
	if err != nil {
		t.Fatal(err)
	}
	next := newKey(t)
	renewal := func(change func(*Renewal)) Renewal {
		r := Renewal{Serial: is.Serial, CSR: csr(t, next), At: w.ledger.Clock().At(), RequestID: newID(w), ReceivedAt: w.gone}
		if change != nil {
			change(&r)
		}
		if r.Proof == nil {
			r.Proof = prove(t, w, &r, key)
		}
		return r
	}
	again, err := w.office.Renew(ctx, renewal(nil))
	if err != nil {
		t.Fatal(err)
	}
	leaf := verify(t, w, again, "b.test")
	old, err := w.ledger.View().Certificate(is.Serial)
	if err != nil || old.ReplacedBy == nil || *old.ReplacedBy != again.Serial || !next.PublicKey.Equal(leaf.PublicKey) {
		t.Errorf("old %+v, %v", old, err)
	}
	_, err = w.office.Renew(ctx, renewal(func(r *Renewal) { r.Proof = prove(t, w, r, next) }))
	code(t, err, "denied")
	_, err = w.office.Renew(ctx, renewal(func(r *Renewal) { r.At -= 6 * 60_000 }))
	code(t, err, "denied")
	_, err = w.office.Renew(ctx, renewal(func(r *Renewal) { r.Serial[19] ^= 1 }))
	code(t, err, string(state.CertificateNotFound))
	ca, _ := lifecycle.SerialOf(is.Chain[0].Serial)
	_, err = w.office.Renew(ctx, renewal(func(r *Renewal) { r.Serial = ca }))
	code(t, err, string(state.CertificateNotFound))
	w.ledger.Must(t, &command.RevokeCertificates{Items: []command.RevokeItem{{Serial: is.Serial, Reason: lifecycle.KeyCompromise}}})
	_, err = w.office.Renew(ctx, renewal(nil))
	code(t, err, string(state.CertificateRevoked))
	w.ledger.Pass(t, 31*24*time.Hour)
	_, err = w.office.Renew(ctx, renewal(func(r *Renewal) {
		r.Serial, r.Proof = again.Serial, prove(t, w, &Renewal{Serial: again.Serial, CSR: r.CSR, RequestID: r.RequestID, At: r.At}, next)
	}))
	code(t, err, string(state.CertificateExpired))
}

func prove(t *testing.T, w *world, r *Renewal, key *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := w.ledger.View().CertificateDER(r.Serial)
	if err != nil {
		t.Fatal(err)
	}
	text := RenewalStatement(der, r.RequestID, r.At, r.CSR)
	sig, err := ecdsa.SignASN1(rand.Reader, key, signing.Digest(lifecycle.ES256, text))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// TestMany shows that requests at the same time share entries.
func TestMany(t *testing.T) {
	w := build(t)
	w.keep()
	w.log.entries.Store(0)
	var all sync.WaitGroup
	const n = 64
	orders := make([]Order, n)
	for i := range orders {
		orders[i] = w.order(newKey(t), fmt.Sprintf("h%d.test", i))
	}
	gate := make(chan struct{})
	for _, o := range orders {
		all.Go(func() {
			<-gate
			if _, err := w.office.Issue(context.Background(), o); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	all.Wait()
	if got := w.log.entries.Load(); got >= 2*n {
		t.Errorf("%d entries for %d certificates", got, n)
	}
	tally := w.ledger.View().CertTally(w.ledger.View().CACerts("corp")[0].KID)
	if tally.Issued != n || tally.Intents != 0 {
		t.Errorf("tally %+v", tally)
	}
}

// TestKeeper makes CA and responder certificates, and newer ones at half life.
func TestKeeper(t *testing.T) {
	w := build(t)
	w.keep()
	v := w.ledger.View()
	ca := v.CACerts("corp")[0]
	responder := newKey(t)
	spki, err := x509.MarshalPKIXPublicKey(&responder.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	w.ledger.Must(t, &command.AnnounceResponder{Node: w.ledger.NodeID(), SPKI: spki})
	w.keep()
	first := w.ledger.View().Responder(ca.KID, w.ledger.NodeID())
	if first == nil {
		t.Fatal("no responder certificate")
	}
	cert, err := x509.ParseCertificate(first.DER)
	if err != nil || cert.ExtKeyUsage[0] != x509.ExtKeyUsageOCSPSigning || !responder.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("%v, %v", cert.ExtKeyUsage, err)
	}
	w.ledger.Pass(t, 16*24*time.Hour)
	w.keep()
	if second := w.ledger.View().Responder(ca.KID, w.ledger.NodeID()); second.Serial == first.Serial {
		t.Error("not renewed at half life")
	}
	w.ledger.Pass(t, 2*365*24*time.Hour)
	w.keep()
	if next := w.ledger.View().CACerts("corp")[0]; next.NotAfter <= ca.NotAfter || next.KID != ca.KID {
		t.Errorf("CA certificate until %s, had one until %s", next.NotAfter, ca.NotAfter)
	}
}

// TestForsaken: when a root's key is compromised, the next version certifies again what is
// below it, and certificates verify up to that one.
func TestForsaken(t *testing.T) {
	w := build(t)
	w.keep()
	before := w.ledger.View().CACerts("corp")[0]
	w.ledger.Must(t, &command.Revoke{Key: "root", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	if tasks := Plan(w.ledger.View(), w.ledger.NodeID(), w.office.now()); len(tasks) != 0 {
		t.Errorf("nobody could sign %+v", tasks)
	}
	second := w.prepare("root", 2)
	w.ledger.Must(t, &command.PublishVersion{Key: "root", Version: 2})
	w.keep() // its own certificate, without which it does not become active
	w.ledger.Must(t, &command.ActivateVersion{Key: "root", Version: 2, Early: true, Comment: "test"})
	w.keep()
	after := w.ledger.View().CACerts("corp")[0]
	if after.KID != before.KID || after.ParentKID != second.KID || after.Revocation != nil {
		t.Errorf("after the root's compromise corp has %+v", after)
	}
	is, err := w.office.Issue(ctx, w.order(newKey(t), "a.test"))
	if err != nil {
		t.Fatal(err)
	}
	verify(t, w, is, "a.test")
}

// TestFallen revokes CA certificates at the parent.
func TestFallen(t *testing.T) {
	w := build(t)
	w.keep()
	ca := w.ledger.View().CACerts("corp")[0]
	w.ledger.Must(t, &command.Revoke{Key: "corp", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	due, err := Due(w.ledger.View(), w.ledger.Clock().At(), false)
	if err != nil || len(due) != 1 {
		t.Fatalf("due: %v, %v", due, err)
	}
	item := due[0].(*command.RevokeCertificates).Items[0]
	if serial, _ := lifecycle.SerialOf(ca.Serial); item.Serial != serial || item.Reason != lifecycle.CACompromise {
		t.Errorf("%+v", item)
	}
	w.system(due[0])
	if row := w.ledger.View().CACerts("corp")[0]; row.Revocation == nil {
		t.Error("the CA certificate does not know")
	}
	if due, err := Due(w.ledger.View(), w.ledger.Clock().At(), false); err != nil || len(due) != 0 {
		t.Errorf("due again: %v, %v", due, err)
	}
	if tasks := Plan(w.ledger.View(), w.ledger.NodeID(), w.office.now()); len(tasks) != 0 {
		t.Errorf("it would get another: %+v", tasks)
	}
	if _, err := w.office.Issue(ctx, w.order(newKey(t), "a.test")); err == nil {
		t.Error("issued by a revoked key")
	}
}
