// Package publish makes what verifiers need out of one pinned View: trust sets as
// canonical JWK Sets, exports of single public keys, and status answers; and signs
// statements about them with the node's status key.
//
// Everything here is derived, so it can be thrown away at any time; nothing reads a
// clock, a disk or a key store. Two rules carry the security. A public key leaves as
// a trust anchor only while lifecycle.Instance.InTrustSet holds in that very View,
// and "good" is said only when the caller vouches that the View is fresh, while
// "revoked" may be said at any age: a stale answer can then be too careful, never
// too trusting.
//
// Functions are pure and may be called from any goroutine. Cache is shared state whose
// entries are immutable and found again by row revisions, so a hot read costs a map
// look-up. Attestor holds the status key; it signs for so many at a time, and gives
// no answer rather than a late one.
package publish

import "errors"

var (
	// ErrNoKey is returned when no key has the name.
	ErrNoKey = errors.New("no such key")
	// ErrNoInstance is returned when a selection names nothing that could be exported.
	ErrNoInstance = errors.New("no public key matches the selection")
	// ErrUntrusted is returned when all that matches is outside the trust set.
	ErrUntrusted = errors.New("the public key is not in the trust set")
	// ErrSeveral is returned when one public key was asked for and several match.
	ErrSeveral = errors.New("several public keys match: name one with its kid")
	// ErrFormat is returned for an export format that does not exist.
	ErrFormat = errors.New("unknown export format: choose pem, der, jwks or ssh")
)
