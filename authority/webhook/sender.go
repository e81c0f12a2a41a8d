package webhook

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

const (
	systemActor = "system"               // speaks for the cluster itself
	readyNap    = 100 * time.Millisecond // a new leader applies what earlier terms left
)

// Timing of a Sender.
type Timing struct {
	Commit  time.Duration // at most so often the place of the webhooks is written down
	First   time.Duration // wait after the first failure; it doubles
	Longest time.Duration // and is never longer
}

// DefaultTiming is what nodes use: an entry in five seconds while events come, and a
// receiver that comes back is told within five minutes.
var DefaultTiming = Timing{Commit: 5 * time.Second, First: time.Second, Longest: 5 * time.Minute}

// Body renders an event: what is signed and sent to the webhook. number is the leaf's
// in the log.
type Body func(v *state.View, webhook string, number uint64, leaf *state.Leaf) ([]byte, error)

// Config of a Sender. Timing and Clock default to the real ones.
type Config struct {
	Ledger ledger.Ledger
	Body   Body
	Sign   func(ctx context.Context, payload []byte) (jws string, err error)
	Timing Timing
	Clock  func() time.Time
	Log    *slog.Logger
}

// Sender sends events while this node leads.
type Sender struct {
	Sent   atomic.Uint64 // events that arrived
	Failed atomic.Uint64 // attempts that came to nothing

	config  Config
	runners map[string]*runner // by name; Run's own
	noted   time.Time          // when the places were written down last
}

// New makes a Sender; it starts nothing.
func New(c Config) *Sender {
	if c.Timing == (Timing{}) {
		c.Timing = DefaultTiming
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return &Sender{config: c, runners: map[string]*runner{}}
}

// Run works until ctx ends.
func (s *Sender) Run(ctx context.Context) {
	defer s.halt()
	l := s.config.Ledger
	for ctx.Err() == nil {
		moved := l.LeadershipChanged() // before the look, so that no change is missed
		v := l.View()
		nap, lead := s.config.Timing.Commit, l.Leadership()
		switch {
		case lead.Self && lead.Ready && v.Cluster() != nil:
			s.keep(ctx, v)
			s.note(ctx, v, lead.Term)
		case lead.Self:
			nap = min(nap, readyNap)
		default:
			s.halt()
		}
		timer := time.NewTimer(nap)
		select {
		case <-ctx.Done():
		case <-moved:
		case <-timer.C: // not at each entry: settings may take their time, and places must
		}
		timer.Stop()
	}
}

// keep has one runner for each webhook, as the settings are now.
func (s *Sender) keep(ctx context.Context, v *state.View) {
	settings := v.Cluster().Settings
	for name, r := range s.runners {
		if now := settings.Webhook(name); now == nil || !same(*now, r.hook) {
			r.stop()
			delete(s.runners, name)
		}
	}
	for _, w := range settings.Webhooks {
		if d := v.Delivery(w.Name); d != nil && s.runners[w.Name] == nil {
			s.runners[w.Name] = s.start(ctx, w, d)
		}
	}
}

func same(a, b lifecycle.Webhook) bool {
	if a.URL != b.URL || a.CA != b.CA || len(a.Kinds) != len(b.Kinds) {
		return false
	}
	for i := range a.Kinds {
		if a.Kinds[i] != b.Kinds[i] {
			return false
		}
	}
	return true
}

// halt ends all runners and waits for them.
func (s *Sender) halt() {
	for name, r := range s.runners {
		r.stop()
		delete(s.runners, name)
	}
}

// note writes the places down that have moved.
func (s *Sender) note(ctx context.Context, v *state.View, term uint64) {
	if time.Since(s.noted) < s.config.Timing.Commit {
		return // leadership came and went
	}
	c := &command.NoteDelivered{}
	for _, w := range v.Cluster().Settings.Webhooks {
		r, d := s.runners[w.Name], v.Delivery(w.Name)
		if r == nil || d == nil {
			continue
		}
		if after, why, worth := r.progress.since(d); worth {
			c.Items = append(c.Items, command.Delivered{Webhook: w.Name, After: after, Why: why})
		}
	}
	if len(c.Items) == 0 {
		return
	}
	s.noted = time.Now()
	ctx, cancel := context.WithTimeout(ctx, s.config.Timing.Commit)
	defer cancel()
	o, err := s.config.Ledger.Propose(ctx, &command.Command{Body: c, Header: command.Header{At: lifecycle.Instant(s.config.Clock().UnixMilli()), Actor: systemActor,
		Node: s.config.Ledger.NodeID()}})
	if err == nil {
		err = o.Err()
	}
	if err != nil && ctx.Err() == nil {
		s.config.Log.Warn("write down how far webhooks have come: what was sent since may be sent again", "term", term, "err", err)
	}
}

// progress is how far a runner has come.
type progress struct {
	mu    sync.Mutex // guards everything below
	after uint64     // as in lifecycle.Delivery
	sent  uint64     // entry of the last event that arrived
	why   string
}

// worthNoting is how many entries nobody asked for may be looked at again after a change
// of the leader: some tens of milliseconds.
const worthNoting = 10_000

// since tells what is worth writing down beyond d.
func (p *progress) since(d *lifecycle.Delivery) (after uint64, why string, worth bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	after = max(p.after, d.After)
	return after, p.why, p.why != d.Why || after > d.After && p.sent > d.After || after > d.After+worthNoting
}
