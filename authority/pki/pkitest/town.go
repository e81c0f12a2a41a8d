package pkitest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"io"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Town is a cluster in memory as it is today: a root on the first node, and an issuer,
// corp, with an instance and a CA certificate on each node. The keys of the first node
// are in Store; those of the others are only known here.
type Town struct {
	Ledger *ledgertest.Ledger
	Store  hsm.KeyStore
	Nodes  []lifecycle.NodeID
	Root   *CA
	Corp   []*CA // by node

	t testing.TB
}

// Names of its issuers.
const (
	RootName lifecycle.KeyID = "root"
	CorpName lifecycle.KeyID = "corp"
)

const requesterName = "web-01"

// NewTown makes one with so many nodes.
func NewTown(t testing.TB, nodes int) *Town {
	t.Helper()
	w := &Town{Ledger: ledgertest.New(t), Store: hsmtest.Soft(t), t: t}
	clock := w.Ledger.Clock()
	clock.Advance(time.Since(clock.Now())) // tools that verify have no other clock
	w.Nodes = ledgertest.Genesis(t, w.Ledger, []string{"n1", "node2", "node3"}[:nodes]...)
	w.issuer(RootName, lifecycle.RootIssuer, "", w.Nodes[:1])
	w.Root = certified(t, nil, "root CA", w.key(RootName, w.Nodes[0]))
	w.Ledger.Must(t, &command.BindCACert{Issuer: RootName, Version: 1, Node: w.Nodes[0], DER: w.Root.Cert.Raw, Subject: w.Root.Cert.Subject.CommonName})
	w.use(RootName)
	w.issuer(CorpName, lifecycle.IssuingIssuer, RootName, w.Nodes)
	for _, n := range w.Nodes {
		key := w.key(CorpName, n)
		ca := certified(t, w.Root, "corp CA "+lifecycle.ShortKID(kid(t, key)), key)
		w.record(w.Root, RootName, w.Nodes[0], ca.Cert, lifecycle.ProfileCA)
		w.Ledger.Must(t, &command.BindCACert{Issuer: CorpName, Version: 1, Node: n, DER: ca.Cert.Raw, Subject: ca.Cert.Subject.CommonName})
		w.Corp = append(w.Corp, ca)
	}
	w.use(CorpName)
	w.Ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: requesterName, Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: string(CorpName)}}}})
	return w
}

func (w *Town) issuer(name lifecycle.KeyID, kind lifecycle.IssuerKind, parent lifecycle.KeyID, nodes []lifecycle.NodeID) {
	w.t.Helper()
	c := &command.CreateIssuer{Of: kind, Parent: parent, Terms: lifecycle.DefaultIssuerTerms(kind, string(name)+" CA"),
		Key: command.CreateKey{Name: name, Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Distributed,
			Owner: "platform", Reason: "certificates", Policy: lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256)}}
	if kind == lifecycle.RootIssuer {
		c.Key.Custody, c.Key.Node = lifecycle.Singleton, nodes[0]
	}
	for _, n := range nodes {
		c.Key.Instances = append(c.Key.Instances, command.Intent{Node: n, CKAID: ledgertest.CKAID(string(name) + string(n))})
	}
	w.Ledger.Must(w.t, c)
}

// key makes a node's key pair of an issuer and binds it.
func (w *Town) key(name lifecycle.KeyID, node lifecycle.NodeID) crypto.Signer {
	w.t.Helper()
	id := ledgertest.CKAID(string(name) + string(node))
	var key crypto.Signer
	if node == w.Nodes[0] {
		o, err := w.Store.Generate(hsmtest.Context(w.t), hsm.Spec{ID: hsm.ObjectID(id), Alg: lifecycle.ES256})
		if err != nil {
			w.t.Fatal(err)
		}
		public, err := hsm.ParseSPKI(o.SPKI)
		if err != nil {
			w.t.Fatal(err)
		}
		key = &stored{w.Store, hsm.Ref{ID: o.ID, SPKI: o.SPKI, Alg: lifecycle.ES256}, public}
	} else {
		key = Key(w.t)
	}
	w.Ledger.Must(w.t, &command.BindInstance{Key: name, Version: 1, Node: node, CKAID: id, SPKI: spki(w.t, key), KID: kid(w.t, key), Driver: "soft"})
	return key
}

func (w *Town) use(name lifecycle.KeyID) {
	w.t.Helper()
	w.Ledger.Must(w.t, &command.ActivateVersion{Key: name, Version: 1})
}

// stored is a key in a key store.
type stored struct {
	store  hsm.KeyStore
	ref    hsm.Ref
	public crypto.PublicKey
}

func (s *stored) Public() crypto.PublicKey { return s.public }

func (s *stored) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	return s.store.Sign(context.Background(), s.ref, digest) //nolint:wrapcheck // a test's
}

// Issue makes a certificate by corp's instance on a node, and records it.
func (w *Town) Issue(node int, host string) *Leaf {
	w.t.Helper()
	l := w.Corp[node].Issue(w.t, host, nil)
	w.record(w.Corp[node], CorpName, w.Nodes[node], l.Cert, "server")
	return l
}

// Announce makes a certificate as Issue does, and records no more than the intent.
func (w *Town) Announce(node int, host string) *Leaf {
	w.t.Helper()
	l := w.Corp[node].Issue(w.t, host, nil)
	w.intent(w.Corp[node], CorpName, w.Nodes[node], l.Cert, "server")
	return l
}

// Responder gives a node a responder certificate by corp's instance on another, for key.
func (w *Town) Responder(by, node int, key *ecdsa.PrivateKey, ttl time.Duration) {
	w.t.Helper()
	w.Ledger.Must(w.t, &command.AnnounceResponder{Node: w.Nodes[node], SPKI: spki(w.t, key)})
	cert, err := x509.ParseCertificate(w.Corp[by].Responder(w.t, key, ttl))
	if err != nil {
		w.t.Fatal(err)
	}
	w.Ledger.Must(w.t, &command.BindResponder{Node: w.Nodes[node], Serial: w.record(w.Corp[by], CorpName, w.Nodes[by], cert, lifecycle.ProfileOCSP)})
}

// Revoke puts a certificate on its CRL.
func (w *Town) Revoke(s lifecycle.Serial, reason lifecycle.Reason) {
	w.t.Helper()
	w.each(w.Ledger.Must(w.t, &command.RevokeCertificates{Items: []command.RevokeItem{{Serial: s, Reason: reason}}}).Groups)
}

func (w *Town) record(ca *CA, issuer lifecycle.KeyID, node lifecycle.NodeID, cert *x509.Certificate, profile string) lifecycle.Serial {
	w.t.Helper()
	s := w.intent(ca, issuer, node, cert, profile)
	w.each(w.Ledger.Must(w.t, &command.RecordIssued{Node: node, Items: []command.IssuedItem{{Serial: s, DER: cert.Raw}}}).Groups)
	return s
}

func (w *Town) intent(ca *CA, issuer lifecycle.KeyID, node lifecycle.NodeID, cert *x509.Certificate, profile string) lifecycle.Serial {
	w.t.Helper()
	s := serialIn(w.t, cert)
	hash := func(b []byte) []byte {
		sum := sha256.Sum256(b)
		return sum[:]
	}
	instant := func(t time.Time) lifecycle.Instant { return lifecycle.Instant(t.UnixMilli()) }
	requester := "node:n1"
	if profile == "server" {
		requester = requesterName
	}
	it := command.IssueItem{Serial: s, Issuer: issuer, Version: 1, KID: ca.KID, Profile: profile, ProfileHash: hash([]byte(profile)),
		TBSHash: hash(cert.RawTBSCertificate), SPKIHash: hash(cert.RawSubjectPublicKeyInfo), Subject: cert.Subject.CommonName, DNS: cert.DNSNames,
		NotBefore: instant(cert.NotBefore), NotAfter: instant(cert.NotAfter), DeadlineAt: w.Ledger.Clock().At().Add(lifecycle.Minute), Requester: requester}
	w.each(w.Ledger.Must(w.t, &command.IssueIntents{Node: node, Items: []command.IssueItem{it}}).Groups)
	return s
}

func serialIn(t testing.TB, cert *x509.Certificate) lifecycle.Serial {
	t.Helper()
	s, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes())
	if !ok {
		t.Fatalf("serial %x is of another form", cert.SerialNumber)
	}
	return s
}

// each fails the test for an item that was refused.
func (w *Town) each(groups []state.GroupOutcome) {
	w.t.Helper()
	for _, g := range groups {
		if g.Code != "" {
			w.t.Fatalf("%s: %s", g.Code, g.Detail)
		}
	}
}
