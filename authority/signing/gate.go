package signing

import (
	"fmt"
	"sync"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// shards is how many locks the keys share. More would let Drain take longer, fewer
// would make signers of different keys wait for the same cache line.
const shards = 64

// gates are the locks of the release gate. A signer passes under the read lock of
// its key; whoever wants to know that nobody still passes with an older state takes
// the write lock, once.
type gates [shards]struct {
	sync.RWMutex
	_ [40]byte // one cache line each
}

func (g *gates) of(k lifecycle.KeyID) *sync.RWMutex {
	h := uint32(2166136261) // FNV-1a
	for i := range len(k) {
		h = (h ^ uint32(k[i])) * 16777619
	}
	return &g[h%shards].RWMutex
}

// Drain returns when nobody is inside the gate who looked at a state older than v.
// v must have been published before: whoever enters from now on sees it, or a later
// one. It waits for looks at memory, never for the HSM or a disk.
func (s *Signer) Drain(*state.View) {
	for i := range s.gates {
		s.gates[i].Lock()
		//lint:ignore SA2001 to have held it once is the purpose
		s.gates[i].Unlock()
	}
}

// release lets what passes the gate out, and wipes and records the rest. A strict
// request comes with its entry in the log, or with the reason why it has none.
func (s *Signer) release(j *job, items []Item, tbs [][]byte, entry uint64, err error) {
	fault.Reached(fault.SignAtGate)
	var releasedAt time.Duration
	if err == nil {
		releasedAt, err = s.gate(j)
	}
	at := s.Clock()
	for i := range items {
		it := &items[i]
		if tbs[i] == nil {
			continue // was never admitted, has no intent
		}
		if it.Err == nil && err != nil {
			it.wipe(err)
		}
		rec := j.record(audit.SignReleased, at, tbs[i])
		if it.Err != nil {
			s.Withheld.Add(1)
			rec.Kind, rec.Allowed, rec.Detail = audit.SignRefused, false, "signed, not released: "+it.Err.Error()
		} else {
			s.Released.Add(1)
			it.ReleasedAt, it.RecordIndex = releasedAt, entry
		}
		if entry != 0 {
			rec.Index = entry
		}
		// The intent is on disk; how it ended rides with the next sync.
		if recErr := s.Audit.AppendAsync(rec); recErr != nil && it.Err == nil {
			it.wipe(fmt.Errorf("record a released signature: %w", recErr))
		}
	}
}

func (it *Item) wipe(err error) {
	clear(it.Bytes)
	it.Bytes, it.Err = nil, err
}

// gate is the release gate (S5). Whatever was true when the HSM was called, it looks
// again: lease usable, version and instance the same ones and allowed, caller still
// allowed, request young enough. It holds the key's read lock and does no I/O, so
// that after Drain nobody is left who passed on what was true before.
func (s *Signer) gate(j *job) (releasedAt time.Duration, err error) {
	begunNS := fault.Now()
	if fault.On(fault.NoGate) {
		s.passed(j, j.view, begunNS)
		return s.Elapsed(), nil
	}
	lock := s.gates.of(j.key.ID)
	lock.RLock()
	defer lock.RUnlock()
	v := s.Ledger.View()
	if err := s.Lease.Usable(v); err != nil {
		return 0, fmt.Errorf("release a signature: %w", err)
	}
	if err := s.lookAgain(v, j); err != nil {
		return 0, err
	}
	fault.Reached(fault.SignInGate)
	// The age comes last: whatever stopped the process before, it counts.
	if releasedAt, err = s.young(j); err != nil {
		return 0, err
	}
	s.passed(j, v, begunNS)
	return releasedAt, nil
}

// Rehearse admits a request and returns its way through the gate, to be measured: no
// key is used, so there is nothing that could be released.
func (s *Signer) Rehearse(r Request) (pass func() error, err error) {
	j, err := s.admit(r)
	if err != nil {
		return nil, err
	}
	return func() error {
		_, err := s.gate(j)
		return err
	}, nil
}

// passed tells the laboratory who passed the gate, by which state, and when the look
// had not begun yet: a process can be stopped at any time after that.
func (s *Signer) passed(j *job, v *state.View, begunNS int64) {
	if !fault.Enabled {
		return
	}
	fault.Record("gate", "key", j.key.ID, "version", j.version.Number, "node", j.instance.Node, "request_id", j.ID, "caller", j.Caller.Principal,
		"index", v.Position().Index, "begun_ns", begunNS)
}
