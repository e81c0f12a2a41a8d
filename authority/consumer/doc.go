// Package consumer takes in what registered verifiers have to say: which public keys
// of a key they have loaded, and the proof that they verify with them.
//
// Threat model: a consumer's credential says who confirms, and its word is all there is
// about what an instance has loaded; so a rotation asks for more than a word. For each
// public key that could sign soon the consumer gets 16 short texts with signatures, a
// random half of them by somebody else, and says which are good: 1 guess in 12,870 is
// right, a challenge is good once, for five minutes, for the consumer, instance, key and
// kid it was made for. Signatures of the other half come from a throw-away key of the
// same kind, so that nothing but the public key tells them apart. A consumer can still
// lie about itself: it may prove with one process and load nothing in another.
//
// The digest of a set is never believed either: it is computed again over the public
// keys that the log has under the kids named.
//
// Any node gives challenges, and keeps in its own memory which half is good; the text
// of a challenge names the node, so that whoever leads asks there. Confirmations are
// recorded by the leader, many in an entry (see intake).
//
// Concurrency: a Desk may be used from any number of goroutines. Each of its parts has
// a lock of its own, held for a look at memory.
package consumer
