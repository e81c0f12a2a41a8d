//go:build chancery_faults && linux

package fault

import (
	"os"
	"strings"
	"sync"
	"sync/atomic"
)

// Enabled reports whether this build can be broken.
const Enabled = true

// seeded is the set of faults that are on. It is replaced, never changed, so that On
// costs one load.
var seeded atomic.Pointer[map[string]bool]

var seeding sync.Mutex // one change of seeded at a time

func init() {
	for name := range strings.SplitSeq(os.Getenv(EnvFaults), ",") {
		if name != "" {
			Seed(name, true)
		}
	}
	if path := os.Getenv(EnvControl); path != "" {
		go obey(path)
	}
}

// On reports whether the seeded fault is switched on.
func On(name string) bool {
	set := seeded.Load()
	return set != nil && (*set)[name]
}

// Seed switches a seeded fault on or off.
func Seed(name string, on bool) {
	seeding.Lock()
	defer seeding.Unlock()
	next := map[string]bool{name: on}
	if set := seeded.Load(); set != nil {
		for k, v := range *set {
			if k != name {
				next[k] = v
			}
		}
	}
	seeded.Store(&next)
}
