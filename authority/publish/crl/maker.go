package crl

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Config of a Maker.
type Config struct {
	Ledger ledger.Ledger
	Store  *Store
	Clock  func() time.Time
	Logger *slog.Logger

	// Sign announces a list in the log and then has this node's instance sign it.
	Sign func(ctx context.Context, ca *lifecycle.CACert, announce *command.AllocateCRL, tbs []byte) (signature []byte, err error)
	// Fetch asks another node for the list of its instance.
	Fetch func(ctx context.Context, node lifecycle.NodeID, kid string, shard uint64) ([]byte, error)
}

// Maker keeps the lists of every instance current on one node: those of its own
// instances it signs, on schedule and at once when the log has put a certificate on them
// or taken one off; those of others it fetches when the log says that there is a new one.
// It belongs to one goroutine.
//
// A number is given out by the log before the list is signed, with the hash of the one
// list it stands for. If this node dies after that, the next list has the next number:
// a list that nobody has seen is missed by nobody.
type Maker struct {
	Config
	made map[place]time.Time // when this process signed an own list
}

// NewMaker makes one.
func NewMaker(c Config) *Maker { return &Maker{c, map[place]time.Time{}} }

const (
	// gather is the least time between two lists of an instance: what is revoked
	// meanwhile shares the next one.
	gather = time.Second
	// signed is what the node that was given a number takes for its list, most of the
	// time: to ask for it earlier is to be sent the one before.
	signed = 100 * time.Millisecond
	// retry is when something that failed is tried again.
	retry = 2 * time.Second
	// pace is the least time between two looks at the state, which may change often.
	pace = 20 * time.Millisecond
	// rest is the longest time without a look at the state.
	rest = 30 * time.Second
)

// Run tends the lists until ctx ends.
func (m *Maker) Run(ctx context.Context) {
	for ctx.Err() == nil {
		changed := m.Ledger.Changed(m.Ledger.View().Position().Index)
		wait := m.Tend(ctx)
		if wait > pace && wait < gather {
			changed = nil // something waits for its time, and no entry makes it earlier
		}
		pause(ctx, pace, nil)
		pause(ctx, wait-pace, changed)
	}
}

// pause returns after d, when early is closed or when ctx ends.
func pause(ctx context.Context, d time.Duration, early <-chan struct{}) {
	t := time.NewTimer(max(d, 0))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-early:
	case <-t.C:
	}
}

// Tend does what is due now and says when to look again. Own lists come first: another
// node that does not answer must not hold them up.
func (m *Maker) Tend(ctx context.Context) (next time.Duration) {
	next = rest
	v := m.Ledger.View()
	for _, own := range []bool{true, false} {
		for _, ca := range v.CACerts("") {
			is := v.Issuer(ca.Issuer)
			if is == nil || own != (ca.Node == m.Ledger.NodeID()) {
				continue
			}
			for _, shard := range shardsOf(is) {
				next = min(next, m.keep(ctx, v, is, ca, shard))
			}
		}
	}
	return next
}

// keep does what one list needs.
func (m *Maker) keep(ctx context.Context, v *state.View, is *lifecycle.Issuer, ca *lifecycle.CACert, shard uint64) time.Duration {
	own := ca.Node == m.Ledger.NodeID()
	wait, err := rest, error(nil)
	if own {
		wait, err = m.uphold(ctx, v, is, ca, shard)
	} else {
		wait, err = m.follow(ctx, v, ca, shard)
	}
	if err == nil {
		return wait
	}
	level := slog.LevelWarn
	if have := m.Store.Get(ca.KID, shard); !own && have != nil && m.Clock().Before(have.NextUpdate) {
		level = slog.LevelDebug // what is here still holds, and the other node says what is wrong
	}
	m.Logger.Log(ctx, level, "keep a CRL current", "key", ca.Issuer, "kid", ca.KID, "err", err)
	return retry
}

// shardsOf are the lists that an instance has: the full one, and shards if wanted.
func shardsOf(is *lifecycle.Issuer) []uint64 {
	list := []uint64{0}
	for n := uint64(1); is.ShardCRL && n <= Shards; n++ {
		list = append(list, n)
	}
	return list
}

// due says how long a list of this node's own instance can wait, 0 = no longer.
func (m *Maker) due(v *state.View, is *lifecycle.Issuer, ca *lifecycle.CACert, shard uint64) time.Duration {
	row, now := v.CRLState(ca.KID, shard), m.Clock()
	if row == nil {
		return 0
	}
	age := now.Sub(time.UnixMilli(int64(row.ThisUpdate)))
	have := m.Store.Get(ca.KID, shard)
	lost := have == nil || have.Number != row.Number || !bytes.Equal(have.TBSHash[:], row.TBSHash)
	if lost || v.CertTally(ca.KID).RevokedIndex > row.AtIndex {
		if age < 0 { // the clock was set back: what the list says of its time says nothing now
			age = m.sinceMade(place{ca.KID, shard}, now)
		}
		return max(gather-age, 0)
	}
	return max(time.Duration(is.CRLEvery)*time.Millisecond-age, 0)
}

// sinceMade is how long ago this process signed a list; long ago if it does not know.
func (m *Maker) sinceMade(p place, now time.Time) time.Duration {
	if made, ok := m.made[p]; ok && !now.Before(made) {
		return now.Sub(made)
	}
	return gather
}

// uphold signs the list of an own instance when it is due.
func (m *Maker) uphold(ctx context.Context, v *state.View, is *lifecycle.Issuer, ca *lifecycle.CACert, shard uint64) (time.Duration, error) {
	if wait := m.due(v, is, ca, shard); wait > 0 {
		return wait, nil
	}
	version := v.Version(ca.Issuer, ca.Version)
	i := v.Instance(ca.Issuer, ca.Version, ca.Node)
	if version == nil || i == nil || !i.MayUphold(version) || m.Clock().After(time.UnixMilli(int64(ca.NotAfter))) {
		return rest, nil // it signs nothing any more; its last list stays until its end
	}
	cert, alg, err := issuerOf(v, ca)
	if err != nil {
		return 0, err
	}
	d, announce, err := m.draft(v, is, ca, cert, alg, shard)
	if err != nil {
		return 0, err
	}
	signature, err := m.Sign(ctx, ca, announce, d.TBS())
	if err != nil {
		return 0, err
	}
	der := d.Finish(signature)
	f, err := Read(der)
	if err != nil {
		return 0, err
	}
	if err := m.Store.Put(ca.KID, shard, f, der); err != nil {
		return 0, err
	}
	fault.Reached(fault.CRLKept)
	m.made[place{ca.KID, shard}] = m.Clock()
	m.Logger.Info("signed a CRL", "key", ca.Issuer, "kid", ca.KID, "number", f.Number, "entries", d.Entries, "size_bytes", len(der))
	return gather, nil
}

// draft splices the next list out of one state.
func (m *Maker) draft(v *state.View, is *lifecycle.Issuer, ca *lifecycle.CACert, cert *x509.Certificate, alg lifecycle.Algorithm, shard uint64) (*Draft, *command.AllocateCRL, error) {
	now := m.Clock().Truncate(time.Second)
	l := &List{Issuer: Issuer{Subject: cert.RawSubject, KeyID: cert.SubjectKeyId, Alg: alg}, Number: 1, ThisUpdate: lifecycle.Instant(now.UnixMilli())}
	if row := v.CRLState(ca.KID, shard); row != nil {
		l.Number, l.ThisUpdate = row.Number+1, max(l.ThisUpdate, row.ThisUpdate)
	}
	l.NextUpdate = l.ThisUpdate.Add(is.CRLValid)
	if shard > 0 {
		if l.Shard = ShardURL(v, ca, shard); l.Shard == "" {
			return nil, nil, errors.New("shards need a base URL: run chancery cluster set --public-url")
		}
	}
	var index uint64
	var read error
	size := int(v.CertTally(ca.KID).OnCRL) * entryBytes
	d, err := l.Draft(size, func(yield func([]byte, error) bool) {
		index, read = v.EachRevoked(ca.KID, func(e state.RevokedEntry) bool {
			return shard > 0 && ShardOf(e.Serial) != shard || yield(e.DER, nil)
		})
	})
	if err = errors.Join(err, read); err != nil {
		return nil, nil, err
	}
	hash := sha256.Sum256(d.TBS())
	return d, &command.AllocateCRL{Node: ca.Node, KID: ca.KID, Shard: shard, Number: l.Number, TBSHash: hash[:], ThisUpdate: l.ThisUpdate, NextUpdate: l.NextUpdate,
		Entries: uint64(d.Entries), AtIndex: index}, nil
}

// entryBytes is what most entries have: serial, time and a reason.
const entryBytes = 53

// follow fetches the list of another node's instance when the log knows a newer one.
func (m *Maker) follow(ctx context.Context, v *state.View, ca *lifecycle.CACert, shard uint64) (time.Duration, error) {
	row := v.CRLState(ca.KID, shard)
	if row == nil {
		return rest, nil
	}
	if have := m.Store.Get(ca.KID, shard); have != nil && have.Number >= row.Number {
		return rest, nil
	}
	// A clock that is far behind says nothing of the list's age.
	if age := m.Clock().Sub(time.UnixMilli(int64(row.AllocatedAt))); age > -gather && age < signed {
		return min(signed-age, signed), nil
	}
	cert, alg, err := issuerOf(v, ca)
	if err != nil {
		return 0, err
	}
	der, err := m.Fetch(ctx, ca.Node, ca.KID, shard)
	if err != nil {
		return 0, fmt.Errorf("fetch CRL %d from node %s: %w", row.Number, ca.Node.Short(), err)
	}
	f, err := Read(der)
	if err != nil {
		return 0, err
	}
	if f.Number != row.Number {
		return gather, nil // not signed yet, or newer than this node has heard of
	}
	if err := f.Verify(row, cert, alg); err != nil {
		return 0, err
	}
	return rest, m.Store.Put(ca.KID, shard, f, der)
}

func issuerOf(v *state.View, ca *lifecycle.CACert) (*x509.Certificate, lifecycle.Algorithm, error) {
	key := v.Key(ca.Issuer)
	if key == nil {
		return nil, "", fmt.Errorf("%s has a CA certificate and no key", ca.Issuer)
	}
	cert, err := x509.ParseCertificate(ca.DER)
	if err != nil {
		return nil, "", fmt.Errorf("read the CA certificate of %s: %w", ca.KID, err)
	}
	return cert, key.Alg, nil
}
