package lease

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// world is a cluster in simulated time: machines whose clocks run at different
// rates, processes that stand still between any two steps and die, a network that
// loses, doubles, delays and reorders, and leaders who do not know that they are
// deposed. Replication and elections are played; leases and fences are this package.
//
// Everything happens in one goroutine in the order of a queue, so a seed gives the
// same history each time.
type world struct {
	*rand.Rand
	now    time.Duration // true time, which nobody in the world can read
	queue  events
	serial int
	depth  int // of histories within a step, see during

	machines []*machine
	term     uint64 // the newest with a majority
	leader   *machine
	log      []entry // by index; 0 is the empty state
	open     []uint64
	slowness time.Duration // of the worst messages

	// What the oracle knows, in true time.
	fenced, settled uint64 // the highest R with that fact
	violation       string
	count           struct{ barriers, acked, expired, passed, refused, accepted, grants, kept int }
}

// entry is the state after one entry of the log.
type entry struct {
	narrows     bool
	fencedBy    uint64 // the entry that recorded the end of its fence, 0 = open
	terms       Terms
	ceilingOf   uint64 // R of the entry whose fence lets the ceiling fall, 0 = none
	quarantined map[*machine]uint64
}

type event struct {
	at     time.Duration
	serial int
	do     func()
}

type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].serial < e[j].serial
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), log: []entry{{terms: DefaultTerms()}}}
	w.slowness = []time.Duration{100 * time.Millisecond, time.Second, 8 * time.Second}[w.IntN(3)]
	for i := range 3 + w.IntN(2) {
		m := &machine{world: w, id: lifecycle.NodeID(fmt.Sprintf("%064x", i+1)), voter: i < 3, rate: w.rate()}
		m.origin = Reading{w.upTo(time.Hour), w.upTo(time.Hour)}
		w.machines = append(w.machines, m)
		m.boot(0)
	}
	w.after(0, w.elect)
	w.after(time.Second, w.commit)
	w.after(time.Second, w.trouble)
	return w
}

// rate is within what the protocol promises to stand, often at its ends.
func (w *world) rate() float64 {
	return []float64{0.9, 1, 1.1, 0.9 + 0.2*w.Float64()}[w.IntN(4)]
}

func (w *world) upTo(d time.Duration) time.Duration { return time.Duration(w.Int64N(int64(d) + 1)) }

func (w *world) chance(p float64) bool { return w.Float64() < p }

// pause is how long something takes: mostly little, sometimes very long.
func (w *world) pause() time.Duration {
	switch {
	case w.chance(0.06):
		return w.upTo(w.slowness)
	case w.chance(0.2):
		return w.upTo(200 * time.Millisecond)
	}
	return w.upTo(10 * time.Millisecond)
}

func (w *world) after(d time.Duration, do func()) {
	w.serial++
	heap.Push(&w.queue, event{w.now + d, w.serial, do})
}

// run lets the world go on until a moment.
func (w *world) run(until time.Duration) {
	for len(w.queue) > 0 && w.queue[0].at <= until && w.violation == "" {
		e := heap.Pop(&w.queue).(event)
		w.now = max(w.now, e.at)
		e.do()
	}
}

// during lets the world go on within a step of one goroutine, which holds no lock.
func (w *world) during() {
	if w.depth > 1 {
		return
	}
	w.depth++
	w.run(w.now + w.upTo(2*time.Second))
	w.depth--
}

// play runs until so many fences were recorded, and returns what went wrong.
func (w *world) play(barriers int) string {
	for w.count.barriers < barriers && w.violation == "" {
		w.run(w.now + time.Second)
		if w.now > time.Duration(barriers)*time.Minute {
			return fmt.Sprintf("only %d of %d barriers in %v", w.count.barriers, barriers, w.now)
		}
	}
	return w.violation
}

// send carries a message: perhaps never, perhaps twice.
func (w *world) send(from, to *machine, deliver func()) {
	for w.chance(0.12) {
		w.after(w.pause()+w.pause(), w.carry(from, to, deliver))
	}
	if !w.chance(0.08) {
		w.after(w.pause(), w.carry(from, to, deliver))
	}
}

func (w *world) carry(from, to *machine, deliver func()) func() {
	return func() {
		if from == to || w.now >= from.cutUntil && w.now >= to.cutUntil {
			to.step(0, deliver)
		}
	}
}

// elect gives a term to a voter that knows everything committed, by the votes of a
// majority. Whoever led before finds out some time later.
func (w *world) elect() {
	w.after(w.upTo(20*time.Second)+time.Second, w.elect)
	voters := w.voters()
	w.Shuffle(len(voters), func(i, j int) { voters[i], voters[j] = voters[j], voters[i] })
	w.term++
	for _, v := range voters[:len(voters)/2+1] {
		v.votedIn = w.term
	}
	deposed, winner, term := w.leader, voters[0], w.term
	w.leader = winner
	if deposed != nil && deposed != winner {
		deposed.step(w.pause()*10, func() {
			if deposed.office != nil && deposed.office.Term() < term {
				deposed.office = nil
			}
		})
	}
	winner.step(w.pause(), func() { winner.lead(term) })
}

func (w *world) voters() []*machine {
	return slices.DeleteFunc(slices.Clone(w.machines), func(m *machine) bool { return !m.voter })
}

// commit appends what the leader of the newest term proposes.
func (w *world) commit() {
	w.after(w.upTo(500*time.Millisecond), w.commit)
	m := w.leader
	if m.office == nil || m.office.Term() != w.term || m.stopped() || len(w.open) > 8 {
		return
	}
	e := w.next()
	switch victim := w.machines[w.IntN(len(w.machines))]; {
	case w.chance(0.7):
		e.narrows = true
	case w.chance(0.4):
		d := 2*time.Second + w.upTo(4*time.Second)
		if d < e.terms.Duration {
			e.narrows, e.ceilingOf = true, uint64(len(w.log))
			e.terms = TermsOf(d, 2*time.Second).Under(e.terms.Wait * 4 / 5)
		} else if e.ceilingOf == 0 {
			e.terms = TermsOf(d, 2*time.Second)
		}
	case e.quarantined[victim] == 0:
		e.narrows = true
		e.quarantined[victim] = uint64(len(w.log))
	case w.log[e.quarantined[victim]].fencedBy != 0:
		delete(e.quarantined, victim)
	}
	w.append(e)
}

// next is the state as it is, to be changed by the next entry.
func (w *world) next() entry {
	e := w.log[len(w.log)-1]
	e.narrows, e.fencedBy = false, 0
	q := map[*machine]uint64{}
	for m, index := range e.quarantined {
		q[m] = index
	}
	e.quarantined = q
	return e
}

func (w *world) append(e entry) {
	if e.narrows {
		w.open = append(w.open, uint64(len(w.log)))
	}
	w.log = append(w.log, e)
}

// record commits the end of a fence.
func (w *world) record(r uint64, nodes []lifecycle.FencedNode) {
	w.log[r].fencedBy = uint64(len(w.log))
	e := w.next()
	if e.ceilingOf == r {
		e.ceilingOf, e.terms = 0, TermsOf(e.terms.Duration, e.terms.Age)
	}
	w.append(e)
	w.open = slices.DeleteFunc(w.open, func(i uint64) bool { return i == r })
	w.count.barriers++
	for _, n := range nodes {
		switch n.Outcome {
		case lifecycle.Acked:
			w.count.acked++
		case lifecycle.LeaseExpired:
			w.count.expired++
		}
	}
}

// trouble stops, kills, cuts off or suspends a machine.
func (w *world) trouble() {
	w.after(w.upTo(3*time.Second), w.trouble)
	m := w.machines[w.IntN(len(w.machines))]
	switch w.IntN(5) {
	case 0, 1:
		m.stopUntil = w.now + w.upTo(8*time.Second)
	case 2:
		m.boot(w.pause() * 10)
	case 3:
		m.cutUntil = w.now + w.upTo(8*time.Second)
	case 4:
		m.origin.Boot += w.upTo(5 * time.Second) // its other clock did not see the time go by
	}
}

// fail notes the first violation.
func (w *world) fail(format string, args ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf("at %v: ", w.now) + fmt.Sprintf(format, args...)
	}
}
