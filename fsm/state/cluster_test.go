package state_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

func genesis() *command.Init {
	return &command.Init{ClusterID: "00112233445566778899aabbccddeeff", Name: "prod", Node: ledgertest.Record(ledgertest.NodeID("n1"), "n1"),
		Admin:    command.PrincipalRecord{Name: "ada", Kind: lifecycle.Person, Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}}, Certs: []string{certA}},
		Settings: lifecycle.DefaultSettings()}
}

func TestNothingBeforeGenesis(t *testing.T) {
	l := ledgertest.New(t)
	for _, b := range []command.Body{newKey(ci, l.NodeID()), &command.MarkCheckpoint{}, person("ada"),
		&command.AdvanceClock{Readings: []command.ClockReading{{Node: l.NodeID(), At: 1}}}} {
		if o := l.Do(t, b); o.Code != state.NotInitialised {
			t.Errorf("%s: %+v", b.Kind(), o)
		}
	}
	if v := l.View(); v.Cluster() != nil || v.Position().Epoch != 0 || v.Position().LogSize != 0 || v.Clock() != 0 {
		t.Errorf("position %+v", v.Position())
	}
}

func TestGenesis(t *testing.T) {
	l := ledgertest.New(t)
	powerless := genesis()
	powerless.Admin.Grants = []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "ci-*"}}
	if o := l.Do(t, powerless); o.Code != state.Invalid {
		t.Errorf("a cluster nobody administers: %+v", o)
	}
	o := l.Must(t, genesis())
	v := l.View()
	c := v.Cluster()
	if c.ID != genesis().ClusterID || c.Epoch != 1 || c.Format != 1 || v.Position().Epoch != 1 || c.Rev != o.Index {
		t.Errorf("cluster %+v at %+v", c, v.Position())
	}
	if n := v.Node(l.NodeID()); n == nil || !n.Voter || !n.Signs() {
		t.Errorf("node %+v", n)
	}
	if p := v.PrincipalByCert(certA); p == nil || p.Name != "ada" {
		t.Errorf("admin %+v", p)
	}
	if o := l.Do(t, genesis()); o.Code != state.AlreadyExists {
		t.Errorf("a second genesis: %+v", o)
	}
}

// TestSecondGenesisDoesNotMoveTheClock: it was the one command that could.
func TestSecondGenesisDoesNotMoveTheClock(t *testing.T) {
	w := newWorld(t)
	before := w.l.View().Clock()
	w.l.Clock().Advance(9000 * 24 * 3600e9)
	if o := w.l.Do(t, genesis()); o.Code != state.ClockAhead {
		t.Errorf("outcome %+v", o)
	}
	w.l.Clock().Advance(-9000 * 24 * 3600e9)
	if got := w.l.View().Clock(); got != before {
		t.Errorf("the clock says %s, it was %s", got, before)
	}
}

func TestSettings(t *testing.T) {
	w := newWorld(t)
	s := lifecycle.DefaultSettings()
	s.MaxTokenTTL = lifecycle.Hour
	w.ok(&command.SetSettings{Settings: s})
	if got := w.l.View().Cluster().Settings; !reflect.DeepEqual(got, s) {
		t.Errorf("settings %+v", got)
	}
	w.no(state.Invalid, w.token("token-0001", ledgertest.Admin))
	w.no(state.Invalid, &command.SetSettings{})
}

func TestGossipKey(t *testing.T) {
	w := newWorld(t)
	if k := w.l.View().Cluster().GossipKey; k != nil {
		t.Fatalf("genesis names a gossip key: %+v", k)
	}
	w.no(state.Invalid, &command.RotateGossipKey{Digest: []byte("short")})
	settings := w.l.View().Cluster().Settings
	for n := byte(1); n <= 2; n++ {
		digest := bytes.Repeat([]byte{n}, 32)
		o := w.ok(&command.RotateGossipKey{Digest: digest})
		k := w.l.View().Cluster().GossipKey
		if k == nil || k.Generation != uint64(n) || !bytes.Equal(k.Digest, digest) || k.Rotated.Index != o.Index || k.Rotated.At == 0 {
			t.Errorf("after %d rotations: %+v", n, k)
		}
		w.no(state.AlreadyExists, &command.RotateGossipKey{Digest: digest})
	}
	if v := w.l.View(); !reflect.DeepEqual(v.Cluster().Settings, settings) || v.Fence(v.Position().Index) != nil {
		t.Error("a rotation of the gossip key touches more than itself")
	}
	w.ok(&command.SetSettings{Settings: settings})
	if k := w.l.View().Cluster().GossipKey; k == nil || k.Generation != 2 {
		t.Errorf("changed settings forget the key: %+v", k)
	}
}

func TestFormat(t *testing.T) {
	w := newWorld(t)
	w.no(state.FormatRefused, &command.RaiseFormat{Format: 1})
	w.no(state.FormatRefused, &command.RaiseFormat{Format: command.MaxFormat + 1}) // the voter knows MaxFormat only
	n := w.l.View().Node(w.nodes[0])
	w.ok(&command.UpdateNode{ID: n.ID, Addrs: n.Addrs, MaxFormat: command.MaxFormat + 1})
	defer func() {
		if c, ok := recover().(*state.Corruption); !ok || !errors.Is(c, command.ErrUnknownKind) {
			t.Errorf("a format only the others know: %v, want a corruption", c)
		}
	}()
	w.l.Do(t, &command.RaiseFormat{Format: command.MaxFormat + 1})
}
