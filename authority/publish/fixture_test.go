package publish

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// newKey makes a public key; RSA pairs are made once, they are slow.
func newKey(t testing.TB, alg lifecycle.Algorithm) []byte {
	t.Helper()
	var pub crypto.PublicKey
	switch alg {
	case lifecycle.ES256, lifecycle.ES384:
		curve := elliptic.P256()
		if alg == lifecycle.ES384 {
			curve = elliptic.P384()
		}
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pub = k.Public()
	case lifecycle.EdDSA:
		p, _, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		pub = p
	default:
		pub = oneRSA()
	}
	spki, err := hsm.MarshalSPKI(pub)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

var oneRSA = sync.OnceValue(func() crypto.PublicKey {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return k.Public()
})

// policy publishes well-known keys with a lead of an hour and a max-age of five minutes.
func policy(p lifecycle.Purpose, a lifecycle.Algorithm) lifecycle.Policy {
	pol := lifecycle.DefaultPolicy(p, a)
	pol.Publish = p.SignsTokens()
	return pol
}

type fixture struct {
	*ledgertest.Ledger
	t     testing.TB
	nodes []lifecycle.NodeID
}

func newFixture(t testing.TB) *fixture {
	l := ledgertest.New(t)
	return &fixture{l, t, ledgertest.Genesis(t, l, "node1", "node2", "node3")}
}

func (f *fixture) intents(name string, version uint64, nodes ...lifecycle.NodeID) (in []command.Intent) {
	for _, n := range nodes {
		in = append(in, command.Intent{Node: n, CKAID: ledgertest.CKAID(fmt.Sprint(name, version, n))})
	}
	return in
}

// create makes a key with a pending version 1 on all nodes.
func (f *fixture) create(name string, p lifecycle.Purpose, a lifecycle.Algorithm, pol lifecycle.Policy) {
	f.t.Helper()
	bits := 0
	if a.IsRSA() {
		bits = 2048
	}
	f.Must(f.t, &command.CreateKey{Name: lifecycle.KeyID(name), Purpose: p, Alg: a, Bits: bits, Custody: lifecycle.Distributed,
		Owner: "owner", Reason: "reason", Policy: pol, Instances: f.intents(name, 1, f.nodes...)})
}

func (f *fixture) prepare(name string, version uint64) {
	f.t.Helper()
	f.Must(f.t, &command.PrepareVersion{Key: lifecycle.KeyID(name), Version: version, Instances: f.intents(name, version, f.nodes...)})
}

// bind gives the node's instance a fresh public key and returns its kid.
func (f *fixture) bind(name string, version uint64, node lifecycle.NodeID) string {
	f.t.Helper()
	return f.bindKey(name, version, node, newKey(f.t, f.View().Key(lifecycle.KeyID(name)).Alg))
}

func (f *fixture) bindKey(name string, version uint64, node lifecycle.NodeID, spki []byte) string {
	f.t.Helper()
	kid, err := Thumbprint(spki)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Must(f.t, &command.BindInstance{Key: lifecycle.KeyID(name), Version: version, Node: node,
		CKAID: ledgertest.CKAID(fmt.Sprint(name, version, node)), SPKI: spki, KID: kid, Driver: "soft"})
	return kid
}

// active makes a key whose version 1 is active on all nodes (on n1 for RSA, whose
// one test pair cannot be bound twice) and returns the kids in node order.
func (f *fixture) active(name string, p lifecycle.Purpose, a lifecycle.Algorithm) (kids []string) {
	f.t.Helper()
	f.create(name, p, a, policy(p, a))
	nodes := f.nodes
	if a.IsRSA() {
		nodes = nodes[:1]
	}
	for _, n := range nodes {
		kids = append(kids, f.bind(name, 1, n))
	}
	f.Must(f.t, &command.ActivateVersion{Key: lifecycle.KeyID(name), Version: 1})
	return kids
}

func digestOf(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
