package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// direct is a Reporter that checks and proposes as the leader would.
type direct struct {
	f        *fixture
	mu       sync.Mutex
	fail     error // returned by the next call
	after    bool  // the next call arrives, its answer does not
	received []string
}

func (d *direct) propose(what string, body command.Body) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	fail, after := d.fail, d.after
	d.fail, d.after = nil, false
	if fail != nil && !after {
		return fail
	}
	d.received = append(d.received, what)
	o, err := d.f.Propose(context.Background(), d.f.Command(body))
	if err == nil {
		err = o.Err()
	}
	return errors.Join(err, fail)
}

func (d *direct) Bind(_ context.Context, c command.BindInstance, proof Proof) error {
	view := d.f.View()
	if err := CheckProof(view.Key(c.Key), view.Cluster().ID, &c, proof); err != nil {
		return err
	}
	return d.propose("bind", &c)
}

func (d *direct) Report(_ context.Context, c command.ReportCondition) error {
	return d.propose(c.Condition.String()+": "+c.Detail, &c)
}

func (d *direct) Erased(_ context.Context, c command.ConfirmErased) error {
	return d.propose("erased: "+c.Evidence, &c)
}

// fixture is a cluster of two nodes, seen from the first with its partition.
type fixture struct {
	*ledgertest.Ledger
	t        testing.TB
	nodes    []lifecycle.NodeID
	store    *hsmtest.Fault // over lens
	lens     *lens
	reporter *direct
	notesDir string
	logged   strings.Builder
	r        *Reconciler
}

func newFixture(t testing.TB) *fixture {
	l := ledgertest.New(t)
	f := &fixture{Ledger: l, t: t, nodes: ledgertest.Genesis(t, l, "node1", "node2"), notesDir: t.TempDir()}
	f.lens = &lens{KeyStore: hsmtest.Soft(t), hidden: map[hsm.ObjectID]bool{}, disguised: map[hsm.ObjectID][]byte{}}
	f.store = hsmtest.NewFault(f.lens)
	f.reporter = &direct{f: f}
	f.restart()
	return f
}

// restart is a new process over the same partition and disk.
func (f *fixture) restart() {
	f.t.Helper()
	r, err := Open(Config{Ledger: f.Ledger, Store: f.store, Reporter: f.reporter, NotesDir: f.notesDir,
		Clock: f.Clock().Now, Log: slog.New(slog.NewTextHandler(&f.logged, nil))})
	if err != nil {
		f.t.Fatal(err)
	}
	f.r = r
}

// pass runs one pass with a full inventory.
func (f *fixture) pass() {
	f.t.Helper()
	f.r.forgive()
	f.r.pass(context.Background())
}

// key makes a key with a pending instance of version 1 on each node.
func (f *fixture) key(name lifecycle.KeyID) {
	f.t.Helper()
	f.keyOf(name, lifecycle.EdDSA, 0)
}

func (f *fixture) keyOf(name lifecycle.KeyID, alg lifecycle.Algorithm, bits int) {
	f.t.Helper()
	pol := lifecycle.DefaultPolicy(lifecycle.ForArtifact, alg)
	pol.DestroyWait = 0
	c := &command.CreateKey{Name: name, Purpose: lifecycle.ForArtifact, Alg: alg, Bits: bits, Custody: lifecycle.Distributed,
		Owner: "owner", Reason: "reason", Policy: pol}
	for _, n := range f.nodes {
		c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: ledgertest.CKAID(fmt.Sprint(name, n))})
	}
	f.Must(f.t, c)
}

// made makes a key and the pair of its instance here.
func (f *fixture) made(name lifecycle.KeyID) {
	f.t.Helper()
	f.key(name)
	f.pass()
	if i := f.mine(name); i.Condition != lifecycle.Ready {
		f.t.Fatalf("instance of %s is %s: %s", name, i.Condition, i.Detail)
	}
}

// erasing brings version 1 to where nodes may erase.
func (f *fixture) erasing(name lifecycle.KeyID) {
	f.t.Helper()
	f.Must(f.t, &command.Revoke{Key: name, Reason: lifecycle.Superseded})
	f.Must(f.t, &command.ScheduleDestroy{Key: name, Version: 1, DestroyAt: f.Clock().At()})
	f.Must(f.t, &command.BeginErasure{Key: name, Version: 1})
}

// mine is this node's instance of version 1.
func (f *fixture) mine(name lifecycle.KeyID) *lifecycle.Instance {
	return f.View().Instance(name, 1, f.nodes[0])
}

func (f *fixture) expect(what string, name lifecycle.KeyID, want lifecycle.Condition) {
	f.t.Helper()
	if i := f.mine(name); i.Condition != want {
		f.t.Errorf("%s: the instance is %s, want %s (%s)", what, i.Condition, want, i.Detail)
	}
}

// objects counts what is really in the partition.
func (f *fixture) objects() int {
	f.t.Helper()
	all, err := f.lens.KeyStore.Inventory(hsmtest.Context(f.t))
	if err != nil {
		f.t.Fatal(err)
	}
	return len(all)
}

// lens makes a store show something else than it holds.
type lens struct {
	hsm.KeyStore
	hidden    map[hsm.ObjectID]bool   // not shown at all
	disguised map[hsm.ObjectID][]byte // shown with another public key
	twin      hsm.ObjectID            // shown twice
}

func (l *lens) show(o hsm.Object) hsm.Object {
	if spki := l.disguised[o.ID]; spki != nil {
		o.SPKI = spki
	}
	return o
}

func (l *lens) Find(ctx context.Context, id hsm.ObjectID) (hsm.Object, error) {
	switch {
	case l.hidden[id]:
		return hsm.Object{}, hsm.ErrNotFound
	case id == l.twin:
		return hsm.Object{}, hsm.ErrAmbiguous
	}
	o, err := l.KeyStore.Find(ctx, id)
	return l.show(o), err
}

func (l *lens) Inventory(ctx context.Context) (out []hsm.Object, err error) {
	all, err := l.KeyStore.Inventory(ctx)
	for _, o := range all {
		if o = l.show(o); !l.hidden[o.ID] {
			out = append(out, o)
		}
		if o.ID == l.twin {
			out = append(out, o)
		}
	}
	return out, err
}
