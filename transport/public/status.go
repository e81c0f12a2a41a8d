package public

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// keepRevoked is how long a "revoked" may be kept: it never changes back.
const keepRevoked = 5 * time.Minute

// keepNothing is for answers that say nothing: they are for whoever asked just now.
const keepNothing = time.Second

// keyStatus says whether a key may be relied on now.
func (c *call) keyStatus() error {
	key, err := keyName(c.r)
	if err != nil {
		return err
	}
	return c.answerStatus(wire.KeySubject(string(key)), func(snap ledger.Snapshot) (publish.Status, *wire.KeyStatus) {
		s := publish.KeyStatus(snap.View, key, snap.Fresh)
		out := c.statusView(snap, s)
		for _, v := range snap.Versions(s.Key) {
			out.Versions = append(out.Versions, versionView(snap, v))
		}
		return s, out
	})
}

func keyName(r *http.Request) (lifecycle.KeyID, error) {
	name := r.PathValue("name")
	if err := lifecycle.CheckName("key", name); err != nil {
		return "", wire.Errorf(wire.Invalid, "%v", err)
	}
	return lifecycle.KeyID(name), nil
}

func instant(t time.Time) lifecycle.Instant { return lifecycle.Instant(t.UnixMilli()) }

// maxKIDBytes is a thumbprint with room; longer ones are nobody's.
const maxKIDBytes = 64

// kidStatus says whether one public key may be relied on now.
func (c *call) kidStatus() error {
	kid := c.r.PathValue("kid")
	if len(kid) > maxKIDBytes {
		return wire.Errorf(wire.Invalid, "a kid of %d characters: they have 43", len(kid))
	}
	return c.answerStatus(wire.KIDSubject(kid), func(snap ledger.Snapshot) (publish.Status, *wire.KeyStatus) {
		s := publish.KIDStatus(snap.View, kid, snap.Fresh)
		out := c.statusView(snap, s)
		out.KID = wire.Text(kid)
		if v := snap.Version(s.Key, s.Version); v != nil {
			one := versionView(snap, v)
			one.Status, one.InTrustSet, one.KIDs = string(s.Answer), s.InTrustSet, []string{kid}
			if one.Revocation == nil && s.Answer == publish.Revoked {
				one.Revocation = &wire.Revocation{Reason: s.Reason, At: wire.Time(s.SinceAt), CompromisedSince: wire.Time(s.CompromisedSince)}
			}
			out.Versions = append(out.Versions, one)
		}
		return s, out
	})
}

func (c *call) statusView(snap ledger.Snapshot, s publish.Status) *wire.KeyStatus {
	out := &wire.KeyStatus{Key: wire.Text(s.Key), Status: string(s.Answer), Versions: []wire.VersionStatus{}}
	if k := snap.Key(s.Key); k != nil {
		out.ActiveVersion = k.Active
	}
	return out
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
		MaxAgeSeconds: int64(set.MaxAge(instant(c.Clock())) / time.Second)}
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
func (c *call) answerStatus(subject string, look func(ledger.Snapshot) (publish.Status, *wire.KeyStatus)) error {
	snap, f, err := c.readAny()
	if err != nil {
		return err
	}
	s, err := c.begin(snap, f)
	if err != nil {
		return err
	}
	a, err := c.answers.get(subject, s, func() (*answer, error) {
		status, out := look(snap)
		return s.status(subject, status, out)
	})
	if err != nil {
		return err
	}
	s.write(jsonType, a)
	return nil
}

// status finishes a status answer: dates, trust set, signature.
func (s *statement) status(subject string, status publish.Status, out *wire.KeyStatus) (*answer, error) {
	expires := s.expires(status.Answer)
	if left := expires.Sub(s.now); left > 0 && (s.snap.Fresh || status.Answer == publish.Revoked) {
		out.MaxAgeSeconds = int64(left / time.Second)
	}
	out.Position, out.AsOf, out.Freshness = transport.Position(s.snap.Position()), wire.AsTime(s.snap.AsOf), transport.FreshnessOf(s.snap)
	if err := s.trustSet(s.snap, out, status.Key); err != nil {
		return nil, err
	}
	jws, err := s.sign(wire.TypStatus, func(notAfter time.Time, node string) any {
		return statusClaims(s.about(subject, expires, notAfter, node), status, out)
	})
	if err != nil && !unsigned(err) {
		return nil, err
	}
	out.Signed, out.JWS = err == nil, jws
	body, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &answer{control: s.control(s.expires(publish.Good)), body: append(body, '\n')}, nil
}

// expires is until when an answer may be relied on: a revocation never changes back,
// and nothing else outlives the age that its asker accepts in a state.
func (s *statement) expires(a publish.Answer) time.Time {
	switch {
	case a == publish.Revoked:
		return s.now.Add(keepRevoked)
	case s.snap.Fresh && !s.snap.AsOf.IsZero():
		return s.snap.AsOf.Add(s.bound)
	}
	return s.now.Add(keepNothing)
}

func statusClaims(about wire.Statement, s publish.Status, out *wire.KeyStatus) *wire.StatusClaims {
	c := &wire.StatusClaims{Statement: about, Status: string(s.Answer), ActiveVersion: out.ActiveVersion,
		TrustSetDigest: wire.Text(out.TrustSet.Digest), Versions: make([]wire.VersionClaims, 0, len(out.Versions))}
	if s.Answer == publish.Revoked || about.Freshness != wire.Stale {
		c.Reason, c.CompromisedSince = wire.Text(s.Reason), wire.Time(s.CompromisedSince)
	}
	if about.Freshness == wire.Stale { // which one signs, and whom to trust, may have changed
		c.ActiveVersion, c.TrustSetDigest = 0, ""
	}
	for _, v := range out.Versions {
		c.Versions = append(c.Versions, wire.VersionClaims{Version: v.Version, Status: v.Status, KIDs: v.KIDs})
	}
	return c
}
