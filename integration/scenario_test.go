package integration

import "github.com/chancery-project/chancery/fsm/fault"

// scenarios are PROTOCOL's "What must be tested", in an order in which a cluster can
// go through all of them.
var scenarios = []scenario{
	{"healthy", false, healthy},

	{"stop after S1 and inside C_Sign", false, stopSigners(fault.SignAdmitted, fault.SignInHSM)},
	{"stop after C_Sign and before S5", false, stopSigners(fault.SignSigned, fault.SignAtGate)},
	{"stop before S5 and after S1", true, stopSigners(fault.SignAtGate, fault.SignAdmitted)},
	{"stop inside C_Sign and after it", true, stopSigners(fault.SignInHSM, fault.SignSigned)},
	{"stop before an acknowledgement", false, stopBeforeAck},
	{"stop before a grant", false, stopBeforeGrant},
	{"zombie leader", false, zombieLeader},
	{"nodes starved of processor time", true, starved},

	{"a voter cut off", false, cutFollower},
	{"a node without a vote cut off", true, cutOther},
	{"the leader cut off", true, cutLeader},
	{"the leader with non-voters only", false, cutLeaderWithNonvoters},
	{"nobody has a quorum", true, cutTwo},
	{"the leader is not heard", true, oneWay(false)},
	{"the leader hears nothing", false, oneWay(true)},
	{"two voters do not hear each other", true, partial},
	{"a flapping link", true, flapping},
	{"loss, reordering, repetition", false, badLinks},
	{"links of 100 ms", false, slowLinks},

	{"leader killed between B1 and B2", false, killLeaderAt(fault.FenceBounded)},
	{"leader killed between B2 and B5", true, killLeaderAt(fault.FenceAsked)},
	{"restart after an acknowledgement", false, restartAfterAck},
	{"leadership handed over during a fence", true, transferDuringFence},
	{"five fences at once", false, fiveAtOnce},
	{"late grants", false, lateGrants},
	{"cut off after a late grant", true, cutAfterLateGrant},
	{"handed over while a lease is out", true, cutBeforeTransfer},
	{"old grants replayed", true, replayedGrant},
	{"grants of an earlier process replayed", true, replayedAfterRestart},
	{"withdrawn while somebody is inside the gate", true, slowInGate},
	{"a strict key", false, strictSigning},

	{"clock at 0.9", true, clocks(0.9, true)},
	{"clock at 1.1", true, clocks(1.1, true)},
	{"clock at 0.8", false, clocks(0.8, false)},
	{"clock at 1.3", true, clocks(1.3, false)},
	{"leader's clock at 1.1", true, leaderClock(1.1)},
	{"a wall clock that is set", false, wallClock},
	{"a machine that slept", false, suspendedMachine},

	{"status answers of a stale node", false, staleStatus},
	{"a node that hears and does not apply", true, lagging},
	{"a leader that applies late", false, leaderAppliesLate},

	{"a key store that takes 2 D", false, slowKeyStore},
	{"a key store with wrong signatures", true, wrongSignatures},
	{"a key store that is gone", false, goneKeyStore},
	{"slow syncs", true, failingDisk(syncs, "delay_enter=200000", false)},
	{"a sync that fails", false, failingDisk(syncs, "error=EIO:when=1", true)},
	{"a disk that becomes read-only", false, failingDisk(syncs+",pwrite64,ftruncate", "error=EROFS", true)},

	{"a node removed during a fence", false, removeDuringFence}, // the last one: the node is gone then
}
