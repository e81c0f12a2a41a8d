package wire

import (
	"strconv"
	"time"
)

// Header names, in the form net/http keeps them.
const (
	HeaderRequestID   = "Chancery-Request-Id"  // UUIDv7 of a mutation, made by the caller
	HeaderReplayed    = "Chancery-Replayed"    // "true": the stored outcome of an earlier request
	HeaderConsistency = "Chancery-Consistency" // asked for: stale, bounded, bounded=2s or linearizable
	HeaderMinIndex    = "Chancery-Min-Index"   // do not answer from an older state
	HeaderMinEpoch    = "Chancery-Min-Epoch"   // the epoch that Min-Index belongs to
	HeaderIndex       = "Chancery-Index"       // of the state the answer was computed from
	HeaderEpoch       = "Chancery-Epoch"
	HeaderAsOf        = "Chancery-As-Of"     // the state was certainly current then, RFC 3339
	HeaderFreshness   = "Chancery-Freshness" // what was met: stale, bounded or linearizable
	HeaderNode        = "Chancery-Node"      // the node that answered
)

// Consistency levels of a read.
const (
	Stale        = "stale"
	Bounded      = "bounded"
	Linearizable = "linearizable"
)

// BoundedBy is the consistency level "a state of at most this age", for
// HeaderConsistency. 1 ms to MaxBound are accepted.
func BoundedBy(d time.Duration) string { return Bounded + "=" + d.String() }

// Media types.
const (
	TypeJSON = "application/json"
	TypeJOSE = "application/jose" // a compact JWS (RFC 7515 section 9.2.1)

	TypeCertificate  = "application/pkix-cert" // RFC 2585 section 4
	TypeCRL          = "application/pkix-crl"
	TypeOCSPRequest  = "application/ocsp-request" // RFC 6960 appendix C
	TypeOCSPResponse = "application/ocsp-response"
	TypeEvents       = "text/event-stream"
	TypeJWKS         = "application/jwk-set+json"
	TypePEM          = "application/x-pem-file"
	TypeText         = "text/plain; charset=utf-8"
	TypeBinary       = "application/octet-stream"
)

// BearerScheme goes before a token in the Authorization header; TokenPrefix is
// what every token begins with, so that scanners find leaked ones.
const (
	BearerScheme = "Bearer "
	TokenPrefix  = "chy_"
)

// ETag is a revision as an entity tag, for policies and settings.
func ETag(revision uint64) string { return `"` + strconv.FormatUint(revision, 10) + `"` }

// ParseETag reads what ETag wrote; ok is false for anything else, "*" included: a
// change must name what it was made on.
func ParseETag(s string) (revision uint64, ok bool) {
	if len(s) < 3 || s[0] != '"' || s[len(s)-1] != '"' {
		return 0, false
	}
	revision, err := strconv.ParseUint(s[1:len(s)-1], 10, 64)
	return revision, err == nil
}
