package rotation

import (
	"sync"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// A step that was refused is not proposed again at once: the delay doubles from
// the first to the longest.
const (
	firstConflictDelay = lifecycle.Second / 10
	firstRefusalDelay  = lifecycle.Second
	longestDelay       = 5 * lifecycle.Minute
)

// identity names a step across plans.
type identity struct {
	kind    command.Kind
	key     lifecycle.KeyID
	version uint64
	node    lifecycle.NodeID
}

func identify(b command.Body) identity {
	id := identity{kind: b.Kind(), key: keyOf(b)}
	switch c := b.(type) {
	case *command.PublishVersion:
		id.version = c.Version
	case *command.ActivateVersion:
		id.version = c.Version
	case *command.AdmitInstance:
		id.version, id.node = c.Version, c.Node
	case *command.PrepareVersion:
		id.version = c.Version
	case *command.PlanInstances:
		id.version = c.Version
	case *command.WithdrawVersion:
		id.version = c.Version
	case *command.BeginErasure:
		id.version = c.Version
	case *command.ScheduleDestroy:
		id.version = c.Version
	case *command.NoteWaiting:
		id.version = c.Version
	}
	return id
}

func keyOf(b command.Body) lifecycle.KeyID {
	switch c := b.(type) {
	case *command.PublishVersion:
		return c.Key
	case *command.ActivateVersion:
		return c.Key
	case *command.AdmitInstance:
		return c.Key
	case *command.PrepareVersion:
		return c.Key
	case *command.PlanInstances:
		return c.Key
	case *command.WithdrawVersion:
		return c.Key
	case *command.BeginErasure:
		return c.Key
	case *command.ScheduleDestroy:
		return c.Key
	case *command.NoteWaiting:
		return c.Key
	}
	return ""
}

// refusals remembers which steps were refused, and until when they rest. The zero
// value is ready.
type refusals struct {
	mu   sync.Mutex // owns rest
	rest map[identity]pause
}

type pause struct {
	until lifecycle.Instant
	delay lifecycle.Milliseconds
}

// add makes a step rest, twice as long as the last time.
func (r *refusals) add(id identity, now lifecycle.Instant, first lifecycle.Milliseconds) lifecycle.Milliseconds {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rest == nil {
		r.rest = map[identity]pause{}
	}
	p := pause{delay: first}
	if old, ok := r.rest[id]; ok {
		p.delay = min(max(2*old.delay, first), longestDelay)
	}
	p.until = now.Add(p.delay)
	r.rest[id] = p
	return p.delay
}

func (r *refusals) drop(id identity) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rest, id)
}

func (r *refusals) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.rest)
}

// filter leaves out the steps that rest, and forgets those nobody plans any more.
func (r *refusals) filter(steps []Step, now lifecycle.Instant) []Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.rest) == 0 {
		return steps
	}
	var ready []Step
	planned := map[identity]pause{}
	for _, s := range steps {
		id := identify(s.Body)
		p, resting := r.rest[id]
		if resting {
			planned[id] = p
		}
		if !resting || p.until <= now {
			ready = append(ready, s)
		}
	}
	r.rest = planned
	return ready
}

// next is when the first rest ends, 0 = nothing rests.
func (r *refusals) next() (at lifecycle.Instant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.rest {
		if at == 0 || p.until < at {
			at = p.until
		}
	}
	return at
}
