// Package signing makes signatures on this node and decides whether they may
// leave it.
//
// Threat model: a revocation may commit at any moment, the HSM may take any time
// and may be wrong, the process may be stopped anywhere. So nothing that was
// checked before the HSM call is believed after it: every signature is verified
// with the registered public key, and passes the release gate, which looks at the
// lease and at the newest state again with no I/O in between. What does not pass is
// wiped, counted and recorded as "signed, not released".
//
// The right to release is a lease (ledger.Lease), not the age of the state: once the
// cluster says that a revocation is fenced, no lease is out under which this gate
// would still let the key pass.
//
// Concurrency: a Signer may be used from any number of goroutines. It holds no
// lock while the HSM works; the key store bounds its own queue. Gate locks are held
// for a look at memory, by many at once; Drain waits for those that hold them.
package signing

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/access"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Limits of one request.
const (
	MaxMessageBytes = 64 << 10 // larger content is signed by digest
	MaxItems        = 1024     // in a batch
)

// Journal is the audit journal as signing uses it.
type Journal interface {
	AppendBatch(ctx context.Context, rs []audit.Record) (uint64, error)
	AppendAsync(r audit.Record) error
}

// Config of a Signer. Clock is the wall clock of audit records; Elapsed is a
// clock that goes on in suspend, for the age of requests.
type Config struct {
	Ledger     ledger.Ledger
	Lease      ledger.Lease // this node's right to release; required
	Store      hsm.KeyStore
	Audit      Journal
	Clock      func() time.Time
	Elapsed    func() time.Duration
	Usable     func(key lifecycle.KeyID, version uint64) error // what the reconciler says of this node's instance; nil = all usable
	Dated      func() error                                    // whether this node's clock may date what it signs; nil = always
	Sealed     func(key lifecycle.KeyID) *lifecycle.Seal       // the local seal that forbids a key; nil = there are none
	Record     Record                                          // writes strict signatures into the log; nil = strict keys do not sign here
	MaxAge     time.Duration                                   // of a request when its signature is released; 0 = what the cluster's settings say
	MaxWorkers int                                             // parallel HSM calls of one batch; 0 = 2
}

// Signer signs with this node's instances.
type Signer struct {
	Config
	gates    gates
	notary   *Notary
	verified atomic.Uint64 // round robin for sampled verification

	// Signatures, for metrics. Expired ones were released, and not written in time.
	Released, Withheld, Expired atomic.Uint64
}

// New makes a Signer.
func New(c Config) *Signer {
	if c.Lease == nil {
		panic("signing: a signer without a lease would release for ever")
	}
	if c.MaxWorkers == 0 {
		c.MaxWorkers = 2
	}
	if c.Usable == nil {
		c.Usable = func(lifecycle.KeyID, uint64) error { return nil }
	}
	if c.Sealed == nil {
		c.Sealed = func(lifecycle.KeyID) *lifecycle.Seal { return nil }
	}
	return &Signer{Config: c, notary: NewNotary(c.Record)}
}

// Request is what every signature is asked for with.
type Request struct {
	Caller     authority.Caller
	ID         string        // UUIDv7, for the audit record
	Key        string        // name
	ReceivedAt time.Duration // reading of Config.Elapsed when the request arrived

	named      uint64      // version to sign with; 0 = the active one
	right      access.Verb // that the caller needs; "" with a version = this node itself asks
	introduces bool        // a version that does not sign yet will do
}

// Input is one thing to sign: a message, or its digest with the hash's name.
type Input struct {
	Message []byte
	Digest  []byte
	Hash    lifecycle.Hash // with Digest; "" = the key's own
}

// Signature is a released signature. Bytes are ASN.1 DER for ECDSA and native for
// RSA and Ed25519.
type Signature struct {
	Key      lifecycle.KeyID
	Version  uint64
	KID      string
	Node     lifecycle.NodeID
	Alg      lifecycle.Algorithm
	Bytes    []byte
	Kind     string // "message" or "digest": what the input was
	Hash     lifecycle.Hash
	JWS      []byte // SignJWS only: the compact form with a detached payload
	Position state.Position

	// RecordIndex is the entry in which a strict signature stands; 0 = not strict.
	RecordIndex uint64

	// Readings of Config.Elapsed: when it passed the gate, and by when it must have
	// been written to the caller.
	ReleasedAt, Deadline time.Duration
}

// Item is one result of a batch: a signature or the reason there is none.
type Item struct {
	Signature
	Err error
}

// Sign signs each input, in order. The error is about the request as a whole;
// what befell one input is in its item.
func (s *Signer) Sign(ctx context.Context, req Request, inputs []Input) ([]Item, error) {
	j, err := s.admit(req)
	if err != nil {
		return nil, err
	}
	return s.sign(ctx, j, "sign", inputs)
}

// sign carries out an admitted request.
func (s *Signer) sign(ctx context.Context, j *job, verb string, inputs []Input) ([]Item, error) {
	if len(inputs) == 0 || len(inputs) > MaxItems {
		return nil, refuse("invalid", fmt.Sprintf("send 1 to %d items", MaxItems), "%d items to sign", len(inputs))
	}
	fault.Reached(fault.SignAdmitted)
	items, tbs := make([]Item, len(inputs)), make([][]byte, len(inputs))
	intents := make([]audit.Record, 0, len(inputs))
	for i := range inputs {
		items[i].Signature = j.signature(inputs[i])
		if tbs[i], items[i].Err = j.prepare(verb, inputs[i]); items[i].Err == nil {
			intents = append(intents, j.record(audit.SignIntent, s.Clock(), tbs[i]))
		}
	}
	if len(intents) > 0 {
		// No record, no signature: the intent is on disk before the key is used.
		if _, err := s.Audit.AppendBatch(ctx, intents); err != nil {
			return nil, fmt.Errorf("%w: %w", authority.ErrAudit, err)
		}
		ctx, cancel := context.WithTimeout(ctx, j.limit-(s.Elapsed()-j.ReceivedAt))
		defer cancel()
		s.signAll(ctx, j, items, tbs)
		entry, err := s.enter(ctx, j, items, tbs)
		s.release(j, items, tbs, entry, err)
	}
	if len(items) == 1 && items[0].Err != nil {
		return nil, items[0].Err
	}
	return items, nil
}

func (j *job) signature(in Input) Signature {
	sig := Signature{Key: j.key.ID, Version: j.version.Number, KID: j.instance.KID, Node: j.instance.Node, Alg: j.key.Alg,
		Deadline: j.ReceivedAt + j.limit, Kind: lifecycle.InputMessage, Hash: j.key.Alg.Hash(), Position: j.position()}
	if in.Digest != nil {
		sig.Kind = lifecycle.InputDigest
	}
	return sig
}

// prepare checks an input against purpose and policy and turns it into what the
// HSM signs. The digest's length is checked here because crypto11 would sign any.
func (j *job) prepare(verb string, in Input) ([]byte, error) {
	p := j.key.Policy
	if verb != "jwt" && !j.key.Purpose.SignsBytes() {
		return nil, refuse("wrong_purpose", "chancery jwt sign "+string(j.key.ID), "%s is a key of purpose %s: it signs tokens whose claims were checked, never bytes a caller chose", j.key.ID, j.key.Purpose)
	}
	switch {
	case (in.Message == nil) == (in.Digest == nil):
		return nil, refuse("invalid", "", "send either message or digest")
	case in.Digest != nil:
		return j.prepareDigest(in, p)
	case verb == "jws" && !p.Allows(lifecycle.InputJWS):
		return nil, refuse("input_refused", "chancery key policy get "+string(j.key.ID), "the policy of %s does not allow signing a JWS", j.key.ID)
	case verb == "sign" && !p.Allows(lifecycle.InputMessage):
		return nil, refuse("input_refused", "send the digest", "the policy of %s does not allow signing a message", j.key.ID)
	case len(in.Message) > MaxMessageBytes:
		return nil, refuse("too_large", "hash it and send the digest", "a message of %d bytes: at most %d are signed directly", len(in.Message), MaxMessageBytes)
	}
	return Digest(j.key.Alg, in.Message), nil
}

func (j *job) prepareDigest(in Input, p lifecycle.Policy) ([]byte, error) {
	want := j.key.Alg.Hash()
	if !p.Allows(lifecycle.InputDigest) || want == lifecycle.NoHash {
		return nil, refuse("input_refused", "send the message", "%s does not sign digests", j.key.ID)
	}
	if in.Hash != "" && in.Hash != want {
		return nil, refuse("bad_digest", "hash with "+string(want), "%s signs %s digests, not %s", j.key.ID, want, in.Hash)
	}
	if len(in.Digest) != want.Size() {
		return nil, refuse("bad_digest", "hash with "+string(want), "a digest of %d bytes: %s has %d", len(in.Digest), want, want.Size())
	}
	return in.Digest, nil
}

// Digest is what an algorithm signs of a message: its hash, or the message itself
// for EdDSA.
func Digest(alg lifecycle.Algorithm, message []byte) []byte {
	switch alg.Hash() {
	case lifecycle.SHA256:
		sum := sha256.Sum256(message)
		return sum[:]
	case lifecycle.SHA384:
		sum := sha512.Sum384(message)
		return sum[:]
	}
	return message
}

func (j *job) record(kind audit.Kind, at time.Time, tbs []byte) audit.Record {
	sum := tbs
	if len(sum) > sha512.Size384 || j.key.Alg.Hash() == lifecycle.NoHash {
		sum = sha256Of(j.key.Alg, tbs)
	}
	verb := j.verb
	if verb == "" {
		verb = "key.sign"
	}
	return audit.Record{At: at, Kind: kind, Principal: j.Caller.Principal, Verb: verb, Key: string(j.key.ID), Version: j.version.Number,
		KID: j.instance.KID, RequestID: j.ID, Remote: j.Caller.Remote, Allowed: true, Digest: hex.EncodeToString(sum), Index: j.position().Index}
}

// sha256Of is the SHA-256 by which the log knows what was signed: of the message,
// and for a key that signs SHA-384 digests of the digest, because there is no more.
func sha256Of(alg lifecycle.Algorithm, tbs []byte) []byte {
	if alg.Hash() == lifecycle.SHA256 {
		return tbs
	}
	sum := sha256.Sum256(tbs)
	return sum[:]
}

// refused records that a request never reached the key.
func (s *Signer) refused(r Request, err error) error {
	rec := audit.Record{At: s.Clock(), Kind: audit.SignRefused, Principal: r.Caller.Principal, Verb: "key.sign", Key: r.Key, RequestID: r.ID, Remote: r.Caller.Remote, Detail: err.Error()}
	if recErr := s.Audit.AppendAsync(rec); recErr != nil {
		return errors.Join(err, recErr)
	}
	return err
}

// dated refuses what bears a date while this node's clock cannot be relied on. It is
// asked after the time was read.
func (s *Signer) dated(r Request) error {
	if s.Dated == nil {
		return nil
	}
	if err := s.Dated(); err != nil {
		return s.refused(r, refuse("clock_unsure", "set the clock of this node (chancery status shows all of them); another node signs it", "%v: nothing that bears a date is signed here", err))
	}
	return nil
}

func refuse(code, hint, format string, args ...any) error {
	return &authority.Refusal{Code: code, Hint: hint, Message: fmt.Sprintf(format, args...)}
}
