//go:build chancery_faults

package cluster

import (
	"github.com/chancery-project/chancery/fsm/fault"
	"github.com/chancery-project/chancery/fsm/state"
)

// applied is what it is in other builds, or with fault.RaftApplied what raft calls
// by that name: what it has queued to the state machine.
func (n *Node) applied(v *state.View) uint64 {
	if fault.On(fault.RaftApplied) {
		return n.raft.AppliedIndex()
	}
	return v.Position().Index
}
