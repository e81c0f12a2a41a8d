package state

import (
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// FencesKept is how long a settled fence is remembered, in Clock time: as long as
// the request that opened it.
const FencesKept = OperationsKept

// Whatever takes a right to sign away opens a fence in the same entry. What the
// fence is waiting for stands in front of its row's key, so that the open ones and
// the unsettled ones are found without looking at the rest.
const (
	fenceOpen    = "0"
	fenceStands  = "1"
	fenceSettled = "2"
)

func fenceKey(phase string, index uint64) string { return phase + hexNumber(index) }

func fencePhase(f *lifecycle.Fence) string {
	switch {
	case f.FencedAt == 0:
		return fenceOpen
	case f.SettledAt == 0:
		return fenceStands
	}
	return fenceSettled
}

func (x *tx) putFence(f lifecycle.Fence) {
	put(x, TableFences, fenceKey(fencePhase(&f), f.Index), &f)
}

// openFence raises the barrier behind this entry. An entry opens one at most.
func (x *tx) openFence(cause string, key lifecycle.KeyID, versions []uint64, subject string) {
	x.putFence(lifecycle.Fence{Index: x.index, Cause: cause, Key: key, Versions: versions, Subject: subject,
		Actor: x.head.Actor, RequestID: x.head.RequestID, OpenedAt: x.now()})
	x.evictFences()
}

// evictFences forgets a few settled fences that are past their time.
func (x *tx) evictFences() {
	var old []uint64
	ascend(x.hot.freeze(), TableFences, fenceSettled, func(f *lifecycle.Fence) bool {
		if len(old) == evictPerEntry || f.SettledAt >= x.clock.Add(-FencesKept) {
			return false
		}
		old = append(old, f.Index)
		return true
	})
	for _, index := range old {
		x.drop(TableFences, fenceKey(fenceSettled, index))
	}
}

// ofLeader refuses what is not the word of the leader in office about its own
// fences. A leader that was deposed may have applied an entry of its successor, and
// know nothing of the leases that were granted since: if it leads again before its
// record is stored, the record stands in a later term than the waiting it speaks of.
func (x *tx) ofLeader(term uint64) Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself says how far a fence is")
	}
	if x.term != 0 && term != x.term {
		return refuse(Conflict, "", "the leader of term %d waited, and the entry is of term %d: what happened in between it did not see", term, x.term)
	}
	return Outcome{}
}

const systemActor = "system"

func (x *tx) recordFenced(c *command.RecordFenced) Outcome {
	if o := x.ofLeader(c.Term); !o.OK() {
		return o
	}
	done := 0
	for i := range c.Fences {
		old := get[lifecycle.Fence](x, TableFences, fenceKey(fenceOpen, c.Fences[i].Index))
		if old == nil {
			continue // another leader recorded it, or nobody opened it
		}
		f := *old
		f.FencedAt, f.FencedIndex, f.Nodes = x.now(), x.index, c.Fences[i].Nodes
		x.drop(TableFences, fenceKey(fenceOpen, f.Index))
		x.putFence(f)
		x.record(x.fenceLeaf(&f, "fenced"))
		x.markRevocations(&f)
		x.endLeaseCeiling(&f)
		done++
	}
	return recorded(done)
}

func (x *tx) recordSettled(c *command.RecordSettled) Outcome {
	if o := x.ofLeader(c.Term); !o.OK() {
		return o
	}
	done := 0
	for _, index := range c.Indexes {
		old := get[lifecycle.Fence](x, TableFences, fenceKey(fenceStands, index))
		if old == nil {
			continue
		}
		f := *old
		f.SettledAt, f.SettledIndex = x.now(), x.index
		x.drop(TableFences, fenceKey(fenceStands, index))
		x.putFence(f)
		x.record(x.fenceLeaf(&f, "settled"))
		x.markRevocations(&f)
		x.endAgeCeiling(&f)
		x.evictFences()
		done++
	}
	return recorded(done)
}

func recorded(fences int) Outcome {
	if fences == 0 {
		return refuse(AlreadyExists, "", "none of the fences waits for this: another entry recorded them")
	}
	return Outcome{}
}

func (x *tx) fenceLeaf(f *lifecycle.Fence, what string) Leaf {
	l := Leaf{Kind: f.Event(what), Key: f.Key, Fence: f.Index, Detail: f.Subject, Reason: f.Cause}
	if len(f.Versions) == 1 {
		l.Version = f.Versions[0]
	}
	if what == "fenced" {
		l.Nodes = f.Nodes
	}
	return l
}

// markRevocations writes into the revocations that this fence is about how far it
// is. They outlive the fence.
func (x *tx) markRevocations(f *lifecycle.Fence) {
	mark := func(r *lifecycle.Revocation) *lifecycle.Revocation {
		if r == nil || r.Index != f.Index {
			return nil
		}
		m := *r
		m.FencedAt, m.SettledAt = f.FencedAt, f.SettledAt
		return &m
	}
	for _, n := range f.Versions {
		if old := x.version(f.Key, n); old != nil {
			if r := mark(old.Revocation); r != nil {
				v := *old
				v.Revocation = r
				x.putVersion(v)
			}
		}
		for _, old := range x.instances(f.Key, n) {
			if r := mark(old.Revocation); r != nil {
				i := *old
				i.Revocation = r
				x.putInstance(i)
			}
		}
	}
}

// shortenTerms notes the longest terms a node may still go by when the settings
// shorten them, and opens the fence after which none does.
func (x *tx) shortenTerms(row *lifecycle.Cluster, next lifecycle.Settings) {
	lease, age := next.SigningTerms()
	oldLease, oldAge := row.Settings.SigningTerms()
	if lease >= oldLease && age >= oldAge {
		return
	}
	row.LeaseCeiling, row.AgeCeiling = max(row.LeaseCeiling, oldLease), max(row.AgeCeiling, oldAge)
	row.CeilingIndex = x.index
	x.openFence("cluster.settings_changed", "", nil, "")
}

func (x *tx) endLeaseCeiling(f *lifecycle.Fence) {
	if c := x.cluster(); c.CeilingIndex == f.Index && c.LeaseCeiling != 0 {
		row := *c
		row.LeaseCeiling = 0
		put(x, TableCluster, clusterKey, &row)
	}
}

func (x *tx) endAgeCeiling(f *lifecycle.Fence) {
	if c := x.cluster(); c.CeilingIndex == f.Index {
		row := *c
		row.AgeCeiling, row.CeilingIndex = 0, 0
		put(x, TableCluster, clusterKey, &row)
	}
}

// Fence that the entry opened, nil when it opened none or that was settled more
// than FencesKept ago.
func (v *View) Fence(index uint64) *lifecycle.Fence {
	for _, phase := range []string{fenceSettled, fenceStands, fenceOpen} {
		if f := viewGet[lifecycle.Fence](v, TableFences, fenceKey(phase, index)); f != nil {
			return f
		}
	}
	return nil
}

// OpenFences are those that do not stand yet, oldest first. It costs nothing when
// there are none.
func (v *View) OpenFences() []*lifecycle.Fence {
	return viewList[lifecycle.Fence](v, TableFences, fenceOpen)
}

// UnsettledFences are those that stand and are not settled, oldest first. It costs
// nothing when there are none.
func (v *View) UnsettledFences() []*lifecycle.Fence {
	return viewList[lifecycle.Fence](v, TableFences, fenceStands)
}
