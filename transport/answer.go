package transport

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
	"github.com/chancery-project/chancery/transport/wire"
)

// Position is a state's position on the wire.
func Position(p state.Position) wire.Position {
	return wire.Position{Epoch: p.Epoch, Index: p.Index, LogSize: p.LogSize, LogRoot: p.LogRoot[:]}
}

// FreshnessOf names what a snapshot really met.
func FreshnessOf(s ledger.Snapshot) string {
	switch {
	case !s.Fresh:
		return wire.Stale
	case s.Level == ledger.Linearizable:
		return wire.Linearizable
	}
	return wire.Bounded
}

// Stamper writes the headers that say which state an answer comes from. The slices
// it puts into headers are shared between answers and never written to.
type Stamper struct {
	node []string
	at   atomic.Pointer[stamp]
	asOf atomic.Pointer[instant]
}

type stamp struct {
	epoch, index uint64
	epochs       []string
	indexes      []string
}

type instant struct {
	ms   int64
	text []string
}

var (
	jsonType   = []string{wire.TypeJSON}
	staleNow   = []string{wire.Stale}
	boundedNow = []string{wire.Bounded}
	linearNow  = []string{wire.Linearizable}
	noStore    = []string{"no-store"}
)

// NewStamper is for answers of the named node.
func NewStamper(node string) *Stamper { return &Stamper{node: []string{node}} }

// Snapshot stamps an answer computed from a snapshot.
func (s *Stamper) Snapshot(h http.Header, snap ledger.Snapshot) {
	s.position(h, snap.Position())
	switch FreshnessOf(snap) {
	case wire.Stale:
		h[wire.HeaderFreshness] = staleNow
	case wire.Linearizable:
		h[wire.HeaderFreshness] = linearNow
	default:
		h[wire.HeaderFreshness] = boundedNow
	}
	if !snap.AsOf.IsZero() {
		h[wire.HeaderAsOf] = s.time(snap.AsOf)
	}
}

// View stamps an answer of which only the position is known: nothing is claimed
// about its age, so it counts as stale.
func (s *Stamper) View(h http.Header, p state.Position) {
	s.position(h, p)
	h[wire.HeaderFreshness] = staleNow
}

func (s *Stamper) position(h http.Header, p state.Position) {
	at := s.at.Load()
	if at == nil || at.index != p.Index || at.epoch != p.Epoch {
		at = &stamp{epoch: p.Epoch, index: p.Index,
			epochs: []string{strconv.FormatUint(p.Epoch, 10)}, indexes: []string{strconv.FormatUint(p.Index, 10)}}
		s.at.Store(at)
	}
	h[wire.HeaderNode], h[wire.HeaderIndex], h[wire.HeaderEpoch] = s.node, at.indexes, at.epochs
}

func (s *Stamper) time(t time.Time) []string {
	ms := t.UnixMilli()
	at := s.asOf.Load()
	if at == nil || at.ms != ms {
		at = &instant{ms, []string{wire.AsTime(t).String()}}
		s.asOf.Store(at)
	}
	return at.text
}

// Refusal stamps an error with where the node stands: its position, and since when
// its state may be out of date. It is no answer about anything, and so stale.
func (s *Stamper) Refusal(ctx context.Context, h http.Header, l ledger.Ledger) {
	snap, err := l.Read(ctx, ledger.Freshness{Level: ledger.Stale})
	if err != nil { // a node that is stopping still knows its position
		s.View(h, l.View().Position())
		return
	}
	s.Snapshot(h, snap)
}

// JSON marks the body as JSON that no cache keeps.
func JSON(h http.Header) {
	h["Content-Type"] = jsonType
	h["Cache-Control"] = noStore
	h["X-Content-Type-Options"] = nosniff
}

var nosniff = []string{"nosniff"}

// WriteError answers with an error object.
func WriteError(w http.ResponseWriter, e *wire.Error) {
	h := w.Header()
	JSON(h)
	if e.RequestID != "" {
		h[wire.HeaderRequestID] = []string{e.RequestID}
	}
	if s := RetryAfter(e); s > 0 && len(h["Retry-After"]) == 0 {
		h["Retry-After"] = []string{strconv.Itoa(s)}
	}
	if e.HTTPStatus() == http.StatusUnauthorized {
		h["Www-Authenticate"] = []string{`Bearer realm="chancery"`}
	}
	body, err := json.Marshal(e)
	if err != nil { // texts and numbers only: cannot be
		body = []byte(`{"code":"internal","message":"","retryable":false}`)
	}
	w.WriteHeader(e.HTTPStatus())
	_, _ = w.Write(append(body, '\n')) // the caller has gone: nobody is left to tell
}

// AppendPosition appends the member position to a JSON object.
func AppendPosition(b []byte, p state.Position) []byte {
	b = append(b, `"position":{"epoch":`...)
	b = strconv.AppendUint(b, p.Epoch, 10)
	b = append(b, `,"index":`...)
	b = strconv.AppendUint(b, p.Index, 10)
	b = append(b, `,"log_size":`...)
	b = strconv.AppendUint(b, p.LogSize, 10)
	b = append(b, `,"log_root":"`...)
	b = base64.StdEncoding.AppendEncode(b, p.LogRoot[:])
	return append(b, `"}`...)
}

// AppendAge appends the members position, as_of and freshness, with which rendered
// answers end, to a JSON object that is open and has members.
func AppendAge(b []byte, snap ledger.Snapshot) []byte {
	b = AppendPosition(b, snap.Position())
	b = append(b, `,"as_of":`...)
	if snap.AsOf.IsZero() {
		b = append(b, "null"...)
	} else {
		b = append(b, '"')
		b = snap.AsOf.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
		b = append(b, '"')
	}
	b = append(b, `,"freshness":"`...)
	b = append(b, FreshnessOf(snap)...)
	return append(b, '"')
}
