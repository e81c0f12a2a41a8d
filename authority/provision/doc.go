// Package provision makes one node's partition hold what the log wants it to hold,
// and tells the log what is really there.
//
// A key pair is made in three entries: the intent names a CKA_ID, the node generates
// under exactly that id, and BindInstance shows the public key with a proof of
// possession. The Reconciler can die between any two steps, because each run begins
// by looking the CKA_ID up: what is found is completed, what is not found is made.
//
// What it must never do decides the rest. It never generates under an instance that
// has a public key, never deletes by inference, and never takes "the look-up failed"
// for "there is nothing", nor "there is nothing" for "it was destroyed here": only a
// note, written to disk before the destruction began, lets a key that is not found
// count as erased. Objects nobody intended are counted and left alone.
//
// Threat: the key store may lie. A public key other than the registered one, or two
// objects under one CKA_ID, put the instance into quarantine at once, without waiting
// for the log (Usable), and nothing is reported ready before it has signed.
//
// Concurrency: one goroutine, started by Start, does all the work and owns the
// partition's changes. State and Usable may be called from anywhere.
package provision
