package public

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

// statement is an answer that is about to be signed, and then kept for others who
// ask the same of the same state.
type statement struct {
	*call
	snap  ledger.Snapshot
	now   time.Time
	nonce string
	bound time.Duration // how old the state may be for whoever asked
}

// begin pins a state and reads the nonce.
func (c *call) begin(snap ledger.Snapshot, f ledger.Freshness) (*statement, error) {
	s := &statement{call: c, snap: snap, now: c.Clock(), bound: f.Within}
	if s.bound == 0 {
		s.bound = ledger.DefaultBound
	}
	if c.r.URL.RawQuery == "" {
		return s, nil
	}
	q := c.r.URL.Query()[wire.QueryNonce]
	if len(q) == 0 {
		return s, nil
	}
	if len(q) > 1 {
		return nil, wire.Errorf(wire.Invalid, "query parameter %s is given %d times", wire.QueryNonce, len(q))
	}
	s.nonce = q[0]
	return s, wire.CheckNonce(s.nonce)
}

// about is what the statement says of itself. expires is cut to the life of the
// certificate that it verifies with.
func (s *statement) about(subject string, expires, notAfter time.Time, node string) wire.Statement {
	out := wire.Statement{Subject: subject, Node: s.Node, NodeID: node, Position: transport.Position(s.snap.Position()), AsOf: wire.AsTime(s.snap.AsOf),
		Freshness: transport.FreshnessOf(s.snap), Nonce: s.nonce}
	if row := s.snap.Cluster(); row != nil {
		out.Cluster = row.ID
	}
	if expires.After(notAfter) {
		expires = notAfter
	}
	out.ExpiresAt = wire.AsTime(expires)
	return out
}

// sign makes the JWS over claims that fill makes; "" when this node cannot sign now
// and says so by leaving the answer unsigned.
func (s *statement) sign(typ string, fill func(notAfter time.Time, node string) any) (string, error) {
	notAfter, node, ok := s.Attestor.Ready(s.now)
	if !ok {
		return "", publish.ErrNoStatusKey
	}
	payload, err := json.Marshal(fill(notAfter, string(node)))
	if err != nil {
		return "", fmt.Errorf("encode a statement: %w", err)
	}
	return s.Attestor.Sign(s.r.Context(), typ, payload, s.now)
}

// answer is a finished body with its Cache-Control. It holds for one state, one
// proof of its freshness and one second, and is never changed.
type answer struct {
	epoch, index uint64
	asOf         time.Time
	second       int64
	fresh        bool
	control      []string
	body         []byte
}

// answers remembers finished bodies. The zero value is ready.
type answers struct {
	found sync.Map // string -> *place
	count atomic.Int64
}

// place is where the newest answer of one name is. The lock lets one caller build it
// while the others who ask the same wait for it; whoever finds it takes no lock.
type place struct {
	now   atomic.Pointer[answer]
	build sync.Mutex
}

// maxAnswers bounds the memory: an answer has a few KiB.
const maxAnswers = 4096

func (s *statement) holds(a *answer) bool {
	if a == nil {
		return false
	}
	if fault.On(fault.CachedGood) && a.fresh {
		return true
	}
	p := s.snap.Position()
	return a.index == p.Index && a.epoch == p.Epoch && a.fresh == s.snap.Fresh && a.second == s.now.Unix() && a.asOf.Equal(s.snap.AsOf)
}

// get gives the remembered answer, or has it made. One with a nonce is for its asker
// alone.
func (a *answers) get(name string, s *statement, make func() (*answer, error)) (*answer, error) {
	if s.nonce != "" {
		return make()
	}
	if s.bound != ledger.DefaultBound {
		name += "=" + s.bound.String()
	}
	found, ok := a.found.Load(name)
	if ok {
		if e := found.(*place).now.Load(); s.holds(e) {
			return e, nil
		}
	} else if found, ok = a.found.LoadOrStore(name, new(place)); !ok && a.count.Add(1) > maxAnswers {
		a.drop()
	}
	at := found.(*place)
	at.build.Lock()
	defer at.build.Unlock()
	if e := at.now.Load(); s.holds(e) {
		return e, nil
	}
	e, err := make()
	if err != nil {
		return nil, err
	}
	p := s.snap.Position()
	e.epoch, e.index, e.asOf, e.second, e.fresh = p.Epoch, p.Index, s.snap.AsOf, s.now.Unix(), s.snap.Fresh
	at.now.Store(e)
	return e, nil
}

func (a *answers) drop() {
	if fault.On(fault.CachedGood) {
		return
	}
	a.found.Clear()
	a.count.Store(0)
}

// Drop forgets every finished answer. Called when a fence passes: what was good
// before it is not served again, whoever asks.
func (p *Public) Drop() {
	p.answers.drop()
	p.Sets.Drop()
}

// write sends a finished answer.
func (s *statement) write(contentType []string, a *answer) {
	h := s.w.Header()
	s.stamper.Snapshot(h, s.snap)
	h["Cache-Control"] = a.control
	s.body(contentType, a.body)
}

// control is Cache-Control for what may be kept until expires by anybody; an answer
// to a nonce, or of an old state, is kept by nobody.
func (s *statement) control(expires time.Time) []string {
	if left := int(expires.Sub(s.now) / time.Second); s.snap.Fresh && s.nonce == "" && left > 0 {
		return []string{"public, max-age=" + strconv.Itoa(left)}
	}
	return noStore
}

var joseType = []string{wire.TypeJOSE}

// signedSet serves the trust set of one key as a signed statement. It needs no TLS:
// whoever can verify it knows the cluster's CA already. And it is made out of a fresh
// state only, because every kid in it is called good.
func (c *call) signedSet() error {
	f, err := transport.ParseFreshness(c.r.Header, false)
	if err != nil {
		return err
	}
	if f.Level == ledger.Stale {
		return wire.Errorf(wire.Invalid, "%s: a trust set is not signed out of an old state", wire.HeaderConsistency).WithHint("ask for bounded")
	}
	snap, err := c.reader.Read(c.r.Context(), f)
	if err != nil {
		return err
	}
	s, err := c.begin(snap, f)
	if err != nil {
		return err
	}
	key, err := keyName(c.r)
	if err != nil {
		return err
	}
	set, err := c.Sets.Set(snap.View, key)
	if err != nil {
		return err
	}
	a, err := c.answers.get("set/"+string(key), s, func() (*answer, error) {
		age := set.MaxAge(instant(s.now))
		expires := s.now.Add(age)
		jws, err := s.sign(wire.TypTrustSet, func(notAfter time.Time, node string) any {
			return &wire.TrustSetClaims{Statement: s.about(wire.TrustSetSubject(string(key)), expires, notAfter, node),
				Digest: set.Digest, MaxAgeSeconds: int64(age / time.Second), JWKS: json.RawMessage(set.JWKS)}
		})
		return &answer{control: s.control(expires), body: []byte(jws)}, err
	})
	if err != nil {
		return err
	}
	c.w.Header()["Access-Control-Allow-Origin"] = anyone
	s.write(joseType, a)
	return nil
}

// unsigned reports an error that leaves a status answer without a signature, rather
// than the caller without an answer.
func unsigned(err error) bool {
	return errors.Is(err, publish.ErrNoStatusKey) || errors.Is(err, publish.ErrNotDated)
}
