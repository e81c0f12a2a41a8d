package provision

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Reporter brings a node's findings into the log: directly on the leader, by peer
// RPC from a follower. Calls are idempotent, so that whoever did not hear the answer
// may repeat them; an error means that the finding may not have arrived.
type Reporter interface {
	Bind(ctx context.Context, c command.BindInstance, proof Proof) error
	Report(ctx context.Context, c command.ReportCondition) error
	Erased(ctx context.Context, c command.ConfirmErased) error
}

// Timing.
const (
	DefaultInterval = 10 * time.Minute       // between full inventories
	minGap          = 100 * time.Millisecond // between two passes
	maxGap          = time.Second
	gapPerPass      = 2           // a pass over very many instances rests twice as long
	maxSleep        = time.Minute // the wall clock may be set while we sleep
	firstDelay      = time.Second // after a first failure, doubling
	longestDelay    = time.Minute
	deviceTimeout   = 2 * time.Minute // a call to the store; RSA-4096 takes its time on a small HSM
)

// Config of a Reconciler. Clock, After, Log and Interval have defaults.
type Config struct {
	Ledger   ledger.Ledger
	Store    hsm.KeyStore
	Reporter Reporter
	NotesDir string // for destructions that have begun; made when missing
	Clock    func() time.Time
	After    func(time.Duration) <-chan time.Time
	Interval time.Duration // between full inventories; 0 = DefaultInterval
	Log      *slog.Logger
}

// Reconciler keeps one partition in order.
type Reconciler struct {
	ledger   ledger.Ledger
	store    hsm.KeyStore
	reporter Reporter
	notes    notes
	clock    func() time.Time
	after    func(time.Duration) <-chan time.Time
	interval time.Duration
	log      *slog.Logger
	kick     chan struct{}
	done     chan struct{}

	quarantine atomic.Pointer[troubles] // replaced, never changed in place

	mu          sync.Mutex // owns the three below
	state       State
	waiting     troubles
	unconfirmed troubles

	// Owned by the goroutine of Start.
	pauses      map[lifecycle.CKAID]pause               // after failures
	sent        map[lifecycle.CKAID]lifecycle.Condition // reported; the View still shows the old condition
	details     map[lifecycle.CKAID]string              // reported of pending instances
	orphans     map[hsm.ObjectID]bool                   // logged once
	lacking     map[lifecycle.CKAID]bool                // missing at the last inventory
	inventoryAt time.Time                               // when the next is due
	inventories pause                                   // after failed ones
	unreported  bool                                    // a finding of the last inventory did not arrive
	seen        seen
}

// pause is how long to leave something alone after a failure.
type pause struct {
	until time.Time
	delay time.Duration
}

func (p pause) longer(now time.Time) pause {
	delay := min(max(2*p.delay, firstDelay), longestDelay)
	return pause{now.Add(delay), delay}
}

// seen is the position the last pass looked at. Every change that concerns us
// appends to the lifecycle log.
type seen struct {
	valid          bool
	epoch, logSize uint64
}

// Open prepares the directory of notes. It starts nothing and leaves the key store
// alone.
func Open(c Config) (*Reconciler, error) {
	n, err := openNotes(c.NotesDir)
	if err != nil {
		return nil, err
	}
	r := &Reconciler{
		ledger: c.Ledger, store: c.Store, reporter: c.Reporter, notes: n,
		clock: c.Clock, after: c.After, interval: c.Interval, log: c.Log,
		kick: make(chan struct{}, 1), done: make(chan struct{}),
		waiting: troubles{}, unconfirmed: troubles{},
		pauses: map[lifecycle.CKAID]pause{}, sent: map[lifecycle.CKAID]lifecycle.Condition{},
		details: map[lifecycle.CKAID]string{}, orphans: map[hsm.ObjectID]bool{},
	}
	r.quarantine.Store(&troubles{})
	if r.clock == nil {
		r.clock = time.Now
	}
	if r.after == nil {
		r.after = time.After
	}
	if r.interval == 0 {
		r.interval = DefaultInterval
	}
	if r.log == nil {
		r.log = slog.Default()
	}
	return r, nil
}

// Start runs the reconciler until ctx ends.
func (r *Reconciler) Start(ctx context.Context) {
	go func() {
		defer close(r.done)
		for ctx.Err() == nil {
			moved := r.ledger.LeadershipChanged() // before the look, so that no change is missed
			index, began := r.ledger.View().Position().Index, r.clock()
			sleep := r.pass(ctx)
			gap := min(max(minGap, gapPerPass*r.clock().Sub(began)), maxGap)
			r.rest(ctx, gap)
			if sleep > gap {
				r.wait(ctx, sleep-gap, moved, r.ledger.Changed(index))
			}
		}
	}()
}

// Wait returns when the reconciler has ended.
func (r *Reconciler) Wait() { <-r.done }

// Recheck asks for a full inventory now: after the token came back, or when an
// operator has put something right.
func (r *Reconciler) Recheck() {
	select {
	case r.kick <- struct{}{}:
	default: // one is asked for already
	}
}

// rest keeps two passes apart, and makes what an emergency wants meanwhile.
func (r *Reconciler) rest(ctx context.Context, d time.Duration) {
	for over := r.after(d); ctx.Err() == nil; {
		view := r.ledger.View()
		r.hurry(ctx, view)
		select {
		case <-ctx.Done():
		case <-r.ledger.Changed(view.Position().Index):
		case <-r.kick:
			r.forgive()
			return
		case <-over:
			return
		}
	}
}

func (r *Reconciler) wait(ctx context.Context, d time.Duration, moved, changed <-chan struct{}) {
	select {
	case <-ctx.Done():
	case <-changed:
	case <-moved: // what nobody was there to hear can be said again
		clear(r.pauses)
		r.seen = seen{}
	case <-r.kick:
		r.forgive()
	case <-r.after(d):
	}
}

// forgive ends every pause and makes an inventory due.
func (r *Reconciler) forgive() {
	r.inventoryAt, r.inventories = time.Time{}, pause{}
	clear(r.pauses)
}

// holding is one instance of this node with its version and key.
type holding struct {
	i *lifecycle.Instance
	v *lifecycle.Version
	k *lifecycle.Key
}

// toMake: the key pair is still wanted. A version revoked before its key was made
// gets none.
func (h holding) toMake() bool {
	if h.i.Condition != lifecycle.Pending || h.v.Erasing {
		return false
	}
	switch h.v.State {
	case lifecycle.PreActivation, lifecycle.Active, lifecycle.Suspended:
		return true
	}
	return false
}

func (h holding) toErase() bool { return h.v.Erasing && h.i.Condition != lifecycle.Erased }

// pass does what is due and returns how long nothing else will be.
func (r *Reconciler) pass(ctx context.Context) time.Duration {
	view, now := r.ledger.View(), r.clock()
	full := !now.Before(r.inventoryAt) && !now.Before(r.inventories.until)
	p := view.Position()
	if !full && !r.retryDue(now) && r.seen == (seen{true, p.Epoch, p.LogSize}) {
		return r.sleep()
	}
	self := view.Node(r.ledger.NodeID())
	if view.Cluster() == nil || self == nil || self.Status == lifecycle.Removed {
		return maxSleep // nobody would listen to us
	}
	r.hurry(ctx, view)
	mine := r.holdings(view)
	if full || r.givenUp(mine) {
		clear(r.sent) // what did not arrive is said again
		r.inventory(ctx, view, mine)
	}
	r.prune(mine)
	for _, h := range mine {
		if ctx.Err() != nil {
			return 0
		}
		if r.work(ctx, view, h) {
			r.hurry(ctx, r.ledger.View()) // a device takes its time, and an emergency has none
		}
	}
	r.seen = seen{true, p.Epoch, p.LogSize}
	return r.sleep()
}

// givenUp reports whether nobody counts any more on something that was missing: what the
// last inventory said of the partition is not true then.
func (r *Reconciler) givenUp(mine []holding) bool {
	for _, h := range mine {
		if r.lacking[h.i.CKAID] && !h.wanted() {
			return true
		}
	}
	return false
}

// work does what is due for one instance, and reports whether anything was.
func (r *Reconciler) work(ctx context.Context, view *state.View, h holding) bool {
	if h.i.Condition != r.sent[h.i.CKAID] {
		delete(r.sent, h.i.CKAID)
	}
	if _, done := r.sent[h.i.CKAID]; done || r.clock().Before(r.pauses[h.i.CKAID].until) {
		return false
	}
	switch {
	case h.toErase():
		r.settle(h, r.erase(ctx, h))
	case h.toMake():
		r.settle(h, r.generate(ctx, view, h))
	default:
		return false
	}
	return true
}

// hurry makes this node's key pairs of versions that an emergency has asked for just
// now, without looking at anything else.
func (r *Reconciler) hurry(ctx context.Context, view *state.View) {
	for _, v := range view.Emergencies() {
		if i := view.Instance(v.Key, v.Number, r.ledger.NodeID()); i != nil && i.Condition == lifecycle.Pending {
			r.work(ctx, view, holding{i, v, view.Key(v.Key)})
		}
	}
}

// holdings lists this node's instances.
func (r *Reconciler) holdings(view *state.View) (mine []holding) {
	self := r.ledger.NodeID()
	view.EachInstance(func(i *lifecycle.Instance) bool {
		if i.Node == self {
			mine = append(mine, holding{i, view.Version(i.Key, i.Version), view.Key(i.Key)})
		}
		return true
	})
	return mine
}

// settle notes how a job ended: a failure makes the instance rest.
func (r *Reconciler) settle(h holding, err error) {
	if err == nil {
		delete(r.pauses, h.i.CKAID)
		return
	}
	r.pauses[h.i.CKAID] = r.pauses[h.i.CKAID].longer(r.clock())
}

func (r *Reconciler) retryDue(now time.Time) bool {
	for _, p := range r.pauses {
		if !now.Before(p.until) {
			return true
		}
	}
	return false
}

// sleep is the time until an inventory or a retry is due.
func (r *Reconciler) sleep() time.Duration {
	at := r.inventoryAt
	if at.Before(r.inventories.until) {
		at = r.inventories.until
	}
	for _, p := range r.pauses {
		if p.until.Before(at) {
			at = p.until
		}
	}
	return min(max(at.Sub(r.clock()), minGap), maxSleep)
}

// device bounds one call to the key store.
func device(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, deviceTimeout)
}
