//go:build cgo && !nopkcs11

package pkcs11

import (
	"errors"
	"fmt"
	"time"

	"github.com/ThalesIgnite/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
)

// crypto11 gets two sessions: one that keeps the login and one to generate in, which
// only the exclusive holder of the gate uses. Waiting for it at all means that it was
// lost.
const (
	poolSessions = 2
	poolWait     = 5 * time.Second
)

// connect finds the token, logs in once and reads its mechanisms. The caller holds
// the module's gate exclusively.
func (s *Store) connect() error {
	t, err := s.preflight()
	if err != nil {
		return err
	}
	s.fitSessions(t)
	if t.info.Flags&pkcs11.CKF_USER_PIN_COUNT_LOW != 0 {
		s.log.Warn("a wrong PIN was given to the token since the last good login", "node", s.cfg.NodeName, "token", t.info.Label)
	}
	p11, err := s.login(t)
	if err != nil {
		return err
	}
	s.module.epoch++
	s.conn = &conn{epoch: s.module.epoch, token: t, p11: p11}
	// The library was finalized in between, so the slot is looked up again.
	if err := s.settle(); err != nil {
		s.disconnect()
		return err
	}
	s.serial = s.conn.token.info.SerialNumber
	s.setHealth("")
	return nil
}

// preflight selects the token and checks everything that can be known without the
// PIN, so that a login is only tried when it should succeed.
func (s *Store) preflight() (t token, err error) {
	err = s.module.initialized(func() error {
		all, err := s.module.tokens()
		if err != nil {
			return err
		}
		if t, err = pick(all, s.cfg.TokenLabel, s.cfg.TokenSerial); err != nil {
			return err
		}
		if s.serial != "" && t.info.SerialNumber != s.serial {
			return fmt.Errorf("select token: %w: token %q now has serial %s, it had %s: this is another device. Put the first one back, or restart the node with it",
				hsm.ErrUnavailable, t.info.Label, t.info.SerialNumber, s.serial)
		}
		return t.checkPINState()
	})
	if err != nil {
		return token{}, err
	}
	return t, admitPIN(s.module, t, s.pin)
}

// fitSessions lowers the concurrency to what the token's sessions allow: one per
// worker, one for the admin worker, crypto11's, and all of them at most 80 % of the
// limit, because other programs need some.
func (s *Store) fitSessions(t token) {
	limit := t.sessionLimit()
	if limit == 0 || s.signers != nil {
		return
	}
	most := max(int(min(limit, 1<<16))*8/10-1-poolSessions, 1)
	if s.cfg.Concurrency > most {
		s.log.Warn("concurrency lowered to the token's sessions", "node", s.cfg.NodeName,
			"concurrency", most, "configured", s.cfg.Concurrency, "token_sessions", limit)
		s.cfg.Concurrency = most
	}
}

// login makes the one attempt.
func (s *Store) login(t token) (*crypto11.Context, error) {
	cfg := &crypto11.Config{
		Path:            s.module.path,
		Pin:             string(s.pin),
		MaxSessions:     poolSessions,
		PoolWaitTimeout: poolWait,
	}
	if t.info.SerialNumber != "" {
		cfg.TokenSerial = t.info.SerialNumber
	} else {
		cfg.TokenLabel = t.info.Label
	}
	p11, err := crypto11.Configure(cfg)
	if err == nil {
		notePIN(s.module, t, s.pin, true)
		return p11, nil
	}
	var code pkcs11.Error
	if errors.As(err, &code) && pinRefusals[code] {
		notePIN(s.module, t, s.pin, false)
		return nil, refusedPIN(t.info.Label, code)
	}
	return nil, fail("log in to token "+t.String(), err)
}

// settle completes a fresh connection: present slot number, login state, mechanisms.
func (s *Store) settle() error {
	all, err := s.module.tokens()
	if err != nil {
		return err
	}
	if s.conn.token, err = pick(all, s.cfg.TokenLabel, s.cfg.TokenSerial); err != nil {
		return err
	}
	table, err := readMechanisms(s.module.raw, s.conn.token.slot)
	if err != nil {
		return err
	}
	s.mechanisms.Store(table)
	return nil
}

// disconnect closes the crypto11 context and every raw session. The caller holds
// the gate exclusively, so nothing is in the device.
func (s *Store) disconnect() {
	if s.conn == nil {
		return
	}
	old := s.conn
	s.conn = nil
	for _, l := range []*lane{s.signers, s.admin} {
		if l != nil {
			l.dropSessions()
		}
	}
	noteLogout(s.module, old.token)
	if err := closeContext(old.p11); err != nil {
		s.log.Warn("token connection did not close cleanly", "node", s.cfg.NodeName, "err", err)
	}
}

// closeContext turns crypto11's panics on an unexpected reference count into errors:
// they must not take the process down in the middle of a recovery.
func closeContext(p11 *crypto11.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("close PKCS#11 context: %v", p)
		}
	}()
	return p11.Close()
}

// reconnect is connect after a recovery closed everything. It records the outcome,
// because nobody may be waiting for it.
func (s *Store) reconnect() error {
	err := s.connect()
	if err == nil {
		// Keys seen before are looked for, so that a wipe is noticed now and not at
		// the next signature.
		if err = s.recheckKnown(); err != nil {
			s.disconnect()
		}
	}
	if err == nil {
		s.log.Warn("token connection recovered", "node", s.cfg.NodeName, "serial", s.serial, "epoch", s.conn.epoch)
		return nil
	}
	if errors.Is(err, hsm.ErrLocked) {
		s.locked.Store(true)
		s.log.Error("token refused the PIN; signing stops until restart", "node", s.cfg.NodeName, "err", err)
		s.setHealth(err.Error())
	} else {
		s.setHealth(err.Error() + ". It is tried again on its own; check the token, its cable or network, and the module's log")
	}
	return fmt.Errorf("recover token: %w", err)
}
