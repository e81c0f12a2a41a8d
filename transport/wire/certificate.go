package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// CreateIssuer makes a key of purpose certificate and the issuer that signs with it.
type CreateIssuer struct {
	Name   string               `json:"name"`
	Kind   lifecycle.IssuerKind `json:"kind"`             // root, issuing, external
	Parent string               `json:"parent,omitempty"` // issuing only
	Alg    string               `json:"alg,omitempty"`    // "" = ES256
	Bits   int                  `json:"bits,omitempty"`
	Node   string               `json:"node,omitempty"` // root only: which node holds its key
	Owner  string               `json:"owner"`
	Reason string               `json:"business_reason"`
	Terms  *IssuerTerms         `json:"terms,omitempty"` // nil, and what is left out = the defaults of the kind
}

// IssuerTerms are what the next CA certificates, CRLs and OCSP answers are made by.
type IssuerTerms struct {
	CommonName   string                     `json:"common_name,omitempty"`
	Organization string                     `json:"organization,omitempty"`
	PathLen      *int                       `json:"path_len,omitempty"`
	Names        *lifecycle.NameConstraints `json:"names,omitempty"`
	CAValidity   lifecycle.Milliseconds     `json:"ca_validity,omitempty"`
	CRLEvery     lifecycle.Milliseconds     `json:"crl_every,omitempty"`
	CRLValid     lifecycle.Milliseconds     `json:"crl_valid,omitempty"`
	OCSPValid    lifecycle.Milliseconds     `json:"ocsp_valid,omitempty"`
	ShardCRL     *bool                      `json:"shard_crl,omitempty"`
}

// Over lays what is said over terms.
func (t *IssuerTerms) Over(terms lifecycle.IssuerTerms) lifecycle.IssuerTerms {
	if t == nil {
		return terms
	}
	set(&terms.CommonName, t.CommonName)
	set(&terms.Organization, t.Organization)
	set(&terms.CAValidity, t.CAValidity)
	set(&terms.CRLEvery, t.CRLEvery)
	set(&terms.CRLValid, t.CRLValid)
	set(&terms.OCSPValid, t.OCSPValid)
	if t.PathLen != nil {
		terms.PathLen = *t.PathLen
	}
	if t.Names != nil {
		terms.Names = *t.Names
	}
	if t.ShardCRL != nil {
		terms.ShardCRL = *t.ShardCRL
	}
	return terms
}

func set[T comparable](to *T, v T) {
	var zero T
	if v != zero {
		*to = v
	}
}

// Issuer with the CA certificates of its instances.
type Issuer struct {
	Name      string                `json:"name"`
	Kind      lifecycle.IssuerKind  `json:"kind"`
	Parent    string                `json:"parent,omitempty"`
	Alg       string                `json:"alg"`
	Owner     string                `json:"owner"`
	Reason    string                `json:"business_reason"`
	Terms     lifecycle.IssuerTerms `json:"terms"`
	Created   Origin                `json:"created"`
	Instances []IssuerInstance      `json:"instances"`
	RootsPEM  string                `json:"roots_pem,omitempty"` // what verifiers load
	Position  Position              `json:"position"`

	// RootElsewhere is the subject of a root that verifiers need and that this cluster
	// does not have: an external issuer's, which was not imported along.
	RootElsewhere string `json:"root_elsewhere,omitempty"`
}

// IssuerInstance is one node's key pair of an issuer, and its CA certificate.
type IssuerInstance struct {
	Version    uint64          `json:"version"`
	State      string          `json:"state"`
	Node       string          `json:"node"`
	KID        string          `json:"kid"`
	Subject    string          `json:"subject,omitempty"` // "" = no CA certificate yet
	Serial     string          `json:"serial,omitempty"`  // hex
	NotBefore  Time            `json:"not_before,omitzero"`
	NotAfter   Time            `json:"not_after,omitzero"`
	Revocation *CertRevocation `json:"revocation,omitempty"`
	Issued     uint64          `json:"issued"`
	Revoked    uint64          `json:"revoked"`
	OnCRL      uint64          `json:"on_crl"`
	CRLNumber  uint64          `json:"crl_number,omitempty"`
	CRLNext    Time            `json:"crl_next_update,omitzero"`
	Responders int             `json:"ocsp_responders"` // nodes that answer OCSP for it
	CRLURL     string          `json:"crl_url,omitempty"`
	PEM        string          `json:"pem,omitempty"`
}

// RequestCACert asks a node for the certificate request of its own instance of an
// external issuer.
type RequestCACert struct {
	Version uint64 `json:"version,omitempty"` // 0 = the newest that the node's instance is published of
}

// CACertRequest is a certificate request, signed by the instance it is for.
type CACertRequest struct {
	Issuer    string   `json:"issuer"`
	Version   uint64   `json:"version"`
	Node      string   `json:"node"`
	KID       string   `json:"kid"`
	Subject   string   `json:"subject"`
	PEM       string   `json:"pem"`     // PKCS #10
	Without   []string `json:"without"` // nodes whose instance of the version has no CA certificate yet, this one among them
	RequestID string   `json:"request_id"`
	Position  Position `json:"position"`
}

// ImportCACert brings the CA certificate of an external issuer's instance.
type ImportCACert struct {
	Certificate string `json:"certificate"`       // PEM; those above it may come along, the root too
	Comment     string `json:"comment,omitempty"` // why, for those who have to approve it
}

// IssueCertificate asks for a certificate.
type IssueCertificate struct {
	Profile string                 `json:"profile"`
	CSR     string                 `json:"csr"` // PEM
	DNS     []string               `json:"dns,omitempty"`
	IPs     []string               `json:"ips,omitempty"`
	URIs    []string               `json:"uris,omitempty"`
	Emails  []string               `json:"emails,omitempty"`
	TTL     lifecycle.Milliseconds `json:"ttl,omitempty"` // 0 = the profile's default
}

// RenewCertificate is a certificate's own request for its successor: no credential but
// the proof is needed. The proof is a signature with the certificate's key, ASN.1 for ECDSA
// and PKCS #1 v1.5 with SHA-256 for RSA, over these lines, each with its line break:
//
//	chancery-renewal/1
//	certificate-sha256: HEX of the certificate, DER
//	request: REQUEST_ID, as in the header Chancery-Request-Id
//	at: AT, as below
//	csr-sha256: HEX of csr, as below
type RenewCertificate struct {
	CSR   string                 `json:"csr"` // PEM
	At    Time                   `json:"at"`
	Proof []byte                 `json:"proof"` // base64
	TTL   lifecycle.Milliseconds `json:"ttl,omitempty"`
}

// IssuedCertificate is a certificate with what a server needs beside it.
type IssuedCertificate struct {
	Serial      string   `json:"serial"`
	Issuer      string   `json:"issuer"`
	IssuerKID   string   `json:"issuer_kid"`
	Node        string   `json:"node"`
	Profile     string   `json:"profile"`
	NotBefore   Time     `json:"not_before"`
	NotAfter    Time     `json:"not_after"`
	RenewAfter  Time     `json:"renew_after"`
	Index       uint64   `json:"index"`
	PEM         string   `json:"pem"`
	ChainPEM    string   `json:"chain_pem"` // CA certificates below the root, what servers send
	RootPEM     string   `json:"root_pem"`  // what verifiers load; "" = an external issuer's, which is not known here
	RequestID   string   `json:"request_id"`
	RenewedFrom string   `json:"renewed_from,omitempty"`
	Position    Position `json:"position"`
}

// Certificate is what is known of one certificate.
type Certificate struct {
	Serial            string          `json:"serial"`
	Issuer            string          `json:"issuer"`
	IssuerKID         string          `json:"issuer_kid"`
	IssuerNode        string          `json:"issuer_node"`
	Profile           string          `json:"profile"`
	Subject           string          `json:"subject"` // "CN=..."; "" = none
	SAN               SAN             `json:"san"`
	NotBefore         Time            `json:"not_before"`
	NotAfter          Time            `json:"not_after"`
	RenewAfter        Time            `json:"renew_after"`
	Status            string          `json:"status"` // good, revoked, on_hold, expired, announced
	Revocation        *CertRevocation `json:"revocation"`
	Requester         string          `json:"requester"`
	SPKISHA256        string          `json:"spki_sha256"`
	FingerprintSHA256 string          `json:"fingerprint_sha256,omitempty"`
	CRLURL            string          `json:"crl_url,omitempty"`
	OCSPURL           string          `json:"ocsp_url,omitempty"`
	Issued            CertIssued      `json:"issued"`
	Replaces          Text            `json:"replaces"`
	ReplacedBy        Text            `json:"replaced_by"`
	Reissue           *Reissue        `json:"reissue,omitempty"` // issuer affected: null when it has a successor
	PEM               string          `json:"pem,omitempty"`
	ChainPEM          string          `json:"chain_pem,omitempty"`
	Position          *Position       `json:"position,omitempty"`
	AsOf              Time            `json:"as_of,omitzero"`
}

// SAN lists names by kind, none of them nil.
type SAN struct {
	DNS   []string `json:"dns"`
	IP    []string `json:"ip"`
	URI   []string `json:"uri"`
	Email []string `json:"email"`
}

// CertRevocation says why and since when.
type CertRevocation struct {
	At           Time             `json:"at"`
	Reason       lifecycle.Reason `json:"reason"`
	InvalidityAt Time             `json:"invalidity_at,omitzero"`
	By           string           `json:"by"`
	Comment      string           `json:"comment,omitempty"`
	Unrecorded   bool             `json:"unrecorded,omitempty"` // it was never given out
}

// CertIssued says by whom and when.
type CertIssued struct {
	ByNode    string `json:"by_node"`
	At        Time   `json:"at,omitzero"`
	Index     uint64 `json:"index,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// RevokeCertificate revokes the one certificate that the path names.
type RevokeCertificate struct {
	Reason       lifecycle.Reason `json:"reason"`
	InvalidityAt Time             `json:"invalidity_at,omitzero"`
	Comment      string           `json:"comment,omitempty"`
}

// RevokeCertificates revokes certificates of one issuer.
type RevokeCertificates struct {
	Issuer       string           `json:"issuer"`
	Serials      []string         `json:"serials,omitempty"` // any spelling
	Reason       lifecycle.Reason `json:"reason"`
	InvalidityAt Time             `json:"invalidity_at,omitzero"`
	Comment      string           `json:"comment,omitempty"`
}

// ReleaseCertificates ends a hold.
type ReleaseCertificates struct {
	Issuer  string   `json:"issuer"`
	Serials []string `json:"serials"`
	Comment string   `json:"comment,omitempty"`
}

// Profile is what certificates of one kind look like.
type Profile struct {
	Name     string                 `json:"name"`
	Version  uint64                 `json:"version"` // 0 = built in
	Builtin  bool                   `json:"builtin"`
	Hash     string                 `json:"hash"` // hex SHA-256
	Terms    lifecycle.ProfileTerms `json:"terms"`
	Position Position               `json:"position"`
}

// SetProfile sets a profile.
type SetProfile struct {
	Terms   lifecycle.ProfileTerms `json:"terms"`
	Comment string                 `json:"comment,omitempty"` // why, for those who have to approve it
}

// DropProfile ends a profile.
type DropProfile struct {
	Comment string `json:"comment,omitempty"` // likewise
}
