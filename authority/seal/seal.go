// Package seal keeps the orders, given on a node's own machine, that the node must
// not sign. It is what an operator has left when no leader can be reached: no
// quorum, no other node and no network is asked.
//
// Threat model: an order takes effect in memory before anything else is tried, so
// that a full or failing disk cannot keep a key signing; the caller is told when it
// would not survive a restart. A file that cannot be read as a whole lets the node
// not start: to guess that there was no order would let it sign. Only an order of the
// cluster ends one (LiftSeal in the log); nothing on the machine does.
//
// Concurrency: a List may be used from any number of goroutines. Covering, which the
// signing path asks twice for each signature, is one atomic load; changes take a lock
// and write the file under it.
package seal

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	// ErrNotKept is returned when an order is in force and could not be written to
	// disk: it ends with the process.
	ErrNotKept = errors.New("the seal is in force, and could not be kept: it ends when this process does")
	// ErrFull is returned when there are as many orders about single keys as are kept.
	ErrFull = errors.New("too many keys are sealed one by one")
	// ErrDamaged is returned for a file that this program did not write like that.
	ErrDamaged = errors.New("the file of the seals is damaged")
)

// MaxSeals is how many orders a node keeps: what the cluster remembers of it.
const MaxSeals = command.MaxSeals

// List is the orders in force on this node.
type List struct {
	path    string
	replace Replace
	added   chan struct{}
	now     atomic.Pointer[[]lifecycle.Seal] // never changed, only replaced

	mu sync.Mutex // owned by whoever replaces
}

// Replace writes a file, mode 0600, so that after a crash at any moment it is there
// whole, as it was or as it is to be, and durable when it returns.
type Replace func(path string, content []byte) error

// Open reads the file at path; that there is none means that there are no orders.
func Open(path string, replace Replace) (*List, error) {
	seals, err := read(path)
	if err != nil {
		return nil, err
	}
	l := &List{path: path, replace: replace, added: make(chan struct{}, 1)}
	l.now.Store(&seals)
	if len(seals) > 0 {
		l.added <- struct{}{}
	}
	return l, nil
}

// All lists the orders, oldest first. The slice is shared and not to be changed.
func (l *List) All() []lifecycle.Seal { return *l.now.Load() }

// Covering is the order that forbids the key, nil when none does; for key "" only
// one about the whole node counts.
func (l *List) Covering(key lifecycle.KeyID) *lifecycle.Seal {
	seals := *l.now.Load()
	for i := range seals {
		if seals[i].Covers(key) {
			return &seals[i]
		}
	}
	return nil
}

// Added receives when there is an order that was not there before, also after Open.
func (l *List) Added() <-chan struct{} { return l.added }

// Add puts an order in force, then on the disk. Signers that have passed the look at
// the list are not waited for: that is signing.Signer.Drain's. An order about the same
// key that is in force already is returned in place of the new one.
//
// With ErrNotKept the order is in force all the same.
func (l *List) Add(s lifecycle.Seal) (lifecycle.Seal, error) {
	if err := check(&s); err != nil {
		return lifecycle.Seal{}, fmt.Errorf("seal: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.All()
	if i := slices.IndexFunc(old, func(o lifecycle.Seal) bool { return o.Key == s.Key }); i >= 0 {
		return old[i], l.keep(old) // it may not have been kept the first time
	}
	// There is always room for the order that covers everything.
	if s.Key != "" && len(old) >= MaxSeals-1 {
		return lifecycle.Seal{}, fmt.Errorf("seal key %s: %w: %d; seal the whole node", s.Key, ErrFull, len(old))
	}
	all := append(slices.Clone(old), s)
	l.now.Store(&all)
	select {
	case l.added <- struct{}{}:
	default:
	}
	return s, l.keep(all)
}

func (l *List) keep(all []lifecycle.Seal) error {
	if err := l.write(all); err != nil {
		return fmt.Errorf("%w: %w", ErrNotKept, err)
	}
	return nil
}

// Remove forgets an order that the cluster has lifted, on the disk first: a node that
// dies in between obeys it once more and then learns again that it was lifted.
func (l *List) Remove(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(l.All()), func(s lifecycle.Seal) bool { return s.ID == id })
	if err := l.write(left); err != nil {
		return fmt.Errorf("forget seal %s: %w", id, err)
	}
	l.now.Store(&left)
	return nil
}
