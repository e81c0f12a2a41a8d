package publish

import (
	"sync"
	"sync/atomic"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// cacheMax bounds the number of cached sets; a set of three EC keys is about 1 KiB.
const cacheMax = 8192

// Cache remembers trust sets. The zero Cache is ready; all methods may be called
// from any goroutine. An entry is reused while the View is at the same index, or
// while no row it was built from has a newer revision: rows are never deleted and a
// revision is the index of the entry that wrote it, so {epoch, newest revision,
// number of rows} says that nothing has changed.
type Cache struct {
	sets  sync.Map // lifecycle.KeyID -> *slot
	count atomic.Int64

	known struct {
		now   atomic.Pointer[stamped]
		build sync.Mutex // one rebuild at a time: it walks over every key
	}
}

// slot is the place of one key's newest set.
type slot struct{ now atomic.Pointer[stamped] }

// stamped is a set with the newest position it is known to be right at.
type stamped struct {
	epoch, index uint64
	rows         stamp
	set          *TrustSet
}

// stamp identifies the rows a set was built from.
type stamp struct{ newest, count uint64 }

func (s *stamp) row(rev uint64) { s.newest, s.count = max(s.newest, rev), s.count+1 }

func (s *stamp) key(view *state.View, k *lifecycle.Key) {
	s.row(k.Rev)
	for _, v := range view.Versions(k.ID) {
		s.row(v.Rev)
		for _, i := range view.Instances(k.ID, v.Number) {
			s.row(i.Rev)
		}
	}
}

// at reports whether the entry is known to be right at the position.
func (s *stamped) at(p state.Position) bool {
	return s != nil && s.epoch == p.Epoch && s.index == p.Index
}

// Set is Set, remembered.
func (c *Cache) Set(view *state.View, name lifecycle.KeyID) (*TrustSet, error) {
	p := view.Position()
	found, ok := c.sets.Load(name)
	if ok {
		if e := found.(*slot).now.Load(); e.at(p) {
			return e.set, nil
		}
	}
	k := view.Key(name)
	if k == nil {
		return Set(view, name) // the refusal; a name that is no key is never remembered
	}
	if !ok {
		if found, ok = c.sets.LoadOrStore(name, new(slot)); !ok && c.count.Add(1) > cacheMax {
			c.evict(name)
		}
	}
	var rows stamp
	rows.key(view, k)
	return renew(&found.(*slot).now, p, rows, func() (*TrustSet, error) { return Set(view, name) })
}

// WellKnown is WellKnown, remembered. At a new position it looks at every key once.
func (c *Cache) WellKnown(view *state.View) (*TrustSet, error) {
	p := view.Position()
	if e := c.known.now.Load(); e.at(p) {
		return e.set, nil
	}
	c.known.build.Lock()
	defer c.known.build.Unlock()
	if e := c.known.now.Load(); e.at(p) {
		return e.set, nil
	}
	var rows stamp
	view.EachKey("", func(k *lifecycle.Key) bool {
		// A key that does not opt in counts with its own revision only: opting in
		// is a change of that row.
		if wellKnown(k) {
			rows.key(view, k)
		} else {
			rows.row(k.Rev)
		}
		return true
	})
	return renew(&c.known.now, p, rows, func() (*TrustSet, error) { return WellKnown(view) })
}

// renew stamps the remembered set with the position when its rows are the same, or
// builds it. A reader of an older View gets its own answer and leaves the newer one
// in place.
func renew(place *atomic.Pointer[stamped], p state.Position, rows stamp, build func() (*TrustSet, error)) (*TrustSet, error) {
	old := place.Load()
	e := &stamped{epoch: p.Epoch, index: p.Index, rows: rows}
	if old != nil && old.epoch == p.Epoch && old.rows == rows {
		e.set = old.set
	} else {
		var err error
		if e.set, err = build(); err != nil {
			return nil, err
		}
	}
	if old == nil || old.epoch < p.Epoch || old.epoch == p.Epoch && old.index < p.Index {
		place.CompareAndSwap(old, e) // losing to another reader only costs a rebuild
	}
	return e.set, nil
}

// Drop forgets everything: a fence has passed, and nothing made before it shall be
// served again. A reader who still holds an older View builds its own answer.
func (c *Cache) Drop() {
	c.sets.Clear()
	c.count.Store(0)
	c.known.now.Store(nil)
}

// evict forgets one key other than keep.
func (c *Cache) evict(keep lifecycle.KeyID) {
	c.sets.Range(func(name, _ any) bool {
		if name.(lifecycle.KeyID) == keep {
			return true
		}
		if _, loaded := c.sets.LoadAndDelete(name); loaded {
			c.count.Add(-1)
		}
		return false
	})
}
