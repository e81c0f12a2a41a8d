package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// Status is the cluster as one node sees it; problems stand first on a screen.
type Status struct {
	Cluster        string       `json:"cluster"`
	Epoch          uint64       `json:"epoch"`
	Format         FormatStatus `json:"format"`
	Leader         Text         `json:"leader"`
	Term           uint64       `json:"term"`
	Quorum         Quorum       `json:"quorum"`
	Nodes          []NodeStatus `json:"nodes"`
	Keys           KeyCounts    `json:"keys"`
	OpenFences     []OpenFence  `json:"open_fences"`
	OpenProposals  int          `json:"open_proposals"`
	LastSnapshotAt Time         `json:"last_snapshot_at"`
	Problems       []Problem    `json:"problems"`
	AnsweredBy     string       `json:"answered_by"`
	Position       Position     `json:"position"`
	AsOf           Time         `json:"as_of"`
	Freshness      string       `json:"freshness"`
}

// FormatStatus is the log's format number.
type FormatStatus struct {
	Current    uint64 `json:"current"`
	CanRaiseTo uint64 `json:"can_raise_to"`
}

// Quorum counts voters; CanLose is how many more may go before writes stop.
type Quorum struct {
	Voters    int `json:"voters"`
	Reachable int `json:"reachable"`
	CanLose   int `json:"can_lose"`
}

// NodeStatus is one node as it reports itself; what the answering node could not
// learn is null or missing.
type NodeStatus struct {
	Node          string               `json:"node"`
	ID            string               `json:"id"`
	Status        lifecycle.NodeStatus `json:"status"`
	Roles         []string             `json:"roles"`
	State         string               `json:"state"` // leader, follower, candidate, unreachable
	Version       string               `json:"version"`
	AppliedIndex  uint64               `json:"applied_index"`
	StalenessMS   *int64               `json:"staleness_ms"`
	Lease         Lease                `json:"lease"`
	Keystore      Keystore             `json:"keystore"`
	ClockOffsetMS *int64               `json:"clock_offset_ms"`
	CertExpiresAt Time                 `json:"cert_expires_at"`
}

// Lease is a node's right to release signatures.
type Lease struct {
	Usable      bool   `json:"usable"`
	ExpiresInMS *int64 `json:"expires_in_ms"`
	Why         Text   `json:"why"`
}

// Keystore is the health of a node's key store.
type Keystore struct {
	Driver  string `json:"driver"`
	OK      bool   `json:"ok"`
	Orphans int    `json:"orphans"`
	Missing int    `json:"missing"`
	Why     Text   `json:"why"`
}

// KeyCounts counts keys.
type KeyCounts struct {
	Total         int `json:"total"`
	Overdue       int `json:"overdue"`
	WithoutActive int `json:"without_active"`
}

// OpenFence is a withdrawal that some node may not have heard of yet.
type OpenFence struct {
	Index     uint64        `json:"index"`    // of the entry that withdrew
	Cause     string        `json:"cause"`    // the kind of its event: key.revoked
	Key       Text          `json:"key"`      // null when it is about no key, or about one the caller may not see
	Versions  []uint64      `json:"versions"` // of the key
	Subject   Text          `json:"subject"`  // principal, token or node, when it is about one
	OpenedAt  Time          `json:"opened_at"`
	By        Time          `json:"by"`        // when it will be fenced at the latest
	WaitsFor  []string      `json:"waits_for"` // names of the nodes that are pending
	Nodes     []NodeOutcome `json:"nodes"`
	RequestID Text          `json:"request_id"`
}

// Problem severities.
const (
	Critical = "critical"
	Warning  = "warning"
)

// Problem is something a person should look at, with the next command.
type Problem struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Subject  string `json:"subject"`
	Message  string `json:"message"`
	Hint     string `json:"hint"`
}

// Answers of the status plane. Revoked may be said at any age, good only when fresh.
const (
	Good          = "good"
	Revoked       = "revoked"
	Unknown       = "unknown"
	OnHold        = "suspended"     // do not rely on it now
	Indeterminate = "indeterminate" // it would be good, but this state is too old to say so
)

// KeyStatus is what the public listener says of a key, or of one kid. With signed,
// jws says the same as StatusClaims and can be verified; without, the answer is only
// as good as the connection it came over.
type KeyStatus struct {
	Key           Text            `json:"key"`          // null when the kid is not known
	KID           Text            `json:"kid,omitzero"` // when one was asked for
	Status        string          `json:"status"`       // of the kid, or of the version that signs
	Signed        bool            `json:"signed"`
	JWS           string          `json:"jws,omitempty"`
	ActiveVersion uint64          `json:"active_version"`
	TrustSet      TrustSet        `json:"trust_set"`
	Versions      []VersionStatus `json:"versions"`
	MaxAgeSeconds int64           `json:"max_age_seconds"` // ask again then; 0 = do not keep it
	Position      Position        `json:"position"`
	AsOf          Time            `json:"as_of"`
	Freshness     string          `json:"freshness"`
}

// What only a certificate can be: revoked with certificateHold, so that it may be good
// again, and good until it ended.
const (
	CertificateOnHold = "on_hold"
	CertificateEnded  = "expired"
)

// CertificateStatus is what anybody may know of a certificate, by its serial.
type CertificateStatus struct {
	Serial    string `json:"serial"`
	Status    string `json:"status"` // good, revoked, on_hold, expired, unknown or indeterminate
	Issuer    Text   `json:"issuer"`
	IssuerKID Text   `json:"issuer_kid"`
	NotBefore Time   `json:"not_before"`
	NotAfter  Time   `json:"not_after"`

	Revocation *CertificateRevocation `json:"revocation"`
}

// CertificateRevocation is what a CRL says of it.
type CertificateRevocation struct {
	At           Time             `json:"at"`
	Reason       lifecycle.Reason `json:"reason"`
	InvalidityAt Time             `json:"invalidity_at,omitzero"`
}

// CertificateAnswer is the body of a status answer about a certificate.
type CertificateAnswer struct {
	CertificateStatus
	Signed        bool     `json:"signed"`
	JWS           string   `json:"jws,omitempty"`
	MaxAgeSeconds int64    `json:"max_age_seconds"` // ask again then; 0 = do not keep it
	Position      Position `json:"position"`
	AsOf          Time     `json:"as_of"`
	Freshness     string   `json:"freshness"`
}

// VersionStatus is a version without anything a verifier does not need.
type VersionStatus struct {
	Version    uint64          `json:"version"`
	State      lifecycle.State `json:"state"`
	Status     string          `json:"status"`
	Since      Time            `json:"since"`
	InTrustSet bool            `json:"in_trust_set"`
	Revocation *Revocation     `json:"revocation"`
	KIDs       []string        `json:"kids"`
}

// Health is the body of /livez and /readyz.
type Health struct {
	OK    bool   `json:"ok"`
	Node  string `json:"node"`
	Why   Text   `json:"why"`
	Index uint64 `json:"index"`
}
