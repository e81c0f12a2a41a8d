package lifecycle

import "fmt"

// Reason is a revocation reason, RFC 5280 section 5.3.1, by its name there.
type Reason string

const (
	KeyCompromise        Reason = "keyCompromise"
	CACompromise         Reason = "cACompromise"
	AACompromise         Reason = "aACompromise"
	Superseded           Reason = "superseded"
	CessationOfOperation Reason = "cessationOfOperation"
	AffiliationChanged   Reason = "affiliationChanged"
	PrivilegeWithdrawn   Reason = "privilegeWithdrawn"
	CertificateHold      Reason = "certificateHold"
	Unspecified          Reason = "unspecified"
)

// Reasons lists what revoke accepts. removeFromCRL exists only in delta CRLs.
var Reasons = []Reason{KeyCompromise, CACompromise, AACompromise, Superseded, CessationOfOperation,
	AffiliationChanged, PrivilegeWithdrawn, CertificateHold, Unspecified}

// ParseReason accepts exactly the names in Reasons.
func ParseReason(s string) (Reason, error) {
	for _, r := range Reasons {
		if string(r) == s {
			return r, nil
		}
	}
	if s == "" {
		return "", fmt.Errorf("no reason: choose one of %v", Reasons)
	}
	return "", fmt.Errorf("unknown reason %q: choose one of %v", s, Reasons)
}

// Verb is what a revocation for this reason does to a version.
func (r Reason) Verb() Verb {
	switch r {
	case KeyCompromise, CACompromise, AACompromise:
		return Compromise
	case CertificateHold:
		return Suspend
	}
	return Retire
}

// IsCompromise reports whether the reason takes the key out of the trust set at once.
func (r Reason) IsCompromise() bool { return r.Verb() == Compromise }

// Code is the reason's number in a CRL or an OCSP answer (RFC 5280 section 5.3.1).
func (r Reason) Code() int {
	switch r {
	case KeyCompromise:
		return 1
	case CACompromise:
		return 2
	case AffiliationChanged:
		return 3
	case Superseded:
		return 4
	case CessationOfOperation:
		return 5
	case CertificateHold:
		return 6
	case PrivilegeWithdrawn:
		return 9
	case AACompromise:
		return 10
	}
	return 0
}
