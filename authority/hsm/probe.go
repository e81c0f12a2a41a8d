package hsm

import "context"

// Prober is implemented by drivers that can examine their device for
// `chancery keystore check`.
type Prober interface {
	// Probe touches the device and reports what it found. It leaves no object
	// behind: the test signature is made with an existing key (and thrown away) or
	// with a pair that lives only as long as the session. The error says which step
	// failed; the report holds what was learned before.
	Probe(ctx context.Context) (Report, error)
}

// Report is what Probe found.
type Report struct {
	Driver      string      `json:"driver"`
	Module      string      `json:"module,omitempty"`  // path of the library
	Library     string      `json:"library,omitempty"` // maker, description, version
	Cryptoki    string      `json:"cryptoki,omitempty"`
	Token       string      `json:"token"` // label, or directory for soft
	Serial      string      `json:"serial,omitempty"`
	Model       string      `json:"model,omitempty"`
	Firmware    string      `json:"firmware,omitempty"`
	Flags       []string    `json:"flags,omitempty"`
	Mechanisms  []Mechanism `json:"mechanisms,omitempty"`
	MaxSessions string      `json:"max_sessions,omitempty"` // a number, "no limit" or "unknown"
	Concurrency int         `json:"concurrency"`
	LoggedIn    bool        `json:"logged_in"`
	KeyPairs    int         `json:"key_pairs"`
	Algorithms  []string    `json:"algorithms"`         // the JOSE names usable here
	Signed      string      `json:"signed,omitempty"`   // what the test signature was made with
	Verified    bool        `json:"verified"`           // and whether it verifies
	Warnings    []string    `json:"warnings,omitempty"` // what an operator should look at
}

// Mechanism is one PKCS#11 mechanism of a token.
type Mechanism struct {
	Name    string `json:"name"` // CKM_ name, or hexadecimal for an unknown one
	MinBits uint   `json:"min_bits,omitempty"`
	MaxBits uint   `json:"max_bits,omitempty"`
}
