//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"fmt"
	"time"
)

// exclusivePatience is how many times AbandonAfter a generation, destruction or
// recovery may take: some tokens need a minute for an RSA key.
const exclusivePatience = 4

// watch looks for hung calls and repairs a lost connection in the background, so
// that a node nobody asks for signatures becomes healthy again too.
func (s *Store) watch() {
	tick := time.NewTicker(min(s.cfg.AbandonAfter/8, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		if reason := s.hung(); reason != "" {
			s.cfg.Exit(reason)
			return
		}
		s.repair()
	}
}

// hung tells why the process must end, or "".
func (s *Store) hung() string {
	now, limit := stamp(), int64(s.cfg.AbandonAfter)
	if since := s.module.exclusiveAt.Load(); since != 0 && now-since > exclusivePatience*limit {
		return fmt.Sprintf("token %s: a generation, destruction or recovery has been inside the PKCS#11 module for %v. Only a new process can load the module afresh",
			s.tokenName(), exclusivePatience*s.cfg.AbandonAfter)
	}
	for _, w := range s.signers.workers {
		if since := w.sinceAt.Load(); since == 0 || now-since <= limit {
			return ""
		}
	}
	return fmt.Sprintf("token %s: all %d calls have been inside the PKCS#11 module for more than %v. Only a new process can load the module afresh",
		s.tokenName(), len(s.signers.workers), s.cfg.AbandonAfter)
}

// repair reconnects when the connection is down. Its error, if any, is already in
// Health.
func (s *Store) repair() {
	if s.locked.Load() || s.Health().OK {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), exclusiveWait)
	defer cancel()
	if err := s.module.enter(ctx, false); err != nil {
		return
	}
	down := s.conn == nil
	s.module.leave(false)
	if down {
		_ = s.module.recover(ctx, s, 0) // recorded in Health by reconnect
	}
}
