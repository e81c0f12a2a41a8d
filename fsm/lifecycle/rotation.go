package lifecycle

import "fmt"

// Gate is a place in a rotation where the plan waits for more than its own steps.
type Gate string

const (
	// GateActivate is before a published version signs: its lead has passed, and the
	// required consumers have confirmed that they know it.
	GateActivate Gate = "activate"
	// GateWithdraw is before a deactivated version leaves the trust set: its verify
	// window has passed, or the required consumers have confirmed that they can do
	// without it.
	GateWithdraw Gate = "withdraw"
)

// Gates lists every gate, in the order a version comes to them.
var Gates = []Gate{GateActivate, GateWithdraw}

// ParseGate reads the name of a gate.
func ParseGate(s string) (Gate, error) {
	for _, g := range Gates {
		if string(g) == s {
			return g, nil
		}
	}
	return "", fmt.Errorf("unknown gate %q: choose one of %v", short(s), Gates)
}

// Pause says who holds a key's plan, since when and why.
type Pause struct {
	At     Instant `cbor:"1,keyasint" json:"at"`
	By     string  `cbor:"2,keyasint" json:"by"`
	Reason string  `cbor:"3,keyasint" json:"reason"`
}

// Skip says who opened a gate before its time, and why.
type Skip struct {
	Gate    Gate    `cbor:"1,keyasint" json:"gate"`
	At      Instant `cbor:"2,keyasint" json:"at"`
	By      string  `cbor:"3,keyasint" json:"by"`
	Comment string  `cbor:"4,keyasint" json:"comment"`
}

// Skips finds who opened the gate before its time, nil when nobody has.
func (v *Version) Skips(g Gate) *Skip {
	for i := range v.Skipped {
		if v.Skipped[i].Gate == g {
			return &v.Skipped[i]
		}
	}
	return nil
}

// Gated reports whether the version has to pass GateActivate: neither the first of a
// key nor one made in an emergency has, nor one whose gate was skipped.
func (v *Version) Gated() bool {
	return v.Number != 1 && !v.Emergency && v.Skips(GateActivate) == nil
}
