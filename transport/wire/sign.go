package wire

import (
	"encoding/json"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Signature formats.
const (
	FormatDER    = "der"    // ECDSA default: ASN.1 SEQUENCE of r and s
	FormatRaw    = "raw"    // r||s for ECDSA; the native form for RSA and Ed25519
	FormatBase64 = "base64" // CLI only: the default form in base64
	FormatJWS    = "jws"    // a compact JWS with a detached payload (RFC 7515 appendix F)
)

// Input kinds of a signature.
const (
	InputMessage = lifecycle.InputMessage
	InputDigest  = lifecycle.InputDigest
	InputJWS     = lifecycle.InputJWS
)

// SignRequest asks for one signature (message, or digest with hash) or for many
// (items).
type SignRequest struct {
	Message []byte         `json:"message,omitempty"`
	Digest  []byte         `json:"digest,omitempty"`
	Hash    lifecycle.Hash `json:"hash,omitempty"` // goes with digest, and must be the key's own
	Items   []SignItem     `json:"items,omitempty"`
	Format  string         `json:"format,omitempty"` // der, raw or jws; "" = the default of the algorithm
	KID     string         `json:"kid,omitempty"`    // refuse unless exactly this instance would sign
}

// SignItem is one of a batch.
type SignItem struct {
	Message []byte         `json:"message,omitempty"`
	Digest  []byte         `json:"digest,omitempty"`
	Hash    lifecycle.Hash `json:"hash,omitempty"`
}

// Signature is the answer to one.
type Signature struct {
	Key         string              `json:"key"`
	Version     uint64              `json:"version"`
	KID         string              `json:"kid"`
	Node        string              `json:"node"`
	Alg         lifecycle.Algorithm `json:"alg"`
	Signature   []byte              `json:"signature,omitempty"`
	JWS         string              `json:"jws,omitempty"` // format jws, in place of signature
	Format      string              `json:"format"`
	Input       string              `json:"input"` // message, digest or jws
	Hash        Text                `json:"hash"`  // null for EdDSA
	Strict      bool                `json:"strict"`
	RecordIndex uint64              `json:"record_index,omitempty"` // strict only: the entry in which it stands, SHA-256 of input and signature
	Position    Position            `json:"position"`
	RequestID   string              `json:"request_id"`
}

// SignResult is one of a batch: a signature or an error.
type SignResult struct {
	Signature []byte `json:"signature,omitempty"`
	JWS       string `json:"jws,omitempty"`
	KID       string `json:"kid,omitempty"`
	Error     *Error `json:"error,omitempty"`
}

// Signatures is the answer to a batch, in the order of its items.
type Signatures struct {
	Key         string              `json:"key"`
	Version     uint64              `json:"version"`
	Node        string              `json:"node"`
	Alg         lifecycle.Algorithm `json:"alg"`
	Format      string              `json:"format"`
	Results     []SignResult        `json:"results"`
	Strict      bool                `json:"strict"`
	RecordIndex uint64              `json:"record_index,omitempty"` // strict only: the entry in which all of them stand
	Position    Position            `json:"position"`
	RequestID   string              `json:"request_id"`
}

// JWTRequest asks for a token. Chancery sets alg, kid, iat, exp and jti itself;
// claims that contradict the policy are refused.
type JWTRequest struct {
	Claims json.RawMessage        `json:"claims"`
	TTL    lifecycle.Milliseconds `json:"ttl,omitempty"` // "5m"; 0 = what the claims say, else the policy's longest
	Type   string                 `json:"typ,omitempty"` // "" = the first of the policy
}

// JWT is a signed token.
type JWT struct {
	Token       string              `json:"token"` // compact JWS
	Key         string              `json:"key"`
	Version     uint64              `json:"version"`
	KID         string              `json:"kid"`
	Node        string              `json:"node"`
	Alg         lifecycle.Algorithm `json:"alg"`
	Type        string              `json:"typ"`
	ExpiresAt   Time                `json:"expires_at"`
	Strict      bool                `json:"strict"`
	RecordIndex uint64              `json:"record_index,omitempty"` // strict only: the entry in which the signature stands
	Position    Position            `json:"position"`
	RequestID   string              `json:"request_id"`
}

// VerifyRequest asks whether a signature is by a key's trust set: message or
// digest with signature, or a compact JWS as token (with message when detached).
type VerifyRequest struct {
	Message   []byte         `json:"message,omitempty"`
	Digest    []byte         `json:"digest,omitempty"`
	Hash      lifecycle.Hash `json:"hash,omitempty"`
	Signature []byte         `json:"signature,omitempty"`
	Format    string         `json:"format,omitempty"` // der or raw
	KID       string         `json:"kid,omitempty"`    // only this instance; a prefix of 8 will do
	Token     string         `json:"token,omitempty"`
}

// Verification is the answer. Valid says that the signature is mathematically
// good, is by an instance of the trust set, that the version may be trusted, and that
// the log knows the signature where it has to.
type Verification struct {
	Valid      bool             `json:"valid"`
	Key        string           `json:"key"`
	Version    uint64           `json:"version,omitempty"`
	KID        Text             `json:"kid"`
	Node       Text             `json:"node"`
	State      Text             `json:"state"`      // of the version that signed
	Status     string           `json:"status"`     // good, revoked or unknown
	Why        Text             `json:"why"`        // set unless valid
	Suspicious bool             `json:"suspicious"` // it verifies, and this cluster never released it: the key is in other hands
	Record     *SignatureRecord `json:"record,omitempty"`
	Canary     *SignedCanary    `json:"canary,omitempty"` // what was signed is a canary, and speaks for nothing else
	Claims     json.RawMessage  `json:"claims,omitempty"`
	Position   Position         `json:"position"`
	AsOf       Time             `json:"as_of"`
	Freshness  string           `json:"freshness"`
}
