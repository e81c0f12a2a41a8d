package lifecycle

import "fmt"

// IssuerKind says where an issuer's CA certificates come from.
type IssuerKind string

const (
	RootIssuer     IssuerKind = "root"     // signs its own
	IssuingIssuer  IssuerKind = "issuing"  // its parent, an issuer of this cluster, signs them
	ExternalIssuer IssuerKind = "external" // a CA elsewhere signs them; they are imported
)

// NameConstraints of CA certificates, RFC 5280 section 4.2.1.10. Empty lists constrain
// nothing.
type NameConstraints struct {
	PermittedDNS    []string `cbor:"1,keyasint,omitempty" json:"permitted_dns,omitempty" toml:"permitted_dns,omitempty"`
	ExcludedDNS     []string `cbor:"2,keyasint,omitempty" json:"excluded_dns,omitempty" toml:"excluded_dns,omitempty"`
	PermittedIPs    []string `cbor:"3,keyasint,omitempty" json:"permitted_ips,omitempty" toml:"permitted_ips,omitempty"` // CIDR
	ExcludedIPs     []string `cbor:"4,keyasint,omitempty" json:"excluded_ips,omitempty" toml:"excluded_ips,omitempty"`
	PermittedEmails []string `cbor:"5,keyasint,omitempty" json:"permitted_emails,omitempty" toml:"permitted_emails,omitempty"`
	ExcludedEmails  []string `cbor:"6,keyasint,omitempty" json:"excluded_emails,omitempty" toml:"excluded_emails,omitempty"`
	PermittedURIs   []string `cbor:"7,keyasint,omitempty" json:"permitted_uris,omitempty" toml:"permitted_uris,omitempty"` // hosts
	ExcludedURIs    []string `cbor:"8,keyasint,omitempty" json:"excluded_uris,omitempty" toml:"excluded_uris,omitempty"`
}

// Empty reports whether there are no constraints.
func (n *NameConstraints) Empty() bool {
	for _, l := range n.lists() {
		if len(l) > 0 {
			return false
		}
	}
	return true
}

func (n *NameConstraints) lists() [][]string {
	return [][]string{n.PermittedDNS, n.ExcludedDNS, n.PermittedIPs, n.ExcludedIPs,
		n.PermittedEmails, n.ExcludedEmails, n.PermittedURIs, n.ExcludedURIs}
}

// IssuerTerms are what an issuer's next CA certificates, CRLs and OCSP answers are made
// by. They may change; what was signed does not.
type IssuerTerms struct {
	CommonName   string          `cbor:"1,keyasint" json:"common_name"`
	Organization string          `cbor:"2,keyasint,omitempty" json:"organization,omitempty"`
	PathLen      int             `cbor:"3,keyasint,omitempty" json:"path_len"` // CA certificates below its own; 0 = leaves only
	Names        NameConstraints `cbor:"4,keyasint,omitempty" json:"names"`
	CAValidity   Milliseconds    `cbor:"5,keyasint" json:"ca_validity"`
	CRLEvery     Milliseconds    `cbor:"6,keyasint" json:"crl_every"`           // re-signed this often when nothing was revoked
	CRLValid     Milliseconds    `cbor:"7,keyasint" json:"crl_valid"`           // nextUpdate - thisUpdate
	OCSPValid    Milliseconds    `cbor:"8,keyasint" json:"ocsp_valid"`          // likewise, of an OCSP answer
	ShardCRL     bool            `cbor:"9,keyasint,omitempty" json:"shard_crl"` // shards beside the full CRL
}

// Issuer is a Key of purpose certificate that signs certificates. Each of its instances
// has a CA certificate of its own.
type Issuer struct {
	Rev         uint64     `cbor:"1,keyasint"`
	Name        KeyID      `cbor:"2,keyasint"` // the key's name too
	Kind        IssuerKind `cbor:"3,keyasint"`
	Parent      KeyID      `cbor:"4,keyasint,omitempty"` // the issuer that signs its CA certificates; "" for root and external
	IssuerTerms `cbor:"5,keyasint"`
	Created     Origin `cbor:"6,keyasint"`
}

// DefaultIssuerTerms are those of a new issuer that says only its name.
func DefaultIssuerTerms(kind IssuerKind, commonName string) IssuerTerms {
	t := IssuerTerms{CommonName: commonName, CAValidity: 3 * 365 * Day, CRLEvery: Hour, CRLValid: 72 * Hour, OCSPValid: Hour}
	if kind == RootIssuer {
		t.CAValidity, t.PathLen = 10*365*Day, 1
	}
	return t
}

// CASubject is the subject common name of an instance's CA certificate. Instances have
// distinct ones: GnuTLS and NSS were seen to look for a revoked leaf in the wrong CRL
// where two CA keys share a subject. The first root has the name alone: people read it.
func (i *Issuer) CASubject(version uint64, kid string) string {
	if i.Kind == RootIssuer && version == 1 {
		return i.CommonName
	}
	return i.CommonName + " " + ShortKID(kid)
}

// ShortKID is what stands for a kid in names: enough to tell the instances of one issuer
// apart.
func ShortKID(kid string) string { return kid[:min(len(kid), 8)] }

// Limits of issuers and profiles, each with its reason.
const (
	MaxNamesInList   = 64             // globs, constraints and names in one list; a longer one nobody reads
	MaxNameTextBytes = 256            // one of them: a host name has 253
	MaxSubjectBytes  = 64             // ub-common-name and ub-organization-name, RFC 5280 appendix A.1
	maxPathLen       = 4              // CA certificates in a chain; verifiers give up sooner or later
	minCAValidity    = Hour           // tests; below it the certificate ends while it is made known
	maxCAValidity    = 30 * 366 * Day // no algorithm of today should be trusted longer
	minCRLEvery      = 10 * Second    // each one costs a signature of the CA key
	maxCRLValid      = 366 * Day      // of a root that is off most of the time
	minOCSPValid     = Minute         // below it every client asks each time
	maxOCSPValid     = 7 * Day        // above it a revocation is invisible for a week
)

// Check validates the terms; the error says what to change.
func (t *IssuerTerms) Check() error {
	if t.CommonName == "" {
		return fmt.Errorf("the issuer has no common name")
	}
	for _, s := range []struct{ what, text string }{{"common name", t.CommonName}, {"organization", t.Organization}} {
		// The short kid goes behind the common name.
		if len(s.text) > MaxSubjectBytes-9 || !Printable(s.text) {
			return fmt.Errorf("the issuer's %s has %d bytes or a control character: at most %d are allowed", s.what, len(s.text), MaxSubjectBytes-9)
		}
	}
	if t.PathLen < 0 || t.PathLen > maxPathLen {
		return fmt.Errorf("path length %d: allowed are 0 to %d", t.PathLen, maxPathLen)
	}
	for _, l := range t.Names.lists() {
		if err := CheckNames("name constraint", l); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name     string
		v        Milliseconds
		min, max Milliseconds
	}{{"ca_validity", t.CAValidity, minCAValidity, maxCAValidity}, {"crl_every", t.CRLEvery, minCRLEvery, maxCRLValid},
		{"crl_valid", t.CRLValid, minCRLEvery, maxCRLValid}, {"ocsp_valid", t.OCSPValid, minOCSPValid, maxOCSPValid}} {
		if d.v < d.min || d.v > d.max {
			return fmt.Errorf("%s = %s: allowed are %s to %s", d.name, d.v, d.min, d.max)
		}
	}
	if t.CRLValid < 2*t.CRLEvery {
		return fmt.Errorf("crl_valid = %s is not twice crl_every = %s: one CRL that is late would leave verifiers without any", t.CRLValid, t.CRLEvery)
	}
	return nil
}

// CheckNames validates a list of names, globs or constraints as texts; what they mean is
// for whoever uses them.
func CheckNames(what string, list []string) error {
	if len(list) > MaxNamesInList {
		return fmt.Errorf("%d %ss: at most %d are allowed", len(list), what, MaxNamesInList)
	}
	for _, s := range list {
		if s == "" || len(s) > MaxNameTextBytes || !Printable(s) {
			return fmt.Errorf("a %s of %d bytes is empty, longer than %d, or has a control character", what, len(s), MaxNameTextBytes)
		}
	}
	return nil
}

// CACert is the CA certificate of one instance of an issuer.
type CACert struct {
	Rev        uint64          `cbor:"1,keyasint"`
	Issuer     KeyID           `cbor:"2,keyasint"`
	Version    uint64          `cbor:"3,keyasint"`
	Node       NodeID          `cbor:"4,keyasint"`
	KID        string          `cbor:"5,keyasint"` // of the instance
	Subject    string          `cbor:"6,keyasint"` // common name
	Serial     []byte          `cbor:"7,keyasint"` // as in the certificate; a Serial unless an external CA drew it
	DER        []byte          `cbor:"8,keyasint"`
	ParentKID  string          `cbor:"9,keyasint,omitempty"` // of the instance that signed it; its own kid for a root, "" for external
	NotBefore  Instant         `cbor:"10,keyasint"`
	NotAfter   Instant         `cbor:"11,keyasint"`
	BoundAt    Instant         `cbor:"12,keyasint"`
	Revocation *CertRevocation `cbor:"13,keyasint,omitempty"` // at the parent
	Above      [][]byte        `cbor:"14,keyasint,omitempty"` // of an external issuer: those above it that were brought along, the root last
}

// Responder is the certificate by which one node answers OCSP requests for what one
// instance of an issuer signed (RFC 6960 section 4.2.2.2). The key is the node's.
type Responder struct {
	Rev       uint64  `cbor:"1,keyasint"`
	IssuerKID string  `cbor:"2,keyasint"`
	Node      NodeID  `cbor:"3,keyasint"`
	SPKIHash  []byte  `cbor:"4,keyasint"` // SHA-256 of the node's responder key
	Serial    Serial  `cbor:"5,keyasint"`
	DER       []byte  `cbor:"6,keyasint"`
	NotBefore Instant `cbor:"7,keyasint"`
	NotAfter  Instant `cbor:"8,keyasint"`
	BoundAt   Instant `cbor:"9,keyasint"`
}

// CRLState is the newest CRL of an instance that was allowed to be signed. A number is
// given out once, for one TBSCertList.
type CRLState struct {
	Rev         uint64  `cbor:"1,keyasint"`
	Issuer      KeyID   `cbor:"2,keyasint"`
	KID         string  `cbor:"3,keyasint"`
	Shard       uint64  `cbor:"4,keyasint,omitempty"` // 0 = the full CRL; shards count from 1
	Number      uint64  `cbor:"5,keyasint"`           // cRLNumber, RFC 5280 section 5.2.3
	TBSHash     []byte  `cbor:"6,keyasint"`           // SHA-256
	ThisUpdate  Instant `cbor:"7,keyasint"`
	NextUpdate  Instant `cbor:"8,keyasint"`
	Entries     uint64  `cbor:"9,keyasint"`
	AtIndex     uint64  `cbor:"10,keyasint"` // state the entries were read from
	AllocatedAt Instant `cbor:"11,keyasint"`
}
