package transport

import (
	"bytes"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/state"
)

// Bodies remembers rendered answers without their last members, which change with
// every answer. An entry holds for one position, one second and one answer to "is
// it fresh": rows may have moved, and counters and plans move with the clock. The
// zero value is ready.
type Bodies struct {
	found sync.Map // string -> *rendered
	count atomic.Int64
}

type rendered struct {
	epoch, index uint64
	second       int64
	fresh        bool
	prefix       []byte
}

// maxBodies bounds the memory: a body has a few KiB.
const maxBodies = 4096

// Drop forgets every answer.
func (b *Bodies) Drop() {
	b.found.Clear()
	b.count.Store(0)
}

// Render gives the answer of the name in two parts: a remembered or new body, which
// is shared and not to be written to, and position, as_of and freshness. make
// returns a JSON object that is open: it ends after a comma.
func (b *Bodies) Render(name string, snap ledger.Snapshot, now time.Time, make func() ([]byte, error)) (body, tail []byte, err error) {
	p := snap.Position()
	prefix := b.get(name, p, now, snap.Fresh)
	if prefix == nil {
		if prefix, err = make(); err != nil {
			return nil, nil, err
		}
		e := &rendered{epoch: p.Epoch, index: p.Index, second: now.Unix(), fresh: snap.Fresh, prefix: prefix}
		if _, ok := b.found.Swap(name, e); !ok && b.count.Add(1) > maxBodies {
			b.found.Clear()
			b.count.Store(0)
		}
	}
	const ageBytes = 256 // position, as_of and freshness need less
	return prefix, append(AppendAge(slices.Grow([]byte(nil), ageBytes), snap), "}\n"...), nil
}

// Open takes the last members off a marshalled answer whose type ends with
// position, as_of and freshness, in this order.
func Open(whole []byte) []byte {
	end := bytes.LastIndex(whole, []byte(`"position":`))
	return whole[:end:end]
}

func (b *Bodies) get(name string, p state.Position, now time.Time, fresh bool) []byte {
	found, ok := b.found.Load(name)
	if !ok {
		return nil
	}
	e := found.(*rendered)
	if e.index != p.Index || e.epoch != p.Epoch || e.second != now.Unix() || e.fresh != fresh {
		return nil
	}
	return e.prefix
}
