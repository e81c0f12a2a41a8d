package lifecycle

import (
	"fmt"
	"strings"
	"testing"
)

func TestDefaultPoliciesAreAllowed(t *testing.T) {
	for _, p := range Purposes {
		for _, a := range Algorithms {
			pol := DefaultPolicy(p, a)
			if err := pol.Check(p, a); err != nil {
				t.Errorf("%s with %s: %v", p, a, err)
			}
			if pol.Allows(InputJWS) != p.SignsTokens() || pol.Allows(InputMessage) != p.SignsBytes() {
				t.Errorf("%s with %s allows %v", p, a, pol.Inputs)
			}
			if pol.Allows(InputDigest) != (p.SignsBytes() && a != EdDSA) {
				t.Errorf("%s with %s allows %v", p, a, pol.Inputs)
			}
		}
	}
}

func TestPolicyRefusals(t *testing.T) {
	for what, c := range map[string]func(*Policy){
		"rotate_every negative":    func(p *Policy) { p.RotateEvery = -1 },
		"rotate_every 21 years":    func(p *Policy) { p.RotateEvery = 21 * 366 * Day },
		"max_age negative":         func(p *Policy) { p.MaxAge = -1 },
		"lead over a year":         func(p *Policy) { p.Lead = 367 * Day },
		"lead as rotate_every":     func(p *Policy) { p.Lead = p.RotateEvery },
		"verify_window < max_ttl":  func(p *Policy) { p.VerifyWindow = p.MaxTTL - 1 },
		"jwks_max_age 0":           func(p *Policy) { p.JWKSMaxAge = 0 },
		"jwks_max_age over a day":  func(p *Policy) { p.JWKSMaxAge = 25 * Hour },
		"max_ttl over a year":      func(p *Policy) { p.MaxTTL, p.VerifyWindow = 367*Day, 0 },
		"destroy_wait negative":    func(p *Policy) { p.DestroyWait = -1 },
		"min_ready negative":       func(p *Policy) { p.MinReady = -1 },
		"min_ready 1001":           func(p *Policy) { p.MinReady = 1001 },
		"verify_one_in 0":          func(p *Policy) { p.VerifyOneIn = 0 },
		"verify_one_in 1001":       func(p *Policy) { p.VerifyOneIn = 1001 },
		"no types":                 func(p *Policy) { p.Types = nil },
		"unknown input":            func(p *Policy) { p.Inputs = []string{"stdin"} },
		"message for a token key":  func(p *Policy) { p.Inputs = []string{InputMessage} },
		"digest for a token key":   func(p *Policy) { p.Inputs = []string{InputDigest} },
		"too many audiences":       func(p *Policy) { p.Audiences = make([]string, 33) },
		"a long issuer":            func(p *Policy) { p.Issuer = strings.Repeat("x", 257) },
		"a control character":      func(p *Policy) { p.Types = []string{"JWT\n"} },
		"max_age < rotate_every":   func(p *Policy) { p.MaxAge = p.RotateEvery - 1 },
		"a caller without a name":  func(p *Policy) { p.AllowedCallers = []string{""} },
		"a malformed caller":       func(p *Policy) { p.AllowedCallers = []string{"Bob"} },
		"a caller twice":           func(p *Policy) { p.AllowedCallers = []string{"bob", "bob"} },
		"x509 for a token key":     func(p *Policy) { p.Inputs = []string{InputX509} },
		"a type that is not UTF-8": func(p *Policy) { p.Types = []string{"\xff"} },
	} {
		p := DefaultPolicy(ForToken, ES256)
		c(&p)
		if err := p.Check(ForToken, ES256); err == nil {
			t.Errorf("%s is allowed", what)
		}
	}
	p := DefaultPolicy(ForCode, EdDSA)
	p.Inputs = []string{InputDigest}
	if p.Check(ForCode, EdDSA) == nil {
		t.Error("EdDSA signs messages, not digests of them")
	}
	if p.Check(ForCode, ES256) != nil {
		t.Error("ES256 signs digests")
	}
	for _, purpose := range []Purpose{ForCertificate, ForStatus} {
		for _, in := range []string{InputMessage, InputDigest, InputJWS} {
			p := DefaultPolicy(purpose, ES256)
			p.Inputs = []string{in}
			if p.Check(purpose, ES256) == nil {
				t.Errorf("a %s key signs a caller's %s", purpose, in)
			}
		}
	}
}

func TestOverdue(t *testing.T) {
	if got := (Policy{RotateEvery: Day}).Overdue(); got != Day {
		t.Errorf("overdue at %s", got)
	}
	if got := (Policy{RotateEvery: Day, MaxAge: 2 * Day}).Overdue(); got != 2*Day {
		t.Errorf("overdue at %s", got)
	}
}

func TestAlgorithms(t *testing.T) {
	sizes := map[Algorithm]string{ES256: "SHA-256 32", ES384: "SHA-384 48", EdDSA: " 0", RS256: "SHA-256 32", PS256: "SHA-256 32"}
	if len(sizes) != len(Algorithms) {
		t.Errorf("%d algorithms are known, the test expects %d", len(Algorithms), len(sizes))
	}
	for _, a := range Algorithms {
		if got := fmt.Sprint(a.Hash(), " ", a.Hash().Size()); got != sizes[a] {
			t.Errorf("%s signs %q, want %q", a, got, sizes[a])
		}
		for bits := 0; bits <= 8192; bits++ {
			want := bits == 0
			if a == RS256 || a == PS256 {
				want = bits >= 2048 && bits <= 4096 && bits%256 == 0
			}
			if (CheckAlgorithm(a, bits) == nil) != want {
				t.Fatalf("%s with %d bits: %v", a, bits, CheckAlgorithm(a, bits))
			}
		}
		if CheckAlgorithm(a, -2048) == nil {
			t.Errorf("%s with a negative size passes", a)
		}
	}
	if CheckAlgorithm("", 0) == nil || CheckAlgorithm("HS256", 0) == nil || CheckAlgorithm("none", 0) == nil || CheckAlgorithm("es256", 0) == nil {
		t.Error("an unknown algorithm passes")
	}
}

func TestPurposesAndCustody(t *testing.T) {
	for _, p := range Purposes {
		if got, err := ParsePurpose(string(p)); err != nil || got != p {
			t.Errorf("ParsePurpose(%s) = %s, %v", p, got, err)
		}
		if p.SignsBytes() && p.SignsTokens() {
			t.Errorf("%s signs bytes of a caller and tokens past a claims check", p)
		}
	}
	for s, want := range map[string]Custody{"": Distributed, "distributed": Distributed, "singleton": Singleton} {
		if got, err := ParseCustody(s); err != nil || got != want {
			t.Errorf("ParseCustody(%q) = %s, %v", s, got, err)
		}
	}
	if _, err := ParsePurpose("signing"); err == nil {
		t.Error("an unknown purpose passes")
	}
	if _, err := ParsePurpose(""); err == nil {
		t.Error("no purpose passes")
	}
	if _, err := ParseCustody("replicated"); err == nil {
		t.Error("an unknown custody passes")
	}
}
