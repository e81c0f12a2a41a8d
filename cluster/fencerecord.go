package cluster

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// lane is how entries of one kind, about fences, go into the log: several at a time, so
// that the end of one fence does not wait for the commit of another's, and each fence
// in one of them only. What finds no room shares the next entry.
type lane struct {
	mu     sync.Mutex          // owns what follows
	about  map[uint64]struct{} // fences whose entry is on its way
	room   int                 // entries that may set out
	failed time.Duration       // Elapsed when the last entry failed, 0 = it did not
}

func newLane(room int) lane { return lane{about: map[uint64]struct{}{}, room: room} }

func (l *lane) carries(index uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, is := l.about[index]
	return is
}

// enter takes an entry in; wait is how long after a failure none is.
func (l *lane) enter(about []uint64, now time.Duration) (wait time.Duration, entered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed != 0 {
		if wait := l.failed + barEvery - now; wait > 0 {
			return wait, false
		}
	}
	if l.room == 0 {
		return time.Hour, false
	}
	l.room--
	for _, index := range about {
		l.about[index] = struct{}{}
	}
	return time.Hour, true
}

// leave takes it out again, however it ended.
func (l *lane) leave(about []uint64, failed time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.room++
	l.failed = failed
	for _, index := range about {
		delete(l.about, index)
	}
}

// finish records fences that are done (B4), all in one entry, and returns when the
// next one is at the latest.
func (f *fencing) finish(v *state.View) time.Duration {
	if f.node.rates.Outvoted(f.node.voters()) != "" {
		return barEvery // by this clock nothing can be said to have run out; another leader goes on
	}
	next := time.Hour
	c := &command.RecordFenced{Term: f.grantor.Term()}
	for index, b := range f.open {
		if left := b.fence.Left(); left > 0 {
			next = min(next, left)
			continue
		}
		if !b.done {
			b.done, b.doneAt = true, f.node.Clock()
			f.observe("done", b.seenAt)
		}
		if !f.fenced.carries(index) {
			c.Fences = append(c.Fences, command.FencedAt{Index: index, Nodes: b.fence.Fenced()})
		}
	}
	if len(c.Fences) == 0 {
		return next
	}
	slices.SortFunc(c.Fences, func(a, b command.FencedAt) int { return cmp.Compare(a.Index, b.Index) })
	c.Fences = c.Fences[:min(len(c.Fences), command.MaxFences)]
	about := make([]uint64, len(c.Fences))
	for i := range c.Fences {
		about[i] = c.Fences[i].Index
	}
	return min(next, f.propose(&f.fenced, c, about))
}

// settle records fences that stood long enough (B5): every request whose signature
// passed the gate before is too old now for its client to accept it.
func (f *fencing) settle(v *state.View, unsettled []*lifecycle.Fence) time.Duration {
	next, now, wait := time.Hour, f.node.Clock(), terms(v).AgeWait
	c := &command.RecordSettled{Term: f.grantor.Term()}
	before := f.stands
	f.stands = make(map[uint64]standing, len(unsettled))
	for _, row := range unsettled {
		s, known := before[row.Index]
		if !known { // of an earlier leader: it stood before this look
			s = standing{now, f.node.Elapsed()}
		}
		delete(before, row.Index)
		f.stands[row.Index] = s
		if left := s.from.After(wait).Left(now); left > 0 {
			next = min(next, left)
		} else if len(c.Indexes) < command.MaxFences && !f.settled.carries(row.Index) {
			fault.Record("settled", "index", row.Index)
			c.Indexes = append(c.Indexes, row.Index)
		}
	}
	for _, s := range before {
		f.observe("settled", s.seenAt)
	}
	if len(c.Indexes) == 0 {
		return next
	}
	return min(next, f.propose(&f.settled, c, c.Indexes))
}

// propose commits an entry of ours if its lane has room; whatever ends it wakes
// keepFences. An entry that failed is made again after a pause.
func (f *fencing) propose(l *lane, body command.Body, about []uint64) time.Duration {
	wait, entered := l.enter(about, f.node.Elapsed())
	if !entered {
		return wait
	}
	f.node.running.Go(func() {
		failed := time.Duration(0)
		if !f.node.proposeSystem(body) {
			failed = f.node.Elapsed()
		}
		l.leave(about, failed)
		f.node.fences.wake()
	})
	return wait
}
