package issuing

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// world is one node with a root (on it), an issuing issuer below it, a soft key store
// and the log in memory.
type world struct {
	t      testing.TB
	ledger *ledgertest.Ledger
	store  *hsmtest.Fault
	office *Office
	log    *node
	gone   time.Duration // reading of the clock of request ages
}

// node is the node's way into the log: what the leader would do, with faults by hand.
type node struct {
	w           *world
	failRecord  error // the record is lost
	beforeEntry func()
	entries     atomic.Int64
}

func (n *node) propose(ctx context.Context, body command.Body) (state.Outcome, error) {
	n.entries.Add(1)
	return n.w.ledger.Propose(ctx, n.w.ledger.Command(body))
}

func (n *node) Announce(ctx context.Context, c command.IssueIntents) (state.Outcome, error) {
	return n.propose(ctx, &c)
}

func (n *node) Record(ctx context.Context, c command.RecordIssued) (state.Outcome, error) {
	if n.beforeEntry != nil {
		n.beforeEntry()
	}
	if n.failRecord != nil {
		return state.Outcome{}, n.failRecord
	}
	return n.propose(ctx, &c)
}

func (n *node) BindCACert(ctx context.Context, c command.BindCACert) (state.Outcome, error) {
	return n.propose(ctx, &c)
}

func (n *node) BindResponder(ctx context.Context, c command.BindResponder) (state.Outcome, error) {
	return n.propose(ctx, &c)
}

type journal struct{}

func (journal) AppendBatch(context.Context, []audit.Record) (uint64, error) { return 1, nil }
func (journal) AppendAsync(audit.Record) error                              { return nil }

var (
	ctx    = context.Background()
	web    = authority.Caller{Principal: "web-01"}
	errCut = errors.New("cut off")
)

// build makes the world; its issuers have no CA certificates yet.
func build(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ledger: ledgertest.New(t), store: hsmtest.NewFault(hsmtest.Soft(t))}
	ledgertest.Genesis(t, w.ledger, "n1", "node2")
	w.log = &node{w: w}
	elapsed := func() time.Duration { return w.gone }
	signer := signing.New(signing.Config{Ledger: w.ledger, Lease: w.ledger, Store: w.store, Audit: journal{}, Clock: w.ledger.Clock().Now,
		Elapsed: elapsed, MaxAge: time.Minute,
		Record: func(context.Context, []command.SignatureGroup) (state.Outcome, error) {
			t.Error("a certificate was recorded as a signature")
			return state.Outcome{}, errCut
		}})
	w.office = New(Config{Ledger: w.ledger, Signer: signer, Log: w.log, Clock: w.ledger.Clock().Now, Elapsed: elapsed,
		Base: func() string { return "http://pki.test/" }})
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "web-01", Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "corp*"}, {Role: lifecycle.Operator, Keys: "corp"}}}})
	w.issuer("root", lifecycle.RootIssuer, "")
	w.issuer("corp", lifecycle.IssuingIssuer, "root")
	return w
}

// issuer makes one whose instance on this node signs.
func (w *world) issuer(name lifecycle.KeyID, kind lifecycle.IssuerKind, parent lifecycle.KeyID) *lifecycle.Instance {
	w.t.Helper()
	self := w.ledger.NodeID()
	key := command.CreateKey{Name: name, Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "o", Reason: "r",
		Policy:    lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256),
		Instances: []command.Intent{{Node: self, CKAID: ledgertest.CKAID(string(name) + "1")}}}
	if kind == lifecycle.RootIssuer {
		key.Custody, key.Node = lifecycle.Singleton, self
	}
	w.ledger.Must(w.t, &command.CreateIssuer{Key: key, Of: kind, Parent: parent, Terms: lifecycle.DefaultIssuerTerms(kind, "test "+string(name))})
	return w.activate(name, 1)
}

// activate generates and binds this node's instance of a version, and lets it sign.
func (w *world) activate(name lifecycle.KeyID, version uint64) *lifecycle.Instance {
	w.t.Helper()
	i := w.bind(name, version)
	w.ledger.Must(w.t, &command.ActivateVersion{Key: name, Version: version, Early: true, Comment: "test"})
	return w.ledger.View().Instance(name, version, i.Node)
}

// prepare makes the next version with an instance on this node.
func (w *world) prepare(name lifecycle.KeyID, version uint64) *lifecycle.Instance {
	w.t.Helper()
	w.ledger.Must(w.t, &command.PrepareVersion{Key: name, Version: version,
		Instances: []command.Intent{{Node: w.ledger.NodeID(), CKAID: ledgertest.CKAID(fmt.Sprint(name, version))}}})
	return w.bind(name, version)
}

// bind generates and binds this node's instance of a version.
func (w *world) bind(name lifecycle.KeyID, version uint64) *lifecycle.Instance {
	w.t.Helper()
	i := w.ledger.View().Instance(name, version, w.ledger.NodeID())
	o, err := w.store.Generate(hsmtest.Context(w.t), hsm.Spec{ID: hsm.ObjectID(i.CKAID), Alg: lifecycle.ES256})
	if err != nil {
		w.t.Fatal(err)
	}
	kid, err := publish.Thumbprint(o.SPKI)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ledger.Must(w.t, &command.BindInstance{Key: name, Version: version, Node: i.Node, CKAID: i.CKAID, SPKI: o.SPKI, KID: kid, Driver: "soft"})
	return w.ledger.View().Instance(name, version, i.Node)
}

// keep makes everything that lacks.
func (w *world) keep() {
	w.t.Helper()
	k := NewKeeper(w.office, slog.New(slog.NewTextHandler(io.Discard, nil)))
	for range 3 { // a root, what it signs, and what that signs
		v := w.ledger.View()
		for _, task := range Plan(v, w.ledger.NodeID(), w.office.now()) {
			if err := k.office.Do(ctx, v, task); err != nil {
				w.t.Fatalf("%s of %s: %v", task.Kind, task.Issuer.Name, err)
			}
			v = w.ledger.View()
		}
	}
	if left := Plan(w.ledger.View(), w.ledger.NodeID(), w.office.now()); len(left) > 0 {
		w.t.Fatalf("left to make: %+v", left)
	}
}

func newID(w *world) string {
	id := uuid.Must(uuid.NewV7())
	ms := uint64(w.ledger.Clock().At())
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	return id.String()
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func csr(t testing.TB, key crypto.Signer, names ...string) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "ignored"}, DNSNames: names}, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// order is web-01's, received now.
func (w *world) order(key crypto.Signer, names ...string) Order {
	return Order{Caller: web, RequestID: newID(w), ReceivedAt: w.gone, Issuer: "corp", Profile: "server", CSR: csr(w.t, key, names...)}
}

// verify checks a chain with crypto/x509, up to the root.
func verify(t testing.TB, w *world, is *Issued, name string) *x509.Certificate {
	t.Helper()
	leaf, err := x509.ParseCertificate(is.DER)
	if err != nil {
		t.Fatal(err)
	}
	roots, inter := x509.NewCertPool(), x509.NewCertPool()
	for i, row := range is.Chain {
		c, err := x509.ParseCertificate(row.DER)
		if err != nil {
			t.Fatal(err)
		}
		if i == len(is.Chain)-1 {
			roots.AddCert(c)
		} else {
			inter.AddCert(c)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: inter, CurrentTime: w.ledger.Clock().Now()}); err != nil {
		t.Errorf("verify: %v", err)
	}
	return leaf
}

func code(t testing.TB, err error, want string) {
	t.Helper()
	var refusal *authority.Refusal
	var denied *authority.Denied
	got := ""
	switch {
	case errors.As(err, &refusal):
		got = refusal.Code
	case errors.As(err, &denied):
		got = "denied"
	}
	if got != want {
		t.Errorf("refused with %q (%v), want %q", got, err, want)
	}
}

// system proposes what the cluster itself does.
func (w *world) system(body command.Body) {
	w.t.Helper()
	cmd := w.ledger.Command(body)
	cmd.Header.Actor = "system"
	if o, err := w.ledger.Propose(ctx, cmd); err != nil || !o.OK() {
		w.t.Fatalf("%s: %v, %v", body.Kind(), o.Err(), err)
	}
}
