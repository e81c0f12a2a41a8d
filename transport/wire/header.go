package wire

// Header names, in the form net/http keeps them.
const (
	HeaderRequestID   = "Chancery-Request-Id"  // UUIDv7 of a mutation, made by the caller
	HeaderReplayed    = "Chancery-Replayed"    // "true": the stored outcome of an earlier request
	HeaderConsistency = "Chancery-Consistency" // asked for: stale, bounded or linearizable
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

// Media types.
const (
	TypeJSON   = "application/json"
	TypeEvents = "text/event-stream"
	TypeJWKS   = "application/jwk-set+json"
	TypePEM    = "application/x-pem-file"
	TypeBinary = "application/octet-stream"
)

// BearerScheme goes before a token in the Authorization header; TokenPrefix is
// what every token begins with, so that scanners find leaked ones.
const (
	BearerScheme = "Bearer "
	TokenPrefix  = "chy_"
)
