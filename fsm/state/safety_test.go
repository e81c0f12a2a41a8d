package state_test

import (
	"fmt"
	"slices"

	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// fences: what could sign before an entry and cannot after it has a fence, a fence
// only goes on, and no node is removed before the fence of its quarantine stands.
func (l *law) fences(t *rapid.T, before, after *state.View, cmd *command.Command, o state.Outcome) {
	index := after.Position().Index
	if _, own := cmd.Body.(*command.ReportCondition); !own { // a node that says its key is gone signs nothing with it
		if was, lost := takenAway(before, after); lost && after.Fence(index) == nil {
			t.Fatalf("after %s: %s could sign and there is no fence", cmd.Body.Kind(), was)
		}
	}
	if f := after.Fence(index); f != nil && (!o.OK() || o.Replayed) {
		t.Fatalf("%s did nothing (%+v) and opened %+v", cmd.Body.Kind(), o, f)
	}
	for phase, list := range [][]*lifecycle.Fence{after.OpenFences(), after.UnsettledFences()} {
		for i, f := range list {
			if (f.FencedAt != 0) != (phase == 1) || f.SettledAt != 0 || after.Fence(f.Index) != f || i > 0 && list[i-1].Index >= f.Index {
				t.Fatalf("after %s: fence %+v is out of its place", cmd.Body.Kind(), f)
			}
			if l.stands[f.Index] && phase == 0 {
				t.Fatalf("after %s: fence %+v is open again", cmd.Body.Kind(), f)
			}
			l.stands[f.Index] = phase == 1
		}
	}
	for _, n := range after.Nodes() {
		if was := before.Node(n.ID); was != nil && n.Status == lifecycle.Removed && was.Status != n.Status && before.Fence(was.QuarantineIndex).FencedAt == 0 {
			t.Fatalf("node %s was removed before its quarantine was fenced", n.Name)
		}
	}
}

// emergency: after a replacement no older version signs, or could again; and the new
// one does as soon as one node that signs has made its instance.
func (l *law) emergency(t *rapid.T, after *state.View, cmd *command.Command, o state.Outcome) {
	switch c := cmd.Body.(type) {
	case *command.Replace:
		for _, v := range after.Versions(c.Key) {
			back := v.State == lifecycle.Suspended && v.SuspendedFrom != lifecycle.Deactivated
			if v.Number != c.Version && (v.State == lifecycle.Active || v.State == lifecycle.PreActivation || back) {
				t.Fatalf("%s/%d was replaced and is %s (from %s)", c.Key, v.Number, v.State, v.SuspendedFrom)
			}
		}
	case *command.BindInstance:
		v, i := after.Version(c.Key, c.Version), after.Instance(c.Key, c.Version, c.Node)
		if v.Emergency && v.State == lifecycle.Active && v.ActivatedAt == i.ReadyAt && after.Node(c.Node).Signs() && i.Condition == lifecycle.Ready && !i.MaySign(v) {
			t.Fatalf("%s/%d was made by an emergency and %s may not sign with it: %+v", c.Key, c.Version, c.Node.Short(), i)
		}
	}
}

// takenAway names a right to sign that before has and after has not.
func takenAway(before, after *state.View) (name string, lost bool) {
	before.EachInstance(func(i *lifecycle.Instance) bool {
		if maySign(before, i) && !maySign(after, after.Instance(i.Key, i.Version, i.Node)) {
			name, lost = fmt.Sprint(i.Key, "/", i.Version, "@", i.Node.Short()), true
		}
		return !lost
	})
	for _, p := range before.Principals() {
		now := after.Principal(p.Name)
		for _, k := range modelKeys {
			if !lost && signsFor(before, p, k) && !signsFor(after, now, k) {
				name, lost = fmt.Sprint(p.Name, " with ", k), true
			}
		}
	}
	return name, lost
}

func maySign(v *state.View, i *lifecycle.Instance) bool {
	n := v.Node(i.Node)
	return n != nil && n.Signs() && i.MaySign(v.Version(i.Key, i.Version))
}

func signsFor(v *state.View, p *lifecycle.Principal, k lifecycle.KeyID) bool {
	if key := v.Key(k); key != nil && !key.Policy.AllowsCaller(p.Name) {
		return false
	}
	return p.RevokedAt == 0 && slices.ContainsFunc(p.Grants, func(g lifecycle.Grant) bool { return g.Role == lifecycle.Signer && g.Matches(k) })
}

// version holds one version against the model and against its own past: nothing
// that was revoked, withdrawn or ended comes back to signing or to the trust set.
func (l *law) version(t *rapid.T, view *state.View, v *lifecycle.Version, cmd *command.Command) {
	id := fmt.Sprint(v.Key, "/", v.Number)
	fail := func(format string, args ...any) {
		t.Fatalf("after %s: version %s: %s\n%+v", cmd.Body.Kind(), id, fmt.Sprintf(format, args...), v)
	}
	want := l.states[id]
	if want == nil {
		fail("nobody made it")
		return
	}
	if v.State != want.state || v.State == lifecycle.Suspended && v.SuspendedFrom != want.from || v.State != lifecycle.Suspended && v.SuspendedFrom != 0 {
		fail("it is %s (from %s), the model says %s (from %s)", v.State, v.SuspendedFrom, want.state, want.from)
	}
	if v.Erasing != want.erasing {
		fail("its erasure goes on: %t, the model says %t", v.Erasing, want.erasing)
	}
	if v.InTrustSet() && (l.out[id] || l.final[v.State] || v.PublishedAt == 0) {
		fail("it is in the trust set")
	}
	if !v.InTrustSet() && v.PublishedAt != 0 {
		l.out[id] = true
	}
	if r := l.reason[id]; r != "" && (v.Revocation == nil || !v.Revocation.Reason.IsCompromise()) {
		fail("it was revoked for %s and says %+v", r, v.Revocation)
	}
	if v.State == lifecycle.Deactivated || l.final[v.State] {
		l.ended[id] = true
	}
	open := l.closed[id] == nil
	trusted := map[string]bool{}
	for _, i := range view.Instances(v.Key, v.Number) {
		l.instance(t, view, v, i, cmd)
		if i.InTrustSet(v) {
			trusted[i.KID] = true
			if !open && !l.closed[id][i.KID] {
				fail("it has ended and the new key %s is trusted", i.KID)
			}
		}
	}
	if open && l.ended[id] {
		l.closed[id] = trusted
	}
}

func (l *law) instance(t *rapid.T, view *state.View, v *lifecycle.Version, i *lifecycle.Instance, cmd *command.Command) {
	id := fmt.Sprint(i.Key, "/", i.Version, "@", i.Node.Short())
	fail := func(format string, args ...any) {
		t.Fatalf("after %s: instance %s of a %s version: %s\n%+v", cmd.Body.Kind(), id, v.State, fmt.Sprintf(format, args...), i)
	}
	signs, trusted := i.MaySign(v), i.InTrustSet(v)
	switch {
	case signs && !trusted:
		fail("it signs and nobody trusts it")
	case signs && v.State != lifecycle.Active:
		fail("it signs")
	case signs && l.ended[fmt.Sprint(v.Key, "/", v.Number)]:
		fail("its version had ended and it signs")
	case signs && l.mute[id]:
		fail("it was revoked and signs")
	case signs && view.Node(i.Node).Status == lifecycle.Removed:
		fail("its node was removed and it signs")
	case trusted && l.out[id]:
		fail("it came back into the trust set")
	case trusted && i.Condition == lifecycle.InstanceBad:
		fail("it is compromised and trusted")
	case i.Condition == lifecycle.Ready && i.Revocation != nil:
		fail("it is revoked and ready")
	case v.State == lifecycle.Compromised && i.Condition == lifecycle.Ready:
		fail("its version is compromised and it is ready")
	}
	if c := l.gone[id]; c == lifecycle.Erased && i.Condition != c || c == lifecycle.InstanceBad && i.Condition != c && i.Condition != lifecycle.Erased {
		fail("it was %s", c)
	}
	if i.AdmittedAt != 0 {
		k := view.Key(v.Key)
		waited := i.AdmittedAt >= i.PublishedAt.Add(k.Policy.Lead)
		hurried := v.Emergency && i.AdmittedAt == i.PublishedAt && i.AdmittedAt <= v.PublishedAt.Add(k.Policy.JWKSMaxAge)
		if i.PublishedAt == 0 || !waited && !hurried && v.ActivatedAt != i.AdmittedAt {
			fail("it was admitted without its lead")
		}
	}
	if signs && v.RolledBackAt != 0 {
		fail("its version was rolled back and it signs")
	}
	if !trusted && i.PublishedAt != 0 {
		l.out[id] = true
	}
	if i.Revocation != nil {
		l.mute[id] = true
	}
	if i.Condition == lifecycle.Erased || i.Condition == lifecycle.InstanceBad {
		l.gone[id] = i.Condition
	}
}
