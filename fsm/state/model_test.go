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

// replica applies the log with batches of its own and restarts when it likes.
type replica struct {
	m *state.Machine
	b *ledgertest.Memory
}

func newReplica() *replica { return &replica{state.NewMachine(), ledgertest.NewMemory()} }

// restart throws away what is in memory and loads the rows again.
func (r *replica) restart(t *rapid.T) {
	r.m.Seal(r.b)
	b := ledgertest.Restore(r.b.Snapshot())
	m, err := state.LoadMachine(b)
	if err != nil {
		t.Fatalf("restart: %v", err)
	}
	r.m, r.b = m, b
}

func (r *replica) view() *state.View {
	rows := r.b
	return state.NewView(r.m.Root(), func(read func(state.Reader) error) error { return read(rows) })
}

// driver draws commands that mostly make sense where the state stands. Its choices
// are even, which rapid's own are not: rapid draws the seed and the length.
type driver struct {
	rng   *rand.Rand
	view  *state.View
	now   lifecycle.Instant
	nodes []lifecycle.NodeID
	seq   int
	used  []string // request ids
}

var modelKeys = []lifecycle.KeyID{"a", "b"}

func (d *driver) int(max int) int     { return d.rng.IntN(max + 1) }
func (d *driver) flip(oneIn int) bool { return d.rng.IntN(oneIn) == 0 }

func pick[T any](d *driver, from ...T) T { return from[d.rng.IntN(len(from))] }

func (d *driver) node() lifecycle.NodeID { return d.nodes[d.int(len(d.nodes)-1)] }

// target is a key and, mostly, one of its versions.
func (d *driver) target() (lifecycle.KeyID, uint64) {
	k := pick(d, modelKeys...)
	newest := uint64(1)
	if key := d.view.Key(k); key != nil {
		newest = key.Newest
	}
	back := uint64(d.int(2))
	if back >= newest {
		return k, newest
	}
	return k, newest - back
}

func (d *driver) intents(key lifecycle.KeyID, n uint64) (out []command.Intent) {
	for _, node := range d.nodes {
		if nd := d.view.Node(node); nd != nil && nd.Signs() && !d.flip(4) || d.flip(20) {
			out = append(out, command.Intent{Node: node, CKAID: ledgertest.CKAID(fmt.Sprint(key, n, node))})
		}
	}
	if len(out) == 0 {
		return intents(key, n, d.nodes[0])
	}
	return out
}

func (d *driver) body() command.Body {
	k, n := d.target()
	key := d.view.Key(k)
	if key == nil {
		c := newKey(k)
		c.Instances = d.intents(k, 1)
		c.Policy.Lead = pick(d, 0, lifecycle.Hour)
		c.Policy.VerifyWindow = pick(d, 0, 2*lifecycle.Hour)
		c.Policy.DestroyWait = 0
		return c
	}
	if d.flip(2) {
		if b := d.progress(k, n); b != nil {
			return b
		}
	}
	switch d.int(21) {
	case 0, 1:
		return &command.PrepareVersion{Key: k, Version: key.Newest + 1, Instances: d.intents(k, key.Newest+1)}
	case 2, 3, 4, 5:
		return bind(k, n, d.node())
	case 6:
		return &command.PublishVersion{Key: k, Version: n}
	case 7, 8:
		return &command.ActivateVersion{Key: k, Version: n}
	case 9:
		return &command.ActivateVersion{Key: k, Version: n, Early: true, Comment: "now"}
	case 10:
		return &command.AdmitInstance{Key: k, Version: n, Node: d.node()}
	case 11:
		return &command.SuspendVersion{Key: k, Version: n}
	case 12:
		return &command.ResumeVersion{Key: k, Version: n}
	case 13:
		return &command.DeactivateVersion{Key: k, Version: n}
	case 14:
		return &command.WithdrawVersion{Key: k, Version: n}
	case 15:
		c := pick(d, lifecycle.Ready, lifecycle.Lost)
		return &command.ReportCondition{Key: k, Version: n, Node: d.node(), Condition: c}
	case 16:
		c := &command.ScheduleDestroy{Key: k, Version: n, DestroyAt: d.now.Add(lifecycle.Milliseconds(d.int(3)) * lifecycle.Hour)}
		if d.flip(4) {
			c.DestroyAt, c.Cancel = 0, true
		}
		return c
	case 17:
		return &command.BeginErasure{Key: k, Version: n}
	case 18:
		return &command.ConfirmErased{Key: k, Version: n, Node: d.node(), Evidence: "gone"}
	case 19:
		c := &command.Revoke{Key: k, Reason: pick(d, lifecycle.Reasons...), Distrust: d.flip(3)}
		if d.flip(2) {
			c.Versions = []uint64{n}
		}
		if d.flip(3) {
			c.Node = d.node()
		}
		return c
	case 20:
		return &command.PlanInstances{Key: k, Version: n, Instances: d.intents(k, n)}
	default:
		return d.other()
	}
}

// progress is what takes the version one step through its life.
func (d *driver) progress(k lifecycle.KeyID, n uint64) command.Body {
	v := d.view.Version(k, n)
	for _, i := range d.view.Instances(k, n) {
		switch {
		case i.Condition == lifecycle.Pending && !d.flip(4):
			return bind(k, n, i.Node)
		case v.Erasing && i.Condition != lifecycle.Erased && d.view.Node(i.Node).Status != lifecycle.Removed:
			return &command.ConfirmErased{Key: k, Version: n, Node: i.Node, Evidence: "gone"}
		}
	}
	switch {
	case v.State == lifecycle.PreActivation && v.PublishedAt == 0 && n > 1:
		return &command.PublishVersion{Key: k, Version: n}
	case v.State == lifecycle.PreActivation:
		return &command.ActivateVersion{Key: k, Version: n}
	case v.State == lifecycle.Active:
		return &command.PrepareVersion{Key: k, Version: n + 1, Instances: d.intents(k, n+1)}
	case v.State == lifecycle.Suspended:
		return &command.ResumeVersion{Key: k, Version: n}
	case v.DestroyAt == 0 && v.State == lifecycle.Deactivated && !v.Withdrawn && d.flip(2):
		return &command.WithdrawVersion{Key: k, Version: n}
	case v.DestroyAt == 0:
		return &command.ScheduleDestroy{Key: k, Version: n, DestroyAt: d.now.Add(10 * lifecycle.Hour)}
	case !v.Erasing:
		return &command.BeginErasure{Key: k, Version: n}
	}
	return nil
}

func (d *driver) other() command.Body {
	switch d.int(6) {
	case 0:
		s := pick(d, lifecycle.Member, lifecycle.Quarantined, lifecycle.Removed)
		return &command.SetNodeStatus{ID: d.node(), Status: s}
	case 1:
		d.seq++
		mac := sha256.Sum256([]byte{byte(d.seq)})
		return &command.AddJoinToken{ID: fmt.Sprintf("token-%04d", d.seq), MACKey: mac[:], ExpiresAt: d.now.Add(lifecycle.Hour)}
	case 2:
		i := d.int(len(d.nodes) - 1)
		return &command.JoinNode{TokenID: fmt.Sprintf("token-%04d", d.int(d.seq)), Node: ledgertest.Record(d.nodes[i], fmt.Sprint("n", i))}
	case 3:
		return &command.SetNodeRoles{ID: d.node(), Voter: d.flip(2), Signer: !d.flip(3)}
	case 4:
		return &command.MarkCheckpoint{}
	case 5:
		m := d.view.Mark()
		if m.Index == 0 {
			return &command.MarkCheckpoint{}
		}
		return confirmed(m, d.voters()...)
	default:
		c := &command.AdvanceClock{}
		for _, id := range d.voters() {
			c.Readings = append(c.Readings, command.ClockReading{Node: id, At: d.now.Add(lifecycle.Milliseconds(d.int(5)) * lifecycle.Hour)})
		}
		return c
	}
}

func (d *driver) voters() (out []lifecycle.NodeID) {
	for _, n := range d.view.Nodes() {
		if n.Voter && n.Status != lifecycle.Removed {
			out = append(out, n.ID)
		}
	}
	if len(out) == 0 {
		return d.nodes[:1]
	}
	return out
}

// command wraps a body into a header: some time passes, some requests have ids and
// some of them came before, some plans are stale.
func (d *driver) command(body command.Body) *command.Command {
	d.now = d.now.Add(pick(d, 1, lifecycle.Minute, lifecycle.Hour, 5*lifecycle.Hour))
	h := command.Header{At: d.now, Actor: ledgertest.Admin, Node: d.nodes[0]}
	if d.flip(8) {
		h.At = d.now.Add(-3 * lifecycle.Hour)
	}
	if d.flip(2) {
		sum := sha256.Sum256([]byte(body.Kind().String()))
		h.RequestDigest = sum[:]
		if len(d.used) > 0 && d.flip(6) {
			h.RequestID = d.used[d.int(len(d.used)-1)]
		} else {
			h.RequestID = uuid(h.At, len(d.used))
			d.used = append(d.used, h.RequestID)
		}
	}
	if k := d.view.Key("a"); k != nil && d.flip(4) {
		ref := state.RefKey(k)
		if d.flip(3) {
			ref.Rev++
		}
		h.Reads = []command.RowRef{ref}
	}
	return &command.Command{Header: h, Body: body}
}

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
		rs := []*replica{newReplica(), newReplica(), newReplica()}
		law := newLaw()
		index := uint64(0)
		apply := func(cmd *command.Command) {
			entry, err := cmd.Encode()
			if err != nil {
				t.Fatalf("encode %s: %v", cmd.Body.Kind(), err)
			}
			index++
			var first state.Outcome
			for i, r := range rs {
				o := r.m.Apply(r.b, index, entry)
				if i == 0 {
					first = o
				} else if fmt.Sprint(o) != fmt.Sprint(first) {
					t.Fatalf("%s: replica %d says %+v, replica 0 %+v", cmd.Body.Kind(), i, o, first)
				}
				switch {
				case i == 0 || d.flip(3):
					r.m.Seal(r.b)
				case d.flip(12):
					r.restart(t)
				}
			}
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
		rs[1].restart(t)
		want := rs[0].m.Seal(rs[0].b)
		for i, r := range rs {
			got := r.m.Seal(r.b)
			if got.Meta.Position() != want.Meta.Position() || got.Meta.Digest() != want.Meta.Digest() || got.Meta.Clock != want.Meta.Clock {
				t.Fatalf("replica %d is at %+v, replica 0 at %+v", i, got.Meta.Position(), want.Meta.Position())
			}
			if a, b := dump(r.b), dump(rs[0].b); a != b {
				t.Fatalf("replica %d has other rows:\n%s", i, diff(b, a))
			}
			if state.Scan(r.b) != got.Meta.Rows {
				t.Fatalf("replica %d: the incremental digest is not the scan's", i)
			}
			if hotDump(r.view()) != hotDump(rs[0].view()) {
				t.Fatalf("replica %d has other rows in memory", i)
			}
		}
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
}

type naive struct {
	state, from lifecycle.State
	erasing     bool
}

func newLaw() *law {
	return &law{states: map[string]*naive{}, ended: map[string]bool{}, out: map[string]bool{}, mute: map[string]bool{},
		closed: map[string]map[string]bool{}, reason: map[string]lifecycle.Reason{}, gone: map[string]lifecycle.Condition{},
		final: map[lifecycle.State]bool{lifecycle.Compromised: true, lifecycle.Destroyed: true}}
}

func (l *law) observe(t *rapid.T, before, after *state.View, cmd *command.Command, o state.Outcome) {
	if o.OK() && !o.Replayed {
		l.predict(after, cmd, o)
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
	if !o.OK() && cmd.Header.At%4 == 0 && hotDump(before) != hotDump(after) { // a sample: it costs more than all else
		t.Fatalf("%s was refused and changed rows", cmd.Body.Kind())
	}
}

// predict does to the naive states what the command says.
func (l *law) predict(after *state.View, cmd *command.Command, o state.Outcome) {
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
		for other, v := range l.states {
			if other[:2] == string(c.Key)+"/" {
				if v.state == lifecycle.Active {
					v.state = lifecycle.Deactivated
				} else if v.state == lifecycle.Suspended && v.from == lifecycle.Active {
					v.from = lifecycle.Deactivated
				}
			}
		}
		set(c.Key, c.Version, lifecycle.Active)
	case *command.SuspendVersion:
		set(c.Key, c.Version, lifecycle.Suspended)
	case *command.ResumeVersion:
		set(c.Key, c.Version, l.states[name(c.Key, c.Version)].from)
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

// erasedEverywhere: nobody is left who could still have the key.
func erasedEverywhere(v *state.View, k lifecycle.KeyID, n uint64) bool {
	return !slices.ContainsFunc(v.Instances(k, n), func(i *lifecycle.Instance) bool {
		return i.Condition != lifecycle.Erased && v.Node(i.Node).Status != lifecycle.Removed
	})
}
