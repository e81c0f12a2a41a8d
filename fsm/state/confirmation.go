package state

import (
	"slices"
	"strconv"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// intake is one entry's confirmations. What it counts is counted once for each
// consumer and key, not once for each of its instances.
type intake struct {
	*tx
	sets  []setFacts
	rows  map[string]int // confirmationPrefix -> rows there are
	seen  map[tally]int  // -> its place in order
	order []tallied
}

// setFacts is what the state makes of a set that is confirmed.
type setFacts struct {
	set      *command.LoadedSet
	o        Outcome
	provable []string
}

// tally is what an event is about: a consumer as a whole has loaded a set.
type tally struct {
	consumer string
	set      uint64
}

type tallied struct {
	set      uint64
	consumer *lifecycle.Consumer
	before   int // instances that had it
	news     int // confirmations that say more than that nothing has changed
}

// recordConfirmations judges each confirmation by itself. An instance that confirms
// again what it had loaded costs a row and no leaf.
func (x *tx) recordConfirmations(c *command.RecordConfirmations) Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself records confirmations, once it has seen the proof")
	}
	in := &intake{tx: x, rows: map[string]int{}, seen: map[tally]int{}}
	for i := range c.Sets {
		in.sets = append(in.sets, in.judge(&c.Sets[i]))
	}
	groups := make([]GroupOutcome, len(c.Items))
	for i := range c.Items {
		o := in.confirm(&c.Items[i])
		groups[i] = GroupOutcome{Code: o.Code, Detail: o.Detail}
	}
	for _, t := range in.order {
		in.announce(t)
	}
	return Outcome{Groups: groups}
}

// judge looks up what a set's kids are kids of. Its digest was computed where the
// public keys can be read.
func (in *intake) judge(s *command.LoadedSet) setFacts {
	f := setFacts{set: s}
	if in.key(s.Key) == nil {
		f.o = refuse(KeyNotFound, string(s.Key), "no such key")
		return f
	}
	for _, kid := range s.KIDs {
		r := get[KIDRow](in.tx, TableKIDs, kid)
		if r == nil || r.Key != s.Key {
			f.o = refuse(UnknownKID, string(s.Key), "kid %s is none of key %s", kid, s.Key)
			return f
		}
		if provable(in.version(r.Key, r.Version), in.instance(r.Key, r.Version, r.Node), in.node(r.Node)) {
			f.provable = append(f.provable, kid)
		}
	}
	return f
}

func (in *intake) confirm(item *command.ConfirmationItem) Outcome {
	set := &in.sets[item.Set]
	if !set.o.OK() {
		return set.o
	}
	c, o := in.standingConsumer(item.Consumer)
	switch {
	case !o.OK():
		return o
	case !c.Lists(set.set.Key):
		return refuse(NotADependent, c.Name, "the consumer does not list key %s", set.set.Key)
	case item.Weak && c.Class == lifecycle.Required:
		return refuse(Invalid, c.Name, "a fetch is no confirmation of a required consumer")
	case in.principal(c.Name) == nil:
		return refuse(Denied, c.Name, "the consumer's principal was revoked")
	}
	t := in.tally(c, item.Set)
	if in.putConfirmation(c, set.set, item) {
		t.news++
	}
	return Outcome{}
}

// putConfirmation writes the row. What was proven stays proven while the instance goes
// on confirming; one whose confirmation lapsed begins again. news is false when only
// its time was renewed.
func (in *intake) putConfirmation(c *lifecycle.Consumer, set *command.LoadedSet, item *command.ConfirmationItem) (news bool) {
	now := in.now()
	row := lifecycle.Confirmation{Consumer: c.Name, Key: set.Key, Instance: item.Instance, Digest: set.Digest, KIDs: set.KIDs,
		FirstAt: now, At: now, ExpiresAt: now.Add(c.Lifetime), Weak: item.Weak}
	for _, n := range item.Proven {
		row.Proven = append(row.Proven, set.KIDs[n])
	}
	old := get[lifecycle.Confirmation](in.tx, TableConfirmations, confirmationKey(c.Name, set.Key, item.Instance))
	if old != nil && old.Standing(now) {
		if item.Weak && !old.Weak {
			return false // a fetch takes nothing from what was said, and adds no time to it
		}
		row.Proven = append(row.Proven, old.Proven...)
		if old.Digest == row.Digest {
			row.FirstAt = old.FirstAt
		}
	}
	row.Proven = kept(row.Proven, row.KIDs)
	news = old == nil || !old.Standing(now) || old.Digest != row.Digest || old.Weak != row.Weak || !slices.Equal(old.Proven, row.Proven)
	if old == nil {
		in.makeRoom(c, set.Key)
	}
	put(in.tx, TableConfirmations, confirmationKey(c.Name, set.Key, item.Instance), &row)
	return news
}

// kept sorts, and drops what stands twice or is not in kids.
func kept(proven, kids []string) []string {
	slices.Sort(proven)
	proven = slices.Compact(proven)
	proven = slices.DeleteFunc(proven, func(kid string) bool { _, in := slices.BinarySearch(kids, kid); return !in })
	if len(proven) == 0 {
		return nil
	}
	return proven
}

// makeRoom lets the label go that was silent the longest, when there are too many:
// instances come back under new names, and a name that nobody uses lapses only in time.
func (in *intake) makeRoom(c *lifecycle.Consumer, key lifecycle.KeyID) {
	prefix := confirmationPrefix(c.Name, key)
	n, known := in.rows[prefix]
	if !known {
		n = len(list[lifecycle.Confirmation](in.hot.freeze(), TableConfirmations, prefix))
	}
	for ; n >= c.MaxInstances(); n-- {
		var silent *lifecycle.Confirmation
		ascend(in.hot.freeze(), TableConfirmations, prefix, func(r *lifecycle.Confirmation) bool {
			if silent == nil || r.At < silent.At {
				silent = r
			}
			return true
		})
		in.drop(TableConfirmations, prefix+silent.Instance)
	}
	in.rows[prefix] = n + 1
}

// tally notes how far the consumer was with a set before the entry's first word of it.
func (in *intake) tally(c *lifecycle.Consumer, set uint64) *tallied {
	t := tally{c.Name, set}
	at, known := in.seen[t]
	if !known {
		at = len(in.order)
		in.seen[t] = at
		in.order = append(in.order, tallied{set: set, consumer: c, before: in.loaded(c, &in.sets[set])})
	}
	return &in.order[at]
}

// loaded counts the instances that have the set and, of a required consumer, have
// proven all of it that can be proven.
func (in *intake) loaded(c *lifecycle.Consumer, f *setFacts) (n int) {
	ascend(in.hot.freeze(), TableConfirmations, confirmationPrefix(c.Name, f.set.Key), func(r *lifecycle.Confirmation) bool {
		if r.Standing(in.now()) && r.Digest == f.set.Digest && (c.Class != lifecycle.Required || contains(r.Proven, f.provable)) {
			n++
		}
		return true
	})
	return n
}

// announce records what is new: that an instance has loaded a set, and when the
// consumer as a whole has come to have it. Whoever waits for consumers looks again when
// the log has grown, so nothing that could open a gate goes without a leaf.
func (in *intake) announce(t tallied) {
	if t.news == 0 {
		return
	}
	f, kind := &in.sets[t.set], "consumer.loaded"
	have := in.loaded(t.consumer, f)
	if t.before < t.consumer.Expect && have >= t.consumer.Expect {
		kind = "consumer.confirmed"
	}
	in.record(Leaf{Kind: kind, Consumer: t.consumer.Name, Key: f.set.Key, After: f.set.Digest, Detail: progress(t.consumer, have)})
}

func progress(c *lifecycle.Consumer, have int) string {
	return string(c.Class) + ", " + strconv.Itoa(have) + " of " + strconv.Itoa(c.Expect) + " instances"
}

// lapseConfirmations marks what has expired and drops what nobody asks about any more.
// What has time left is skipped: it was renewed since, or the leader was ahead.
func (x *tx) lapseConfirmations(c *command.LapseConfirmations) Outcome {
	if x.head.Actor != systemActor {
		return refuse(Invalid, x.head.Actor, "only the cluster itself says that confirmations have lapsed")
	}
	type pair struct {
		name string
		key  lifecycle.KeyID
	}
	before := map[pair]int{}
	var order []pair
	done := 0
	for _, item := range c.Items {
		name := confirmationKey(item.Consumer, item.Key, item.Instance)
		old := get[lifecycle.Confirmation](x, TableConfirmations, name)
		if old == nil {
			continue
		}
		con := x.consumer(item.Consumer)
		switch {
		case con == nil || con.RetiredAt != 0 || !con.Lists(item.Key) || old.Forgettable(x.now()):
			x.drop(TableConfirmations, name)
		case old.LapsedAt == 0 && x.now() >= old.ExpiresAt:
			p := pair{item.Consumer, item.Key}
			if _, known := before[p]; !known {
				before[p], order = x.unlapsed(item.Consumer, item.Key), append(order, p)
			}
			row := *old
			row.LapsedAt = x.now()
			put(x, TableConfirmations, name, &row)
		default:
			continue
		}
		done++
	}
	if done == 0 {
		return refuse(AlreadyExists, "", "none of the confirmations has lapsed: they were renewed, or another entry said so")
	}
	for _, p := range order {
		con, kind := x.consumer(p.name), "consumer.silent"
		have := x.unlapsed(p.name, p.key)
		if before[p] >= con.Expect && have < con.Expect {
			kind = "consumer.lapsed"
		}
		x.record(Leaf{Kind: kind, Consumer: con.Name, Key: p.key, Detail: progress(con, have) + "; owner " + con.Owner})
	}
	return Outcome{}
}

// unlapsed counts the instances that nobody has found silent.
func (x *tx) unlapsed(consumer string, key lifecycle.KeyID) (n int) {
	ascend(x.hot.freeze(), TableConfirmations, confirmationPrefix(consumer, key), func(r *lifecycle.Confirmation) bool {
		if r.LapsedAt == 0 {
			n++
		}
		return true
	})
	return n
}
