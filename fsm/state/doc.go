// Package state is the replicated state: tables of rows, and the one function
// that changes them.
//
// Apply is a function of the state and an entry. It reads no clock, draws no
// random number, starts no goroutine, takes no lock and writes no log, so every
// node computes the same rows, the same log root and the same digest. A refusal is
// an Outcome and is the same everywhere; anything Apply does not understand is a
// *Corruption or a *Divergence, raised by panic, and the node stops: a skipped
// command is a divergence with a delay.
//
// Concurrency: a Machine belongs to one goroutine. A Root is immutable and may be
// read by any number of them. Rows handed out by a View are shared: never write to
// them.
package state
