package issuing

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Warden proposes on the leader what time has made due about certificates: intents that
// were never recorded are revoked, CRL entries that are past their time leave, and the
// CA certificates of instances that are lost or compromised are revoked at the parent,
// and certificates that end soon are called so.
type Warden struct {
	ledger ledger.Ledger
	clock  func() time.Time
	log    *slog.Logger
	pruned time.Time // when it looked for entries that may leave their CRL
	done   chan struct{}
}

// Timing of a Warden. To look for entries that may leave costs a read of all of them;
// what has become due by an entry is a look at a few rows in memory.
const (
	wardenEvery = 10 * time.Second
	wardenPace  = 100 * time.Millisecond // the least time between two looks at what an entry made due
	pruneEvery  = 15 * time.Minute
)

// NewWarden makes a Warden; it starts nothing.
func NewWarden(l ledger.Ledger, clock func() time.Time, log *slog.Logger) *Warden {
	return &Warden{ledger: l, clock: clock, log: log, done: make(chan struct{})}
}

// Start runs the warden until ctx ends.
func (w *Warden) Start(ctx context.Context) {
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			w.watch(ctx)
		}
	}()
}

// watch does what is due, and what entries make due until it is time to look at
// everything again: the CA certificate of an instance that fell into other hands does not
// wait for that.
func (w *Warden) watch(ctx context.Context) {
	tick := time.NewTimer(wardenEvery)
	defer tick.Stop()
	for thorough := true; ; thorough = false {
		moved := w.ledger.LeadershipChanged() // before the look, so that no change is missed
		v, changed := w.ledger.View(), (<-chan struct{})(nil)
		if lead := w.ledger.Leadership(); lead.Self && lead.Ready && w.pass(ctx, v, thorough) {
			changed = w.ledger.Changed(v.Position().Index)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			return
		case <-moved:
			return
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wardenPace):
		}
	}
}

// Wait returns when the warden has ended.
func (w *Warden) Wait() { <-w.done }

// pass proposes what is due now: everything, or what entries alone can have made due. It
// reports whether all of it was done: what was refused is not tried again at every entry.
func (w *Warden) pass(ctx context.Context, v *state.View, thorough bool) (done bool) {
	now := max(lifecycle.Instant(w.clock().UnixMilli()), v.Clock())
	bodies, err := fallenBodies(v, now), error(nil)
	if thorough {
		prune := w.clock().Sub(w.pruned) >= pruneEvery
		if prune {
			w.pruned = w.clock()
		}
		if bodies, err = Due(v, now, prune); err != nil {
			w.log.Error("look for certificates that are due", "err", err)
		}
	}
	done = err == nil
	for _, body := range bodies {
		cmd := &command.Command{Body: body, Header: command.Header{At: now, Actor: "system", Node: w.ledger.NodeID()}}
		if o := state.Trial(v, cmd); !o.OK() {
			w.log.Warn("a due change of certificates would be refused", "kind", body.Kind().String(), "reason", o.Code, "detail", o.Detail)
			done = false
			continue
		}
		o, err := w.ledger.Propose(ctx, cmd)
		if err = accepted(o, err); err != nil {
			w.log.Warn("a due change of certificates was not made; it is tried again", "kind", body.Kind().String(), "err", err)
			done = false
		}
	}
	return done
}

// Due lists what is due about certificates as of now. It is a function of the state.
func Due(v *state.View, now lifecycle.Instant, prune bool) (bodies []command.Body, err error) {
	lost, err := v.DueIntents(now, command.MaxRevokeItems)
	if err != nil {
		return nil, err
	}
	if len(lost) > 0 {
		bodies = append(bodies, &command.AbandonIntents{Serials: lost})
	}
	for _, ca := range v.CACerts("") {
		if !prune {
			break
		}
		old, err := v.Prunable(ca.KID, command.MaxRevokeItems)
		if err != nil {
			return bodies, err
		}
		if len(old) > 0 {
			bodies = append(bodies, &command.PruneRevoked{Serials: old})
		}
	}
	if w, err := v.Warning(now); err != nil {
		return bodies, err
	} else if w != nil {
		bodies = append(bodies, w)
	}
	return append(bodies, fallenBodies(v, now)...), nil
}

func fallenBodies(v *state.View, now lifecycle.Instant) []command.Body {
	if items := fallen(v, now); len(items) > 0 {
		return []command.Body{&command.RevokeCertificates{Items: items}}
	}
	return nil
}

// fallen lists the CA certificates that their parent has to revoke: at once where the
// key is in other hands; where it is only gone, when its last CRL is over, because until
// then its certificates are as good as they were.
func fallen(v *state.View, now lifecycle.Instant) (items []command.RevokeItem) {
	for _, ca := range v.CACerts("") {
		is, ver := v.Issuer(ca.Issuer), v.Version(ca.Issuer, ca.Version)
		serial, ours := lifecycle.SerialOf(ca.Serial)
		if is == nil || ver == nil || is.Kind != lifecycle.IssuingIssuer || ca.Revocation != nil || now > ca.NotAfter || !ours {
			continue
		}
		if reason, why, ok := fallenBecause(v, ca, ver, now); ok {
			items = append(items, command.RevokeItem{Serial: serial, Reason: reason, Comment: why})
		}
	}
	slices.SortFunc(items, func(a, b command.RevokeItem) int { return slices.Compare(a.Serial[:], b.Serial[:]) })
	return items[:min(len(items), command.MaxRevokeItems)]
}

func fallenBecause(v *state.View, ca *lifecycle.CACert, ver *lifecycle.Version, now lifecycle.Instant) (reason lifecycle.Reason, why string, ok bool) {
	i := v.Instance(ca.Issuer, ca.Version, ca.Node)
	if ver.Distrusts() || i != nil && i.Condition == lifecycle.InstanceBad {
		r := ver.Revocation
		if i != nil && i.Revocation != nil {
			r = i.Revocation
		}
		if r != nil && !r.Reason.IsCompromise() {
			return r.Reason, "the instance was revoked", true
		}
		return lifecycle.CACompromise, "the instance was revoked: its key may be in other hands", true
	}
	if at, gone := Deadline(v, ca); gone && now > at {
		return lifecycle.CessationOfOperation, "the instance is gone, and its last CRL ended at " + at.String(), true
	}
	return "", "", false
}

// Deadline is when the certificates of an instance that is gone stop being verifiable: see
// LastCRL. gone is false as long as the instance, or its node, may come back.
func Deadline(v *state.View, ca *lifecycle.CACert) (at lifecycle.Instant, gone bool) {
	i, n := v.Instance(ca.Issuer, ca.Version, ca.Node), v.Node(ca.Node)
	switch {
	case i == nil || i.Condition == lifecycle.Erased || n == nil || n.Status == lifecycle.Removed:
	case i.Condition == lifecycle.Lost && i.Revocation != nil: // a node's word does not bring it back
	default:
		return 0, false
	}
	return LastCRL(v, ca), true
}

// LastCRL is nextUpdate of the newest CRL of an instance, and when its CA certificate came
// where it has signed none. Verifiers that ask for a CRL believe nothing of it after that,
// unless it signs another.
func LastCRL(v *state.View, ca *lifecycle.CACert) lifecycle.Instant {
	if crl := v.CRLState(ca.KID, 0); crl != nil {
		return crl.NextUpdate
	}
	return ca.BoundAt
}
