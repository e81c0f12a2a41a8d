package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Loss is what ends with the key pairs of one node: those of a node that leaves, or of a
// key store that was replaced.
type Loss struct {
	Node      string       `json:"node"`
	Instances int          `json:"instances"`         // key pairs in its key store, of any version that was not erased
	Deadline  Time         `json:"deadline"`          // when the first of its CRLs ends; null = no certificate depends on one
	Issuers   []LostIssuer `json:"issuers"`           // CA certificates of this node's instances that are good now
	Keys      []LostKey    `json:"keys"`              // nothing else signs with them
	Unknown   []string     `json:"unknown,omitempty"` // what could not be counted
}

// LostIssuer is the instance of an issuer that signs no certificate and no CRL any more.
type LostIssuer struct {
	Issuer       string `json:"issuer"`
	Version      uint64 `json:"version"`
	KID          string `json:"kid"`
	Subject      string `json:"subject"`
	Serial       string `json:"serial"`       // of its CA certificate, hex
	Certificates int    `json:"certificates"` // good ones that have no successor: they have to be issued again
	CRLNumber    uint64 `json:"crl_number,omitempty"`
	CRLUntil     Time   `json:"crl_until"`      // nextUpdate of its last CRL: whoever needs a CRL refuses its certificates from then on
	OCSPUntil    Time   `json:"ocsp_until"`     // when the last node's responder certificate for it ends; null = nobody has one
	Parent       string `json:"parent"`         // revokes the CA certificate by itself; "" = a CA elsewhere, or nobody
	RevokedAt    Time   `json:"revoked_at"`     // when it does so at the earliest; null = it cannot
	Next         string `json:"next,omitempty"` // what to do about it
}

// LostKey is a key that nobody can sign with any more.
type LostKey struct {
	Key     string `json:"key"`
	Version uint64 `json:"version"`
	Custody string `json:"custody"`
	Purpose string `json:"purpose"`
	Next    string `json:"next"`
}

// Reissue says by when a certificate has to be issued again, and how, because nobody will
// sign CRLs for it any more.
type Reissue struct {
	By      Time   `json:"by"`      // the last CRL ends then, or the certificate does
	Command string `json:"command"` // to type where its private key is
}

// Reprovision gives up what a node's key store has lost, and has new key pairs made.
type Reprovision struct {
	Reason  lifecycle.Reason `json:"reason,omitempty"` // why the old key pairs end; "" = cessationOfOperation
	Comment string           `json:"comment,omitempty"`
	All     bool             `json:"all,omitempty"` // also those that the node has not reported lost
}

// Reprovisioned is what became, or in a plan would become, of a node's key pairs.
type Reprovisioned struct {
	RequestID      string             `json:"request_id"`
	Node           string             `json:"node"`
	Plan           bool               `json:"plan,omitempty"`
	Fenced         bool               `json:"fenced"`                     // nobody signs with the old key pairs any more
	FencedWithinMS int64              `json:"fenced_within_ms,omitempty"` // plan only: the bound
	Keys           []ReprovisionedKey `json:"keys"`
	Loss           *Loss              `json:"loss"`
	Next           []string           `json:"next"`
	Position       Position           `json:"position"`
}

// ReprovisionedKey is one key that had a key pair there.
type ReprovisionedKey struct {
	Key        string   `json:"key"`
	Gone       []uint64 `json:"gone"`                  // versions whose key pair on the node is given up for good
	NewVersion uint64   `json:"new_version,omitempty"` // rotated to: new key pairs on every node
	Why        string   `json:"why,omitempty"`         // why there is none
}
