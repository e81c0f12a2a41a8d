package state

import (
	"slices"
	"strings"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// write is one change of a row; nil means absent. A hot row is kept as it is and encoded
// when the entry takes effect: what is only tried, or refused, never is, and what changes
// several times is once.
type write struct {
	table    Table
	key      string
	old, new []byte // of a cold row
	was, is  any    // of a hot row
}

// encode makes the bytes of a hot row.
func (w *write) encode() {
	if w.was != nil {
		w.old = command.Marshal(w.was)
	}
	if w.is != nil {
		w.new = command.Marshal(w.is)
	}
}

// rowID names a row.
type rowID struct {
	table Table
	key   string
}

// changes are what an entry makes of rows and adds to the lifecycle log.
type changes struct {
	writes []write
	slot   map[rowID]int // its place in writes
	leaves []Leaf
}

// roomyEntry is a number of changes that few entries need room for.
const roomyEntry = 64

// empty is the same room for the next entry. What a large one needed is given back.
func (c changes) empty() changes {
	if cap(c.writes) > roomyEntry || cap(c.leaves) > roomyEntry {
		return changes{}
	}
	clear(c.writes)
	clear(c.slot)
	clear(c.leaves)
	return changes{c.writes[:0], c.slot, c.leaves[:0]}
}

// tx is one entry's work. Hot rows live in persistent trees, so throwing the tx
// away undoes everything: that is how a refused entry leaves no trace, and how a
// trial-apply runs on a View that others are reading.
type tx struct {
	cold  Reader // tables that are not kept in memory
	hot   hotTx
	clock lifecycle.Instant
	index uint64
	term  uint64 // of the log that the entry stands in, 0 = unknown
	head  *command.Header
	hash  string // hex digest of the entry
	changes

	lastRead rowID  // of a cold table, before this entry
	lastRow  []byte // what it held

	owners      map[string]string      // of the public keys that this entry, or part of one, announced certificates for
	heldKeys    map[string]keyHolder   // that earlier parts of this entry announced certificates for, by the first serial
	openIntents []byte                 // that this entry announced, as their row has them
	tallies     []*lifecycle.CertTally // changed and not put yet
	proposalID  string                 // of the proposal that this entry executes
}

func get[T any](x *tx, t Table, key string) *T {
	if v, ok := x.hot.get(t, key); ok {
		return v.(*T)
	}
	return nil
}

// put writes a row that must be a fresh copy: what get returned is shared.
func put(x *tx, t Table, key string, row any) {
	*revision(row) = x.index
	key = x.hot.share(key, row)
	old, existed := x.hot.put(t, key, row)
	x.note(t, key, old, existed, row)
}

// drop deletes a hot row.
func (x *tx) drop(t Table, key string) {
	if old, existed := x.hot.drop(t, key); existed {
		x.note(t, key, old, true, nil)
	}
}

// note remembers what the entry makes of a hot row, nil for nothing.
func (x *tx) note(t Table, key string, old any, existed bool, row any) {
	w := x.touch(t, key)
	if w == nil {
		w = x.begin(write{table: t, key: key})
		if existed {
			w.was = old
		}
	}
	w.is = row
}

// touch finds what the entry made of a row before, nil for nothing. A row that changes
// twice within an entry is hashed and stored once. The result is good until begin.
func (x *tx) touch(t Table, key string) *write {
	if i, ok := x.slot[rowID{t, key}]; ok {
		return &x.writes[i]
	}
	return nil
}

// expect makes room for so many changed rows.
func (x *tx) expect(rows int) {
	x.writes = slices.Grow(x.writes, rows)
	if x.slot == nil {
		x.slot = make(map[rowID]int, rows)
	}
}

// begin enters the first change of a row.
func (x *tx) begin(w write) *write {
	if x.slot == nil {
		x.expect(8)
	}
	x.slot[rowID{w.table, w.key}] = len(x.writes)
	x.writes = append(x.writes, w)
	return &x.writes[len(x.writes)-1]
}

func (x *tx) key(id lifecycle.KeyID) *lifecycle.Key {
	return get[lifecycle.Key](x, TableKeys, string(id))
}

func (x *tx) version(id lifecycle.KeyID, n uint64) *lifecycle.Version {
	return get[lifecycle.Version](x, TableVersions, versionKey(id, n))
}

func (x *tx) instance(id lifecycle.KeyID, n uint64, node lifecycle.NodeID) *lifecycle.Instance {
	return get[lifecycle.Instance](x, TableInstances, instanceKey(id, n, node))
}

func (x *tx) node(id lifecycle.NodeID) *lifecycle.Node {
	return get[lifecycle.Node](x, TableNodes, string(id))
}

func (x *tx) versions(id lifecycle.KeyID) []*lifecycle.Version {
	return list[lifecycle.Version](x.hot.freeze(), TableVersions, string(id)+"\x00")
}

func (x *tx) instances(id lifecycle.KeyID, n uint64) []*lifecycle.Instance {
	return list[lifecycle.Instance](x.hot.freeze(), TableInstances, instancePrefix(id, n))
}

func (x *tx) cluster() *lifecycle.Cluster {
	return get[lifecycle.Cluster](x, TableCluster, clusterKey)
}

func (x *tx) putKey(k lifecycle.Key) { put(x, TableKeys, string(k.ID), &k) }
func (x *tx) putVersion(v lifecycle.Version) {
	put(x, TableVersions, versionKey(v.Key, v.Number), &v)
}
func (x *tx) putInstance(i lifecycle.Instance) {
	put(x, TableInstances, instanceKey(i.Key, i.Version, i.Node), &i)
}
func (x *tx) putNode(n lifecycle.Node) { put(x, TableNodes, string(n.ID), &n) }

// now is the time that goes into rows: Clock after this entry, never what one
// proposer says. Leads and waiting periods are counted between such times, and a
// clock that is behind must not make them pass sooner.
func (x *tx) now() lifecycle.Instant { return x.clock }

// origin of a row this entry makes.
func (x *tx) origin() lifecycle.Origin {
	o := lifecycle.Origin{At: x.now(), By: x.head.Actor, RequestID: x.head.RequestID, Index: x.index}
	if x.proposalID == "" {
		return o
	}
	p := x.proposal(x.proposalID)
	for i := range p.Approvals {
		if a := &p.Approvals[i]; x.counts(p, a) {
			o.Approvals = append(o.Approvals, lifecycle.Consent{By: a.Principal, At: a.At})
		}
	}
	return o
}

// record appends a leaf; the entry's own facts are filled in here. Its time is the
// proposer's, as said: the leaf is evidence, and the row has Clock.
func (x *tx) record(l Leaf) {
	l.At, l.Index, l.Sub = x.head.At, x.index, len(x.leaves)
	l.Command = x.hash
	if l.Proposal == "" {
		l.Proposal = x.proposalID
	}
	if l.Actor == "" { // a signature's is its caller, not the node that records it
		l.Actor, l.RequestID = x.head.Actor, x.head.RequestID
	}
	x.leaves = append(x.leaves, l)
}

// conflicts compares the revisions the plan was made on with what is there.
func (x *tx) conflicts(reads []command.RowRef) (string, bool) {
	for _, r := range reads {
		var rev uint64
		if row, ok := x.hot.get(Table(r.Table), r.Key); ok {
			rev = *revision(row)
		}
		if rev != r.Rev {
			return r.Table + "/" + strings.ReplaceAll(r.Key, "\x00", "/"), true
		}
	}
	return "", false
}
