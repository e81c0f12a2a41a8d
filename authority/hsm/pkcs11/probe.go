//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"strconv"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Probe implements hsm.Prober. That the store is open proves the login.
func (s *Store) Probe(ctx context.Context) (hsm.Report, error) {
	var report hsm.Report
	objects, err := s.Inventory(ctx)
	if err != nil {
		return hsm.Report{Driver: hsm.DriverPKCS11, Module: s.cfg.Module, Token: s.tokenName()}, fmt.Errorf("probe token: %w", err)
	}
	err = s.do(ctx, true, false, func(w *worker) (err error) {
		report, err = w.examine()
		return err
	})
	if err != nil {
		return hsm.Report{Driver: hsm.DriverPKCS11, Module: s.cfg.Module, Token: s.tokenName()}, fmt.Errorf("probe token: %w", err)
	}
	report.KeyPairs = len(objects)
	if h := s.Health(); !h.OK {
		report.Warnings = append(report.Warnings, h.Why)
	}
	if report.Signed, err = s.probeSignature(ctx, objects); err != nil {
		return report, fmt.Errorf("probe token: sign with %s: %w", report.Signed, err)
	}
	report.Verified = true
	return report, nil
}

// examine asks the library about itself and the token.
func (w *worker) examine() (hsm.Report, error) {
	s := w.store
	report := hsm.Report{Driver: hsm.DriverPKCS11, Module: s.cfg.Module, Concurrency: s.cfg.Concurrency}
	info, err := s.module.raw.GetInfo()
	if err != nil {
		return report, fail("read module info", err)
	}
	report.Library = fmt.Sprintf("%s, %s %d.%d", info.ManufacturerID, info.LibraryDescription, info.LibraryVersion.Major, info.LibraryVersion.Minor)
	report.Cryptoki = fmt.Sprintf("%d.%d", info.CryptokiVersion.Major, info.CryptokiVersion.Minor)
	slot := s.conn.token.slot
	now, err := s.module.raw.GetTokenInfo(slot) // not the copy made at login: PIN flags change
	if err != nil {
		return report, fail("read token info", err)
	}
	t := token{slot: slot, info: now}
	report.Token, report.Serial, report.Model = now.Label, now.SerialNumber, now.Model
	report.Firmware = fmt.Sprintf("%d.%d", now.FirmwareVersion.Major, now.FirmwareVersion.Minor)
	report.Flags = flagNames(now.Flags)
	report.MaxSessions = "no limit stated"
	if limit := t.sessionLimit(); limit != 0 {
		report.MaxSessions = strconv.FormatUint(uint64(limit), 10)
	}
	report.LoggedIn = true
	table := s.mechanisms.Load()
	report.Mechanisms, report.Algorithms = table.report(), table.algorithms()
	if now.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0 {
		report.Warnings = append(report.Warnings, "a wrong PIN was given to the token since the last good login; find out by whom")
	}
	if now.Flags&pkcs11.CKF_WRITE_PROTECTED != 0 {
		report.Warnings = append(report.Warnings, "the token is write-protected: no key can be made or destroyed")
	}
	return report, nil
}

// probeSignature signs random bytes under a fixed domain that no other use of a key
// has, verifies the signature and drops it.
func (s *Store) probeSignature(ctx context.Context, objects []hsm.Object) (with string, err error) {
	input := make([]byte, 32)
	if _, err := rand.Read(input); err != nil {
		return "", err
	}
	message := append([]byte("chancery/keystore-probe/v1\n"), input...)
	for _, o := range objects {
		alg, ok := algorithmOf(o.SPKI)
		if !ok {
			continue
		}
		input := probeInput(alg, message)
		sig, err := s.Sign(ctx, hsm.Ref{ID: o.ID, SPKI: o.SPKI, Alg: alg}, input)
		if err == nil {
			err = hsm.VerifySignature(alg, o.SPKI, input, sig)
		}
		return fmt.Sprintf("key %s (%s, %s)", o.ID, o.Label, alg), err
	}
	with = "ephemeral ES256 session key"
	return with, s.do(ctx, true, true, func(w *worker) error { return w.probeSessionKey(probeInput(lifecycle.ES256, message)) })
}

func probeInput(alg lifecycle.Algorithm, message []byte) []byte {
	if alg == lifecycle.EdDSA {
		return message
	}
	if alg == lifecycle.ES384 {
		sum := sha512.Sum384(message)
		return sum[:]
	}
	sum := sha256.Sum256(message)
	return sum[:]
}

// algorithmOf finds an algorithm for an existing key; RSA keys of either kind can
// be tested with RS256.
func algorithmOf(spki []byte) (lifecycle.Algorithm, bool) {
	public, err := hsm.ParseSPKI(spki)
	if err != nil {
		return "", false
	}
	for _, alg := range lifecycle.Algorithms {
		if hsm.CheckKey(alg, public) == nil {
			return alg, true
		}
	}
	return "", false
}

// probeSessionKey makes a pair that the token drops with the session.
func (w *worker) probeSessionKey(digest []byte) (err error) {
	raw, session, err := w.raw()
	if err != nil {
		return err
	}
	defer w.dropSession() // and with it the pair
	var spec hsm.Spec
	if _, err := rand.Read(spec.ID[:]); err != nil {
		return err
	}
	spec.Alg, spec.Label = lifecycle.ES256, "chancery probe"
	public, private := attributeSets(spec, shortTemplate, false)
	public = append(public, pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, oidP256))
	pub, priv, err := raw.GenerateKeyPair(session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_EC_KEY_PAIR_GEN, nil)}, public, private)
	if err != nil {
		return fail("generate session key", err)
	}
	spki, err := w.publicKey(pub)
	if err != nil {
		return err
	}
	rs, err := w.signRaw(priv, signMechanisms[lifecycle.ES256], digest)
	if err != nil {
		return err
	}
	sig, err := hsm.DERFromRaw(rs)
	return errors.Join(err, hsm.VerifySignature(lifecycle.ES256, spki, digest, sig))
}

// flagNames spells out the token flags.
func flagNames(flags uint) []string {
	var names []string
	for _, f := range []struct {
		bit  uint
		name string
	}{
		{pkcs11.CKF_RNG, "rng"}, {pkcs11.CKF_WRITE_PROTECTED, "write-protected"},
		{pkcs11.CKF_LOGIN_REQUIRED, "login-required"}, {pkcs11.CKF_USER_PIN_INITIALIZED, "user-pin-initialized"},
		{pkcs11.CKF_RESTORE_KEY_NOT_NEEDED, "restore-key-not-needed"}, {pkcs11.CKF_CLOCK_ON_TOKEN, "clock-on-token"},
		{pkcs11.CKF_PROTECTED_AUTHENTICATION_PATH, "protected-authentication-path"},
		{pkcs11.CKF_DUAL_CRYPTO_OPERATIONS, "dual-crypto-operations"}, {pkcs11.CKF_TOKEN_INITIALIZED, "token-initialized"},
		{pkcs11.CKF_USER_PIN_COUNT_LOW, "user-pin-count-low"}, {pkcs11.CKF_USER_PIN_FINAL_TRY, "user-pin-final-try"},
		{pkcs11.CKF_USER_PIN_LOCKED, "user-pin-locked"}, {pkcs11.CKF_USER_PIN_TO_BE_CHANGED, "user-pin-to-be-changed"},
		{pkcs11.CKF_SO_PIN_COUNT_LOW, "so-pin-count-low"}, {pkcs11.CKF_SO_PIN_FINAL_TRY, "so-pin-final-try"},
		{pkcs11.CKF_SO_PIN_LOCKED, "so-pin-locked"}, {pkcs11.CKF_SO_PIN_TO_BE_CHANGED, "so-pin-to-be-changed"},
		{pkcs11.CKF_ERROR_STATE, "error-state"},
	} {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}
