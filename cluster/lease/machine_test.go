package lease

import (
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// machine is one node: a clock, and a process on it that signs and may lead.
type machine struct {
	*world
	id      lifecycle.NodeID
	voter   bool
	rate    float64
	origin  Reading
	votedIn uint64 // on disk

	stopUntil, cutUntil time.Duration

	// The process. A new one has nothing of the old one but an older state.
	process int
	holder  *Holder
	applied uint64
	office  *Grantor // nil = it does not lead, or believes so
	inGate  map[int]uint64
	entries int
}

func (m *machine) clock() Reading {
	return m.origin.After(time.Duration(m.rate * float64(m.now)))
}

func (m *machine) stopped() bool { return m.now < m.stopUntil }

// step lets the process do something after a while: later if it is stopped then, and
// never if it has died by then.
func (m *machine) step(d time.Duration, do func()) {
	process := m.process
	var try func()
	try = func() {
		switch {
		case m.process != process:
		case m.stopped():
			m.after(m.stopUntil-m.now, try)
		default:
			do()
		}
	}
	m.after(d, try)
}

// every repeats a step, until the process dies.
func (m *machine) every(d func() time.Duration, do func()) {
	m.step(d(), func() {
		do()
		m.every(d, do)
	})
}

// boot ends the process, and starts another after a while from an older state.
func (m *machine) boot(down time.Duration) {
	m.process++
	m.office, m.inGate, m.holder = nil, map[int]uint64{}, nil
	m.step(down, func() {
		// What came to the machine meanwhile ends here: an election it won while it was
		// down is no office of a process that knows less than the winner did.
		m.process++
		m.office = nil
		m.applied -= min(m.applied, m.Uint64N(4))
		m.holder = NewHolder(m.id, m.clock, m.log[m.applied].terms)
		m.holder.Advance(m.applied)
		m.every(func() time.Duration { return m.upTo(700 * time.Millisecond) }, m.ask)
		m.every(m.pause, m.apply)
		m.every(func() time.Duration { return m.upTo(150 * time.Millisecond) }, m.request)
	})
}

// apply takes some entries in.
func (m *machine) apply() {
	last := uint64(len(m.log) - 1)
	if m.applied == last || m.now < m.cutUntil {
		return
	}
	m.applied += 1 + m.Uint64N(last-m.applied)
	v := m.log[m.applied]
	m.holder.Use(v.terms)
	if v.quarantined[m] != 0 {
		m.holder.Drop("this node is quarantined")
	}
}

// ask asks whoever leads, or believes so.
func (m *machine) ask() {
	to := m.leader
	if m.chance(0.15) {
		to = m.machines[m.IntN(len(m.machines))]
	}
	if m.log[m.applied].quarantined[m] != 0 {
		return
	}
	r := m.holder.Ask(Observed{Cluster: cluster, Epoch: 1, Applied: m.applied, HSMOK: true})
	m.send(m, to, func() { to.grant(m, r) })
}

// grant is the leader's handler of a request: G1 to G4.
func (m *machine) grant(from *machine, r Request) {
	if m.office == nil || m.log[m.applied].quarantined[from] != 0 {
		return
	}
	office := m.office
	m.step(m.pause(), func() {
		rec, err := office.Record(from.id, r, func() (uint64, Terms) {
			index := m.applied
			if office.mu.TryLock() { // then anything may happen here
				office.mu.Unlock()
				m.during()
			}
			return index, m.log[index].terms
		})
		if err != nil {
			m.fail("record: %v", err)
			return
		}
		m.confirm(office.Term(), func() {
			g, err := office.Grant(rec, office.Term())
			if err != nil {
				m.fail("grant: %v", err)
			}
			m.count.grants++
			m.send(m, from, func() {
				if from.holder == nil {
					return
				}
				if from.holder.Accept(m.id, g, from.applied) == nil && len(from.holder.held.Load().leases) > 1 {
					m.count.kept++
				}
			})
		})
	})
}

// confirm asks the voters, and goes on once a majority has answered the term.
func (m *machine) confirm(term uint64, then func()) {
	agreed, voters := 0, m.voters()
	for _, v := range voters {
		answered := false // a doubled question or answer is still one voter
		m.send(m, v, func() {
			same := v.votedIn == term
			m.send(v, m, func() {
				if same && !answered {
					answered = true
					if agreed++; agreed == len(voters)/2+1 {
						then()
					}
				}
			})
		})
	}
}

// request is a client with a clock of its own: admission, the key store, the gate in
// two steps, and the way back.
func (m *machine) request() {
	rate, sent := m.world.rate(), m.now
	m.step(m.pause(), func() {
		if m.holder.Usable(m.applied) != nil {
			m.count.refused++
			return
		}
		m.step(m.pause(), func() {
			m.entries++
			entry, view := m.entries, m.applied
			m.inGate[entry] = view
			m.step(m.pause(), func() {
				delete(m.inGate, entry)
				if m.holder.Usable(view) == nil && m.log[view].quarantined[m] == 0 {
					m.passed(view, rate, sent)
				} else {
					m.count.refused++
				}
			})
		})
	})
}

// passed is the oracle: whoever passes the gate must know every entry that is
// fenced, and whose answer is accepted every entry that is settled.
func (m *machine) passed(view uint64, rate float64, sent time.Duration) {
	m.count.passed++
	if view < m.fenced {
		m.fail("node %s passed its gate with state %d, and entry %d is fenced", m.id[60:], view, m.fenced)
	}
	m.after(m.pause(), func() {
		if time.Duration(rate*float64(m.now-sent)) > m.log[view].terms.Age {
			return
		}
		m.count.accepted++
		if view < m.settled {
			m.fail("a client accepted what node %s signed with state %d, and entry %d is settled", m.id[60:], view, m.settled)
		}
	})
}

// lead begins a term, once everything of earlier terms is applied.
func (m *machine) lead(term uint64) {
	elected, ready := m.clock(), uint64(len(m.log)-1)
	var begin func()
	begin = func() {
		switch {
		case term != m.term:
		case m.applied < ready:
			m.step(m.pause(), begin)
		default:
			m.office = NewGrantor(Office{
				Cluster: cluster, Epoch: 1, Term: term, Leader: m.id, ElectedAt: elected, Clock: m.clock,
				Wall: func() lifecycle.Instant { return lifecycle.Instant(m.now.Milliseconds()) },
			})
			m.fences(m.office)
		}
	}
	begin()
}

// fences drives the fences of one term: B2 to B5.
func (m *machine) fences(office *Grantor) {
	running := map[uint64]*Fence{}
	m.every(func() time.Duration { return 5*time.Millisecond + m.pause() }, func() {
		if m.office != office {
			return
		}
		view := m.log[m.applied]
		for _, r := range m.open {
			if r > m.applied {
				continue
			}
			if running[r] == nil {
				running[r] = office.Open(r, m.mayHold(view), view.terms)
			}
			if f := running[r]; f.Done() {
				m.over(office, f)
				break // open has changed
			}
		}
		to := m.machines[m.IntN(len(m.machines))]
		if r, ok := office.Ask(to.id); ok {
			m.send(m, to, func() { to.fence(m, office, r) })
		}
	})
}

// mayHold is who may hold a lease: all but those whose quarantine is fenced.
func (m *machine) mayHold(view entry) []lifecycle.NodeID {
	var ids []lifecycle.NodeID
	for _, n := range m.machines {
		q := view.quarantined[n]
		if by := m.log[q].fencedBy; q == 0 || by == 0 || by > m.applied {
			ids = append(ids, n.id)
		}
	}
	return ids
}

// over is the end of a fence: the fact, if this leader can still record it, and after
// the wait the next fact. A deposed one may have applied an entry of its successor,
// whose grants are in no table of its own: it must not state anything.
func (m *machine) over(office *Grantor, f *Fence) {
	if office.Term() != m.term {
		return
	}
	m.fenced = max(m.fenced, f.Index())
	m.record(f.Index(), f.Fenced())
	office.Close(f.Index())
	end := m.clock().After(m.log[m.applied].terms.AgeWait)
	var settle func()
	settle = func() {
		if left := end.Left(m.clock()); left > 0 {
			m.step(left/2+time.Millisecond, settle)
			return
		}
		m.settled = max(m.settled, f.Index())
	}
	settle()
}

// fence is a node's handler of a fence request.
func (m *machine) fence(from *machine, office *Grantor, r FenceRequest) {
	if m.holder == nil || m.holder.Heed(from.id, cluster, 1, r) != nil {
		return
	}
	holder, target := m.holder, uint64(0)
	var wait func()
	wait = func() {
		if target == 0 && m.applied >= r.Index {
			target = m.applied
		}
		drained := target != 0
		for _, view := range m.inGate {
			drained = drained && view >= target
		}
		if !drained {
			m.step(5*time.Millisecond+m.pause(), wait)
			return
		}
		holder.Advance(target)
		a := holder.Answer(r)
		m.send(m, from, func() { _ = office.Ack(m.id, a) }) // rejected ones are what the test sends on purpose
	}
	wait()
}
