package provision

import (
	"slices"
	"strings"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Trouble is an instance of this node that needs somebody's attention, and why.
type Trouble struct {
	Key     lifecycle.KeyID
	Version uint64
	CKAID   lifecycle.CKAID
	Why     string
}

// State is what the Reconciler knows of the partition.
type State struct {
	LastInventoryAt time.Time // zero = none has worked yet
	Objects         int       // key pairs in the partition then
	Missing         int       // instances with a public key that are not there
	Orphans         int       // key pairs nobody intended
	Returned        int       // key pairs that were erased and are there again
	Wiped           bool      // the partition is empty, though it should not be
	Err             string    // why the last inventory failed, "" = it worked
	Waiting         []Trouble // pending instances that could not be made yet
	Quarantined     []Trouble // not used for signing
	Unconfirmed     []Trouble // erasures for which there is no evidence
}

// State of the partition as of the last pass.
func (r *Reconciler) State() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.Waiting, s.Unconfirmed = listed(r.waiting), listed(r.unconfirmed)
	s.Quarantined = listed(*r.quarantine.Load())
	return s
}

// place names this node's instance of a version.
type place struct {
	key     lifecycle.KeyID
	version uint64
}

type troubles map[place]Trouble

func listed(m troubles) []Trouble {
	out := make([]Trouble, 0, len(m))
	for _, t := range m {
		out = append(out, t)
	}
	slices.SortFunc(out, func(a, b Trouble) int {
		if c := strings.Compare(string(a.Key), string(b.Key)); c != 0 {
			return c
		}
		return int(a.Version) - int(b.Version)
	})
	return out
}

// Usable reports whether this node's instance of the version may be used as far as
// the Reconciler knows. It is one atomic load: the signing path asks each time.
func (r *Reconciler) Usable(key lifecycle.KeyID, version uint64) bool {
	_, quarantined := (*r.quarantine.Load())[place{key, version}]
	return !quarantined
}

// setQuarantine puts an instance into quarantine, or with why "" takes it out. Only
// the Reconciler's goroutine calls it.
func (r *Reconciler) setQuarantine(i *lifecycle.Instance, why string) {
	old := *r.quarantine.Load()
	at := place{i.Key, i.Version}
	if old[at].Why == why {
		return
	}
	fresh := make(troubles, len(old)+1)
	for p, t := range old {
		fresh[p] = t
	}
	if why == "" {
		delete(fresh, at)
		r.log.Info("instance taken out of quarantine", "key", i.Key, "version", i.Version, "cka_id", i.CKAID.String())
	} else {
		fresh[at] = Trouble{i.Key, i.Version, i.CKAID, why}
		r.log.Error("instance quarantined: it signs nothing here until an operator has looked at the key store",
			"key", i.Key, "version", i.Version, "cka_id", i.CKAID.String(), "reason", why)
	}
	r.quarantine.Store(&fresh)
}

// trouble records why something waits in one of the lists that mu owns, and logs it
// when the reason is new. why "" removes the entry.
func (r *Reconciler) trouble(list *troubles, what string, i *lifecycle.Instance, why string) {
	at := place{i.Key, i.Version}
	r.mu.Lock()
	old := (*list)[at].Why
	if why == "" {
		delete(*list, at)
	} else {
		(*list)[at] = Trouble{i.Key, i.Version, i.CKAID, why}
	}
	r.mu.Unlock()
	if why != "" && why != old {
		r.log.Warn(what, "key", i.Key, "version", i.Version, "cka_id", i.CKAID.String(), "reason", why)
	}
}

// prune drops entries of instances that are no longer in a condition to be listed.
func (r *Reconciler) prune(mine []holding) {
	waiting, erasing := map[place]bool{}, map[place]bool{}
	for _, h := range mine {
		at := place{h.i.Key, h.i.Version}
		waiting[at] = h.toMake()
		erasing[at] = h.toErase()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for at := range r.waiting {
		if !waiting[at] {
			delete(r.waiting, at)
		}
	}
	for at := range r.unconfirmed {
		if !erasing[at] {
			delete(r.unconfirmed, at)
		}
	}
}
