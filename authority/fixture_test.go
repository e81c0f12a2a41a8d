package authority_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// recorder is a journal in memory that can fail.
type recorder struct {
	mu      sync.Mutex
	records []audit.Record
	fail    error
	ledger  *ledgertest.Ledger
	at      []uint64 // index of the state when each record was written
	after   func()   // once, when the next record was written
}

func (r *recorder) Append(_ context.Context, rec audit.Record) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fail != nil {
		return 0, r.fail
	}
	r.records, r.at = append(r.records, rec), append(r.at, r.ledger.View().Position().Index)
	seq := uint64(len(r.records))
	if after := r.after; after != nil {
		r.after = nil
		r.mu.Unlock()
		after()
		r.mu.Lock()
	}
	return seq, nil
}

func (r *recorder) AppendAsync(rec audit.Record) error {
	_, err := r.Append(context.Background(), rec)
	return err
}

func (r *recorder) last(t *testing.T, kind audit.Kind) (audit.Record, uint64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := len(r.records) - 1; i >= 0; i-- {
		if r.records[i].Kind == kind {
			return r.records[i], r.at[i]
		}
	}
	t.Fatalf("no record of kind %s", kind)
	return audit.Record{}, 0
}

// racing is a ledger on which something else happens between plan and proposal, and
// whose reads can fail.
type racing struct {
	*ledgertest.Ledger
	before func()
	read   error
}

func (r *racing) Read(ctx context.Context, f ledger.Freshness) (ledger.Snapshot, error) {
	if r.read != nil {
		return ledger.Snapshot{}, r.read
	}
	return r.Ledger.Read(ctx, f)
}

func (r *racing) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	if r.before != nil {
		r.before()
	}
	return r.Ledger.Propose(ctx, cmd)
}

// members notes what was asked of the Raft configuration.
type members struct {
	calls []string
	fail  error
}

func (m *members) note(s string) error {
	if m.fail == nil {
		m.calls = append(m.calls, s)
	}
	return m.fail
}

func (m *members) AddNonvoter(_ context.Context, id, _ string) error { return m.note("nonvoter " + id) }
func (m *members) AddVoter(_ context.Context, id, _ string) error    { return m.note("voter " + id) }
func (m *members) DemoteVoter(_ context.Context, id string) error    { return m.note("demote " + id) }
func (m *members) RemoveServer(_ context.Context, id string) error   { return m.note("remove " + id) }
func (m *members) TransferLeadership(_ context.Context, to lifecycle.NodeID) error {
	return m.note("transfer " + string(to))
}
func (m *members) Servers() (map[string]bool, error) { return nil, nil }

type world struct {
	full    bool // the disk is
	t       *testing.T
	ledger  *ledgertest.Ledger
	race    *racing
	audit   *recorder
	members *members
	service *authority.Service
	node2   lifecycle.NodeID
}

// build makes a service over a cluster of n1 (which leads) and node2, with the
// principals admin, op (operator of ci*), aud (auditor) and gone (revoked).
func build(t *testing.T) *world {
	t.Helper()
	clock := ledgertest.NewClock()
	clock.Advance(time.Since(clock.Now()))
	l := ledgertest.New(t, ledgertest.WithClock(clock))
	ids := ledgertest.Genesis(t, l, "n1", "node2")
	for name, g := range map[string]lifecycle.Grant{"op": {Role: lifecycle.Operator, Keys: "ci*"}, "aud": {Role: lifecycle.Auditor, Keys: "*"}, "gone": {Role: lifecycle.Admin, Keys: "*"}} {
		l.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: name, Kind: lifecycle.Service, Grants: []lifecycle.Grant{g}}})
	}
	l.Must(t, &command.RevokePrincipal{Name: "gone"})
	w := &world{t: t, ledger: l, race: &racing{Ledger: l}, audit: &recorder{ledger: l}, members: &members{}, node2: ids[1]}
	w.service = authority.New(authority.Config{Ledger: w.race, Members: w.members, Audit: w.audit, Full: func() bool { return w.full }, Clock: clock.Now, Logger: slog.New(slog.DiscardHandler)})
	return w
}

// as is a request of a principal with a fresh id.
func as(name string) authority.Request {
	id := uuid.Must(uuid.NewV7()).String()
	return authority.Request{Caller: authority.Caller{Principal: name, Remote: "192.0.2.1:9"}, RequestID: id, Digest: sha256.Sum256([]byte(id))}
}

var ctx = context.Background()

func spec(name string) authority.KeySpec {
	return authority.KeySpec{Name: name, Purpose: "artifact", Alg: "ES256", Owner: "o@example.com", Reason: "sign"}
}

// create makes a key whose version 1 is active on both nodes.
func (w *world) create(name string) {
	w.t.Helper()
	if _, err := w.service.CreateKey(ctx, as("admin"), spec(name)); err != nil {
		w.t.Fatal(err)
	}
	w.bind(lifecycle.KeyID(name), 1)
	w.ledger.Must(w.t, &command.ActivateVersion{Key: lifecycle.KeyID(name), Version: 1})
}

func (w *world) bind(key lifecycle.KeyID, version uint64) {
	w.t.Helper()
	for _, i := range w.ledger.View().Instances(key, version) {
		w.ledger.Must(w.t, bindCommand(i))
	}
}

func bindCommand(i *lifecycle.Instance) *command.BindInstance {
	spki := append([]byte(i.CKAID.String()), byte(i.Version))
	sum := sha256.Sum256(spki)
	return &command.BindInstance{Key: i.Key, Version: i.Version, Node: i.Node, CKAID: i.CKAID, SPKI: spki, KID: base64.RawURLEncoding.EncodeToString(sum[:]), Driver: "soft"}
}

// code checks why a request was refused.
func code(t *testing.T, err error, want string) {
	t.Helper()
	var refusal *authority.Refusal
	var rejected *state.Rejection
	var denied *authority.Denied
	got := ""
	switch {
	case errors.As(err, &refusal):
		got = refusal.Code
	case errors.As(err, &rejected):
		got = string(rejected.Outcome.Code)
	case errors.As(err, &denied):
		got = "denied"
	}
	if got != want {
		t.Errorf("refused with %q (%v), want %q", got, err, want)
	}
}

var errDisk = errors.New("disk full")

var _ ledger.Ledger = (*racing)(nil)
