package state

import (
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// causeReplaced is the kind of a replacement's leaf and the cause of its fence.
const causeReplaced = "key.replaced"

// replace revokes and re-issues in one entry. After it no older version of the key
// signs or can come back to signing, and the new one does as soon as one node has made
// its instance: BindInstance publishes and activates it (hasten).
func (x *tx) replace(c *command.Replace) Outcome {
	old := x.key(c.Key)
	if old == nil {
		return refuse(KeyNotFound, string(c.Key), "no such key")
	}
	if c.Version != old.Newest+1 {
		return refuse(Conflict, string(c.Key), "the next version is %d, not %d", old.Newest+1, c.Version)
	}
	if a := old.Active; a != 0 && len(c.Versions) > 0 && !slices.Contains(c.Versions, a) {
		return refuse(IllegalTransition, subject(c.Key, a), "this version signs and is not among those to replace: name it too, or only revoke the others")
	}
	done, o := x.revokeReplaced(c)
	if !o.OK() {
		return o
	}
	x.retirePredecessors(old, c.Version) // what is on hold and was not named resumes as deactivated
	k := *x.key(c.Key)
	k.Newest = c.Version
	x.putKey(k)
	if o := x.addVersion(&k, lifecycle.Version{Number: c.Version, Emergency: true}, c.Instances); !o.OK() {
		return o
	}
	x.record(Leaf{Kind: causeReplaced, Key: k.ID, Version: c.Version, Reason: string(c.Reason), Detail: replacedDetail(c, done)})
	x.openFence(causeReplaced, k.ID, done, "")
	return accepted(c.Key, append(done, c.Version)...)
}

// revokeReplaced revokes what is replaced. A version that nobody has activated yet was
// prepared before the compromise and may share it: it goes too, named or not, and out
// of the trust set, for it has signed nothing that anybody needs to verify.
func (x *tx) revokeReplaced(c *command.Replace) (done []uint64, o Outcome) {
	for _, n := range c.Versions {
		if x.version(c.Key, n) == nil {
			return nil, refuse(VersionNotFound, subject(c.Key, n), "the key has no such version; its newest is %d", c.Version-1)
		}
	}
	for _, v := range x.versions(c.Key) {
		r, named := c.Revocation(), slices.Contains(c.Versions, v.Number)
		switch {
		case halfMade(v):
			r.Distrust = true
		case !named && (len(c.Versions) > 0 || v.State.Terminal()):
			continue
		}
		if o := x.revokeVersion(r, v); o.OK() {
			done = append(done, v.Number)
		} else if named {
			return nil, o
		}
	}
	return done, Outcome{}
}

// halfMade reports whether a version waits to be activated, or would after its hold.
func halfMade(v *lifecycle.Version) bool {
	return v.State == lifecycle.PreActivation || v.State == lifecycle.Suspended && v.SuspendedFrom == lifecycle.PreActivation
}

func replacedDetail(c *command.Replace, done []uint64) string {
	d := "nothing was left to revoke"
	if len(done) > 0 {
		d = fmt.Sprintf("in place of %v", done)
	}
	if c.Comment != "" {
		d += ": " + c.Comment
	}
	return d
}

// hasten takes a version made by an emergency into use with its first instance that
// could sign: no lead, no other node and no consumer is waited for.
func (x *tx) hasten(k *lifecycle.Key, v *lifecycle.Version, node lifecycle.NodeID) {
	if !v.Emergency || v.State != lifecycle.PreActivation || x.overtaken(v) != 0 || !x.node(node).Signs() {
		return
	}
	x.putToUse(k, v, true, "emergency") // cannot be refused: the instance just bound is ready, and no lead counts
}

// unseen reports whether caches may still hold the trust set from before the emergency
// that made v. Who has not loaded v yet is not surprised by one more key of it; later
// on an instance that comes has its lead, as of any version.
func (x *tx) unseen(k *lifecycle.Key, v *lifecycle.Version) bool {
	return v.Emergency && v.PublishedAt != 0 && x.clock <= v.PublishedAt.Add(k.Policy.LongestCached())
}

// Emergencies are the versions that replacements have made lately: those whose fence is
// not settled. It costs nothing when there are none, however many keys there are.
func (v *View) Emergencies() (out []*lifecycle.Version) {
	for _, fences := range [][]*lifecycle.Fence{v.OpenFences(), v.UnsettledFences()} {
		for _, f := range fences {
			if f.Cause != causeReplaced {
				continue
			}
			for _, ver := range v.Versions(f.Key) {
				if ver.Emergency && ver.Created.Index == f.Index {
					out = append(out, ver)
				}
			}
		}
	}
	return out
}
