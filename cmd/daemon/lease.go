package daemon

import (
	"fmt"
	"time"

	"github.com/chancery-project/chancery/fsm/state"
)

// drain is what stands between an applied withdrawal and the word that it holds here:
// answers from before are forgotten, and whoever is inside the release gate with an
// older state leaves it.
func (d *Daemon) drain(v *state.View) {
	d.caches.Drop()
	if s := d.releasing.Load(); s != nil {
		s.Drain(v)
	}
}

// hold says why this node must not hold a lease, apart from what the cluster knows.
func (d *Daemon) hold() string {
	if d.releasing.Load() == nil {
		return "it is starting"
	}
	if why := sealedWhole(d.seals); why != "" {
		return why
	}
	if d.full.Load() {
		return diskFull
	}
	if d.provision.State().Wiped {
		return "its partition of the key store is empty, and should not be: put the device back that holds its keys"
	}
	if leaf := d.renewal.current.Load().Leaf; time.Now().After(leaf.NotAfter) {
		return fmt.Sprintf("its node certificate expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// token is which partition of which device a key store answered from.
type token struct{ label, serial string }

// keyStoreHolds says whether the key store works, and is the one that it was when it
// first did: keys of the same names in another device are other keys.
func (d *Daemon) keyStoreHolds() (ok bool, why string) {
	h := d.store.Health()
	if !h.OK {
		return false, h.Why
	}
	now := token{h.Token, h.Serial}
	if !d.token.CompareAndSwap(nil, &now) {
		if was := *d.token.Load(); was != now {
			return false, fmt.Sprintf("it is token %q %s now and was %q %s; put that one back, or start the node again", now.label, now.serial, was.label, was.serial)
		}
	}
	return true, ""
}
