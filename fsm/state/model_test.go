package state_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestReplicasAgree drives three replicas with different batches and restarts
// through one log: they must agree on every outcome and every byte, and the state
// must obey the naive model and the safety rules of safety_test.go.
func TestReplicasAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := &driver{rng: rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)), now: 1767355200000}
		steps := rapid.IntRange(1, 4).Draw(t, "steps in 30") * 30
		for i := range 3 {
			d.nodes = append(d.nodes, ledgertest.NodeID(fmt.Sprint("n", i)))
		}
		rs := trio{newReplica(), newReplica(), newReplica()}
		law := newLaw()
		apply := func(cmd *command.Command) {
			first := rs.apply(t, d, cmd)
			before := d.view
			d.view = rs[0].view()
			law.observe(t, before, d.view, cmd, first)
		}
		d.view = rs[0].view()
		init := genesis()
		init.Node = ledgertest.Record(d.nodes[0], "n0")
		apply(d.command(init))
		for i, id := range d.nodes[1:] {
			d.seq++
			mac := sha256.Sum256([]byte{byte(d.seq)})
			token := fmt.Sprintf("token-%04d", d.seq)
			apply(&command.Command{Header: command.Header{At: d.now, Actor: "ada"}, Body: &command.AddJoinToken{ID: token, MACKey: mac[:], ExpiresAt: d.now.Add(lifecycle.Hour)}})
			apply(&command.Command{Header: command.Header{At: d.now, Actor: "ada"}, Body: &command.JoinNode{TokenID: token, Node: ledgertest.Record(id, fmt.Sprint("n", i+1))}})
			apply(&command.Command{Header: command.Header{At: d.now, Actor: "ada"}, Body: &command.SetNodeRoles{ID: id, Voter: true, Signer: true}})
		}
		for range steps {
			apply(d.command(d.body()))
		}
		apply(d.command(&command.MarkCheckpoint{}))
		rs.agree(t)
	})
}

// law is the naive model: what the accepted commands alone make of the versions,
// and what must never happen again once it was seen.
type law struct {
	states map[string]*naive
	ended  map[string]bool                // versions that were deactivated: never sign again
	out    map[string]bool                // versions and instances out of the trust set for good
	mute   map[string]bool                // instances revoked: never sign again
	closed map[string]map[string]bool     // kids an ended version had in the trust set: it never gets more
	reason map[string]lifecycle.Reason    // compromise reasons: never forgotten
	gone   map[string]lifecycle.Condition // instances in a final condition
	final  map[lifecycle.State]bool       // terminal states
	stands map[uint64]bool                // fences that were seen to stand
}

type naive struct {
	state, from lifecycle.State
	erasing     bool
	emergency   bool
}

func newLaw() *law {
	return &law{states: map[string]*naive{}, ended: map[string]bool{}, out: map[string]bool{}, mute: map[string]bool{},
		closed: map[string]map[string]bool{}, reason: map[string]lifecycle.Reason{}, gone: map[string]lifecycle.Condition{},
		stands: map[uint64]bool{}, final: map[lifecycle.State]bool{lifecycle.Compromised: true, lifecycle.Destroyed: true}}
}

func (l *law) observe(t *rapid.T, before, after *state.View, cmd *command.Command, o state.Outcome) {
	if o.OK() && !o.Replayed {
		l.predict(before, after, cmd, o)
		l.emergency(t, after, cmd, o)
	}
	after.EachKey("", func(k *lifecycle.Key) bool {
		var active []uint64
		for _, v := range after.Versions(k.ID) {
			l.version(t, after, v, cmd)
			if v.State == lifecycle.Active {
				active = append(active, v.Number)
			}
		}
		if len(active) > 1 || len(active) == 1 && k.Active != active[0] || len(active) == 0 && k.Active != 0 {
			t.Fatalf("after %s key %s says version %d is active, active are %v", cmd.Body.Kind(), k.ID, k.Active, active)
		}
		return true
	})
	l.fences(t, before, after, cmd, o)
	if !o.OK() && cmd.Header.At%4 == 0 && hotDump(before) != hotDump(after) { // a sample: it costs more than all else
		t.Fatalf("%s was refused and changed rows", cmd.Body.Kind())
	}
}

// predict does to the naive states what the command says.
func (l *law) predict(before, after *state.View, cmd *command.Command, o state.Outcome) {
	name := func(k lifecycle.KeyID, n uint64) string { return fmt.Sprint(k, "/", n) }
	set := func(k lifecycle.KeyID, n uint64, to lifecycle.State) {
		v := l.states[name(k, n)]
		if to == lifecycle.Suspended {
			v.from = v.state
		}
		v.state = to
	}
	switch c := cmd.Body.(type) {
	case *command.CreateKey:
		l.states[name(c.Name, 1)] = &naive{state: lifecycle.PreActivation}
	case *command.PrepareVersion:
		l.states[name(c.Key, c.Version)] = &naive{state: lifecycle.PreActivation}
	case *command.ActivateVersion:
		l.retire(c.Key)
		set(c.Key, c.Version, lifecycle.Active)
	case *command.SuspendVersion:
		set(c.Key, c.Version, lifecycle.Suspended)
	case *command.ResumeVersion:
		set(c.Key, c.Version, l.states[name(c.Key, c.Version)].from)
	case *command.RollBack:
		set(c.Key, c.Version, lifecycle.Deactivated)
		l.out[name(c.Key, c.Version)] = true
	case *command.DeactivateVersion:
		set(c.Key, c.Version, lifecycle.Deactivated)
	case *command.Revoke:
		for _, n := range o.Versions {
			switch {
			case c.Node != "": // an instance, not the version
			case c.Reason.IsCompromise():
				set(c.Key, n, lifecycle.Compromised)
				l.reason[name(c.Key, n)] = c.Reason
			case c.Reason == lifecycle.CertificateHold:
				set(c.Key, n, lifecycle.Suspended)
			default:
				set(c.Key, n, lifecycle.Deactivated)
			}
		}
	case *command.Replace:
		for _, n := range o.Versions[:len(o.Versions)-1] {
			if set(c.Key, n, lifecycle.Deactivated); c.Reason.IsCompromise() {
				set(c.Key, n, lifecycle.Compromised)
				l.reason[name(c.Key, n)] = c.Reason
			}
		}
		l.retire(c.Key)
		l.states[name(c.Key, c.Version)] = &naive{state: lifecycle.PreActivation, emergency: true}
	case *command.BindInstance: // the first one of an emergency
		i := before.Instance(c.Key, c.Version, c.Node)
		if v := l.states[name(c.Key, c.Version)]; v.emergency && v.state == lifecycle.PreActivation && i.Condition == lifecycle.Pending && before.Node(c.Node).Signs() {
			l.retire(c.Key)
			v.state = lifecycle.Active
		}
	case *command.BeginErasure:
		l.states[name(c.Key, c.Version)].erasing = true
	}
	for id, v := range l.states { // an erasure ends with the last instance, or with its node
		k, n, _ := strings.Cut(id, "/")
		number, _ := strconv.ParseUint(n, 10, 64) // we wrote it
		if v.erasing && erasedEverywhere(after, lifecycle.KeyID(k), number) {
			v.erasing = false
			if v.state == lifecycle.Deactivated {
				v.state = lifecycle.Destroyed
			}
		}
	}
}

// retire is what a successor makes of the versions before it.
func (l *law) retire(k lifecycle.KeyID) {
	for other, v := range l.states {
		if other[:2] == string(k)+"/" {
			if v.state == lifecycle.Active {
				v.state = lifecycle.Deactivated
			} else if v.state == lifecycle.Suspended && v.from == lifecycle.Active {
				v.from = lifecycle.Deactivated
			}
		}
	}
}

// erasedEverywhere: nobody is left who could still have the key.
func erasedEverywhere(v *state.View, k lifecycle.KeyID, n uint64) bool {
	return !slices.ContainsFunc(v.Instances(k, n), func(i *lifecycle.Instance) bool {
		return i.Condition != lifecycle.Erased && v.Node(i.Node).Status != lifecycle.Removed
	})
}
