package ocsp

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"runtime"
	"slices"
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
	// serials, and without any only the Basis is wanted. An error says that the state
	// cannot be read, not that a serial is unknown.
	Look(ctx context.Context, kid string, serials []lifecycle.Serial, out []Standing) (Basis, error)
	// Moved is the index of the newest published entry that put a certificate of an
	// instance on the CRL or took one off; 0 = none did. It takes no lock.
	Moved(kid string) uint64
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

// Each gives the counters by what was answered: "cached" and "signed" are statements,
// the others RFC 6960's refusals.
func (c *Counters) Each() map[string]uint64 {
	return map[string]uint64{"cached": c.Cached.Load(), "signed": c.Signed.Load(), "malformed": c.Malformed.Load(),
		"unauthorized": c.Unauthorized.Load(), "try_later": c.TryLater.Load()}
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
	p, one := placeOf(kid, q)
	if q.Nonce != nil || !one {
		a, made := r.sign(ctx, kid, q)
		if one && made != nil && made.standing.Status != Unknown {
			r.cache.note(p, made)
		}
		return r.orLater(a)
	}
	now, k := r.Clock(), r.cache.get(p)
	if k.answers(now) && r.stands(ctx, p, k) && (now.Before(k.renewAt) || !k.renewing.CompareAndSwap(false, true)) {
		r.Counters.Cached.Add(1)
		return k.Answer
	}
	return r.renew(ctx, p, k, q)
}

// stands reports whether a kept answer still says what the newest state says. If not it
// is forgotten.
func (r *Responder) stands(ctx context.Context, p place, k *kept) bool {
	if k.index.Load() >= r.Source.Moved(p.kid) {
		return true
	}
	var now [1]Standing
	basis, err := r.Source.Look(ctx, p.kid, []lifecycle.Serial{p.serial}, now[:])
	if err != nil || now[0] != k.standing {
		r.cache.drop(p, k)
		return false
	}
	k.index.Store(basis.Index) // that of another asker may be newer; then one of us looks once more
	return true
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
	a, made := r.sign(ctx, p.kid, q)
	if a != nil {
		if a.Cacheable {
			made.renewAt = a.ThisUpdate.Add(a.NextUpdate.Sub(a.ThisUpdate) / 2)
			r.cache.put(p, made)
		}
		return a
	}
	if k != nil {
		k.renewing.Store(false) // the next asker tries again
	}
	if k = r.cache.get(p); k.answers(r.Clock()) && r.stands(ctx, p, k) {
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

// sign makes a fresh answer, as it can be kept; nil when none can be made.
func (r *Responder) sign(ctx context.Context, kid string, q *Request) (*Answer, *kept) {
	if err := r.enter(ctx); err != nil {
		return nil, nil
	}
	defer func() { <-r.slots }()
	for range attempts {
		k, err := r.attempt(ctx, kid, q)
		if err == nil {
			r.Counters.Signed.Add(1)
			return k.Answer, k
		}
		if !errors.Is(err, errOvertaken) {
			break
		}
	}
	return nil, nil
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

// attempt looks, signs, and looks whether what it says still stands.
func (r *Responder) attempt(ctx context.Context, kid string, q *Request) (*kept, error) {
	serials, standings, singles := make([]lifecycle.Serial, len(q.IDs)), make([]Standing, len(q.IDs)), make([]Single, len(q.IDs))
	for i := range q.IDs {
		serials[i], _ = lifecycle.SerialOf(q.IDs[i].Serial) // the zero serial is nobody's
	}
	basis, err := r.look(ctx, kid, q, serials, standings)
	if err != nil {
		return nil, err
	}
	now, delegate := r.Clock(), r.Source.Delegate(kid)
	if !basis.Fresh || !delegate.ValidAt(now) {
		return nil, errSilent
	}
	valid, known := basis.Valid, true
	for i, s := range standings {
		singles[i] = Single{ID: q.IDs[i].DER, Standing: s}
		known = known && s.Status != Unknown
	}
	if !known {
		valid = min(valid, unknownFor)
	}
	c := &Content{ProducedAt: now, ThisUpdate: basis.AsOf.Truncate(time.Second), Singles: singles, Nonce: q.Nonce}
	if c.NextUpdate = c.ThisUpdate.Add(valid); !now.Before(c.NextUpdate) {
		return nil, errSilent
	}
	body, err := delegate.sign(c)
	if err != nil {
		return nil, err
	}
	index, err := r.overtaken(ctx, kid, basis.Index, serials, standings)
	if err != nil {
		return nil, err
	}
	k := &kept{Answer: finished(body, c, known), standing: standings[0]}
	k.index.Store(index)
	return k, nil
}

// look is the Source's Look, but reads no certificate whose standing is kept and still
// what the newest state says. What is kept is looked at after the Basis was taken: like a
// row that is read, a standing may be newer than its Basis and never older.
func (r *Responder) look(ctx context.Context, kid string, q *Request, serials []lifecycle.Serial, out []Standing) (Basis, error) {
	if p, one := placeOf(kid, q); one {
		if k := r.cache.get(p); k != nil {
			basis, err := r.Source.Look(ctx, kid, nil, nil)
			if err != nil {
				return basis, err
			}
			if r.stands(ctx, p, k) {
				out[0] = k.standing
				return basis, nil
			}
		}
	}
	return r.Source.Look(ctx, kid, serials, out)
}

// overtaken returns errOvertaken when one of the certificates no longer stands as it did
// in the state at index, and else the newest state known to say the same.
func (r *Responder) overtaken(ctx context.Context, kid string, index uint64, serials []lifecycle.Serial, standings []Standing) (uint64, error) {
	if index >= r.Source.Moved(kid) {
		return index, nil
	}
	again := make([]Standing, len(serials))
	basis, err := r.Source.Look(ctx, kid, serials, again)
	if err != nil {
		return 0, err
	}
	if !slices.Equal(again, standings) {
		return 0, errOvertaken
	}
	return basis.Index, nil
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
