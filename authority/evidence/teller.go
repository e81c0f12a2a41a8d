// Package evidence answers what a key has signed, and how much of that is known.
//
// The ledger is the audit journal of each node: an intent that is on the disk before
// the key is used, and how it ended, which follows with the next sync. Nothing else is
// written for a signature. The Teller commits, every few seconds and for all signatures
// together, how far the ledger is and what it counts (command.ReportTally); Search reads
// one node's ledger; Collect asks every node and says of each how much it knows.
//
// Threat model. A node may be lost, with its disk; its disk may be lost and the node
// come back; whoever owns the machine may rewrite the journal. In each case the counts
// up to the last tally stand in the replicated state, and a ledger that does not
// contain the line which the last tally names is reported as broken, with the times
// between which nothing is known. A node that is in an attacker's hands can leave out
// what it signs from then on: no ledger of its own can prove the contrary.
//
// Failure model. A process that dies between the release of a signature and the sync
// of its outcome leaves the intent alone. Such a use stays open for ever: it is counted
// and listed beside the released ones, never as refused.
//
// Concurrency: a Teller takes one step at a time; Count never waits for one.
package evidence

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	// DefaultEvery is how often a node reports what it has signed.
	DefaultEvery = 10 * time.Second
	// DefaultIdle is how often it reports that it has signed nothing, so that of a node
	// that is lost later it is known up to when.
	DefaultIdle = 10 * time.Minute
)

// Journal is the ledger as this package reads it; *audit.Journal is one.
type Journal interface {
	Query(audit.Filter) iter.Seq2[audit.Entry, error]
	Uses() (since, head audit.Head, counts []audit.Use)
	UseOf(kid string) audit.Use
	Oldest() (seq uint64, begunAt time.Time, err error)
}

// Config of a Teller.
type Config struct {
	Ledger  ledger.Ledger
	Journal Journal
	Report  func(ctx context.Context, c command.ReportTally) error // to whoever leads
	Clock   func() time.Time                                       // wall time; nil = time.Now
	Log     *slog.Logger
	Every   time.Duration // 0 = DefaultEvery
	Idle    time.Duration // 0 = DefaultIdle
}

// Count is what one instance has signed since it was made.
type Count struct {
	Released uint64
	Open     uint64 // uses whose outcome is not on the disk
	LastAt   lifecycle.Instant
}

// Teller commits the tallies of this node.
type Teller struct {
	Config
	base atomic.Pointer[map[string]Count] // of what was on the disk when the journal was opened; nil = not known yet

	mu   sync.Mutex       // held for a step; owns what follows
	told map[string]Count // as last committed, by kid
	at   time.Time        // of the last report
}

// New makes a Teller.
func New(c Config) *Teller {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Every == 0 {
		c.Every = DefaultEvery
	}
	if c.Idle == 0 {
		c.Idle = DefaultIdle
	}
	return &Teller{Config: c, told: map[string]Count{}, at: c.Clock()}
}

// Run reports until ctx ends. Failures are logged once in a row: counts are since ever,
// so that the next report makes up for those that were lost.
func (t *Teller) Run(ctx context.Context) {
	tick := time.NewTicker(t.Every)
	defer tick.Stop()
	failing := false
	for {
		err := t.Step(ctx)
		if err != nil && !failing && ctx.Err() == nil {
			t.Log.Warn("the count of what this node signed is not in the log yet", "err", err)
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Step finds out where this node stands, if it does not know yet, and reports what has
// changed.
func (t *Teller) Step(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	v := t.Ledger.View()
	if v.Node(t.Ledger.NodeID()) == nil {
		return nil // not a member yet
	}
	if t.base.Load() == nil {
		if err := t.recover(ctx, v); err != nil {
			return err
		}
	}
	return t.report(ctx)
}

// Count is what an instance of this node has signed. ok is false while the node does
// not know, shortly after its start.
func (t *Teller) Count(kid string) (c Count, ok bool) {
	base := t.base.Load()
	if base == nil || kid == "" {
		return c, false
	}
	return (*base)[kid].plus(t.Journal.UseOf(kid)), true
}

func (c Count) plus(u audit.Use) Count {
	c.Released += u.Released
	// An outcome may be of an intent from before.
	c.Open = uint64(max(0, int64(c.Open)+int64(u.Intents)-int64(u.Released)-int64(u.Refused)))
	if !u.LastAt.IsZero() {
		c.LastAt = max(c.LastAt, lifecycle.Instant(u.LastAt.UnixMilli()))
	}
	return c
}

// recover reads what the ledger says beyond the last tally of this node, up to where
// the journal has counted by itself since it was opened.
func (t *Teller) recover(ctx context.Context, v *state.View) error {
	opened, _, _ := t.Journal.Uses()
	known := v.LedgerHead(t.Ledger.NodeID())
	base := t.committed(v)
	if known == nil {
		known = new(lifecycle.LedgerHead)
	}
	after, err := t.catchUp(ctx, known, opened, base)
	if errors.Is(err, errOtherLedger) {
		return t.begin(ctx, opened, base, err)
	}
	if err != nil {
		return err
	}
	t.base.Store(&after)
	return nil
}

// counted is a committed count and the line it goes up to.
type counted struct {
	Count
	seq uint64
}

// committed is what the state says of this node's instances.
func (t *Teller) committed(v *state.View) map[string]counted {
	broken := uint64(0)
	if h := v.LedgerHead(t.Ledger.NodeID()); h != nil && len(h.Breaks) > 0 {
		broken = h.Breaks[len(h.Breaks)-1].Index
	}
	out := map[string]counted{}
	v.EachTally(func(r *lifecycle.Tally) bool {
		if r.Node == t.Ledger.NodeID() {
			c := counted{Count{r.Released, r.Open, r.LastAt}, r.Seq}
			if r.Rev <= broken {
				c.seq = 0 // a line of another ledger
			}
			out[r.KID] = c
			t.told[r.KID] = c.Count
		}
		return true
	})
	return out
}

var errOtherLedger = errors.New("the journal does not contain the line that the last tally names")

// catchUp adds the records after the committed head and up to where the journal began
// to count by itself.
func (t *Teller) catchUp(ctx context.Context, known *lifecycle.LedgerHead, opened audit.Head, base map[string]counted) (map[string]Count, error) {
	if known.Seq > 0 {
		if err := t.contains(known); err != nil {
			return nil, err
		}
	}
	uses := map[string]*audit.Use{}
	for e, err := range t.Journal.Query(audit.Filter{AfterSeq: known.Seq}) {
		if err != nil {
			return nil, fmt.Errorf("count what this node signed: %w", err)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if e.Seq > opened.Seq {
			break
		}
		if e.KID == "" || e.Seq <= base[e.KID].seq {
			continue // a part of the last report counts it
		}
		u := uses[e.KID]
		if u == nil {
			u = new(audit.Use)
			uses[e.KID] = u
		}
		switch e.Kind {
		case audit.SignIntent:
			u.Intents++
			u.LastAt = e.At
		case audit.SignReleased:
			u.Released++
		case audit.SignRefused:
			u.Refused++
		}
	}
	out := map[string]Count{}
	for kid, c := range base {
		out[kid] = c.Count
	}
	for kid, u := range uses {
		out[kid] = out[kid].plus(*u)
	}
	return out, nil
}

// contains checks that the ledger is the one the last tally was about.
func (t *Teller) contains(known *lifecycle.LedgerHead) error {
	for e, err := range t.Journal.Query(audit.Filter{AfterSeq: known.Seq - 1, Limit: 1}) {
		switch {
		case errors.Is(err, audit.ErrBroken):
			return fmt.Errorf("%w: %w", errOtherLedger, err)
		case err != nil:
			return fmt.Errorf("read the ledger: %w", err)
		case e.Seq == known.Seq && e.Hash == hex.EncodeToString(known.Hash):
			return nil
		}
		return fmt.Errorf("%w: line %d is %.16s…, and %.16s… was reported", errOtherLedger, e.Seq, e.Hash, hex.EncodeToString(known.Hash))
	}
	return fmt.Errorf("%w: it ends before line %d", errOtherLedger, known.Seq)
}

// begin tells the cluster that this node has another ledger than before. What it holds
// from before it was opened is not counted: some of that was counted already, and
// nobody can tell which.
func (t *Teller) begin(ctx context.Context, opened audit.Head, base map[string]counted, why error) error {
	t.Log.Error("the ledger of signatures is broken: keep the audit directory as evidence", "err", why)
	first := audit.Head{}
	for e, err := range t.Journal.Query(audit.Filter{AfterSeq: opened.Seq, Limit: 1}) {
		if err != nil {
			return fmt.Errorf("begin a ledger: %w", err)
		}
		first = audit.Head{Seq: e.Seq, Hash: e.Hash}
	}
	if first.Seq == 0 {
		return nil // nothing was recorded yet; the next step finds it
	}
	if err := t.tell(ctx, first, command.ReportTally{Anew: true}); err != nil {
		return err
	}
	counts := map[string]Count{}
	for kid, c := range base {
		counts[kid] = c.Count
	}
	t.base.Store(&counts)
	return nil
}

// report commits what has changed since the last report.
func (t *Teller) report(ctx context.Context) error {
	now := t.Clock() // before the counts: every key that was used until now is in them
	_, head, uses := t.Journal.Uses()
	base, fresh := *t.base.Load(), map[string]Count{}
	var items []command.TallyItem
	for kid, c := range base {
		if old, ok := t.told[kid]; !ok || old != c {
			fresh[kid] = c
		}
	}
	for _, u := range uses {
		if c := base[u.KID].plus(u); t.told[u.KID] != c {
			fresh[u.KID] = c
		} else {
			delete(fresh, u.KID)
		}
	}
	v := t.Ledger.View()
	for kid, c := range fresh {
		i := instance(v, kid)
		if i == nil || i.Node != t.Ledger.NodeID() {
			continue // this node's state is not as far yet, or the record is of no instance
		}
		items = append(items, command.TallyItem{Key: i.Key, Version: i.Version, KID: kid, Released: c.Released, Open: c.Open, LastAt: c.LastAt})
	}
	if head.Seq == 0 || len(items) == 0 && now.Sub(t.at) < t.Idle {
		return nil
	}
	slices.SortFunc(items, func(a, b command.TallyItem) int { return strings.Compare(a.KID, b.KID) })
	for part := range slices.Chunk(items, command.MaxTallies) {
		c := command.ReportTally{Items: part, More: len(items) > len(part)}
		if err := t.tellAt(ctx, now, head, c); err != nil {
			return err
		}
		items = items[len(part):]
		for _, it := range part {
			t.told[it.KID] = fresh[it.KID]
		}
	}
	if len(fresh) == 0 {
		return t.tellAt(ctx, now, head, command.ReportTally{})
	}
	return nil
}

func (t *Teller) tell(ctx context.Context, head audit.Head, c command.ReportTally) error {
	return t.tellAt(ctx, t.Clock(), head, c)
}

func (t *Teller) tellAt(ctx context.Context, now time.Time, head audit.Head, c command.ReportTally) (err error) {
	c.Node, c.Seq, c.At = t.Ledger.NodeID(), head.Seq, lifecycle.Instant(now.UnixMilli())
	if c.Hash, err = hex.DecodeString(head.Hash); err != nil {
		return fmt.Errorf("read the head of the ledger: %w", err)
	}
	if err := t.Report(ctx, c); err != nil {
		return fmt.Errorf("report the tally: %w", err)
	}
	if !c.More {
		t.at = now
	}
	return nil
}

func instance(v *state.View, kid string) *lifecycle.Instance {
	if found := v.ByKID(kid); len(found) == 1 && found[0].KID == kid {
		return found[0]
	}
	return nil
}
