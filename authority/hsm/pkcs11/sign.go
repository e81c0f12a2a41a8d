//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"fmt"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// key is a pair ready to sign in one epoch. Looking one up costs 70 ms on a token
// with a thousand keys, so it is kept by CKA_ID.
type key struct {
	object  hsm.Object
	public  crypto.PublicKey
	private pkcs11.ObjectHandle

	// proven is set once a signature of this epoch has verified. Until then each is
	// verified here, because a handle may turn out to be another key after a token
	// was re-initialised.
	proven atomic.Bool
}

// Sign implements hsm.KeyStore.
func (s *Store) Sign(ctx context.Context, ref hsm.Ref, input []byte) ([]byte, error) {
	if err := hsm.CheckInput(ref.Alg, input); err != nil {
		return nil, err
	}
	if err := s.ready(ctx); err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", ref.ID, err)
	}
	c := calls.Get().(*call)
	c.ctx, c.id, c.alg = ctx, ref.ID, ref.Alg
	c.spki = append(c.spki[:0], ref.SPKI...)
	c.input = append(c.input[:0], input...)
	c.state.Store(queued)
	left, err := s.signers.submit(s, c)
	if left {
		return nil, fmt.Errorf("sign with key %s: %w", ref.ID, err)
	}
	sig := c.signature
	c.ctx, c.signature, c.failure = nil, nil, nil
	calls.Put(c)
	if err != nil {
		return nil, fmt.Errorf("sign with key %s: %w", ref.ID, err)
	}
	return sig, nil
}

// sign makes one signature inside the gate.
func (w *worker) sign(conn *conn, c *call) ([]byte, error) {
	if err := c.ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", hsm.ErrBusy, err)
	}
	k, err := w.key(conn, c.id)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(k.object.SPKI, c.spki) {
		return nil, hsm.ErrMismatch
	}
	if err := hsm.CheckKey(c.alg, k.public); err != nil {
		return nil, err
	}
	sig, err := w.signWith(k, c.alg, c.input)
	if err != nil {
		return nil, err
	}
	if k.proven.Load() {
		return sig, nil
	}
	if err := hsm.VerifySignature(c.alg, c.spki, c.input, sig); err != nil {
		conn.keys.Delete(c.id)
		return nil, fmt.Errorf("%w: what it signed does not verify with the registered public key; do not use the instance: %w", hsm.ErrMismatch, err)
	}
	k.proven.Store(true)
	return sig, nil
}

// mechanisms to sign with, made once because the hot path must not allocate them.
var signMechanisms = map[lifecycle.Algorithm][]*pkcs11.Mechanism{
	lifecycle.ES256: {pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)},
	lifecycle.ES384: {pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)},
	lifecycle.EdDSA: {pkcs11.NewMechanism(ckmEdDSA, nil)},
	lifecycle.RS256: {pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS, nil)},
	lifecycle.PS256: {pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_PSS, pkcs11.NewPSSParams(pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256, sha256.Size))},
}

// digestInfoSHA256 precedes the digest in RSASSA-PKCS1-v1_5 (RFC 8017, section 9.2,
// note 1); CKM_RSA_PKCS adds the padding only.
var digestInfoSHA256 = []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}

// signWith signs in the worker's own read-only session, not through crypto11's
// Signer: that costs a tenth of the rate (reflection for DER, a timer and a pool
// round trip per call), signs in read-write sessions, and puts a session back into
// its pool whatever happened in it.
func (w *worker) signWith(k *key, alg lifecycle.Algorithm, input []byte) ([]byte, error) {
	if alg == lifecycle.RS256 {
		input = append(digestInfoSHA256[:len(digestInfoSHA256):len(digestInfoSHA256)], input...)
	}
	sig, err := w.signRaw(k.private, signMechanisms[alg], input)
	if err != nil || alg != lifecycle.ES256 && alg != lifecycle.ES384 {
		return sig, err
	}
	return hsm.DERFromRaw(sig)
}

func (w *worker) signRaw(private pkcs11.ObjectHandle, mechanism []*pkcs11.Mechanism, input []byte) ([]byte, error) {
	raw, session, err := w.raw()
	if err != nil {
		return nil, err
	}
	if err := raw.SignInit(session, mechanism, private); err != nil {
		return nil, fail("sign", err)
	}
	fault.Reached(fault.SignInHSM)
	sig, err := raw.Sign(session, input)
	if err != nil {
		w.dropSession() // the operation may still be active in it
		return nil, fail("sign", err)
	}
	return sig, nil
}

// key gives the cached pair, or looks it up. Two workers may do that for one id at
// the same time; the second result replaces an equal first.
func (w *worker) key(conn *conn, id hsm.ObjectID) (*key, error) {
	if cached, ok := conn.keys.Load(id); ok {
		return cached.(*key), nil
	}
	pair, err := w.locate(id)
	if err != nil {
		return nil, err
	}
	k := &key{object: pair.object, private: pair.private}
	if k.public, err = hsm.ParseSPKI(pair.object.SPKI); err != nil {
		return nil, err
	}
	conn.keys.Store(id, k)
	return k, nil
}
