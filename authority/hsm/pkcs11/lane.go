//go:build cgo && !nopkcs11

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/miekg/pkcs11"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// lane is a bounded queue and the workers that empty it.
type lane struct {
	queue   chan *call
	pending atomic.Int64 // calls queued or in the device, abandoned ones included
	bound   int64
	workers []*worker
}

// worker makes the device calls of one slot, one at a time.
type worker struct {
	store   *Store
	lane    *lane
	writes  bool                 // its session may change the token
	sinceAt atomic.Int64         // stamp of entry into the device, 0 = outside
	session pkcs11.SessionHandle // raw session, 0 = none; owned by the gate like epoch
	epoch   uint64               // of the session
}

// call is one request to the device. Its buffers are its own, because an abandoned
// call outlives its caller.
type call struct {
	ctx       context.Context
	state     atomic.Int32
	exclusive bool
	once      bool                // not repeated after a recovery
	run       func(*worker) error // nil = sign
	id        hsm.ObjectID        // to sign with
	alg       lifecycle.Algorithm // to sign with
	spki      []byte              // the key must have
	input     []byte              // to sign
	signature []byte
	failure   error
	done      chan struct{} // capacity 1
}

// States of a call. Only queued may change, and only once.
const (
	queued    int32 = iota
	started         // it is, or was, in the device
	abandoned       // its caller left while it was queued; nothing was done
)

func newLane(s *Store, workers, bound int, writes bool) *lane {
	l := &lane{queue: make(chan *call, bound), bound: int64(bound)}
	for range workers {
		w := &worker{store: s, lane: l, writes: writes}
		l.workers = append(l.workers, w)
		s.finished.Go(w.work)
	}
	return l
}

// calls recycles finished calls. An abandoned one is left to the garbage collector.
var calls = sync.Pool{New: func() any { return &call{done: make(chan struct{}, 1)} }}

// submit queues a call and waits for its end or for the caller's. After a nil or a
// call's own error c may be reused, otherwise (left) the worker still owns it.
func (l *lane) submit(s *Store, c *call) (left bool, err error) {
	if l.pending.Add(1) > l.bound {
		l.pending.Add(-1)
		return false, hsm.ErrBusy
	}
	l.queue <- c // never blocks: its capacity is the bound
	stop := s.stop
	for {
		select {
		case <-c.done:
			return false, c.failure
		case <-c.ctx.Done():
			if c.state.CompareAndSwap(queued, abandoned) {
				return true, fmt.Errorf("%w: deadline passed in the queue: %w", hsm.ErrBusy, c.ctx.Err())
			}
			return true, fmt.Errorf("%w: abandoned inside the device, the outcome is unknown: %w", hsm.ErrUnavailable, c.ctx.Err())
		case <-stop:
			if c.state.CompareAndSwap(queued, abandoned) {
				return true, hsm.ErrClosed
			}
			stop = nil // it is in the device: wait for its end
		}
	}
}

func (w *worker) work() {
	for {
		c, ok := w.next()
		if !ok {
			return
		}
		c.failure = w.serve(c)
		w.lane.pending.Add(-1) // before done, so that the caller can come again at once
		c.done <- struct{}{}
	}
}

// next waits for a call. Before it sleeps it lets the caller it has just answered
// run once: under load that caller's next request is then found without waking
// anybody, which saves a futex call per signature.
func (w *worker) next() (*call, bool) {
	select {
	case c := <-w.lane.queue:
		return c, true
	default:
		runtime.Gosched()
	}
	select {
	case c := <-w.lane.queue:
		return c, true
	case <-w.store.stop:
		return nil, false
	}
}

// serve makes one call, and after a recovery makes it again if that is harmless.
func (w *worker) serve(c *call) error {
	for repeated := false; ; repeated = true {
		if err := w.store.module.enter(c.ctx, c.exclusive); err != nil {
			return fmt.Errorf("%w: device calls did not end in time: %w", hsm.ErrBusy, err)
		}
		if !repeated && !c.state.CompareAndSwap(queued, started) {
			w.store.module.leave(c.exclusive)
			return hsm.ErrBusy // nobody waits for it
		}
		epoch, err := w.inside(c)
		w.store.module.leave(c.exclusive)
		if !broken(err) {
			return err
		}
		if recoverErr := w.store.module.recover(c.ctx, w.store, epoch); recoverErr != nil {
			if errors.Is(recoverErr, hsm.ErrLocked) || errors.Is(recoverErr, hsm.ErrClosed) {
				return recoverErr
			}
			return fmt.Errorf("%w; %w", err, recoverErr)
		}
		if c.once || repeated {
			return err
		}
	}
}

// inside runs the call in the gate and says in which epoch it ran.
func (w *worker) inside(c *call) (epoch uint64, err error) {
	w.sinceAt.Store(stamp())
	defer w.sinceAt.Store(0)
	conn := w.store.conn
	if conn == nil {
		return 0, &deviceError{doing: "use token " + w.store.tokenName(), err: errors.New("it is not connected")}
	}
	if c.run == nil {
		c.signature, err = w.sign(conn, c)
	} else {
		err = c.run(w)
	}
	if broken(err) {
		w.dropSession()
	}
	return conn.epoch, err
}

// do makes a call of the admin lane.
func (s *Store) do(ctx context.Context, exclusive, once bool, run func(*worker) error) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	c := &call{ctx: ctx, exclusive: exclusive, once: once, run: run, done: make(chan struct{}, 1)}
	_, err := s.admin.submit(s, c)
	return err
}

// raw gives the worker's own session, opening it in a new epoch.
func (w *worker) raw() (*pkcs11.Ctx, pkcs11.SessionHandle, error) {
	ctx, conn := w.store.module.raw, w.store.conn
	if w.session != 0 && w.epoch == conn.epoch {
		return ctx, w.session, nil
	}
	flags := uint(pkcs11.CKF_SERIAL_SESSION)
	if w.writes {
		flags |= pkcs11.CKF_RW_SESSION
	}
	session, err := ctx.OpenSession(conn.token.slot, flags)
	if err != nil {
		return nil, 0, fail("open session", err)
	}
	w.session, w.epoch = session, conn.epoch
	return ctx, session, nil
}

// dropSession forgets a session that may be in the middle of an operation.
func (w *worker) dropSession() {
	if w.session == 0 {
		return
	}
	_ = w.store.module.raw.CloseSession(w.session) // it is broken, or about to be invalidated
	w.session = 0
}

func (l *lane) dropSessions() {
	for _, w := range l.workers {
		w.dropSession()
	}
}
