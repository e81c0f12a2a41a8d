package consumer_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/consumer"
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

var ctx = context.Background()

const (
	ci lifecycle.KeyID = "ci"
	eu string          = "deploy-eu"
)

// seat is the ledger as one of several nodes has it.
type seat struct {
	*ledgertest.Ledger
	id      lifecycle.NodeID
	leads   bool
	mu      *sync.Mutex // owns entries
	entries *[]command.Body
	fail    func(command.Body) error // nil = nothing fails
}

func (s *seat) NodeID() lifecycle.NodeID { return s.id }

func (s *seat) Leadership() ledger.Leadership {
	l := s.Ledger.Leadership()
	if l.Leader = s.Ledger.NodeID(); !s.leads {
		l.Self = false
	}
	return l
}

func (s *seat) Propose(ctx context.Context, cmd *command.Command) (state.Outcome, error) {
	s.mu.Lock()
	*s.entries = append(*s.entries, cmd.Body)
	s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(cmd.Body); err != nil {
			return state.Outcome{}, err
		}
	}
	return s.Ledger.Propose(ctx, cmd)
}

// journal takes audit records and keeps them.
type journal struct {
	mu      sync.Mutex
	records []audit.Record
}

func (j *journal) AppendBatch(_ context.Context, rs []audit.Record) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.records = append(j.records, rs...)
	return uint64(len(j.records)), nil
}

func (j *journal) AppendAsync(r audit.Record) error {
	_, err := j.AppendBatch(ctx, []audit.Record{r})
	return err
}

// world is two nodes over one ledger, the first of which leads. Each has its own key
// store, signer and desk; they reach each other over peers.
type world struct {
	testing.TB
	l     *ledgertest.Ledger
	seats []*seat
	desks []*consumer.Desk
	audit *journal
	peers *peers
	store []hsm.KeyStore

	mu      sync.Mutex
	entries []command.Body
}

// peers are the nodes among each other.
type peers struct {
	w    *world
	down map[lifecycle.NodeID]bool
}

var errDown = errors.New("connection refused")

func (p *peers) at(node lifecycle.NodeID) (int, error) {
	n := slices.IndexFunc(p.w.seats, func(s *seat) bool { return s.id == node })
	if n < 0 || p.down[node] {
		return 0, errDown
	}
	return n, nil
}

func (p *peers) SignCanaries(ctx context.Context, node lifecycle.NodeID, c signing.Canary, items []int) ([][]byte, error) {
	n, err := p.at(node)
	if err != nil {
		return nil, err
	}
	return p.w.desks[n].Signer.Canaries(ctx, c, items)
}

func (p *peers) AnswerChallenge(_ context.Context, node lifecycle.NodeID, a consumer.Answer) (consumer.Verdict, error) {
	n, err := p.at(node)
	if err != nil {
		return consumer.Verdict{}, err
	}
	return p.w.desks[n].Judge(a), nil
}

func (p *peers) ReportFetches(_ context.Context, node lifecycle.NodeID, list []consumer.Fetch) error {
	n, err := p.at(node)
	if err != nil {
		return err
	}
	return p.w.desks[n].TakeFetches(list)
}

// build makes the world with key ci of an algorithm, version 1 active on both nodes,
// and the required consumer deploy-eu of two instances.
func build(t testing.TB, alg lifecycle.Algorithm) *world {
	t.Helper()
	w := &world{TB: t, l: ledgertest.New(t), audit: &journal{}}
	ids := ledgertest.Genesis(t, w.l, "n1", "node2")
	w.peers = &peers{w: w, down: map[lifecycle.NodeID]bool{}}
	began := time.Now()
	for i, id := range ids {
		s := &seat{Ledger: w.l, id: id, leads: i == 0, mu: &w.mu, entries: &w.entries}
		store := hsmtest.Soft(t)
		signer := signing.New(signing.Config{Ledger: s, Lease: w.l, Store: store, Audit: w.audit, Clock: w.l.Clock().Now,
			Elapsed: func() time.Duration { return time.Since(began) }, MaxAge: time.Minute})
		w.seats, w.store = append(w.seats, s), append(w.store, store)
		w.desks = append(w.desks, consumer.New(consumer.Config{Ledger: s, Signer: signer, Peers: w.peers, Audit: w.audit, Clock: w.l.Clock().Now,
			Gather: 10 * time.Millisecond, Log: slog.New(slog.DiscardHandler)}))
	}
	p := lifecycle.DefaultPolicy(lifecycle.ForToken, alg)
	bits := 0
	if alg.IsRSA() {
		bits = 2048
	}
	w.l.Must(t, &command.CreateKey{Name: ci, Purpose: lifecycle.ForToken, Alg: alg, Bits: bits, Custody: lifecycle.Distributed, Owner: "o", Reason: "r", Policy: p, Instances: w.intents(1)})
	w.bind(1)
	w.l.Must(t, &command.ActivateVersion{Key: ci, Version: 1, Early: true, Comment: "test"})
	w.register(eu, lifecycle.Required, 2)
	return w
}

func (w *world) register(name string, class lifecycle.ConsumerClass, expect int) {
	w.Helper()
	w.l.Must(w, &command.RegisterConsumer{Consumer: command.ConsumerRecord{Name: name, Owner: "deploy", Class: class, Expect: expect, Keys: []lifecycle.KeyID{ci}, Lifetime: lifecycle.Day},
		Enrolment: command.Enrolment{Hash: make([]byte, 32), ExpiresAt: w.now().Add(lifecycle.Day)}})
}

func (w *world) now() lifecycle.Instant { return w.l.Clock().At() }

func (w *world) intents(version uint64) (out []command.Intent) {
	for _, s := range w.seats {
		out = append(out, command.Intent{Node: s.id, CKAID: ledgertest.CKAID(string(s.id) + string(rune('0'+version)))})
	}
	return out
}

// bind generates and binds every node's instance of a version.
func (w *world) bind(version uint64) {
	w.Helper()
	k := w.l.View().Key(ci)
	for n, s := range w.seats {
		i := w.l.View().Instance(ci, version, s.id)
		o, err := w.store[n].Generate(hsmtest.Context(w), hsm.Spec{ID: hsm.ObjectID(i.CKAID), Alg: k.Alg, Bits: k.Bits})
		if err != nil {
			w.Fatal(err)
		}
		kid, err := publish.Thumbprint(o.SPKI)
		if err != nil {
			w.Fatal(err)
		}
		w.l.Must(w, &command.BindInstance{Key: ci, Version: version, Node: s.id, CKAID: i.CKAID, SPKI: o.SPKI, KID: kid, Driver: "soft"})
	}
}

// published makes version 2 known to verifiers.
func (w *world) published() *world {
	w.Helper()
	w.l.Must(w, &command.PrepareVersion{Key: ci, Version: 2, Instances: w.intents(2)})
	w.bind(2)
	w.l.Must(w, &command.PublishVersion{Key: ci, Version: 2})
	return w
}

func (w *world) set() *publish.TrustSet {
	w.Helper()
	set, err := publish.Set(w.l.View(), ci)
	if err != nil {
		w.Fatal(err)
	}
	return set
}

// challenge asks a node for canaries.
func (w *world) challenge(node int, con, instance string) *consumer.Challenge {
	w.Helper()
	v := w.l.View()
	c, err := w.desks[node].Challenge(ctx, v, v.Consumer(con), ci, instance)
	if err != nil {
		w.Fatalf("challenge: %v", err)
	}
	return c
}

// verified is what an honest instance makes of a challenge, with the public keys of the
// trust set and nothing else.
func (w *world) verified(c *consumer.Challenge) map[string][]int {
	w.Helper()
	keys := map[string][]byte{}
	for _, i := range w.set().Instances {
		keys[i.KID] = i.SPKI
	}
	out := map[string][]int{}
	for _, k := range c.KIDs {
		out[k.KID] = []int{}
		for n, m := range k.Messages {
			if hsm.VerifySignature(k.Alg, keys[k.KID], signing.Digest(k.Alg, m), k.Sigs[n]) == nil {
				out[k.KID] = append(out[k.KID], n)
			}
		}
	}
	return out
}

func (w *world) statement(con, instance string, c *consumer.Challenge) consumer.Statement {
	w.Helper()
	s := consumer.Statement{Caller: authority.Caller{Principal: con}, Consumer: con, Instance: instance, Key: ci, Digest: w.set().Digest}
	if c != nil {
		s.Challenge, s.Verified = c.ID, w.verified(c)
	}
	return s
}

func (w *world) confirm(s consumer.Statement) *consumer.Receipt {
	w.Helper()
	r, err := w.desks[0].Confirm(ctx, s)
	if err != nil {
		w.Fatalf("confirm: %v", err)
	}
	return r
}

// no is a statement that must be refused with the code, and of which nothing comes.
func (w *world) no(code string, s consumer.Statement) {
	w.Helper()
	before := w.l.View().Position().Index
	_, err := w.desks[0].Confirm(ctx, s)
	var r *authority.Refusal
	if !errors.As(err, &r) || r.Code != code || r.Message == "" {
		w.Errorf("refused with %v, want %s", err, code)
	}
	if now := w.l.View().Position().Index; now != before {
		w.Errorf("%s: the log grew from %d to %d", code, before, now)
	}
}

func (w *world) holdouts(gate lifecycle.Gate, version uint64) int {
	return len(w.l.View().Holdouts(ci, gate, version, w.now()))
}
