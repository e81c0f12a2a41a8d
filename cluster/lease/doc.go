// Package lease is the revocation barrier as a pure protocol: who may release
// signatures, until when, and when a right that was taken away is gone everywhere.
//
// A node releases a signature only under a lease, which the leader grants for a few
// seconds and which names the entry that the node must have applied. A narrowing
// entry R (a revocation, a withdrawn role, ...) is *fenced* once every node has
// either said that it applied R and emptied its release gate, or has outlived every
// lease that it could hold without knowing R. Nothing here assumes that messages
// arrive, in order or once, or that a process runs when it should: it may be stopped
// between any two instructions. What is assumed is that the clocks of two machines
// run at rates within 1:1.25 of each other, and RateCheck looks whether they do.
//
//	node (Holder)                            leader of term T (Grantor)
//	s0 = now; Ask         -- Request -->     Record: under one mutex, the bound of the
//	                                         node = now + Wait, index = the FSM's
//	                                         a majority of voters confirms T
//	Accept: ends s0 + L   <--  Grant  --     Grant, with that index
//	Usable = now < end and applied >= index
//
//	                                         R is applied; Open: under the same mutex
//	                                         the bound of each node is read
//	apply R, drain        <-- FenceRequest - Ask
//	Advance(R), Answer    --  FenceAck   --> Ack
//	                                         Done: all have answered or are past the bound
//	                                         an entry of term T records it: fenced
//
// Why it holds. A grant recorded before Open is in the bounds that Open reads. One
// recorded after it carries an index >= R, so its holder knows R when the lease
// becomes usable. A leader of an earlier term confirms nothing that it recorded after
// the election of T, and what it recorded before ended before ElectedAt + Wait. The
// holder counts from before it asked and takes the larger of two clocks, the leader
// from after it was asked and takes the smaller.
//
// Holder and Grantor are values with one mutex each: no goroutine, no I/O, no Raft,
// and every clock is injected. Package cluster carries the messages, runs the
// confirmation rounds and knows the state. model/barrier.pml is this protocol for a
// model checker; change it before changing the protocol.
//
// Threat model: peers are authenticated, the sender of a message is given as the node
// whose key it came with. Anything else in a message may be forged, replayed, late or
// meant for somebody else; each such message changes nothing and is counted by its
// reason. A compromised leader can grant what it likes: Raft does not survive that.
// Nothing is ever persisted: a new process has a new boot id and holds no lease.
package lease
