package state_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

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
	if d.flip(5) {
		if b := d.upkeep(); b != nil {
			return b
		}
	}
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
	switch d.int(27) {
	case 23:
		return &command.PauseRotation{Key: k, Reason: "wait"}
	case 24:
		return &command.ResumeRotation{Key: k}
	case 25:
		return &command.SkipGate{Key: k, Version: n, Gate: pick(d, lifecycle.Gates...), Comment: "now"}
	case 26:
		return &command.RollBack{Key: k, Version: n, Comment: "not this one"}
	case 22:
		c := &command.SetPolicy{Key: k, Policy: key.Policy}
		c.Policy.AllowedCallers = pick(d, nil, []string{"ada"}, []string{"a*", "robot"}, []string{"robot"})
		return c
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
	case 21:
		c := &command.Replace{Key: k, Version: key.Newest + 1, Instances: d.intents(k, key.Newest+1), Reason: pick(d, lifecycle.Reasons...), Distrust: d.flip(3)}
		if d.flip(2) {
			c.Versions = []uint64{n}
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
	case d.view.Key(k).Pause != nil && d.flip(2):
		return &command.ResumeRotation{Key: k}
	case v.State == lifecycle.PreActivation && v.PublishedAt == 0 && n > 1:
		return &command.PublishVersion{Key: k, Version: n}
	case v.State == lifecycle.PreActivation:
		return &command.ActivateVersion{Key: k, Version: n}
	case v.State == lifecycle.Active:
		return &command.PrepareVersion{Key: k, Version: n + 1, Instances: d.intents(k, n+1)}
	case v.State == lifecycle.Suspended:
		return &command.ResumeVersion{Key: k, Version: n}
	case v.DestroyAt == 0 && v.State == lifecycle.Deactivated && !v.Withdrawn && d.flip(2):
		if d.flip(2) && v.Skips(lifecycle.GateWithdraw) == nil {
			return &command.SkipGate{Key: k, Version: n, Gate: lifecycle.GateWithdraw, Comment: "nobody needs it"}
		}
		return &command.WithdrawVersion{Key: k, Version: n}
	case v.DestroyAt == 0:
		return &command.ScheduleDestroy{Key: k, Version: n, DestroyAt: d.now.Add(10 * lifecycle.Hour)}
	case !v.Erasing:
		return &command.BeginErasure{Key: k, Version: n}
	}
	return nil
}

func (d *driver) other() command.Body {
	switch d.int(7) {
	case 6:
		return terms(pick(d, lifecycle.Second, 3*lifecycle.Second, 9*lifecycle.Second), lifecycle.Second)
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

// upkeep is what the cluster does by itself, and nodes do.
func (d *driver) upkeep() command.Body {
	switch d.int(5) {
	case 0, 1:
		c := &command.RecordFenced{Term: 1}
		for _, f := range d.view.OpenFences() {
			if !d.flip(3) {
				c.Fences = append(c.Fences, command.FencedAt{Index: f.Index, Nodes: d.acks()})
			}
		}
		if len(c.Fences) > 0 {
			return c
		}
	case 2:
		c := &command.RecordSettled{}
		for _, f := range d.view.UnsettledFences() {
			c.Indexes = append(c.Indexes, f.Index)
		}
		if len(c.Indexes) > 0 {
			return c
		}
	case 3:
		k, n := d.target()
		if i := d.view.Instance(k, n, d.node()); i != nil && i.KID != "" {
			return &command.RecordSignatures{Node: i.Node, Groups: []command.SignatureGroup{signed(k, n, i.KID, "ada", 1+d.int(2))}}
		}
	case 4:
		return d.ada()
	case 5:
		if d.flip(5) {
			return &command.RotateGossipKey{Digest: bytes.Repeat([]byte{byte(1 + d.int(3))}, 32)}
		}
		if d.flip(2) {
			return d.verifiers()
		}
		if d.flip(2) {
			return &command.LiftSeal{Node: d.node(), ID: sealID(d.int(5))}
		}
		return &command.ReportSeal{Node: d.node(), ID: sealID(d.int(5)), Key: pick(d, "", modelKeys[0]), By: "root", SealedAt: d.now}
	}
	return nil
}

// verifiers register, confirm, lapse and go.
func (d *driver) verifiers() command.Body {
	k, n := d.target()
	if d.view.Key(k) == nil {
		return nil
	}
	r := verifier(pick(d, "u", "v"), pick(d, lifecycle.ConsumerClasses...), 1+d.int(2), k)
	switch d.int(5) {
	case 0:
		return &command.RegisterConsumer{Consumer: r, Enrolment: command.Enrolment{Hash: secretHash(r.Name), ExpiresAt: d.now.Add(lifecycle.Day)}}
	case 1:
		return &command.UpdateConsumer{Consumer: r}
	case 2:
		return &command.WaiveConsumer{Consumer: r.Name, Key: k, Version: n, Gate: pick(d, lifecycle.Gates...), Until: d.now.Add(lifecycle.Day), Comment: "down"}
	case 3:
		if d.flip(10) {
			return &command.RetireConsumer{Name: r.Name}
		}
	case 4:
		c := &command.LapseConfirmations{}
		d.view.EachConfirmation(func(r *lifecycle.Confirmation) bool {
			c.Items = append(c.Items, command.ConfirmationName{Consumer: r.Consumer, Key: r.Key, Instance: r.Instance})
			return true
		})
		if len(c.Items) > 0 {
			return c
		}
	}
	var kids []string
	for _, i := range d.view.Instances(k, n) {
		if i.KID != "" {
			kids = append(kids, i.KID)
		}
	}
	slices.Sort(kids)
	c := confirming(r.Name, kids, kids[:d.int(len(kids))], pick(d, "a", "b", "c"))
	c.Sets[0].Key = k
	return c
}

// ada is the first admin, with a signer's role on some keys.
func (d *driver) ada() command.Body {
	c := replace(signer("ada", pick(d, "a", "b", "*"), certA))
	c.Principal.Grants = append(c.Principal.Grants, lifecycle.Grant{Role: lifecycle.Admin, Keys: "*"})
	return c
}

func (d *driver) acks() (out []lifecycle.FencedNode) {
	for _, n := range d.view.Nodes() {
		if n.Signer {
			out = append(out, lifecycle.FencedNode{Node: n.ID, Outcome: lifecycle.Acked, Boot: ledgertest.Boot(n.ID), At: d.now})
		}
	}
	return out
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
	switch body.(type) {
	case *command.RecordFenced, *command.RecordSettled, *command.RecordConfirmations, *command.LapseConfirmations:
		if !d.flip(20) {
			h.Actor = "system"
		}
	}
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
