package lifecycle

// Settings must agree everywhere, so they live in the log and not in a file.
type Settings struct {
	PublicURL             string         `cbor:"1,keyasint,omitempty" json:"public_url"` // base of published links; empty = each node's own
	CheckpointEvery       Milliseconds   `cbor:"2,keyasint,omitempty" json:"checkpoint_every"`
	MaxTokenTTL           Milliseconds   `cbor:"3,keyasint,omitempty" json:"max_token_ttl"`
	InsecureTrustAnchors  bool           `cbor:"4,keyasint,omitempty" json:"insecure_trust_anchors"`
	BusinessReasonConfirm Milliseconds   `cbor:"5,keyasint,omitempty" json:"business_reason_confirm"`
	Lease                 Milliseconds   `cbor:"6,keyasint,omitempty" json:"lease,omitempty"`       // how long a node may sign after it last heard from the leader; 0 = DefaultLease
	RequestAge            Milliseconds   `cbor:"7,keyasint,omitempty" json:"request_age,omitempty"` // a signature older than this when it is ready is not released; 0 = DefaultRequestAge
	Approvals             []ApprovalRule `cbor:"8,keyasint,omitempty" json:"approvals,omitempty"`   // which changes need whose consent; empty = none
	BreakGlass            []string       `cbor:"9,keyasint,omitempty" json:"break_glass,omitempty"` // admins who may do without, loudly; empty = nobody
	Webhooks              []Webhook      `cbor:"10,keyasint,omitempty" json:"webhooks,omitempty"`   // who is told of events; empty = nobody
}

// What Settings mean that say nothing of it.
const (
	DefaultLease      = 3 * Second
	DefaultRequestAge = 2 * Second
)

// SigningTerms are the lease and the request age limit, defaults filled in.
func (s Settings) SigningTerms() (lease, age Milliseconds) {
	lease, age = s.Lease, s.RequestAge
	if lease == 0 {
		lease = DefaultLease
	}
	if age == 0 {
		age = min(DefaultRequestAge, lease)
	}
	return lease, age
}

// DefaultSettings are the settings of a new cluster.
func DefaultSettings() Settings {
	return Settings{CheckpointEvery: 10 * Second, MaxTokenTTL: 366 * Day, BusinessReasonConfirm: 365 * Day}
}

// Cluster is the one row about the cluster itself.
type Cluster struct {
	Rev      uint64   `cbor:"1,keyasint"`
	ID       string   `cbor:"2,keyasint"` // 128 random bits, hex
	Name     string   `cbor:"3,keyasint"`
	Epoch    uint64   `cbor:"4,keyasint"` // 1 at init; raised only by restore or recovery
	Format   uint64   `cbor:"5,keyasint"`
	Settings Settings `cbor:"6,keyasint"`
	Created  Origin   `cbor:"7,keyasint"`

	// The longest terms under which a node may still be signing, when they were
	// shortened lately; 0 = the Settings'. A leader waits by them until the fence of
	// CeilingIndex, the last entry that shortened something, stands (LeaseCeiling)
	// and is settled (AgeCeiling).
	LeaseCeiling Milliseconds `cbor:"8,keyasint,omitempty"`
	AgeCeiling   Milliseconds `cbor:"9,keyasint,omitempty"`
	CeilingIndex uint64       `cbor:"10,keyasint,omitempty"`

	BrokenGlass *BrokenGlass `cbor:"11,keyasint,omitempty"` // nil = never

	Warned *CertMark `cbor:"12,keyasint,omitempty"` // how far it was made known which certificates end soon; nil = never

	GossipKey *GossipKey `cbor:"20,keyasint,omitempty"` // nil = the one of init
}

// GossipKey is what everyone may know of the newest gossip key. The key itself goes
// from member to member and is believed by its digest.
type GossipKey struct {
	Generation uint64 `cbor:"1,keyasint"` // rotations so far
	Digest     []byte `cbor:"2,keyasint"` // SHA-256 that tells a true key from a false one
	Rotated    Origin `cbor:"3,keyasint"`
}

// LongestTerms are the lease and the request age limit a waiter must assume.
func (c *Cluster) LongestTerms() (lease, age Milliseconds) {
	lease, age = c.Settings.SigningTerms()
	return max(lease, c.LeaseCeiling), max(age, c.AgeCeiling)
}
