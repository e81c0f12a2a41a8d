// Package command holds the entries of the replicated log: one struct per
// command, the envelope around it, and the one codec of the state machine.
//
// Compatibility contract. An entry written once is read for ever, by every later
// binary, and must mean the same. Therefore: a kind number is never reused and
// never changes its meaning; a field number (cbor:"n,keyasint") is never reused; a
// field may be added only together with a new Format that gates its use; goldens in
// testdata are never regenerated. Bytes that do not decode, or that decode but do
// not re-encode to themselves, are corruption, and the node that meets them stops.
package command
