//go:build !chancery_faults

package cluster

import "github.com/chancery-project/chancery/fsm/state"

// applied is the index up to which a View has taken the log in. The laboratory's
// build can get it wrong.
func (n *Node) applied(v *state.View) uint64 { return v.Position().Index }
