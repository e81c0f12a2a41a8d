// Package ocsp answers questions about certificates in the Online Certificate Status
// Protocol: RFC 6960, in the profile of RFC 5019, with nonces as in RFC 9654.
//
// Anybody may ask, so the parser is strict and bounded: 4 KiB, 16 certificates, no
// trailing bytes, no critical extension that is not understood. What may be said is
// decided by the state behind Source: nothing new is signed out of a stale state, an
// unknown serial number is never good, and no answer outlives the certificate that it
// verifies with.
//
// An answer without a nonce is kept until half its life. It is served only while no state
// published since then put a certificate of its issuer on the CRL or took one off, or
// while the certificate itself is found to stand as before. So a revocation shows in the
// first answer after the state that has it was published, and nobody has to be told to
// forget; a fence is acknowledged later than that.
//
// Signing is with the node's own responder key under a certificate for each issuing
// instance (RFC 6960 section 4.2.2.2), so an instance that cannot be reached is answered
// for like any other. A Responder may be used from any goroutine; its answers are shared
// and must not be written to.
package ocsp

import "errors"

var (
	// ErrMalformed is returned for a request that is not one, or is too large.
	ErrMalformed = errors.New("not an OCSP request")
	// ErrBusy is returned when too many answers wait to be signed.
	ErrBusy = errors.New("too many OCSP answers wait to be signed")
)

// Bounds of a request.
const (
	MaxRequestBytes = 4 << 10 // of DER
	MaxCertificates = 16      // asked for at once
	maxNonceBytes   = 128     // RFC 9654 section 2.1
	maxSerialBytes  = 32      // RFC 5280 allows 20; some CAs have given out longer ones
)
