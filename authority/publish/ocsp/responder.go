package ocsp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Source is the state that is answered from.
type Source interface {
	// Directory lists the issuing instances there are answers for.
	Directory() *Directory
	// Delegate is this node's responder certificate for what an instance signed; nil
	// when it has none yet.
	Delegate(kid string) *Delegate
	// Look tells how certificates of one instance stand in one state; out is as long as
	// serials. An error says that the state cannot be read, not that a serial is unknown.
	Look(ctx context.Context, kid string, serials []lifecycle.Serial, out []Standing) (Basis, error)
}

// Standing is what the state says of one certificate. The zero Standing is Unknown.
type Standing struct {
	Status    Status
	RevokedAt lifecycle.Instant
	Reason    lifecycle.Reason
}

// Basis is the state that was looked at.
type Basis struct {
	Index uint64
	AsOf  time.Time     // it was the newest committed one then
	Fresh bool          // AsOf is recent enough to call something good
	Valid time.Duration // how long an answer is believed: the issuer's ocsp_valid
}

// Answer is a finished OCSPResponse. It is shared: nobody writes to it.
type Answer struct {
	Body                   []byte
	ThisUpdate, NextUpdate time.Time // zero for a refusal, which is not signed
	Cacheable              bool      // by anybody, until NextUpdate

	// Values of the HTTP headers that RFC 5019 section 6.2 asks for; nil unless Cacheable.
	ETag, LastModified, Expires []string
}

// Config of a Responder.
type Config struct {
	Source Source
	Clock  func() time.Time // nil = time.Now
	// Signers bounds the answers that are signed at one time; 0 = half of the processors:
	// strangers ask for them, and callers sign beside them.
	Signers int
}

// Responder answers requests.
type Responder struct {
	Config
	Counters Counters

	cache cache
	slots chan struct{}
}

// Counters of a Responder.
type Counters struct {
	Cached, Signed, Malformed, Unauthorized, TryLater atomic.Uint64
}

const (
	// unknownFor is how long a client may believe that a serial is unknown: its record
	// may be on its way.
	unknownFor = time.Minute
	// signWait is how long an answer waits for its turn to be signed.
	signWait = 200 * time.Millisecond
	// attempts to make an answer that no change has overtaken.
	attempts = 3
)

// NewResponder makes a responder with an empty cache.
func NewResponder(c Config) *Responder {
	if c.Clock == nil {
		c.Clock = time.Now
	}
	if c.Signers == 0 {
		c.Signers = max(1, runtime.GOMAXPROCS(0)/2)
	}
	return &Responder{Config: c, slots: make(chan struct{}, c.Signers)}
}

// Drop forgets the answers about one certificate. index is that of the state that says
// otherwise: Source already shows it. After Drop returns, nothing from an older state is
// served.
func (r *Responder) Drop(kid string, serial lifecycle.Serial, index uint64) {
	r.cache.drop(kid, serial, index)
}

// DropAll forgets all answers.
func (r *Responder) DropAll(index uint64) { r.cache.clear(index) }

// Malformed is the answer to what is no request.
func (r *Responder) Malformed() *Answer {
	r.Counters.Malformed.Add(1)
	return malformedRequest
}

// Respond answers a request in DER. There is always an answer: when nothing can be said
// it is one of RFC 6960's error responses.
func (r *Responder) Respond(ctx context.Context, der []byte) *Answer {
	q, err := ParseRequest(der)
	if err != nil {
		return r.Malformed()
	}
	kid, ok := r.issuer(q)
	if !ok {
		r.Counters.Unauthorized.Add(1)
		return unauthorized
	}
	serial, ours := lifecycle.SerialOf(q.IDs[0].Serial)
	if q.Nonce != nil || len(q.IDs) > 1 || !ours {
		a, _ := r.sign(ctx, kid, q)
		return r.orLater(a)
	}
	p := place{kid, serial, q.IDs[0].Hash, q.IDs[0].null}
	now, k := r.Clock(), r.cache.get(p)
	if k != nil && now.Before(k.NextUpdate) && (now.Before(k.renewAt) || !k.renewing.CompareAndSwap(false, true)) {
		r.Counters.Cached.Add(1)
		return k.Answer
	}
	return r.renew(ctx, p, k, q)
}

// issuer is the one instance that everything asked for is about. A response has one
// signer, and a delegate speaks for one instance only.
func (r *Responder) issuer(q *Request) (string, bool) {
	d := r.Source.Directory()
	kid, ok := d.Find(&q.IDs[0])
	for i := 1; ok && i < len(q.IDs); i++ {
		var other string
		other, ok = d.Find(&q.IDs[i])
		ok = ok && other == kid
	}
	return kid, ok
}

// renew makes an answer and keeps it. When none can be made now, what is kept is served
// until its end.
func (r *Responder) renew(ctx context.Context, p place, k *kept, q *Request) *Answer {
	a, index := r.sign(ctx, p.kid, q)
	if a != nil && a.Cacheable && r.cache.put(p, &kept{Answer: a, renewAt: a.ThisUpdate.Add(a.NextUpdate.Sub(a.ThisUpdate) / 2)}, index) {
		return a
	}
	if k != nil {
		k.renewing.Store(false) // the next asker tries again
	}
	if a != nil {
		return a
	}
	// What was kept may have been dropped while nothing could be made.
	if k = r.cache.get(p); k != nil && r.Clock().Before(k.NextUpdate) {
		r.Counters.Cached.Add(1)
		return k.Answer
	}
	return r.orLater(nil)
}

func (r *Responder) orLater(a *Answer) *Answer {
	if a == nil {
		r.Counters.TryLater.Add(1)
		return tryLater
	}
	return a
}

// errOvertaken is returned when the state moved on while an answer was made.
var errOvertaken = errors.New("overtaken")

// sign makes a fresh answer, nil when none can be made, with the state it is from.
func (r *Responder) sign(ctx context.Context, kid string, q *Request) (*Answer, uint64) {
	if err := r.enter(ctx); err != nil {
		return nil, 0
	}
	defer func() { <-r.slots }()
	for range attempts {
		a, index, err := r.make(ctx, kid, q)
		if err == nil {
			r.Counters.Signed.Add(1)
			return a, index
		}
		if !errors.Is(err, errOvertaken) {
			break
		}
	}
	return nil, 0
}

// enter waits for a slot; the caller gives it back.
func (r *Responder) enter(ctx context.Context) error {
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	t := time.NewTimer(signWait)
	defer t.Stop()
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-t.C:
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err() //nolint:wrapcheck // only counted
	}
}

// errSilent is returned when the state or the delegate allows no answer.
var errSilent = errors.New("nothing may be said now")

// make looks, signs, and looks whether what it says still stands.
func (r *Responder) make(ctx context.Context, kid string, q *Request) (*Answer, uint64, error) {
	var room struct {
		serials   [1]lifecycle.Serial
		standings [1]Standing
		singles   [1]Single
	}
	serials, standings, singles := room.serials[:0], room.standings[:], room.singles[:0]
	if len(q.IDs) > 1 {
		standings = make([]Standing, len(q.IDs))
	}
	for i := range q.IDs {
		s, _ := lifecycle.SerialOf(q.IDs[i].Serial) // the zero serial is nobody's
		serials = append(serials, s)
	}
	basis, err := r.Source.Look(ctx, kid, serials, standings)
	if err != nil {
		return nil, 0, err
	}
	now, delegate := r.Clock(), r.Source.Delegate(kid)
	if !basis.Fresh || !delegate.ValidAt(now) {
		return nil, 0, errSilent
	}
	valid, known := basis.Valid, true
	for i := range q.IDs {
		s := standings[i]
		singles = append(singles, Single{ID: q.IDs[i].DER, Status: s.Status, RevokedAt: s.RevokedAt, Reason: s.Reason})
		known = known && s.Status != Unknown
	}
	if !known {
		valid = min(valid, unknownFor)
	}
	c := &Content{ProducedAt: now, ThisUpdate: basis.AsOf.Truncate(time.Second), Singles: singles, Nonce: q.Nonce}
	if c.NextUpdate = c.ThisUpdate.Add(valid); !now.Before(c.NextUpdate) {
		return nil, 0, errSilent
	}
	body, err := delegate.sign(c)
	if err != nil {
		return nil, 0, err
	}
	for i := range serials {
		if r.cache.overtaken(serials[i], basis.Index) {
			return nil, 0, errOvertaken
		}
	}
	return finished(body, c, known), basis.Index, nil
}

// finished stamps a signed body. Answers to a nonce are for their asker alone, and
// nobody keeps that a serial was unknown.
func finished(body []byte, c *Content, known bool) *Answer {
	a := &Answer{Body: body, ThisUpdate: c.ThisUpdate, NextUpdate: c.NextUpdate.Truncate(time.Second), Cacheable: known && c.Nonce == nil}
	if a.Cacheable {
		sum := sha256.Sum256(body)
		a.ETag = []string{`"` + hex.EncodeToString(sum[:16]) + `"`}
		a.LastModified = []string{a.ThisUpdate.UTC().Format(http.TimeFormat)}
		a.Expires = []string{a.NextUpdate.UTC().Format(http.TimeFormat)}
	}
	return a
}
