//go:build chancery_faults && linux

package fault

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// points owns the orders that stand. armed is their number, so that a point costs
// one load while there are none.
var (
	points = struct {
		sync.Mutex
		orders  map[string]*Order
		reached map[string]int
	}{orders: map[string]*Order{}, reached: map[string]int{}}
	armed atomic.Int32
)

// arm sets what happens at a point, instead of what stood there before. Do "" takes
// the order away.
func arm(o Order) {
	points.Lock()
	defer points.Unlock()
	delete(points.orders, o.Point)
	if o.Do != "" {
		points.orders[o.Point] = &o
	}
	armed.Store(int32(len(points.orders)))
}

// disarm takes all orders away.
func disarm() {
	points.Lock()
	defer points.Unlock()
	clear(points.orders)
	armed.Store(0)
}

// met returns how often a point with an order was reached.
func met(point string) int {
	points.Lock()
	defer points.Unlock()
	return points.reached[point]
}

// Take returns the order of a point and uses it up once. Do is "" when there is none.
func Take(point string) Order {
	if armed.Load() == 0 {
		return Order{}
	}
	points.Lock()
	defer points.Unlock()
	o := points.orders[point]
	if o == nil {
		return Order{}
	}
	points.reached[point]++
	taken := *o
	if o.Times > 0 {
		if o.Times--; o.Times == 0 {
			delete(points.orders, point)
			armed.Store(int32(len(points.orders)))
		}
	}
	return taken
}

// Reached marks a point in the code.
func Reached(point string) { Take(point).carryOut() }

func (o Order) carryOut() {
	switch o.Do {
	case "":
		return
	case Sleep, Stop, Kill:
		Record("reached", "point", o.Point, "do", o.Do)
	}
	switch o.Do {
	case Sleep:
		time.Sleep(time.Duration(o.MS) * time.Millisecond)
	case Stop:
		// To this thread and no other: it then runs not one instruction further, as one
		// of its siblings might when the kernel chooses who takes the signal.
		runtime.LockOSThread()
		_ = unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGSTOP) // cannot fail for oneself
		runtime.UnlockOSThread()
	case Kill:
		_ = unix.Kill(os.Getpid(), unix.SIGKILL) // cannot fail for oneself
		select {}
	}
}
