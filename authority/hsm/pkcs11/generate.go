//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto/elliptic"
	"errors"
	"fmt"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Generate implements hsm.KeyStore. After an error other than ErrExists,
// ErrUnsupported, ErrBusy and ErrInput the pair may exist all the same: look the id
// up.
func (s *Store) Generate(ctx context.Context, spec hsm.Spec) (hsm.Object, error) {
	if err := s.Check(spec.Alg, spec.Bits); err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	var made hsm.Object
	err := s.do(ctx, true, true, func(w *worker) (err error) {
		made, err = w.generate(spec)
		return err
	})
	if err != nil {
		return hsm.Object{}, fmt.Errorf("generate key %s: %w", spec.ID, err)
	}
	return made, nil
}

func (w *worker) generate(spec hsm.Spec) (hsm.Object, error) {
	found, err := w.search(spec.ID[:])
	if err != nil {
		return hsm.Object{}, err
	}
	if len(found.private)+len(found.public)+found.others > 0 {
		return hsm.Object{}, hsm.ErrExists
	}
	err = w.create(spec, fullTemplate)
	if templateRefused(err) {
		w.store.log.Warn("token refuses the full key template; the attributes read back tell what it grants",
			"node", w.store.cfg.NodeName, "err", err)
		err = w.create(spec, shortTemplate)
	}
	if err != nil {
		return hsm.Object{}, err
	}
	// If we die here the pair is on the token and its intent in the log; the
	// reconciler finds the one by the other.
	pair, err := w.locate(spec.ID)
	if err != nil {
		return hsm.Object{}, fmt.Errorf("read back: %w", err)
	}
	if err := checkProtection(pair.object.Attributes); err != nil {
		return hsm.Object{}, fmt.Errorf("the token made the key but does not protect it: %w: %w. It stays on the token, unused; remove it with the token's own tool", hsm.ErrUnsupported, err)
	}
	return pair.object, nil
}

// template says which attributes beyond the essential ones are set.
type template int

const (
	fullTemplate  template = iota
	shortTemplate          // for tokens that do not know the newer attributes
)

// attributeSets are the templates of both halves. SoftHSM and others grant DECRYPT,
// UNWRAP, MODIFIABLE and COPYABLE unless they are told not to.
func attributeSets(spec hsm.Spec, which template, persistent bool) (public, private []*pkcs11.Attribute) {
	common := []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_ID, spec.ID[:]),
		pkcs11.NewAttribute(pkcs11.CKA_LABEL, []byte(spec.Label)),
		pkcs11.NewAttribute(pkcs11.CKA_TOKEN, persistent),
	}
	public = append(public, common...)
	public = append(public, pkcs11.NewAttribute(pkcs11.CKA_VERIFY, true))
	private = append(private, common...)
	private = append(private,
		pkcs11.NewAttribute(pkcs11.CKA_PRIVATE, true),
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_SIGN, true),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
		pkcs11.NewAttribute(pkcs11.CKA_UNWRAP, false),
	)
	if spec.Alg.IsRSA() { // crypto11 would ask for it
		public = append(public, pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false))
	}
	if which == shortTemplate {
		return public, private
	}
	public = append(public,
		pkcs11.NewAttribute(pkcs11.CKA_WRAP, false),
		pkcs11.NewAttribute(pkcs11.CKA_VERIFY_RECOVER, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_COPYABLE, false),
	)
	private = append(private,
		pkcs11.NewAttribute(pkcs11.CKA_SIGN_RECOVER, false),
		pkcs11.NewAttribute(pkcs11.CKA_DERIVE, false),
		pkcs11.NewAttribute(pkcs11.CKA_MODIFIABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_COPYABLE, false),
	)
	return public, private
}

// create makes the pair on the token.
func (w *worker) create(spec hsm.Spec, which template) error {
	public, private := attributeSets(spec, which, true)
	if spec.Alg == lifecycle.EdDSA {
		_, _, err := w.createEd25519(public, private)
		return err
	}
	publicSet, privateSet := crypto11.NewAttributeSet(), crypto11.NewAttributeSet()
	publicSet.AddIfNotPresent(public)
	privateSet.AddIfNotPresent(private)
	p11 := w.store.conn.p11
	var err error
	switch spec.Alg {
	case lifecycle.ES256:
		_, err = p11.GenerateECDSAKeyPairWithAttributes(publicSet, privateSet, elliptic.P256())
	case lifecycle.ES384:
		_, err = p11.GenerateECDSAKeyPairWithAttributes(publicSet, privateSet, elliptic.P384())
	case lifecycle.RS256, lifecycle.PS256:
		_, err = p11.GenerateRSAKeyPairWithAttributes(publicSet, privateSet, spec.Bits)
	default:
		return fmt.Errorf("%q: %w", string(spec.Alg), hsm.ErrUnsupported)
	}
	if err != nil {
		return fail("generate", err)
	}
	return nil
}

// createEd25519 names the curve by its object identifier, and for tokens of before
// RFC 8410 by its name.
func (w *worker) createEd25519(public, private []*pkcs11.Attribute) (pub, priv pkcs11.ObjectHandle, err error) {
	raw, session, err := w.raw()
	if err != nil {
		return 0, 0, err
	}
	mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(ckmEdwardsKeyPairGen, nil)}
	for _, params := range [][]byte{oidEd25519, []byte(ed25519PrintableParams)} {
		withCurve := append(public[:len(public):len(public)], pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, params))
		pub, priv, err = raw.GenerateKeyPair(session, mechanism, withCurve, private)
		if err == nil {
			return pub, priv, nil
		}
		if !errors.Is(err, pkcs11.Error(pkcs11.CKR_DOMAIN_PARAMS_INVALID)) && !errors.Is(err, pkcs11.Error(pkcs11.CKR_CURVE_NOT_SUPPORTED)) && !templateRefused(err) {
			break
		}
	}
	return 0, 0, fail("generate", err)
}
