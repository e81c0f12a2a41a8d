package rotation

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

type fixture struct {
	*ledgertest.Ledger
	t     testing.TB
	nodes []lifecycle.NodeID
	drawn int
}

func newFixture(t testing.TB) *fixture {
	l := ledgertest.New(t)
	return &fixture{Ledger: l, t: t, nodes: ledgertest.Genesis(t, l, "node1", "node2", "node3")}
}

func (f *fixture) now() lifecycle.Instant { return f.Clock().At() }

func (f *fixture) draw() lifecycle.CKAID {
	f.drawn++
	return ledgertest.CKAID(fmt.Sprint("drawn ", f.drawn))
}

// tokenPolicy rotates every 30 days with a lead of 1 h and a verify window of 2 h.
func tokenPolicy() lifecycle.Policy {
	return lifecycle.DefaultPolicy(lifecycle.ForToken, lifecycle.ES256)
}

func (f *fixture) create(name lifecycle.KeyID, pol lifecycle.Policy, nodes ...lifecycle.NodeID) {
	f.t.Helper()
	f.Must(f.t, f.creation(name, pol, nodes...))
}

func (f *fixture) creation(name lifecycle.KeyID, pol lifecycle.Policy, nodes ...lifecycle.NodeID) *command.CreateKey {
	c := &command.CreateKey{Name: name, Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Custody: lifecycle.Distributed,
		Owner: "owner", Reason: "reason", Policy: pol}
	for _, n := range nodes {
		c.Instances = append(c.Instances, command.Intent{Node: n, CKAID: f.draw()})
	}
	return c
}

// binding ends the generation of a pending instance with a made-up public key; the
// state machine does not look into it.
func binding(i *lifecycle.Instance) *command.BindInstance {
	spki := []byte(fmt.Sprintf("public key %s/%d on %s", i.Key, i.Version, i.Node))
	sum := sha256.Sum256(spki)
	return &command.BindInstance{Key: i.Key, Version: i.Version, Node: i.Node, CKAID: i.CKAID, SPKI: spki,
		KID: base64.RawURLEncoding.EncodeToString(sum[:]), Driver: "soft"}
}

func (f *fixture) bind(name lifecycle.KeyID, version uint64, nodes ...lifecycle.NodeID) {
	f.t.Helper()
	for _, n := range nodes {
		f.Must(f.t, binding(f.View().Instance(name, version, n)))
	}
}

// active makes a key whose version 1 is active on all nodes.
func (f *fixture) active(name lifecycle.KeyID, pol lifecycle.Policy) {
	f.t.Helper()
	f.create(name, pol, f.nodes...)
	f.bind(name, 1, f.nodes...)
	f.Must(f.t, &command.ActivateVersion{Key: name, Version: 1})
}

// take carries a step out as the loop does.
func (f *fixture) take(s Step) state.Outcome {
	f.t.Helper()
	o, err := f.Propose(context.Background(), f.stepCommand(s))
	if err != nil {
		f.t.Fatal(err)
	}
	return o
}

func (f *fixture) stepCommand(s Step) *command.Command {
	cmd := f.Command(s.Body)
	cmd.Header.Actor, cmd.Header.Reads = systemActor, s.Reads
	return cmd
}

func (f *fixture) plan() []Step { return Plan(f.View(), f.now(), f.draw) }

func show(s Step) string {
	id := identify(s.Body)
	return fmt.Sprintf("%s %s/%d", id.kind, id.key, id.version)
}

// expect plans now, compares, and carries the steps out.
func (f *fixture) expect(what string, want ...string) {
	f.t.Helper()
	var got []string
	for _, s := range f.plan() {
		got = append(got, show(s))
		if o := f.take(s); !o.OK() {
			f.t.Errorf("%s: %s is refused: %s %s", what, show(s), o.Code, o.Detail)
		}
		if s.Why == "" || len(s.Reads) == 0 {
			f.t.Errorf("%s: %s carries no reason or no revisions", what, show(s))
		}
	}
	if !slices.Equal(got, want) {
		f.t.Errorf("%s: planned [%s], want [%s]", what, strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

// expectNext compares the instant the next step is due at.
func (f *fixture) expectNext(what string, want lifecycle.Instant) {
	f.t.Helper()
	if got := Next(f.View(), f.now()); got != want {
		f.t.Errorf("%s: next at %q, want %q", what, got, want)
	}
}
