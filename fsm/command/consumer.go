package command

import (
	"crypto/sha256"
	"fmt"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ConsumerRecord is a consumer as it is registered or changed.
type ConsumerRecord struct {
	Name     string                  `cbor:"1,keyasint"`
	Owner    string                  `cbor:"2,keyasint"`
	Contact  string                  `cbor:"3,keyasint,omitempty"`
	Class    lifecycle.ConsumerClass `cbor:"4,keyasint"`
	Expect   int                     `cbor:"5,keyasint"`
	Keys     []lifecycle.KeyID       `cbor:"6,keyasint"` // ascending
	Lifetime lifecycle.Milliseconds  `cbor:"7,keyasint"`
}

func (r *ConsumerRecord) check() error {
	if err := checkConsumer(r.Name); err != nil {
		return err
	}
	if err := text("owner", r.Owner, true); err != nil {
		return err
	}
	if err := text("contact", r.Contact, false); err != nil {
		return err
	}
	if err := r.Class.Check(); err != nil {
		return err
	}
	if r.Expect < 1 || r.Expect > lifecycle.MaxExpect {
		return fmt.Errorf("%d instances are expected to confirm: allowed are 1 to %d", r.Expect, lifecycle.MaxExpect)
	}
	if len(r.Keys) == 0 {
		return fmt.Errorf("a consumer trusts at least one key: name it")
	}
	if err := count("keys", len(r.Keys), lifecycle.MaxConsumerKeys); err != nil {
		return err
	}
	for i, k := range r.Keys {
		if err := lifecycle.CheckName("key", string(k)); err != nil {
			return err
		}
		if i > 0 && r.Keys[i-1] >= k {
			return fmt.Errorf("the consumer's keys are not ascending, or one stands twice")
		}
	}
	return lifecycle.CheckConfirmationLife(r.Lifetime)
}

// Enrolment is a one-time secret's hash, and when it stops being of use.
type Enrolment struct {
	Hash      []byte            `cbor:"1,keyasint"` // SHA-256
	ExpiresAt lifecycle.Instant `cbor:"2,keyasint"`
}

func (e *Enrolment) check() error {
	if err := size("enrolment hash", len(e.Hash), sha256.Size, sha256.Size); err != nil {
		return err
	}
	if e.ExpiresAt <= 0 || e.ExpiresAt > MaxInstant {
		return fmt.Errorf("the enrolment's expires_at %s is no wall time", e.ExpiresAt)
	}
	return nil
}

// RegisterConsumer makes a consumer, and the service principal it will confirm as.
type RegisterConsumer struct {
	Consumer  ConsumerRecord `cbor:"1,keyasint"`
	Enrolment Enrolment      `cbor:"2,keyasint"`
}

func (*RegisterConsumer) Kind() Kind { return KindRegisterConsumer }

func (c *RegisterConsumer) Check() error {
	if err := c.Enrolment.check(); err != nil {
		return err
	}
	return c.Consumer.check()
}

// UpdateConsumer replaces what is registered of a consumer, and with an Enrolment lets
// it enrol once more.
type UpdateConsumer struct {
	Consumer  ConsumerRecord `cbor:"1,keyasint"`
	Enrolment *Enrolment     `cbor:"2,keyasint,omitempty"`
}

func (*UpdateConsumer) Kind() Kind { return KindUpdateConsumer }

func (c *UpdateConsumer) Check() error {
	if c.Enrolment != nil {
		if err := c.Enrolment.check(); err != nil {
			return err
		}
	}
	return c.Consumer.check()
}

// RetireConsumer ends a consumer for ever: nothing waits for it, and its principal goes
// with it.
type RetireConsumer struct {
	Name    string `cbor:"1,keyasint"`
	Comment string `cbor:"2,keyasint,omitempty"`
}

func (*RetireConsumer) Kind() Kind { return KindRetireConsumer }

func (c *RetireConsumer) Check() error {
	if err := text("comment", c.Comment, false); err != nil {
		return err
	}
	return checkConsumer(c.Name)
}

// EnrolConsumer spends the enrolment secret and adds the bearer token it buys.
type EnrolConsumer struct {
	Consumer  string            `cbor:"1,keyasint"`
	Spent     []byte            `cbor:"2,keyasint"` // SHA-256 of the enrolment secret
	TokenID   string            `cbor:"3,keyasint"`
	TokenHash []byte            `cbor:"4,keyasint"`
	Label     string            `cbor:"5,keyasint,omitempty"`
	ExpiresAt lifecycle.Instant `cbor:"6,keyasint"` // of the token
}

func (*EnrolConsumer) Kind() Kind { return KindEnrolConsumer }

func (c *EnrolConsumer) Check() error {
	if err := size("enrolment hash", len(c.Spent), sha256.Size, sha256.Size); err != nil {
		return err
	}
	token := AddToken{ID: c.TokenID, Principal: c.Consumer, Hash: c.TokenHash, Label: c.Label, ExpiresAt: c.ExpiresAt}
	if err := token.Check(); err != nil {
		return err
	}
	return checkConsumer(c.Consumer)
}

// LoadedSet is a set of public keys that consumers say they have loaded.
type LoadedSet struct {
	Key    lifecycle.KeyID `cbor:"1,keyasint"`
	Digest string          `cbor:"2,keyasint"`
	KIDs   []string        `cbor:"3,keyasint,omitempty"` // ascending
}

func (s *LoadedSet) check() error {
	if err := lifecycle.CheckName("key", string(s.Key)); err != nil {
		return err
	}
	if err := lifecycle.CheckTrustSetDigest(s.Digest); err != nil {
		return err
	}
	if err := count("kids", len(s.KIDs), MaxKIDs); err != nil {
		return err
	}
	for i, kid := range s.KIDs {
		if err := checkKID(kid); err != nil {
			return err
		}
		if i > 0 && s.KIDs[i-1] >= kid {
			return fmt.Errorf("kids are not ascending, or one stands twice")
		}
	}
	return nil
}

// ConfirmationItem is one instance's confirmation of one of the entry's sets.
type ConfirmationItem struct {
	Consumer string   `cbor:"1,keyasint"`
	Instance string   `cbor:"2,keyasint"`
	Set      uint64   `cbor:"3,keyasint"`           // its place in Sets
	Proven   []uint64 `cbor:"4,keyasint,omitempty"` // places in the set's KIDs, ascending: those whose canaries it told apart
	Weak     bool     `cbor:"5,keyasint,omitempty"`
}

func (i *ConfirmationItem) check(sets []LoadedSet) error {
	if err := checkConsumer(i.Consumer); err != nil {
		return err
	}
	if err := lifecycle.CheckInstanceLabel(i.Instance); err != nil {
		return err
	}
	if i.Set >= uint64(len(sets)) {
		return fmt.Errorf("set %d of %d is confirmed", i.Set, len(sets))
	}
	kids := uint64(len(sets[i.Set].KIDs))
	for n, p := range i.Proven {
		if p >= kids || n > 0 && i.Proven[n-1] >= p {
			return fmt.Errorf("proof of kid %d of %d, or not ascending", p, kids)
		}
	}
	if i.Weak && len(i.Proven) > 0 {
		return fmt.Errorf("a fetch proves no kid")
	}
	return nil
}

// RecordConfirmations writes down what instances of consumers have loaded, many in an
// entry, each judged by itself. It is the leader's verb and carries no request id.
type RecordConfirmations struct {
	Sets  []LoadedSet        `cbor:"1,keyasint"`
	Items []ConfirmationItem `cbor:"2,keyasint"`
}

func (*RecordConfirmations) Kind() Kind { return KindRecordConfirmations }

func (c *RecordConfirmations) Check() error {
	if len(c.Items) == 0 {
		return fmt.Errorf("no confirmations")
	}
	if err := count("confirmations", len(c.Items), MaxConfirmations); err != nil {
		return err
	}
	if err := count("sets", len(c.Sets), MaxConfirmations); err != nil {
		return err
	}
	for i := range c.Sets {
		if err := c.Sets[i].check(); err != nil {
			return err
		}
	}
	for i := range c.Items {
		if err := c.Items[i].check(c.Sets); err != nil {
			return err
		}
	}
	return nil
}

// ConfirmationName names the confirmation of one instance for one key.
type ConfirmationName struct {
	Consumer string          `cbor:"1,keyasint"`
	Key      lifecycle.KeyID `cbor:"2,keyasint"`
	Instance string          `cbor:"3,keyasint"`
}

// LapseConfirmations marks confirmations whose time is over, and forgets those that
// say nothing any more.
type LapseConfirmations struct {
	Items []ConfirmationName `cbor:"1,keyasint"`
}

func (*LapseConfirmations) Kind() Kind { return KindLapseConfirmations }

func (c *LapseConfirmations) Check() error {
	if len(c.Items) == 0 {
		return fmt.Errorf("no confirmations")
	}
	for _, i := range c.Items {
		if err := checkConsumer(i.Consumer); err != nil {
			return err
		}
		if err := lifecycle.CheckName("key", string(i.Key)); err != nil {
			return err
		}
		if err := lifecycle.CheckInstanceLabel(i.Instance); err != nil {
			return err
		}
	}
	return count("confirmations", len(c.Items), MaxConfirmations)
}

// WaiveConsumer lets one gate of one version pass without a consumer, until a time.
type WaiveConsumer struct {
	Consumer string            `cbor:"1,keyasint"`
	Key      lifecycle.KeyID   `cbor:"2,keyasint"`
	Version  uint64            `cbor:"3,keyasint"`
	Gate     lifecycle.Gate    `cbor:"4,keyasint"`
	Until    lifecycle.Instant `cbor:"5,keyasint"`
	Comment  string            `cbor:"6,keyasint"`
}

func (*WaiveConsumer) Kind() Kind { return KindWaiveConsumer }

func (c *WaiveConsumer) Check() error {
	if err := checkConsumer(c.Consumer); err != nil {
		return err
	}
	if err := checkVersion(c.Key, c.Version); err != nil {
		return err
	}
	if _, err := lifecycle.ParseGate(string(c.Gate)); err != nil {
		return err
	}
	if c.Until <= 0 || c.Until > MaxInstant {
		return fmt.Errorf("until %s is no wall time", c.Until)
	}
	return text("comment", c.Comment, true)
}

// checkConsumer validates a consumer's name, which is its principal's as well.
func checkConsumer(name string) error {
	if name == "system" {
		return fmt.Errorf("the name %q is Chancery's own", name)
	}
	return lifecycle.CheckName("consumer", name)
}
