package wire

import "encoding/json"

// Signed statements of the public listener are compact JWS (RFC 7515) with ES256 and
// x5c: a certificate for status answers, chancery://<cluster>/status/<node id>, by a
// CA instance of the cluster. They verify from the cluster's CA bundle alone.
const (
	TypStatus      = "chancery-status+jwt"
	TypTrustSet    = "chancery-trust-set+jwt"
	TypEvent       = "chancery-event+jwt"
	TypCertificate = "chancery-certificate+jwt"
)

// Bounds of a nonce: enough to be unguessable, no more than a log line. Its
// characters are those of base64url.
const (
	MinNonce = 8
	MaxNonce = 64
)

// CheckNonce tells whether s can be a nonce.
func CheckNonce(s string) error {
	if len(s) < MinNonce || len(s) > MaxNonce {
		return Errorf(Invalid, "a nonce has %d to %d characters, not %d", MinNonce, MaxNonce, len(s))
	}
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return Errorf(Invalid, "a nonce has letters, digits, - and _ only")
		}
	}
	return nil
}

// Subjects of statements: what the path asked for.
func KeySubject(name string) string           { return "keys/" + name }
func KIDSubject(kid string) string            { return "kid/" + kid }
func CertificateSubject(serial string) string { return "certificates/" + serial }
func TrustSetSubject(name string) string      { return "trust-set/" + name }

// Statement is what every statement says of itself: who says it, about what, out of
// which state and until when it may be relied on.
type Statement struct {
	Cluster   string   `json:"cluster"` // id
	Subject   string   `json:"subject"`
	Node      string   `json:"node"`    // name
	NodeID    string   `json:"node_id"` // as in the certificate
	Position  Position `json:"position"`
	AsOf      Time     `json:"as_of"` // null: the node was not fresh since it started
	Freshness string   `json:"freshness"`
	ExpiresAt Time     `json:"expires_at"`
	Nonce     string   `json:"nonce,omitempty"` // as it was asked with
}

// StatusClaims is the payload of a status answer.
type StatusClaims struct {
	Statement
	Status           string          `json:"status"` // of the kid, or of the version that signs
	Reason           Text            `json:"reason"` // of the revocation, null when there is none
	CompromisedSince Time            `json:"compromised_since,omitzero"`
	ActiveVersion    uint64          `json:"active_version"`
	TrustSetDigest   Text            `json:"trust_set_digest"`
	Versions         []VersionClaims `json:"versions"`
}

// CertificateClaims is the payload of a status answer about a certificate.
type CertificateClaims struct {
	Statement
	CertificateStatus
}

// VersionClaims is one version of the subject.
type VersionClaims struct {
	Version uint64   `json:"version"`
	Status  string   `json:"status"`
	KIDs    []string `json:"kids"`
}

// TrustSetClaims is the payload of a signed trust set.
type TrustSetClaims struct {
	Statement
	Digest        string          `json:"digest"` // "sha256:<hex>" over jwks as it stands here
	MaxAgeSeconds int64           `json:"max_age_seconds"`
	JWKS          json.RawMessage `json:"jwks"`
}
