package provision

import (
	"context"
	"crypto"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256.New
	_ "crypto/sha512" // for crypto.SHA384.New
	"encoding/binary"
	"fmt"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Proof of possession: the signature of the new key over proofInput.
type Proof struct {
	Signature []byte `cbor:"1,keyasint" json:"signature"`
}

// proofDomain begins every proof, so that it cannot be mistaken for anything a
// caller had signed. Changing it makes proofs of older nodes fail.
const proofDomain = "chancery-pop/1"

// proofMessage is the domain and then each field behind its length (4 bytes, big
// endian), so that no two bindings share a message.
func proofMessage(clusterID string, b *command.BindInstance) []byte {
	m := []byte(proofDomain)
	for _, field := range [][]byte{[]byte(clusterID), []byte(b.Key), binary.BigEndian.AppendUint64(nil, b.Version), []byte(b.Node), b.SPKI} {
		m = binary.BigEndian.AppendUint32(m, uint32(len(field)))
		m = append(m, field...)
	}
	return m
}

// proofInput is what the key store is given: the digest, or for EdDSA the message.
func proofInput(alg lifecycle.Algorithm, clusterID string, b *command.BindInstance) []byte {
	m := proofMessage(clusterID, b)
	var h crypto.Hash
	switch alg.Hash() {
	case lifecycle.SHA256:
		h = crypto.SHA256
	case lifecycle.SHA384:
		h = crypto.SHA384
	default:
		return m
	}
	d := h.New()
	d.Write(m)
	return d.Sum(nil)
}

// CheckProof is the leader's check of a binding: the public key is one for the key's
// algorithm and size, the kid is its thumbprint, and its owner can sign with it, for
// this cluster, key, version and node.
func CheckProof(k *lifecycle.Key, clusterID string, b *command.BindInstance, proof Proof) error {
	if k.ID != b.Key {
		return fmt.Errorf("check proof of possession: it is for key %s, not %s", b.Key, k.ID)
	}
	if err := fits(k, b.SPKI); err != nil {
		return fmt.Errorf("check proof of possession: %w", err)
	}
	kid, err := publish.Thumbprint(b.SPKI)
	if err != nil {
		return fmt.Errorf("check proof of possession: %w", err)
	}
	if kid != b.KID {
		return fmt.Errorf("check proof of possession: the kid is %s, the public key's thumbprint %s", b.KID, kid)
	}
	if err := hsm.VerifySignature(k.Alg, b.SPKI, proofInput(k.Alg, clusterID, b), proof.Signature); err != nil {
		return fmt.Errorf("check proof of possession: %w", err)
	}
	return nil
}

// fits checks that a public key is what the Key asked for.
func fits(k *lifecycle.Key, spki []byte) error {
	pub, err := hsm.ParseSPKI(spki)
	if err != nil {
		return err
	}
	if err := hsm.CheckKey(k.Alg, pub); err != nil {
		return err
	}
	if key, ok := pub.(*rsa.PublicKey); ok && key.N.BitLen() != k.Bits {
		return fmt.Errorf("the modulus has %d bits, the key wants %d: %w", key.N.BitLen(), k.Bits, hsm.ErrMismatch)
	}
	return nil
}

// prove signs the proof and verifies it: a store that signs wrongly is found here,
// before anybody trusts the key.
func prove(ctx context.Context, store hsm.KeyStore, k *lifecycle.Key, clusterID string, b *command.BindInstance) (Proof, error) {
	sig, err := store.Sign(ctx, hsm.Ref{ID: hsm.ObjectID(b.CKAID), SPKI: b.SPKI, Alg: k.Alg}, proofInput(k.Alg, clusterID, b))
	if err != nil {
		return Proof{}, fmt.Errorf("sign proof of possession: %w", err)
	}
	proof := Proof{Signature: sig}
	if err := CheckProof(k, clusterID, b, proof); err != nil {
		return Proof{}, err
	}
	return proof, nil
}
