package state

import (
	"bytes"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Operation is one accepted request, named by principal and RequestID, so that a
// repeat is answered with what happened the first time.
type Operation struct {
	Rev       uint64            `cbor:"1,keyasint"`
	RequestID string            `cbor:"2,keyasint"`
	Actor     string            `cbor:"3,keyasint"`
	Digest    []byte            `cbor:"4,keyasint"` // SHA-256 of the request as asked
	Kind      command.Kind      `cbor:"5,keyasint"`
	At        lifecycle.Instant `cbor:"6,keyasint"`
	Outcome   Outcome           `cbor:"7,keyasint"`
}

const (
	// OperationsKept is how long a RequestID is remembered, in Clock time.
	OperationsKept = lifecycle.Day
	// evictPerEntry bounds the work of forgetting: two old ones go for each new
	// one, so the table shrinks whenever it is used.
	evictPerEntry = 2
	// maxRequestAhead is how far a caller's clock may run ahead of Clock in a
	// RequestID; without it the id could never be forgotten.
	maxRequestAhead = lifecycle.Hour
)

// replay looks a request up. done is true when the entry must not be carried out.
func (x *tx) replay() (o Outcome, done bool) {
	h := x.head
	if h.RequestID == "" {
		return o, false
	}
	at, err := command.RequestTime(h.RequestID)
	if err != nil {
		return refuse(Invalid, "", "%v", err), true
	}
	if at < x.clock.Add(-OperationsKept) {
		return refuse(StaleRequestID, h.RequestID, "the request id is older than %s: whether it was carried out is no longer known here; look at the key, then use a new id", OperationsKept), true
	}
	if at > x.clock.Add(maxRequestAhead) {
		return refuse(StaleRequestID, h.RequestID, "the request id lies more than %s in the future: set the caller's clock", maxRequestAhead), true
	}
	b := x.coldGet(TableOperations, operationKey(h.Actor, h.RequestID))
	if b == nil {
		return o, false
	}
	var op Operation
	if err := command.Unmarshal(b, &op); err != nil {
		panic(&Corruption{Index: x.index, Err: err})
	}
	return op.Answer(h.RequestDigest), true
}

// Answer is what a repeat of the request gets: the first outcome, or a refusal
// when another body came under the same id.
func (op *Operation) Answer(digest []byte) Outcome {
	if !bytes.Equal(op.Digest, digest) {
		return refuse(RequestIDReused, op.RequestID, "this request id was used for another request at %s: use a new one", op.At)
	}
	o := op.Outcome
	o.Replayed = true
	return o
}

// remember stores the operation and forgets a few that are past their time.
func (x *tx) remember(kind command.Kind, o Outcome) {
	if x.head.RequestID == "" {
		return
	}
	x.putOperation(kind, o)
	x.forgetOperations(1)
}

func (x *tx) putOperation(kind command.Kind, o Outcome) {
	h := x.head
	op := Operation{Rev: x.index, RequestID: h.RequestID, Actor: h.Actor, Digest: h.RequestDigest, Kind: kind, At: h.At, Outcome: o}
	x.coldAdd(TableOperations, operationKey(h.Actor, h.RequestID), command.Marshal(&op)) // replay found none
}

// forgetOperations forgets some that are past their time, for so many new ones.
func (x *tx) forgetOperations(n int) {
	x.evict(TableOperations, evictPerEntry*n, func(key string) (lifecycle.Instant, error) {
		return command.RequestTime(key[:min(len(key), command.MaxRequestIDSize)])
	})
}

// evict forgets up to n rows that are past their time, of a table whose keys sort by it.
func (x *tx) evict(t Table, n int, timeOf func(key string) (lifecycle.Instant, error)) {
	var old []string
	x.cold.Ascend(t, "", func(key string, _ []byte) bool {
		at, err := timeOf(key)
		if err != nil {
			panic(&Corruption{Index: x.index, Err: err})
		}
		if len(old) == n || at >= x.clock.Add(-OperationsKept) {
			return false
		}
		old = append(old, key)
		return true
	})
	for _, key := range old {
		x.coldDrop(t, key)
	}
}
