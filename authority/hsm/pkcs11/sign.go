//go:build cgo && !nopkcs11

package pkcs11

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// key is a pair ready to sign in one epoch. Looking one up costs 70 ms on a token
// with a thousand keys, so it is kept by CKA_ID.
type key struct {
	object  hsm.Object
	public  crypto.PublicKey
	signer  crypto11.Signer     // nil for Ed25519, which crypto11 does not know
	private pkcs11.ObjectHandle // for Ed25519

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
	if w.store.module.failures.Load() != 0 {
		w.store.module.failures.Store(0) // the recovery helped
	}
	return sig, nil
}

// pssOptions is PS256; crypto11 does not accept PSSSaltLengthAuto.
var pssOptions = &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}

func (w *worker) signWith(k *key, alg lifecycle.Algorithm, input []byte) ([]byte, error) {
	if k.signer == nil {
		return w.signRaw(k.private, ckmEdDSA, input)
	}
	var opts crypto.SignerOpts = crypto.SHA256
	switch alg {
	case lifecycle.ES384:
		opts = crypto.SHA384
	case lifecycle.PS256:
		opts = pssOptions
	}
	sig, err := k.signer.Sign(nil, input, opts)
	if err != nil {
		return nil, fail("sign", err)
	}
	return sig, nil
}

// signRaw signs in the worker's own session.
func (w *worker) signRaw(private pkcs11.ObjectHandle, mechanism uint, input []byte) ([]byte, error) {
	raw, session, err := w.raw()
	if err != nil {
		return nil, err
	}
	if err := raw.SignInit(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, private); err != nil {
		return nil, fail("sign", err)
	}
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
	if hsm.CheckKey(lifecycle.EdDSA, k.public) != nil {
		if k.signer, err = findSigner(conn, id, k.public); err != nil {
			return nil, err
		}
	}
	conn.keys.Store(id, k)
	return k, nil
}

// findSigner gets crypto11's handle on a pair that was found to be the only one.
func findSigner(conn *conn, id hsm.ObjectID, public crypto.PublicKey) (crypto11.Signer, error) {
	signers, err := conn.p11.FindKeyPairs(id[:], nil)
	if err != nil {
		return nil, fail("look up signer", err)
	}
	if len(signers) != 1 {
		return nil, &deviceError{"look up signer", fmt.Errorf("%d pairs where one was seen a moment ago", len(signers))}
	}
	comparable, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !comparable.Equal(signers[0].Public()) {
		return nil, &deviceError{"look up signer", errors.New("the two look-ups saw different public keys")}
	}
	return signers[0], nil
}
