package wire

import "github.com/chancery-project/chancery/fsm/lifecycle"

// EnrolPrefix begins every enrolment token, so that scanners find leaked ones.
const EnrolPrefix = TokenPrefix + "enrol_"

// RegisterConsumer registers a verifier, or (PUT) replaces what is registered of it.
type RegisterConsumer struct {
	Name     string                  `json:"name,omitempty"` // POST only; PUT has it in the path
	Owner    string                  `json:"owner"`
	Contact  string                  `json:"contact,omitempty"`
	Class    lifecycle.ConsumerClass `json:"class,omitempty"`    // "" = required
	Expect   int                     `json:"expect,omitempty"`   // instances that must confirm; 0 = 1
	Keys     []string                `json:"keys"`               // in any order
	Lifetime lifecycle.Milliseconds  `json:"lifetime,omitempty"` // of a confirmation; 0 = a day
	Enrol    bool                    `json:"enrol,omitempty"`    // PUT only: make another enrolment token
}

// ConsumerRegistration is the operation, and the enrolment token: once, for a replayed
// request answers without it, because only its hash is stored.
type ConsumerRegistration struct {
	Operation
	EnrolmentToken     string `json:"enrolment_token,omitempty"` // "chy_enrol_..."
	EnrolmentExpiresAt Time   `json:"enrolment_expires_at,omitzero"`
}

// RetireConsumer ends a consumer.
type RetireConsumer struct {
	Comment string `json:"comment,omitempty"`
}

// WaiveConsumer lets one gate of one version pass without a consumer.
type WaiveConsumer struct {
	Key     string                 `json:"key"`
	Version uint64                 `json:"version"`
	Gate    lifecycle.Gate         `json:"gate"`            // activate, withdraw
	Until   Time                   `json:"until,omitempty"` // or For
	For     lifecycle.Milliseconds `json:"for,omitempty"`   // both 0 = seven days
	Comment string                 `json:"comment"`
}

// Enrol spends an enrolment token. No other credential is needed.
type Enrol struct {
	EnrolmentToken string `json:"enrolment_token"`
	Label          string `json:"label,omitempty"` // of the bearer token
}

// Enrolled is the bearer token that an enrolment gives.
type Enrolled struct {
	Consumer  string   `json:"consumer"` // and the principal's name
	Keys      []string `json:"keys"`
	TokenID   string   `json:"token_id"`
	Token     string   `json:"token"`
	ExpiresAt Time     `json:"expires_at"`
	Position  Position `json:"position"`
}

// ConsumerView is a registered consumer and how far it is.
type ConsumerView struct {
	Name               string                  `json:"name"`
	Owner              string                  `json:"owner"`
	Contact            string                  `json:"contact,omitempty"`
	Class              lifecycle.ConsumerClass `json:"class"`
	Expect             int                     `json:"expect"`
	Lifetime           lifecycle.Milliseconds  `json:"lifetime"`
	Keys               []ConsumerKey           `json:"keys"`
	Waivers            []Waiver                `json:"waivers"` // those that stand
	Created            Origin                  `json:"created"`
	EnrolledAt         Time                    `json:"enrolled_at"`
	EnrolmentExpiresAt Time                    `json:"enrolment_expires_at"` // null: there is no unspent enrolment token
	RetiredAt          Time                    `json:"retired_at"`
	RetiredBy          Text                    `json:"retired_by"`
	Revision           uint64                  `json:"revision"` // for IfMatch
	LastSeenAt         Time                    `json:"last_seen_at"`
	Position           *Position               `json:"position,omitempty"`
	AsOf               Time                    `json:"as_of,omitzero"`
}

// Waiver lets one gate of one version pass without a consumer.
type Waiver struct {
	Key     string         `json:"key"`
	Version uint64         `json:"version"`
	Gate    lifecycle.Gate `json:"gate"`
	Until   Time           `json:"until"`
	By      string         `json:"by"`
	At      Time           `json:"at"`
	Comment string         `json:"comment"`
}

// ConsumerKey is how far a consumer is with one key.
type ConsumerKey struct {
	Key        string             `json:"key"`
	Digest     string             `json:"digest"`    // of the trust set as it is published now
	Confirmed  int                `json:"confirmed"` // instances that have exactly this trust set
	Expect     int                `json:"expect"`
	Lapsed     bool               `json:"lapsed"`              // it confirmed before, and no confirmation counts any more
	LastSeenAt Time               `json:"last_seen_at"`        // any confirmation for this key
	Instances  []ConsumerInstance `json:"instances,omitempty"` // show only
}

// ConsumerInstance is what one instance has confirmed.
type ConsumerInstance struct {
	Instance  string   `json:"instance"`
	Digest    string   `json:"digest"`
	KIDs      []string `json:"kids"`
	Proven    []string `json:"proven"` // told good canaries from broken ones
	Weak      bool     `json:"weak"`   // known only from its fetches
	FirstAt   Time     `json:"first_at"`
	At        Time     `json:"at"`
	ExpiresAt Time     `json:"expires_at"`
	LapsedAt  Time     `json:"lapsed_at"`
}

// ConsumerList is a page of consumers, and who else fetches keys without being
// registered, as far as the node that answers has seen.
type ConsumerList struct {
	Items    []ConsumerView   `json:"items"`
	Next     Text             `json:"next"`
	Shadow   []ShadowConsumer `json:"shadow"`
	Position *Position        `json:"position,omitempty"`
	AsOf     Time             `json:"as_of,omitzero"`
}

// ShadowConsumer is somebody who fetches a key's trust set and is not registered.
type ShadowConsumer struct {
	Key     string `json:"key"`     // "" = the well-known set
	Address string `json:"address"` // a prefix: /24 of IPv4, /56 of IPv6
	Agent   string `json:"agent,omitempty"`
	Fetches uint64 `json:"fetches"`
	FirstAt Time   `json:"first_at"`
	LastAt  Time   `json:"last_at"`
	Node    string `json:"node"` // that saw it
}

// CanaryChallenge is what a consumer proves its public keys with: of each kid 16
// signatures, half of them broken. It is good once, for the consumer and the instance
// that asked, until ExpiresAt, and is answered with ConfirmTrustSet.
type CanaryChallenge struct {
	Challenge string           `json:"challenge"` // "" = nothing is left to be proven: confirm without one
	Consumer  string           `json:"consumer"`
	Instance  string           `json:"instance"`
	Key       string           `json:"key"`
	Digest    string           `json:"digest"` // of the trust set as it is published now
	Format    string           `json:"format"` // of the signatures: der or raw, as for key sign
	ExpiresAt Time             `json:"expires_at"`
	KIDs      []CanaryKID      `json:"kids"`
	Proven    []string         `json:"proven"`  // this instance has proven them before
	Missing   []CanaryNotReady `json:"missing"` // no canary could be had: ask again later
	Position  Position         `json:"position"`
}

// CanaryKID is the canaries of one public key.
type CanaryKID struct {
	KID     string              `json:"kid"`
	Version uint64              `json:"version"`
	Alg     lifecycle.Algorithm `json:"alg"`
	Node    string              `json:"node"`
	Items   []CanaryItem        `json:"items"`
}

// CanaryItem is a message and a signature over it, which may be broken.
type CanaryItem struct {
	Item      int    `json:"item"`
	Message   []byte `json:"message"`
	Signature []byte `json:"signature"`
}

// CanaryNotReady is a kid of which the node that holds it gave no canary.
type CanaryNotReady struct {
	KID  string `json:"kid"`
	Node string `json:"node"`
	Why  string `json:"why"`
}

// ConfirmTrustSet says which public keys an instance of a consumer has loaded, and
// which canaries verified with them.
type ConfirmTrustSet struct {
	Key       string           `json:"key"`
	Instance  string           `json:"instance"`            // label: host, pod
	Digest    string           `json:"digest"`              // "sha256:..." over the canonical JWK Set that was loaded
	KIDs      []string         `json:"kids,omitempty"`      // of that set, in any order; none = the set as it is published
	Empty     bool             `json:"empty,omitempty"`     // the set has no keys at all: tells it from kids left out
	Challenge string           `json:"challenge,omitempty"` // of CanaryChallenge
	Verified  map[string][]int `json:"verified,omitempty"`  // kid -> the items whose signatures are good
}

// Confirmed is what a confirmation came to.
type Confirmed struct {
	Consumer  string   `json:"consumer"`
	Key       string   `json:"key"`
	Instance  string   `json:"instance"`
	Digest    string   `json:"digest"`
	Current   bool     `json:"current"` // it is the trust set as it is published now
	Proven    []string `json:"proven"`
	Unproven  []string `json:"unproven"` // of the set: a canary can be had and was not verified yet
	ExpiresAt Time     `json:"expires_at"`
	Recorded  bool     `json:"recorded"`  // false: the log had it already, with more than half its time left
	Confirmed int      `json:"confirmed"` // instances of the consumer that have this set
	Expect    int      `json:"expect"`
	Position  Position `json:"position"`
}
