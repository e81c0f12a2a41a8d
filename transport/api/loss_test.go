package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"testing"

	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// rootOn makes a root whose only key pair is on a node, with its CA certificate and a CRL.
func (n *node) rootOn(name string) (ca *lifecycle.CACert, crlUntil lifecycle.Instant) {
	n.t.Helper()
	on := n.ledger.View().NodeByName(name).ID
	terms := lifecycle.DefaultIssuerTerms(lifecycle.RootIssuer, "test root")
	key := command.CreateKey{Name: "root", Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Singleton, Node: on, Owner: "o", Reason: "r",
		Policy: lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256), Instances: []command.Intent{{Node: on, CKAID: ledgertest.CKAID("root1")}}}
	n.ledger.Must(n.t, &command.CreateIssuer{Key: key, Of: lifecycle.RootIssuer, Terms: terms})
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		n.t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&private.PublicKey)
	if err != nil {
		n.t.Fatal(err)
	}
	kid, err := publish.Thumbprint(spki)
	if err != nil {
		n.t.Fatal(err)
	}
	n.ledger.Must(n.t, &command.BindInstance{Key: "root", Version: 1, Node: on, CKAID: ledgertest.CKAID("root1"), SPKI: spki, KID: kid, Driver: "soft"})
	n.ledger.Must(n.t, &command.ActivateVersion{Key: "root", Version: 1, Early: true, Comment: "test"})
	now := n.clock.At()
	draft, err := pki.DraftRoot(pki.CAOrder{Terms: terms, Subject: "test root", SPKI: spki, Serial: lifecycle.Serial{1, 2, 3}, Now: now}, lifecycle.ES256)
	if err != nil {
		n.t.Fatal(err)
	}
	digest := sha256.Sum256(draft.TBS)
	sig, err := ecdsa.SignASN1(rand.Reader, private, digest[:])
	if err != nil {
		n.t.Fatal(err)
	}
	der, err := draft.Assemble(sig)
	if err != nil {
		n.t.Fatal(err)
	}
	n.ledger.Must(n.t, &command.BindCACert{Issuer: "root", Version: 1, Node: on, DER: der, Subject: draft.Subject})
	crlUntil = now.Add(lifecycle.Day)
	n.ledger.Must(n.t, &command.AllocateCRL{Node: on, KID: kid, Number: 1, TBSHash: make([]byte, 32), ThisUpdate: now, NextUpdate: crlUntil, AtIndex: n.ledger.View().Position().Index})
	return n.ledger.View().CACert("root", 1, on), crlUntil
}

// TestLossOfANode: what ends with a node is told before it is removed, and after it.
func TestLossOfANode(t *testing.T) {
	n := start(t)
	ca, until := n.rootOn("node2")
	path := wire.Path(wire.PathRemoveNode, "node2")
	was := n.ledger.View().Position().Index
	plan := get[wire.Operation](t, n.ask("admin", "POST", path+"?plan=true", wire.RemoveNode{Lost: true}))
	if n.ledger.View().Position().Index != was {
		t.Error("the plan changed something")
	}
	if plan.Fenced == nil || plan.Fenced.WithinMS == 0 {
		t.Errorf("no signing bound: %+v", plan.Fenced)
	}
	done := get[wire.Operation](t, n.ask("admin", "POST", path, wire.RemoveNode{Lost: true, Reason: "burnt"}))
	for _, op := range []wire.Operation{plan, done} {
		l := op.Loss
		if l == nil || l.Instances != 1 || len(l.Issuers) != 1 || len(l.Keys) != 1 || l.Keys[0].Key != "root" || l.Keys[0].Custody != string(lifecycle.Singleton) {
			t.Fatalf("loss = %+v", l)
		}
		if i := l.Issuers[0]; i.KID != ca.KID || i.CRLUntil != wire.Time(until) || i.CRLNumber != 1 || i.RevokedAt != 0 || i.Parent != "" {
			t.Errorf("issuer = %+v", i)
		}
		if l.Deadline != 0 {
			t.Errorf("a deadline of %s, and no certificate depends on it", l.Deadline)
		}
		if len(op.Next) != 1 || op.Next[0] != l.Keys[0].Next {
			t.Errorf("what to do next: %q", op.Next) // a root has nobody above it whose CRL could be missed
		}
	}
	if i := n.ledger.View().Instance("root", 1, ca.Node); i.Condition != lifecycle.Lost {
		t.Errorf("the instance is %s", i.Condition)
	}
}

// TestPlannedLossOfAQuarantinedNode: the loss is told of a node that stopped before, too.
func TestPlannedLossOfAQuarantinedNode(t *testing.T) {
	n := start(t)
	n.rootOn("node2")
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathQuarantine, "node2"), wire.Quarantine{Reason: "odd"}))
	plan := get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRemoveNode, "node2")+"?plan=true", wire.RemoveNode{Lost: true}))
	if plan.Loss == nil || len(plan.Loss.Keys) != 1 {
		t.Errorf("loss = %+v", plan.Loss)
	}
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRemoveNode, "ghost")+"?plan=true", wire.RemoveNode{Lost: true}), wire.NodeNotFound)
}

// TestReprovisionOverTheAPI: a root whose only key pair is lost is named as such.
func TestReprovisionOverTheAPI(t *testing.T) {
	n := start(t)
	ca, until := n.rootOn("node2")
	path := wire.Path(wire.PathReprovision, "node2")
	refused(t, n.ask("admin", "POST", path, wire.Reprovision{}), wire.Code(state.InstanceNotFound))
	refused(t, n.ask("signer", "POST", path, wire.Reprovision{All: true}), wire.Denied)
	plan := get[wire.Reprovisioned](t, n.ask("admin", "POST", path+"?plan=true", wire.Reprovision{All: true}))
	if !plan.Plan || plan.Fenced || plan.FencedWithinMS == 0 || n.ledger.View().Instance("root", 1, ca.Node).Revocation != nil {
		t.Errorf("plan = %+v", plan)
	}
	done := get[wire.Reprovisioned](t, n.ask("admin", "POST", path, wire.Reprovision{All: true, Comment: "new HSM"}))
	for _, r := range []wire.Reprovisioned{plan, done} {
		if len(r.Keys) != 1 || r.Keys[0].Key != "root" || r.Keys[0].NewVersion != 0 || r.Keys[0].Why == "" || len(r.Next) == 0 {
			t.Errorf("keys = %+v", r.Keys)
		}
		if l := r.Loss; len(l.Issuers) != 1 || l.Issuers[0].CRLUntil != wire.Time(until) || len(l.Keys) != 1 {
			t.Errorf("loss = %+v", l)
		}
	}
	if i := n.ledger.View().Instance("root", 1, ca.Node); !done.Fenced || i.Condition != lifecycle.Lost || i.Revocation == nil {
		t.Errorf("fenced %v, instance %+v", done.Fenced, i)
	}
}
