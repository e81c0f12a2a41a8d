package lifecycle

import "fmt"

// Condition is the condition of an Instance: what is known of one node's key
// pair. The zero value is invalid.
type Condition uint8

const (
	Pending     Condition = iota + 1 // intent recorded, no public key yet
	Ready                            // bound with proof of possession
	Lost                             // the node looked and did not find it, or is gone
	InstanceBad                      // compromised, alone or with its version
	Erased                           // destroyed in the HSM and confirmed by two look-ups
)

// Conditions lists every valid condition.
var Conditions = []Condition{Pending, Ready, Lost, InstanceBad, Erased}

var conditionNames = [...]string{"invalid", "pending", "ready", "lost", "compromised", "erased"}

func (c Condition) String() string {
	if int(c) < len(conditionNames) {
		return conditionNames[c]
	}
	return "invalid"
}

// MarshalText gives the name users see.
func (c Condition) MarshalText() ([]byte, error) {
	if c < Pending || c > Erased {
		return nil, fmt.Errorf("invalid condition %d", uint8(c))
	}
	return []byte(c.String()), nil
}

// UnmarshalText accepts exactly the names MarshalText gives.
func (c *Condition) UnmarshalText(b []byte) error {
	for _, v := range Conditions {
		if v.String() == string(b) {
			*c = v
			return nil
		}
	}
	return fmt.Errorf("unknown condition %q", b)
}
