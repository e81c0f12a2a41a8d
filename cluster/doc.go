// Package cluster is one node's place in the cluster: Raft over authenticated
// connections, the proof that what a node answers is fresh, leases and fences,
// membership, and the comparison of what the nodes hold. Node implements
// ledger.Ledger, ledger.Membership and ledger.Lease; whoever uses those knows
// nothing of Raft.
//
// Threat model. Other members are honest and may stop, lose their disks, be cut off
// in any pattern, or come back with an old memory; the network may do anything,
// and TLS with pinned identity keys makes of that only loss and delay. A disk may
// flip bits, but keeps what it has synced. Wall clocks may be wrong, which a majority
// outvotes; the clocks of leases (Config.Clock) and of staleness (Config.Elapsed) run
// at the right rate within 10 %, and a node whose lease clock does not stops signing.
// A lying member with a vote is outside: Raft trusts its voters.
//
// Concurrency. Node's methods may be called from any goroutine. Its own goroutines,
// all ended by Close: watchLeadership alone writes what Leadership answers; keepFresh,
// keepLease, keepFences, keepCheckpoints and keepSnapshots each do what they are named
// for; watchState looks at each published state; one runner per coalescer; while a
// fence is open, one asker per node. raft has its own, and calls the state machine
// from one.
//
// "Applied" and "index" mean what our state machine has published
// (fsm.FSM.Position), never raft's AppliedIndex, which runs ahead of it.
package cluster
