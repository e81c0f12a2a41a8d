package signing_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// recorder is a journal in memory that can fail, and notes how often the key had
// been used when an intent was written.
type recorder struct {
	store *hsmtest.Fault

	mu        sync.Mutex
	records   []audit.Record
	usedAt    []int
	failBatch error
	failAsync error
}

func (r *recorder) AppendBatch(_ context.Context, rs []audit.Record) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failBatch != nil {
		return 0, r.failBatch
	}
	r.records, r.usedAt = append(r.records, rs...), append(r.usedAt, r.store.Calls(hsmtest.OpSign))
	return 1, nil
}

func (r *recorder) AppendAsync(rec audit.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failAsync != nil {
		return r.failAsync
	}
	r.records = append(r.records, rec)
	return nil
}

func (r *recorder) count(k audit.Kind) (n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.records {
		if rec.Kind == k {
			n++
		}
	}
	return n
}

type world struct {
	t       testing.TB
	ledger  *ledgertest.Ledger
	store   *hsmtest.Fault
	audit   *recorder
	signer  *signing.Signer
	elapsed atomic.Int64
	usable  error
	clock   error // of dating things
	lease   lease

	seal    atomic.Pointer[lifecycle.Seal]
	entries atomic.Int64 // that strict signatures went into
	record  signing.Record
}

// lease is the ledger's, and calls hook first when there is one.
type lease struct {
	ledger.Lease
	hook func()
}

func (l *lease) Usable(v *state.View) error {
	if l.hook != nil {
		l.hook()
	}
	return l.Lease.Usable(v)
}

var errDisk = errors.New("disk full")

// build makes a signer for a node with the principals robot (signer:ci*) and boss
// (admin of all), and the key ci.
func build(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, ledger: ledgertest.New(t), store: hsmtest.NewFault(hsmtest.Soft(t))}
	ledgertest.Genesis(t, w.ledger, "n1", "node2")
	w.audit = &recorder{store: w.store}
	w.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: "ci*"}}}})
	hash := authority.HashToken("chy_robot")
	w.ledger.Must(t, &command.AddToken{ID: "token-robot", Principal: "robot", Hash: hash[:], ExpiresAt: w.ledger.Clock().At().Add(lifecycle.Day)})
	w.lease.Lease, w.record = w.ledger, w.propose
	w.signer = signing.New(signing.Config{Ledger: w.ledger, Lease: &w.lease, Store: w.store, Audit: w.audit, Clock: w.ledger.Clock().Now,
		Elapsed: func() time.Duration { return time.Duration(w.elapsed.Load()) }, MaxAge: time.Minute, Dated: func() error { return w.clock },
		Record: func(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
			return w.record(ctx, groups)
		},
		Sealed: func(key lifecycle.KeyID) *lifecycle.Seal {
			if s := w.seal.Load(); s != nil && s.Covers(key) {
				return s
			}
			return nil
		},
		Usable: func(lifecycle.KeyID, uint64) error { return w.usable }})
	w.create("ci", lifecycle.ForArtifact, lifecycle.ES256, nil)
	return w
}

// propose records strict signatures as the leader would.
func (w *world) propose(ctx context.Context, groups []command.SignatureGroup) (state.Outcome, error) {
	w.entries.Add(1)
	return w.ledger.Propose(ctx, w.ledger.Command(&command.RecordSignatures{Node: w.ledger.NodeID(), Groups: groups}))
}

// create makes a key whose version 1 signs on this node.
func (w *world) create(name lifecycle.KeyID, purpose lifecycle.Purpose, alg lifecycle.Algorithm, change func(*lifecycle.Policy)) *lifecycle.Instance {
	w.t.Helper()
	p := lifecycle.DefaultPolicy(purpose, alg)
	if change != nil {
		change(&p)
	}
	w.ledger.Must(w.t, &command.CreateKey{Name: name, Purpose: purpose, Alg: alg, Custody: lifecycle.Distributed, Owner: "o", Reason: "r", Policy: p,
		Instances: []command.Intent{{Node: w.ledger.NodeID(), CKAID: ledgertest.CKAID(string(name) + "1")}}})
	return w.activate(name, 1)
}

// replacement is an emergency of ci.
func replacement(w *world) *command.Replace { return replacementOf(w, "ci") }

func replacementOf(w *world, key lifecycle.KeyID) *command.Replace {
	return &command.Replace{Key: key, Version: 2, Reason: lifecycle.KeyCompromise,
		Instances: []command.Intent{{Node: w.ledger.NodeID(), CKAID: ledgertest.CKAID(string(key) + "2")}}}
}

// activate generates and binds this node's instance of a version, and lets it sign.
func (w *world) activate(name lifecycle.KeyID, version uint64) *lifecycle.Instance {
	w.t.Helper()
	i := w.bind(name, version)
	w.ledger.Must(w.t, &command.ActivateVersion{Key: name, Version: version, Early: true, Comment: "test"})
	return w.ledger.View().Instance(name, version, i.Node)
}

// bind generates and binds this node's instance of a version.
func (w *world) bind(name lifecycle.KeyID, version uint64) *lifecycle.Instance {
	w.t.Helper()
	v := w.ledger.View()
	k, i := v.Key(name), v.Instance(name, version, w.ledger.NodeID())
	o, err := w.store.Generate(hsmtest.Context(w.t), hsm.Spec{ID: hsm.ObjectID(i.CKAID), Alg: k.Alg, Bits: k.Bits})
	if err != nil {
		w.t.Fatal(err)
	}
	kid, err := publish.Thumbprint(o.SPKI)
	if err != nil {
		w.t.Fatal(err)
	}
	w.ledger.Must(w.t, &command.BindInstance{Key: name, Version: version, Node: i.Node, CKAID: i.CKAID, SPKI: o.SPKI, KID: kid, Driver: "soft"})
	return w.ledger.View().Instance(name, version, i.Node)
}

var (
	ctx   = context.Background()
	robot = authority.Caller{Principal: "robot", TokenID: "token-robot", Remote: "192.0.2.1:1"}
)

func newID() string { return uuid.Must(uuid.NewV7()).String() }

// request is robot's, received now.
func (w *world) request(key string) signing.Request {
	return signing.Request{Caller: robot, ID: newID(), Key: key, ReceivedAt: time.Duration(w.elapsed.Load())}
}

func (w *world) sign(inputs ...signing.Input) ([]signing.Item, error) {
	return w.signer.Sign(ctx, w.request("ci"), inputs)
}

// code checks why something was refused.
func code(t *testing.T, err error, want string) {
	t.Helper()
	var refusal *authority.Refusal
	var denied *authority.Denied
	got := ""
	switch {
	case errors.As(err, &refusal):
		got = refusal.Code
	case errors.As(err, &denied):
		got = "denied"
	}
	if got != want {
		t.Errorf("refused with %q (%v), want %q", got, err, want)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}
