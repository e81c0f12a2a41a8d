package state

import (
	"fmt"
	"strings"

	"github.com/chancery-project/chancery/fsm/tree"
)

// hot is the hot tables as they stood once: immutable, and shared by whoever reads.
type hot struct {
	tables [maxHot]tree.Tree[any]
}

// maxHot is how many hot tables there may be.
const maxHot = 25

// hotPlace is a hot table's place in hot. Tables that are not hot have none.
var hotPlace = func() map[Table]int {
	place := map[Table]int{}
	for _, t := range Tables {
		if t.Hot() {
			place[t] = len(place)
		}
	}
	if len(place) > maxHot {
		panic(fmt.Sprintf("%d hot tables: raise maxHot", len(place)))
	}
	return place
}()

// table to read from.
func (h *hot) table(t Table) tree.Tree[any] { return h.tables[placeOf(t)] }

func placeOf(t Table) int {
	i, ok := hotPlace[t]
	if !ok {
		panic(fmt.Sprintf("table %q is not hot", t))
	}
	return i
}

// get finds a row. What a plan says it has read may be of any table.
func (h *hot) get(t Table, key string) (row any, ok bool) {
	i, ok := hotPlace[t]
	if !ok {
		return nil, false
	}
	return h.tables[i].Get(key)
}

// ascend calls fn for each row of a table whose key begins with prefix, until fn
// returns false.
func ascend[T any](h *hot, t Table, prefix string, fn func(*T) bool) {
	h.table(t).AscendPrefix(prefix, func(_ string, row any) bool { return fn(row.(*T)) })
}

// ascendFrom does so from a key on.
func ascendFrom[T any](h *hot, t Table, prefix, from string, fn func(*T) bool) {
	h.table(t).Ascend(prefix+from, func(key string, row any) bool {
		return strings.HasPrefix(key, prefix) && fn(row.(*T))
	})
}

func list[T any](h *hot, t Table, prefix string) (out []*T) {
	ascend(h, t, prefix, func(r *T) bool { out = append(out, r); return true })
	return out
}

// rows counts all.
func (h *hot) rows() (n int) {
	for i := range h.tables {
		n += h.tables[i].Len()
	}
	return n
}

// hotTx writes hot rows: into tables of its own, which begin as a fork of others.
type hotTx struct {
	base *hot
	own  *hot // nil until something is written, and again when it was frozen
}

func (x *hotTx) get(t Table, key string) (row any, ok bool) {
	if x.own != nil {
		return x.own.get(t, key)
	}
	return x.base.get(t, key)
}

func (x *hotTx) put(t Table, key string, row any) (old any, existed bool) {
	return x.table(t).Put(key, row)
}

func (x *hotTx) drop(t Table, key string) (old any, existed bool) {
	if _, existed = x.get(t, key); !existed {
		return nil, false
	}
	return x.table(t).Delete(key)
}

// table is one to write to.
func (x *hotTx) table(t Table) *tree.Tree[any] {
	if x.own == nil {
		x.own = new(hot)
		for i := range x.own.tables {
			x.own.tables[i] = x.base.tables[i].Fork()
		}
	}
	return &x.own.tables[placeOf(t)]
}

// freeze is everything written so far, for ever: what is written from now on goes to
// another fork. Scans run on that, so they may write.
func (x *hotTx) freeze() *hot {
	if x.own != nil {
		x.base, x.own = x.own, nil
	}
	return x.base
}
