// Package ledgertest is a ledger.Ledger without Raft: the real state machine over
// rows in memory, on one node. Whatever is tested against it meets the same Apply,
// the same refusals and the same Views as in production; only replication is
// missing, and its failures are injected by hand.
//
// Concurrency: a Ledger and a Clock may be used from any number of goroutines. A
// Memory belongs to one goroutine, what its Snapshot returns to all.
package ledgertest
