package lease

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/chancery-project/chancery/fsm/fault"
)

// System is the clock of this machine. It panics if the kernel has not got both
// clocks: Linux has had them since 2.6.39, and there is no lease without them.
func System() Reading {
	return Reading{
		Raw:  fault.Raw(gettime(unix.CLOCK_MONOTONIC_RAW)),
		Boot: fault.Boot(gettime(unix.CLOCK_BOOTTIME)),
	}
}

func gettime(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(fmt.Sprintf("read clock %d: %v", id, err))
	}
	return time.Duration(ts.Nano())
}
