package lifecycle

import "fmt"

// Policy is what a Key's owner demands of it. Durations are milliseconds in the
// log and "1h" in JSON.
type Policy struct {
	RotateEvery  Milliseconds   `cbor:"1,keyasint,omitempty" json:"rotate_every"`  // 0 = by hand only
	MaxAge       Milliseconds   `cbor:"2,keyasint,omitempty" json:"max_age"`       // oldest an active version may get before it is reported overdue; 0 = RotateEvery
	Lead         Milliseconds   `cbor:"3,keyasint,omitempty" json:"lead"`          // between publication and first use
	VerifyWindow Milliseconds   `cbor:"4,keyasint,omitempty" json:"verify_window"` // a deactivated version stays in the trust set that long; 0 = until withdrawn by hand
	JWKSMaxAge   Milliseconds   `cbor:"5,keyasint,omitempty" json:"jwks_max_age"`  // longest Cache-Control of published keys
	MaxTTL       Milliseconds   `cbor:"6,keyasint,omitempty" json:"max_ttl"`       // tokens: longest exp - iat
	DestroyWait  Milliseconds   `cbor:"7,keyasint,omitempty" json:"destroy_wait"`  // between destroy and erasure
	MinReady     int            `cbor:"8,keyasint,omitempty" json:"min_ready"`     // instances that must be ready before activation; 0 = all that were planned, or one after a grace time
	Publish      bool           `cbor:"9,keyasint,omitempty" json:"publish"`       // list in /.well-known/jwks.json
	Inputs       []string       `cbor:"10,keyasint,omitempty" json:"inputs"`       // "message", "digest", "jws"
	Types        []string       `cbor:"11,keyasint,omitempty" json:"types"`        // tokens: allowed typ values; the first is the default
	Audiences    []string       `cbor:"12,keyasint,omitempty" json:"audiences"`    // tokens: allowed aud values; empty = any
	Issuer       string         `cbor:"13,keyasint,omitempty" json:"issuer"`       // tokens: iss is set to this, or must equal it
	VerifyOneIn  int            `cbor:"14,keyasint,omitempty" json:"verify_one_in"`
	Strict       bool           `cbor:"15,keyasint,omitempty" json:"strict"`              // record each signature in the log before release
	Approvals    []ApprovalRule `cbor:"16,keyasint,omitempty" json:"approvals,omitempty"` // of this key, in place of the cluster's; empty = the cluster's

	AllowedCallers  []string `cbor:"17,keyasint,omitempty" json:"allowed_callers"`  // principals that may sign, by name or glob, beside the role; empty = whoever has the role
	ConfirmActivate bool     `cbor:"18,keyasint,omitempty" json:"confirm_activate"` // a version signs only when the required consumers have confirmed that they know it
	ConfirmWithdraw bool     `cbor:"19,keyasint,omitempty" json:"confirm_withdraw"` // the verify window ends early when the required consumers have confirmed that they can do without
	DestroyRetired  bool     `cbor:"20,keyasint,omitempty" json:"destroy_retired"`  // what the plan took out of the trust set is destroyed after DestroyWait
}

// Inputs a policy can allow: what the key's one algorithm is put over.
const (
	InputMessage = "message"
	InputDigest  = "digest"
	InputJWS     = "jws"
	InputX509    = "x509" // the to-be-signed part of a certificate, CRL or OCSP answer
)

// DefaultPolicy is what a new key gets when its owner says nothing.
func DefaultPolicy(p Purpose, a Algorithm) Policy {
	pol := Policy{JWKSMaxAge: 5 * Minute, DestroyWait: 7 * Day, VerifyOneIn: 1, ConfirmActivate: true, ConfirmWithdraw: true, DestroyRetired: true}
	switch p {
	case ForToken, ForAssertion:
		pol.RotateEvery, pol.Lead, pol.VerifyWindow, pol.MaxTTL = 30*Day, Hour, 2*Hour, Hour
		pol.Inputs, pol.Types = []string{InputJWS}, []string{"JWT"}
	case ForCertificate:
		pol.Strict = true
		pol.Inputs = []string{InputX509}
	case ForCode, ForArtifact:
		pol.Strict = p == ForCode
		pol.RotateEvery, pol.Lead = 90*Day, 24*Hour
		pol.Inputs = []string{InputMessage, InputDigest}
		if a == EdDSA {
			pol.Inputs = []string{InputMessage}
		}
	}
	return pol
}

// Limits of a policy, each with its reason.
const (
	maxPolicyTime  = 20 * 366 * Day  // longer than any key should live
	minJWKSMaxAge  = Second          // below it every verifier asks each time
	maxJWKSMaxAge  = 24 * Hour       // above it a revocation is invisible for a day
	maxPolicyItems = 32              // strings in one list
	maxPolicyBytes = 256             // one string
	maxVerifyOneIn = 1000            // sampling thinner than this finds nothing
	maxTTL         = 366 * Day       // a "token" that lives longer is a certificate
	minDestroyWait = Milliseconds(0) // tests and short-lived keys destroy at once
)

// Check validates the policy for a key; the error says what to change.
func (p Policy) Check(purpose Purpose, alg Algorithm) error {
	for _, d := range []struct {
		name     string
		v        Milliseconds
		min, max Milliseconds
	}{
		{"rotate_every", p.RotateEvery, 0, maxPolicyTime}, {"max_age", p.MaxAge, 0, maxPolicyTime},
		{"lead", p.Lead, 0, 366 * Day}, {"verify_window", p.VerifyWindow, 0, maxPolicyTime},
		{"jwks_max_age", p.JWKSMaxAge, minJWKSMaxAge, maxJWKSMaxAge}, {"max_ttl", p.MaxTTL, 0, maxTTL},
		{"destroy_wait", p.DestroyWait, minDestroyWait, 366 * Day},
	} {
		if d.v < d.min || d.v > d.max {
			return fmt.Errorf("policy %s = %s: allowed are %s to %s", d.name, d.v, d.min, d.max)
		}
	}
	if p.RotateEvery > 0 && p.RotateEvery <= p.Lead {
		return fmt.Errorf("policy rotate_every = %s is not longer than lead = %s: a version would be due before its successor may sign", p.RotateEvery, p.Lead)
	}
	if p.MaxAge > 0 && p.MaxAge < p.RotateEvery {
		return fmt.Errorf("policy max_age = %s is shorter than rotate_every = %s: every version would be overdue before it is replaced", p.MaxAge, p.RotateEvery)
	}
	if p.VerifyWindow > 0 && p.VerifyWindow < p.MaxTTL {
		return fmt.Errorf("policy verify_window = %s is shorter than max_ttl = %s: valid tokens would stop verifying", p.VerifyWindow, p.MaxTTL)
	}
	if p.MinReady < 0 || p.MinReady > 1000 {
		return fmt.Errorf("policy min_ready = %d: allowed are 0 to 1000", p.MinReady)
	}
	if p.VerifyOneIn < 1 || p.VerifyOneIn > maxVerifyOneIn {
		return fmt.Errorf("policy verify_one_in = %d: 1 verifies every signature before it leaves, at most %d is allowed", p.VerifyOneIn, maxVerifyOneIn)
	}
	if purpose.SignsTokens() && len(p.Types) == 0 {
		return fmt.Errorf("policy types is empty: a key that signs tokens needs at least one typ, for example JWT")
	}
	if err := p.CheckTexts(); err != nil {
		return err
	}
	if err := p.checkCallers(); err != nil {
		return err
	}
	if err := p.CheckApprovals(); err != nil {
		return err
	}
	return p.checkInputs(purpose, alg)
}

// checkCallers validates the patterns of callers: a name, with '*' for any run of
// characters.
func (p Policy) checkCallers() error {
	for i, s := range p.AllowedCallers {
		if err := checkPattern("caller", s); err != nil {
			return fmt.Errorf("policy allowed_callers: %w", err)
		}
		if contains(p.AllowedCallers[:i], s) {
			return fmt.Errorf("policy allowed_callers names %s twice", s)
		}
	}
	return nil
}

// CheckTexts validates the policy's texts alone, which needs no key.
func (p Policy) CheckTexts() error {
	for _, l := range []struct {
		name string
		list []string
	}{{"inputs", p.Inputs}, {"types", p.Types}, {"audiences", p.Audiences}, {"issuer", []string{p.Issuer}}, {"allowed_callers", p.AllowedCallers}} {
		if len(l.list) > maxPolicyItems {
			return fmt.Errorf("policy %s has %d entries: at most %d are allowed", l.name, len(l.list), maxPolicyItems)
		}
		for _, s := range l.list {
			if len(s) > maxPolicyBytes {
				return fmt.Errorf("policy %s: an entry of %d bytes; at most %d are allowed", l.name, len(s), maxPolicyBytes)
			}
			if !Printable(s) {
				return fmt.Errorf("policy %s: an entry has a control character or is not UTF-8", l.name)
			}
		}
	}
	return nil
}

func (p Policy) checkInputs(purpose Purpose, alg Algorithm) error {
	for _, in := range p.Inputs {
		ok := false
		switch in {
		case InputMessage:
			ok = purpose.SignsBytes()
		case InputDigest:
			ok = purpose.SignsBytes() && alg != EdDSA
		case InputJWS:
			ok = purpose.SignsTokens() || purpose.SignsBytes()
		case InputX509:
			ok = purpose == ForCertificate
		}
		if !ok {
			return fmt.Errorf("policy inputs: %q is not possible for a %s key with %s", in, purpose, alg)
		}
	}
	return nil
}

// Allows reports whether the policy lists the input.
func (p Policy) Allows(input string) bool {
	for _, in := range p.Inputs {
		if in == input {
			return true
		}
	}
	return false
}

// LongestCached is how long a cache may have kept a JWKS answer of the key.
func (p Policy) LongestCached() Milliseconds {
	if p.Lead > 0 {
		return min(p.JWKSMaxAge, p.Lead)
	}
	return p.JWKSMaxAge
}

// AllowsCaller reports whether the policy lets the principal sign, if its role does.
func (p Policy) AllowsCaller(name string) bool {
	for _, pattern := range p.AllowedCallers {
		if match(pattern, name) {
			return true
		}
	}
	return len(p.AllowedCallers) == 0
}

// Overdue is the age at which an active version is reported, 0 = never.
func (p Policy) Overdue() Milliseconds {
	if p.MaxAge > 0 {
		return p.MaxAge
	}
	return p.RotateEvery
}
