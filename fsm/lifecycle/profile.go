package lifecycle

import "fmt"

// NameRule says which names which requesters may have in a certificate. A list that is
// empty allows no name of its kind.
type NameRule struct {
	Requester string   `cbor:"1,keyasint" json:"requester" toml:"requester"`                         // principal name or glob, or "role:<role>"; "*" = anybody who may issue
	DNS       []string `cbor:"2,keyasint,omitempty" json:"dns,omitempty" toml:"dns,omitempty"`       // globs; '*' stands for one label, "**" for any number
	IPs       []string `cbor:"3,keyasint,omitempty" json:"ips,omitempty" toml:"ips,omitempty"`       // CIDR
	URIs      []string `cbor:"4,keyasint,omitempty" json:"uris,omitempty" toml:"uris,omitempty"`     // globs
	Emails    []string `cbor:"5,keyasint,omitempty" json:"emails,omitempty" toml:"emails,omitempty"` // globs
}

// ProfileTerms are what certificates of one kind look like, and who may have which names
// in them. What the texts mean is for authority/pki.
type ProfileTerms struct {
	Usage           []string     `cbor:"1,keyasint" json:"usage" toml:"usage"`                                                 // RFC 5280 names: digitalSignature, keyEncipherment, ...
	ExtendedUsage   []string     `cbor:"2,keyasint,omitempty" json:"extended_usage,omitempty" toml:"extended_usage,omitempty"` // serverAuth, clientAuth, codeSigning, OCSPSigning, ...
	Keys            []string     `cbor:"3,keyasint" json:"keys" toml:"keys"`                                                   // P-256, P-384, Ed25519, RSA-2048, RSA-3072, RSA-4096
	DefaultValidity Milliseconds `cbor:"4,keyasint" json:"default_validity" toml:"default_validity"`
	MaxValidity     Milliseconds `cbor:"5,keyasint" json:"max_validity" toml:"max_validity"`
	Backdate        Milliseconds `cbor:"6,keyasint,omitempty" json:"backdate" toml:"backdate"`                                 // NotBefore lies this far back
	CommonName      string       `cbor:"7,keyasint,omitempty" json:"common_name,omitempty" toml:"common_name,omitempty"`       // "none" (default), "first" DNS name, or "request"
	Names           []NameRule   `cbor:"8,keyasint,omitempty" json:"names,omitempty" toml:"names,omitempty"`                   // the first rule that matches the requester counts
	NamesOptional   bool         `cbor:"9,keyasint,omitempty" json:"names_optional,omitempty" toml:"names_optional,omitempty"` // a certificate without any SAN is fine
	NoRevocation    bool         `cbor:"10,keyasint,omitempty" json:"no_revocation,omitempty" toml:"no_revocation,omitempty"`  // noRevAvail whatever the lifetime; certificates of 24 h or less have it anyway
	OCSPNoCheck     bool         `cbor:"11,keyasint,omitempty" json:"ocsp_no_check,omitempty" toml:"ocsp_no_check,omitempty"`  // RFC 6960 section 4.2.2.2.1
}

// Profile is a profile that the cluster was given. It replaces a built-in one of its
// name.
type Profile struct {
	Rev          uint64 `cbor:"1,keyasint"`
	Name         string `cbor:"2,keyasint"`
	Version      uint64 `cbor:"3,keyasint"` // 1 for the first of its name, for ever counted on
	ProfileTerms `cbor:"4,keyasint"`
	Set          Origin `cbor:"5,keyasint"`
	Hash         []byte `cbor:"6,keyasint"`           // command.ProfileHash: what certificates name it by
	Dropped      bool   `cbor:"7,keyasint,omitempty"` // kept for its Version: the built-in one counts, if there is one
}

// Profiles that certificates of the cluster's own making have. They are built in and
// cannot be replaced.
const (
	ProfileCA   = "ca"
	ProfileOCSP = "ocsp"
)

// Limits of a profile.
const (
	maxNameRules    = 64
	maxUsages       = 32
	maxCertValidity = 10 * 366 * Day // of a leaf; a CA's is its issuer's
	maxBackdate     = Day
)

// Check validates what needs no knowledge of X.509; the error says what to change.
func (p *ProfileTerms) Check() error {
	for _, l := range []struct {
		what string
		list []string
		min  int
	}{{"key usage", p.Usage, 1}, {"extended key usage", p.ExtendedUsage, 0}, {"kind of key", p.Keys, 1}} {
		if len(l.list) < l.min || len(l.list) > maxUsages {
			return fmt.Errorf("the profile has %d %ss: allowed are %d to %d", len(l.list), l.what, l.min, maxUsages)
		}
		if err := CheckNames(l.what, l.list); err != nil {
			return err
		}
	}
	if p.MaxValidity < Minute || p.MaxValidity > maxCertValidity {
		return fmt.Errorf("max_validity = %s: allowed are %s to %s", p.MaxValidity, Minute, maxCertValidity)
	}
	if p.DefaultValidity < Minute || p.DefaultValidity > p.MaxValidity {
		return fmt.Errorf("default_validity = %s: allowed are %s to max_validity = %s", p.DefaultValidity, Minute, p.MaxValidity)
	}
	if p.Backdate < 0 || p.Backdate > maxBackdate {
		return fmt.Errorf("backdate = %s: allowed are 0 to %s", p.Backdate, maxBackdate)
	}
	switch p.CommonName {
	case "", "none", "first", "request":
	default:
		return fmt.Errorf("common_name = %q: choose none, first or request", p.CommonName)
	}
	if len(p.Names) > maxNameRules {
		return fmt.Errorf("the profile has %d rules for names: at most %d are allowed", len(p.Names), maxNameRules)
	}
	for i := range p.Names {
		if err := p.Names[i].check(); err != nil {
			return fmt.Errorf("rule %d for names: %w", i+1, err)
		}
	}
	return nil
}

func (r *NameRule) check() error {
	if err := CheckNames("requester", []string{r.Requester}); err != nil {
		return err
	}
	for _, l := range []struct {
		what string
		list []string
	}{{"dns name", r.DNS}, {"ip range", r.IPs}, {"uri", r.URIs}, {"email", r.Emails}} {
		if err := CheckNames(l.what, l.list); err != nil {
			return err
		}
	}
	return nil
}
