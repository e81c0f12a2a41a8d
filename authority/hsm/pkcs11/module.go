//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
	"golang.org/x/sync/semaphore"

	"github.com/chancery-project/chancery/authority/hsm"
)

// gateSize is the weight of an exclusive holder of the gate; a shared one weighs 1.
const gateSize = 1 << 20

// exclusiveWait bounds how long a generation, destruction or recovery waits for the
// calls inside the device. While it waits no new call gets in, so a hung one must
// not be waited for.
const exclusiveWait = 5 * time.Second

// module is one PKCS#11 library in this process. C_Initialize and C_Finalize concern
// all of its tokens at once; crypto11 counts its contexts and finalizes with the
// last, so a recovery must close those of every store.
type module struct {
	path string
	raw  *pkcs11.Ctx // second view of the library; keeps it mapped, never finalizes what crypto11 initialized
	gate *semaphore.Weighted

	exclusiveAt atomic.Int64 // when the exclusive holder came in, in ns since processStart; 0 = none

	// Owned by the exclusive holder of the gate.
	stores      []*Store
	epoch       uint64    // counts connections; a handle of an older epoch is void
	recoveries  int       // in a row, with less than lastPause between them
	recoveredAt time.Time // of the last one, successful or not
}

// modules lists the libraries in use. A module stays listed, and its library mapped,
// until the process ends: unmapping code whose threads may still run in it crashes.
var modules = struct {
	sync.Mutex
	byPath map[string]*module
}{byPath: map[string]*module{}}

// processStart is the zero of the monotonic stamps below.
var processStart = time.Now()

// stamp is the present moment in ns since processStart, never 0.
func stamp() int64 { return int64(time.Since(processStart)) | 1 }

// loadModule maps a library, or finds it mapped. It does not initialize it.
func loadModule(path string) (*module, error) {
	if path == "" {
		return nil, errors.New("open PKCS#11 module: module is not set; for SoftHSM on Debian it is /usr/lib/softhsm/libsofthsm2.so")
	}
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("open PKCS#11 module: %s is not an absolute path", path)
	}
	modules.Lock()
	defer modules.Unlock()
	if m, ok := modules.byPath[path]; ok {
		return m, nil
	}
	raw := pkcs11.New(path)
	if raw == nil {
		return nil, fmt.Errorf("open PKCS#11 module: %s cannot be loaded. Check that the file exists and is a PKCS#11 library for this machine: pkcs11-tool --module %s -L: %w", path, path, hsm.ErrUnavailable)
	}
	m := &module{path: path, raw: raw, gate: semaphore.NewWeighted(gateSize)}
	modules.byPath[path] = m
	return m, nil
}

// enter lets a call into the gate. The error is the context's.
func (m *module) enter(ctx context.Context, exclusive bool) error {
	if !exclusive {
		return m.gate.Acquire(ctx, 1)
	}
	bounded, cancel := context.WithTimeout(ctx, exclusiveWait)
	defer cancel()
	if err := m.gate.Acquire(bounded, gateSize); err != nil {
		return err
	}
	m.exclusiveAt.Store(stamp())
	return nil
}

func (m *module) leave(exclusive bool) {
	if !exclusive {
		m.gate.Release(1)
		return
	}
	m.exclusiveAt.Store(0)
	m.gate.Release(gateSize)
}

// initialized runs f while the library is initialized. When no crypto11 context
// keeps it so, it is initialized for f only: crypto11 insists on calling
// C_Initialize itself. The caller holds the gate exclusively.
func (m *module) initialized(f func() error) error {
	if slices.ContainsFunc(m.stores, func(s *Store) bool { return s.conn != nil }) {
		return f()
	}
	if err := m.raw.Initialize(); err != nil {
		return fail("initialize module "+m.path, err)
	}
	err := f()
	if finalErr := m.raw.Finalize(); finalErr != nil && err == nil {
		err = fail("finalize module "+m.path, finalErr)
	}
	return err
}

// A recovery disturbs every key of every token of the module, so a key or a device
// that keeps failing must not cause one after the other. The first comes at once,
// each further one after a pause that doubles up to lastPause; a quiet lastPause
// begins anew.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
)

// pause is how long the next recovery must wait. The caller holds the gate
// exclusively.
func (m *module) pause() time.Duration {
	quiet := time.Since(m.recoveredAt)
	if m.recoveries == 0 || quiet > lastPause {
		m.recoveries = 0
		return 0
	}
	return min(firstPause<<min(m.recoveries-1, 10), lastPause) - quiet
}

// recover closes every context of the library, which invalidates every handle, and
// connects every store anew. failed is the epoch in which the caller's call failed:
// when another call has recovered since, there is nothing to do.
func (m *module) recover(ctx context.Context, s *Store, failed uint64) error {
	if err := m.enter(ctx, true); err != nil {
		return fmt.Errorf("recover token: %w: calls are still inside the module: %w", hsm.ErrUnavailable, err)
	}
	defer m.leave(true)
	switch {
	case s.closed.Load():
		return hsm.ErrClosed
	case s.locked.Load():
		return s.lockedError()
	case s.conn != nil && s.conn.epoch > failed:
		return nil
	}
	if wait := m.pause(); wait > 0 {
		return fmt.Errorf("recover token: %w: the last attempt did not help; next one in %v", hsm.ErrUnavailable, wait.Round(time.Millisecond))
	}
	for _, each := range m.stores {
		each.disconnect()
	}
	var own error
	for _, each := range m.stores {
		err := each.reconnect()
		if each == s {
			own = err
		}
	}
	m.recoveries++
	m.recoveredAt = time.Now()
	return own
}

// attach connects a new store and starts its workers. The caller does not hold the gate.
func (m *module) attach(ctx context.Context, s *Store) error {
	if err := m.enter(ctx, true); err != nil {
		return fmt.Errorf("open token: %w: %w", hsm.ErrUnavailable, err)
	}
	defer m.leave(true)
	if err := s.connect(); err != nil {
		return err
	}
	s.start() // before another store's recovery can see s
	m.stores = append(m.stores, s)
	return nil
}

// detach disconnects a store for good.
func (m *module) detach(s *Store) error {
	if err := m.enter(context.Background(), true); err != nil {
		return fmt.Errorf("close token: calls are still inside the module after %v; it stays loaded until the process ends: %w", exclusiveWait, hsm.ErrUnavailable)
	}
	defer m.leave(true)
	s.disconnect()
	m.stores = slices.DeleteFunc(m.stores, func(each *Store) bool { return each == s })
	return nil
}
