package public

import (
	"encoding/json"
	"strconv"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// keepGood is how long a "good" or "unknown" may be kept: no longer than the state
// it was read from may be old.
const keepGood = ledger.DefaultBound

// keepRevoked is how long a "revoked" may be kept: it never changes back.
const keepRevoked = 5 * time.Minute

// keyStatus says whether a key may be relied on now.
func (c *call) keyStatus() error {
	name := c.r.PathValue("name")
	if err := lifecycle.CheckName("key", name); err != nil {
		return wire.Errorf(wire.Invalid, "%v", err)
	}
	return c.answerStatus("key/"+name, func(snap ledger.Snapshot) (*wire.KeyStatus, error) {
		s := publish.KeyStatus(snap.View, lifecycle.KeyID(name), snap.Fresh)
		out := c.statusView(snap, s)
		for _, v := range snap.Versions(s.Key) {
			out.Versions = append(out.Versions, versionView(snap, v))
		}
		return out, c.trustSet(snap, out, s.Key)
	})
}

// maxKIDBytes is a thumbprint with room; longer ones are nobody's.
const maxKIDBytes = 64

// kidStatus says whether one public key may be relied on now.
func (c *call) kidStatus() error {
	kid := c.r.PathValue("kid")
	if len(kid) > maxKIDBytes {
		return wire.Errorf(wire.Invalid, "a kid of %d characters: they have 43", len(kid))
	}
	return c.answerStatus("kid/"+kid, func(snap ledger.Snapshot) (*wire.KeyStatus, error) {
		s := publish.KIDStatus(snap.View, kid, snap.Fresh)
		out := c.statusView(snap, s)
		out.KID = wire.Text(kid)
		if v := snap.Version(s.Key, s.Version); v != nil {
			one := versionView(snap, v)
			one.Status, one.InTrustSet, one.KIDs = string(s.Answer), s.InTrustSet, []string{kid}
			if one.Revocation == nil && s.Answer == publish.Revoked {
				one.Revocation = &wire.Revocation{Reason: s.Reason, At: wire.Time(s.SinceAt), CompromisedSince: wire.Time(s.CompromisedSince), Comment: s.Comment}
			}
			out.Versions = append(out.Versions, one)
		}
		return out, c.trustSet(snap, out, s.Key)
	})
}

func (c *call) statusView(snap ledger.Snapshot, s publish.Status) *wire.KeyStatus {
	out := &wire.KeyStatus{Key: wire.Text(s.Key), Status: string(s.Answer), Versions: []wire.VersionStatus{}}
	if k := snap.Key(s.Key); k != nil {
		out.ActiveVersion = k.Active
	}
	out.MaxAgeSeconds = int64(keep(snap, s.Answer) / time.Second)
	return out
}

// keep is how long an answer may be kept, 0 = not at all.
func keep(snap ledger.Snapshot, a publish.Answer) time.Duration {
	switch {
	case a == publish.Revoked:
		return keepRevoked
	case snap.Fresh:
		return keepGood
	}
	return 0
}

func (c *call) trustSet(snap ledger.Snapshot, out *wire.KeyStatus, key lifecycle.KeyID) error {
	if snap.Key(key) == nil {
		return nil
	}
	set, err := c.Sets.Set(snap.View, key)
	if err != nil {
		return err
	}
	out.TrustSet = wire.TrustSet{Digest: set.Digest, URL: c.publicURL(snap) + wire.Path(wire.PathKeyJWKS, string(key)),
		MaxAgeSeconds: int64(set.MaxAge(lifecycle.Instant(c.Clock().UnixMilli())) / time.Second)}
	return nil
}

func versionView(snap ledger.Snapshot, v *lifecycle.Version) wire.VersionStatus {
	out := wire.VersionStatus{Version: v.Number, State: v.State, Status: string(publish.VersionStatus(snap.View, v.Key, v.Number, snap.Fresh).Answer),
		Since: wire.Time(v.SinceAt), InTrustSet: v.InTrustSet(), KIDs: []string{}}
	if r := v.Revocation; r != nil {
		out.Revocation = &wire.Revocation{Reason: r.Reason, At: wire.Time(r.At), CompromisedSince: wire.Time(r.CompromisedSince), Index: r.Index}
	}
	for _, i := range snap.Instances(v.Key, v.Number) {
		if i.PublishedAt != 0 {
			out.KIDs = append(out.KIDs, i.KID)
		}
	}
	return out
}

var jsonType = []string{wire.TypeJSON}

// answerStatus answers from an old state too, because "revoked" may be said at any
// age; everything else then becomes "indeterminate".
func (c *call) answerStatus(name string, make func(ledger.Snapshot) (*wire.KeyStatus, error)) error {
	snap, err := c.readAny()
	if err != nil {
		return err
	}
	b, tail, err := c.statuses.Render(name, snap, c.Clock(), func() ([]byte, error) {
		s, err := make(snap)
		if err != nil {
			return nil, err
		}
		whole, err := json.Marshal(s)
		return transport.Open(whole), err
	})
	if err != nil {
		return err
	}
	h := c.w.Header()
	c.stamper.Snapshot(h, snap)
	h["Cache-Control"] = statusCache(snap.Fresh)
	c.body(jsonType, b, tail)
	return nil
}

var briefly = []string{"public, max-age=" + strconv.Itoa(int(keepGood/time.Second))}

// statusCache lets shared caches keep answers of a fresh state for as long as such
// a state may be old, and none of an old one: it would be younger elsewhere.
func statusCache(fresh bool) []string {
	if fresh {
		return briefly
	}
	return noStore
}
