package lifecycle

import "fmt"

// ConsumerClass says how much a rotation waits for a consumer.
type ConsumerClass string

const (
	Required ConsumerClass = "required" // the gates of a rotation wait for it
	Advisory ConsumerClass = "advisory" // reported when it is behind, never waited for
	Observer ConsumerClass = "observer" // listed as a dependent, nothing more
)

// ConsumerClasses lists every class, the strictest first.
var ConsumerClasses = []ConsumerClass{Required, Advisory, Observer}

// Limits of consumers, each with its reason.
const (
	MaxExpect           = 10_000    // instances of one consumer; each costs a row of some hundred bytes a key
	MaxConsumerKeys     = 256       // keys one consumer trusts; one that trusts more is several
	MaxLabelOfInstance  = 63        // a pod or host name
	minConfirmationLife = Minute    // below it nobody can renew in time
	maxConfirmationLife = 366 * Day // a statement older than this says nothing of today
	DefaultConfirmation = Day       // what a confirmation lives when its consumer says nothing
	DefaultEnrolment    = Day       // how long an enrolment token waits to be used
	spareInstances      = 64        // labels beyond those expected that are remembered: instances are replaced under new names
	MaxWaivers          = 64        // standing at a time for one consumer; more is a class that does not fit
	MaxWaiver           = 30 * Day  // a waiver that stands longer is a change of class
	keepLapsed          = 30 * Day  // after it a lapsed confirmation says nothing any more
)

// Consumer is a registered verifier of one or more keys. The service principal it
// confirms as has its name, and the role consumer on exactly its keys.
type Consumer struct {
	Rev            uint64        `cbor:"1,keyasint"`
	Name           string        `cbor:"2,keyasint"`
	Owner          string        `cbor:"3,keyasint"`
	Contact        string        `cbor:"4,keyasint,omitempty"` // where to ask when it is behind
	Class          ConsumerClass `cbor:"5,keyasint"`
	Expect         int           `cbor:"6,keyasint"`           // instances that must confirm
	Keys           []KeyID       `cbor:"7,keyasint"`           // ascending
	Lifetime       Milliseconds  `cbor:"8,keyasint"`           // of a confirmation
	EnrolHash      []byte        `cbor:"9,keyasint,omitempty"` // SHA-256 of the one-time enrolment secret; empty = spent
	EnrolExpiresAt Instant       `cbor:"10,keyasint,omitempty"`
	EnrolledAt     Instant       `cbor:"11,keyasint,omitempty"` // last; 0 = never
	Waivers        []Waiver      `cbor:"12,keyasint,omitempty"`
	Created        Origin        `cbor:"13,keyasint"`
	RetiredAt      Instant       `cbor:"14,keyasint,omitempty"`
	RetiredBy      string        `cbor:"15,keyasint,omitempty"`
}

// Waiver lets one gate of one version pass without this consumer.
type Waiver struct {
	Key     KeyID   `cbor:"1,keyasint" json:"key"`
	Version uint64  `cbor:"2,keyasint" json:"version"`
	Gate    Gate    `cbor:"3,keyasint" json:"gate"`
	Until   Instant `cbor:"4,keyasint" json:"until"`
	By      string  `cbor:"5,keyasint" json:"by"`
	At      Instant `cbor:"6,keyasint" json:"at"`
	Comment string  `cbor:"7,keyasint" json:"comment"`
}

// Confirmation is what one instance of a consumer has loaded of one key's public keys.
type Confirmation struct {
	Rev       uint64   `cbor:"1,keyasint"`
	Consumer  string   `cbor:"2,keyasint"`
	Key       KeyID    `cbor:"3,keyasint"`
	Instance  string   `cbor:"4,keyasint"`           // its label: a host, a pod
	Digest    string   `cbor:"5,keyasint"`           // "sha256:" and hex, over the canonical JWK Set of KIDs
	KIDs      []string `cbor:"6,keyasint,omitempty"` // all that it accepts signatures of, ascending
	Proven    []string `cbor:"7,keyasint,omitempty"` // of these: it told good canaries from broken ones, ascending
	FirstAt   Instant  `cbor:"8,keyasint"`           // this digest, first
	At        Instant  `cbor:"9,keyasint"`           // last
	ExpiresAt Instant  `cbor:"10,keyasint"`
	LapsedAt  Instant  `cbor:"11,keyasint,omitempty"` // 0 = it has not been found expired
	Weak      bool     `cbor:"12,keyasint,omitempty"` // it fetched the keys and found them unchanged: nobody said it loaded them
}

// Lists reports whether the consumer trusts the key.
func (c *Consumer) Lists(key KeyID) bool {
	for _, k := range c.Keys {
		if k == key {
			return true
		}
	}
	return false
}

// MaxInstances is how many instance labels are remembered of the consumer for a key.
func (c *Consumer) MaxInstances() int { return 2*c.Expect + spareInstances }

// Waiver finds the waiver that stands for a gate at an instant, nil when none does.
func (c *Consumer) Waiver(key KeyID, version uint64, gate Gate, now Instant) *Waiver {
	for i := range c.Waivers {
		if w := &c.Waivers[i]; w.Key == key && w.Version == version && w.Gate == gate && now < w.Until {
			return w
		}
	}
	return nil
}

// Eases reports whether next asks less of the consumer than c did of a rotation: the
// gates that waited for it would open sooner. New credentials count, for whoever holds
// them can confirm in its name.
func (c *Consumer) Eases(class ConsumerClass, expect int, keys []KeyID, lifetime Milliseconds, enrolment bool) bool {
	if c.Class != Required || c.RetiredAt != 0 {
		return false
	}
	for _, k := range c.Keys {
		kept := false
		for _, n := range keys {
			kept = kept || n == k
		}
		if !kept {
			return true
		}
	}
	return class != Required || expect < c.Expect || lifetime > c.Lifetime || enrolment
}

// Standing reports whether the confirmation counts at an instant.
func (c *Confirmation) Standing(now Instant) bool { return c.LapsedAt == 0 && now < c.ExpiresAt }

// Forgettable reports whether a lapsed confirmation has nothing left to say.
func (c *Confirmation) Forgettable(now Instant) bool {
	return c.LapsedAt != 0 && now >= c.LapsedAt.Add(keepLapsed)
}

// Check validates the class.
func (c ConsumerClass) Check() error {
	for _, k := range ConsumerClasses {
		if c == k {
			return nil
		}
	}
	return fmt.Errorf("unknown consumer class %q: choose one of %v", short(string(c)), ConsumerClasses)
}

// CheckConfirmationLife validates the lifetime of confirmations.
func CheckConfirmationLife(d Milliseconds) error {
	if d < minConfirmationLife || d > maxConfirmationLife {
		return fmt.Errorf("confirmations that live %s: allowed are %s to %s", d, minConfirmationLife, maxConfirmationLife)
	}
	return nil
}

// CheckInstanceLabel validates the label of a consumer's instance: 1 to 63 letters,
// digits, '.', '_', ':' and '-', beginning with a letter or digit.
func CheckInstanceLabel(s string) error {
	if s == "" || len(s) > MaxLabelOfInstance {
		return fmt.Errorf("an instance label of %d characters: 1 to %d are needed, for example the host name", len(s), MaxLabelOfInstance)
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == ':' || c == '-'):
		default:
			return fmt.Errorf("instance label %q: use letters, digits, '.', '_', ':' and '-', beginning with a letter or digit", short(s))
		}
	}
	return nil
}

// CheckTrustSetDigest validates the form "sha256:" and 64 lower-case hex digits.
func CheckTrustSetDigest(s string) error {
	const prefix = "sha256:"
	ok := len(s) == len(prefix)+64 && s[:len(prefix)] == prefix
	for i := len(prefix); ok && i < len(s); i++ {
		c := s[i]
		ok = c >= '0' && c <= '9' || c >= 'a' && c <= 'f'
	}
	if !ok {
		return fmt.Errorf("trust-set digest %q: it is sha256: and 64 hex digits, the ETag of the JWK Set without its quotes", short(s))
	}
	return nil
}
