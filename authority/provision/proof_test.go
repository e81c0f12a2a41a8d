package provision

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const clusterID = "00112233445566778899aabbccddeeff"

// The bytes nodes of different versions must agree on.
func TestProofMessageGolden(t *testing.T) {
	b := &command.BindInstance{Key: "ci", Version: 3, Node: "ab", SPKI: []byte{1, 2}}
	want := "6368616e636572792d706f702f31" + // chancery-pop/1
		"00000020" + hex.EncodeToString([]byte(clusterID)) +
		"000000026369" + "000000080000000000000003" + "000000026162" + "000000020102"
	if got := hex.EncodeToString(proofMessage(clusterID, b)); got != want {
		t.Errorf("message\n got %s\nwant %s", got, want)
	}
}

func TestProofOfEachAlgorithm(t *testing.T) {
	ks := hsmtest.Soft(t)
	for _, alg := range lifecycle.Algorithms {
		o := hsmtest.Generate(t, ks, alg)
		kid, err := publish.Thumbprint(o.SPKI)
		if err != nil {
			t.Fatal(err)
		}
		k := &lifecycle.Key{ID: "ci", Alg: alg}
		if alg.IsRSA() {
			k.Bits = hsmtest.SpecFor(t, alg).Bits
		}
		b := &command.BindInstance{Key: "ci", Version: 1, Node: "n", CKAID: lifecycle.CKAID(o.ID), SPKI: o.SPKI, KID: kid}
		proof, err := prove(hsmtest.Context(t), ks, k, clusterID, b)
		if err != nil {
			t.Fatalf("%s: %v", alg, err)
		}
		refuseForgeries(t, ks, k, *b, proof)
	}
}

const es384Bytes = 120 // a P-384 SubjectPublicKeyInfo

// refuseForgeries changes one thing at a time.
func refuseForgeries(t *testing.T, ks hsm.KeyStore, k *lifecycle.Key, b command.BindInstance, proof Proof) {
	t.Helper()
	other := hsmtest.Generate(t, ks, lifecycle.ES256)
	otherKID, err := publish.Thumbprint(other.SPKI)
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(proof.Signature)
	flipped[len(flipped)-1] ^= 1
	for what, forge := range map[string]func(k *lifecycle.Key, cluster *string, b *command.BindInstance, p *Proof){
		"cluster":   func(_ *lifecycle.Key, c *string, _ *command.BindInstance, _ *Proof) { *c = "ff" + clusterID[2:] },
		"key":       func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { b.Key = "other" },
		"both keys": func(k *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { k.ID, b.Key = "x", "x" },
		"version":   func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { b.Version++ },
		"node":      func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { b.Node = "m" },
		"kid":       func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { b.KID = otherKID },
		"public key": func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) {
			b.SPKI, b.KID = other.SPKI, otherKID
		},
		"no public key": func(_ *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) { b.SPKI = nil },
		"signature":     func(_ *lifecycle.Key, _ *string, _ *command.BindInstance, p *Proof) { p.Signature = flipped },
		"no signature":  func(_ *lifecycle.Key, _ *string, _ *command.BindInstance, p *Proof) { p.Signature = nil },
		"algorithm": func(k *lifecycle.Key, _ *string, _ *command.BindInstance, _ *Proof) {
			if k.Alg = lifecycle.ES384; len(b.SPKI) == es384Bytes {
				k.Alg = lifecycle.ES256
			}
		},
		"size": func(k *lifecycle.Key, _ *string, b *command.BindInstance, _ *Proof) {
			k.Bits += 256
			if !k.Alg.IsRSA() { // their curve is their size
				b.SPKI = b.SPKI[1:]
			}
		},
	} {
		fk, fc, fb, fp := *k, clusterID, b, proof
		forge(&fk, &fc, &fb, &fp)
		if err := CheckProof(&fk, fc, &fb, fp); err == nil {
			t.Errorf("%s: a forged %s is accepted", k.Alg, what)
		}
	}
	if err := CheckProof(k, clusterID, &b, proof); err != nil {
		t.Errorf("%s: the honest proof: %v", k.Alg, err)
	}
}

// A proof must not be a signature somebody could have asked for: its input begins
// with the domain, or is a digest of what does.
func TestProofInput(t *testing.T) {
	b := &command.BindInstance{Key: "ci", Version: 1, SPKI: []byte{1}}
	m := proofMessage(clusterID, b)
	sum := sha256.Sum256(m)
	if !bytes.Equal(proofInput(lifecycle.ES256, clusterID, b), sum[:]) || !bytes.Equal(proofInput(lifecycle.EdDSA, clusterID, b), m) {
		t.Error("another input")
	}
	if n := len(proofInput(lifecycle.ES384, clusterID, b)); n != 48 {
		t.Errorf("ES384 signs %d bytes", n)
	}
	if !bytes.HasPrefix(m, []byte(proofDomain)) {
		t.Error("no domain")
	}
}
