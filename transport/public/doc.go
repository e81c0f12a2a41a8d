// Package public answers verifiers, who have no identity: trust sets as JWK Sets,
// public keys as PEM, the status of keys and kids, and the hashes of the lifecycle
// log. Every path is served by every node from its own state.
//
// Threat model. Anybody may ask, and may ask often; no caller is believed anything.
// "Revoked" is said at any age of the state, "good" only when it is fresh, and a
// trust set is withheld when this node has heard nothing from the leader for too
// long: a verifier's cache outlives that, a revoked key in an answer would not be
// noticed. What a verifier will trust leaves over TLS or loopback only, unless the
// cluster's settings say otherwise. Status answers, and trust sets at their
// own path, are signed with the node's status key, so a verifier need not trust the
// way they came; a node that cannot sign now says so.
//
// Concurrency: handlers share immutable values; one lock per subject is held while
// its answer is built, by one caller for all who ask the same.
package public
