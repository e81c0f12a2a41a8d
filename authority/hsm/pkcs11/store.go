//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/ThalesIgnite/crypto11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func init() {
	hsm.Register(hsm.DriverPKCS11, func(ctx context.Context, cfg hsm.Config, log *slog.Logger) (hsm.KeyStore, error) {
		return Open(ctx, cfg, log)
	})
}

// Store is an open token.
type Store struct {
	cfg    hsm.Config
	log    *slog.Logger
	module *module
	pin    []byte // kept, because a recovery has to log in again
	serial string // of the token first opened; no other is ever logged in to

	signers *lane // Concurrency workers
	admin   *lane // one worker for everything else, so that a long listing takes no signer's slot

	conn  *conn    // owned by the module's gate; nil = not connected
	known sync.Map // hsm.ObjectID -> struct{}: pairs seen here and not destroyed by us

	mechanisms atomic.Pointer[mechanismTable]
	health     atomic.Pointer[hsm.Health]
	locked     atomic.Bool // the PIN was refused
	closed     atomic.Bool
	stop       chan struct{} // closed by Close
	finished   sync.WaitGroup
}

var (
	_ hsm.KeyStore = (*Store)(nil)
	_ hsm.Prober   = (*Store)(nil)
)

// conn is one logged-in connection to the token. A recovery replaces it whole, and
// with it every cached handle.
type conn struct {
	epoch uint64
	token token
	p11   *crypto11.Context
	keys  sync.Map // hsm.ObjectID -> *key
}

// Open connects and logs in, once.
func Open(ctx context.Context, cfg hsm.Config, log *slog.Logger) (*Store, error) {
	cfg = cfg.WithDefaults()
	pin, err := hsm.ReadSecret("pin_file", cfg.PINFile)
	if err != nil {
		return nil, fmt.Errorf("open token: %w", err)
	}
	m, err := loadModule(cfg.Module)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: cfg, log: log, module: m, pin: pin, stop: make(chan struct{})}
	if s.cfg.Exit == nil {
		s.cfg.Exit = s.exit
	}
	s.health.Store(&hsm.Health{Why: "not connected yet", Token: cfg.TokenLabel})
	if err := m.attach(ctx, s); err != nil {
		return nil, err
	}
	return s, nil
}

// start runs the workers and the watch.
func (s *Store) start() {
	s.signers = newLane(s, s.cfg.Concurrency, s.cfg.Concurrency+s.cfg.QueueMax, false)
	s.admin = newLane(s, 1, adminQueue, true)
	s.finished.Go(s.watch)
}

// adminQueue bounds the calls that wait to generate, find, list or destroy.
const adminQueue = 64

func (s *Store) exit(reason string) {
	s.log.Error("device hangs; process exits", "node", s.cfg.NodeName, "reason", reason)
	os.Exit(hsm.ExitHung)
}

// Driver implements hsm.KeyStore.
func (s *Store) Driver() string { return hsm.DriverPKCS11 }

// Health implements hsm.KeyStore.
func (s *Store) Health() hsm.Health { return *s.health.Load() }

// setHealth records what is wrong, or with "" that nothing is.
func (s *Store) setHealth(why string) {
	s.health.Store(&hsm.Health{
		OK: why == "", Why: why, Locked: s.locked.Load(),
		Token: s.tokenName(), Serial: s.serial,
	})
}

func (s *Store) tokenName() string {
	if s.cfg.TokenLabel != "" {
		return s.cfg.TokenLabel
	}
	return s.cfg.TokenSerial
}

func (s *Store) lockedError() error { return refusedPIN(s.tokenName(), nil) }

// Check implements hsm.KeyStore, from the mechanism list read at the last login.
func (s *Store) Check(alg lifecycle.Algorithm, bits int) error {
	if err := lifecycle.CheckAlgorithm(alg, bits); err != nil {
		return fmt.Errorf("%w: %w", hsm.ErrUnsupported, err)
	}
	return s.mechanisms.Load().check(alg, bits)
}

// ready refuses calls that cannot succeed.
func (s *Store) ready(ctx context.Context) error {
	switch {
	case s.closed.Load():
		return hsm.ErrClosed
	case s.locked.Load():
		return s.lockedError()
	}
	return ctx.Err()
}

// Close implements hsm.KeyStore. It waits for calls inside the device, at most
// exclusiveWait.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	close(s.stop)
	err := s.module.detach(s)
	if err == nil {
		// Only now: a worker inside the device would be waited for without end.
		s.finished.Wait()
	}
	s.setHealth(hsm.ErrClosed.Error())
	clear(s.pin)
	return err
}

// disappeared records that a pair this process had seen is gone, although nobody
// ordered it here. The look-up was good: what changed is the token.
func (s *Store) disappeared(id hsm.ObjectID) {
	if _, wasHere := s.known.Load(id); wasHere {
		s.setHealth(fmt.Sprintf("key %s was on token %s and is gone: the token was wiped, or another program deleted the key. "+
			"Compare with a backup of the token, or report the instance as lost, then restart the node", id, s.tokenName()))
	}
}
