package publish

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Expired is the answer for a certificate that was good until it ended.
const Expired Answer = "expired"

// Certificate is what a verifier is told about a certificate, with its reasons.
type Certificate struct {
	Answer     Answer
	Serial     lifecycle.Serial
	Issuer     lifecycle.KeyID // "" when the serial is not known, or not yet recorded
	IssuerKID  string
	NotBefore  lifecycle.Instant
	NotAfter   lifecycle.Instant
	Revocation *lifecycle.CertRevocation // nil = never put on the CRL, or taken off
}

// CertificateStatus answers for one certificate by its serial. fresh says that the View
// met the freshness the caller asked for: revoked may be said out of any state, on hold,
// good and expired only out of a fresh one. What was announced and not recorded is
// unknown.
func CertificateStatus(view *state.View, serial lifecycle.Serial, now lifecycle.Instant, fresh bool) (Certificate, error) {
	out := Certificate{Answer: absent(fresh), Serial: serial}
	c, err := view.Certificate(serial)
	if err != nil {
		return out, fmt.Errorf("look up a certificate: %w", err)
	}
	if c == nil || c.State == lifecycle.CertIntent {
		return out, nil
	}
	out.Issuer, out.IssuerKID, out.NotBefore, out.NotAfter, out.Revocation = c.Issuer, c.IssuerKID, c.NotBefore, c.NotAfter, c.Revocation
	if ca := view.CACertByKID(c.IssuerKID); ca != nil && c.State != lifecycle.CertRevoked {
		if fell := view.CACompromise(ca); fell != nil { // whoever has the key signs what is like it
			out.Answer, out.Revocation = Revoked, fell
			return out, nil
		}
	}
	switch {
	case c.State == lifecycle.CertRevoked:
		out.Answer = Revoked
	case !fresh:
		out.Answer = Indeterminate
	case c.State == lifecycle.CertHeld:
		out.Answer = OnHold
	case now > c.NotAfter:
		out.Answer = Expired
	default:
		out.Answer = Good
	}
	return out, nil
}

// Believed reports whether a CA certificate is neither revoked nor ended, and its instance
// not distrusted.
func Believed(view *state.View, c *lifecycle.CACert, now lifecycle.Instant) bool {
	v, i := view.Version(c.Issuer, c.Version), view.Instance(c.Issuer, c.Version, c.Node)
	return v != nil && i != nil && i.InTrustSet(v) && c.Revocation == nil && now <= c.NotAfter
}

// Chain lists the CA certificates of an issuer's instances that are believed, in DER, and
// behind them those between an external issuer and its root, as far as they are known.
func Chain(view *state.View, issuer lifecycle.KeyID, now lifecycle.Instant) (ders [][]byte) {
	var between [][]byte
	for _, c := range view.CACerts(issuer) {
		if !Believed(view, c, now) {
			continue
		}
		ders = append(ders, c.DER)
		for _, above := range c.Above {
			facts, err := lifecycle.ReadCertificate(above)
			root := err != nil || bytes.Equal(facts.Issuer, facts.Subject)
			if !root && !slices.ContainsFunc(between, func(b []byte) bool { return bytes.Equal(b, above) }) {
				between = append(between, above)
			}
		}
	}
	return append(ders, between...)
}

// Roots lists the certificates of this cluster's roots, in DER. What an external CA
// signed is not among them: its root is known where it is.
func Roots(view *state.View, now lifecycle.Instant) (ders [][]byte) {
	for _, is := range view.Issuers() {
		if is.Kind == lifecycle.RootIssuer {
			ders = append(ders, Chain(view, is.Name, now)...)
		}
	}
	return ders
}
