package netlab

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"time"
)

// Link is what happens to packets in one direction between two hosts. The zero Link
// passes them on at once.
type Link struct {
	Cut       bool
	Delay     time.Duration
	Jitter    time.Duration // up to so much more, for each packet by itself: they overtake each other
	Loss      float64       // share of packets lost, 0 to 1
	Duplicate float64       // share of packets that arrive twice
}

// fate is when the copies of one packet arrive: none, one or two of them.
func (l Link) fate(random *rand.Rand) (after []time.Duration) {
	if l.Cut || l.Loss > 0 && random.Float64() < l.Loss {
		return nil
	}
	copies := 1
	if l.Duplicate > 0 && random.Float64() < l.Duplicate {
		copies = 2
	}
	for range copies {
		d := l.Delay
		if l.Jitter > 0 {
			d += time.Duration(random.Int64N(int64(l.Jitter)))
		}
		after = append(after, d)
	}
	return after
}

// packet on its way.
type packet struct {
	due   time.Time
	order uint64 // of those that are due together, the older first
	to    *Host
	bytes []byte
}

// flight holds the packets that are delayed, and delivers each when it is due.
type flight struct {
	mu     sync.Mutex // owns the rest
	queue  packets
	orders uint64
	wake   chan struct{} // something was put in front, or the lab is closed
	closed bool
}

func (f *flight) put(to *Host, bytes []byte, after time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.orders++
	heap.Push(&f.queue, &packet{time.Now().Add(after), f.orders, to, bytes})
	if f.queue[0].order == f.orders {
		f.nudge()
	}
}

func (f *flight) nudge() {
	select {
	case f.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (f *flight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.nudge()
}

// run delivers until close.
func (f *flight) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		due, wait, closed := f.next()
		if closed {
			return
		}
		for _, p := range due {
			p.to.deliver(p.bytes)
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.wake:
		}
	}
}

func (f *flight) next() (due []*packet, wait time.Duration, closed bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := time.Now()
	for len(f.queue) > 0 && !f.queue[0].due.After(now) {
		due = append(due, heap.Pop(&f.queue).(*packet))
	}
	wait = time.Hour
	if len(f.queue) > 0 {
		wait = f.queue[0].due.Sub(now)
	}
	return due, wait, f.closed
}

// packets is a heap, the next one due on top.
type packets []*packet

func (p packets) Len() int      { return len(p) }
func (p packets) Swap(i, j int) { p[i], p[j] = p[j], p[i] }
func (p packets) Less(i, j int) bool {
	if !p[i].due.Equal(p[j].due) {
		return p[i].due.Before(p[j].due)
	}
	return p[i].order < p[j].order
}
func (p *packets) Push(x any) { *p = append(*p, x.(*packet)) }
func (p *packets) Pop() any {
	last := len(*p) - 1
	x := (*p)[last]
	(*p)[last] = nil
	*p = (*p)[:last]
	return x
}
