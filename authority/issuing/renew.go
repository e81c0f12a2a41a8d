package issuing

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Renewal is a certificate's own request for its successor. Whoever holds its private
// key needs no other credential: the proof is a signature with that key.
type Renewal struct {
	Serial     lifecycle.Serial
	CSR        []byte // of the successor; may have the same key
	Proof      []byte // signature over RenewalStatement: ASN.1 for ECDSA, PKCS #1 v1.5 with SHA-256 for RSA
	At         lifecycle.Instant
	RequestID  string
	TTL        lifecycle.Milliseconds
	ReceivedAt time.Duration
	Remote     string
}

// maxProofAge is how far the time in a proof may lie from this node's: long enough for
// clocks that drift, short enough that a copied proof is soon worth nothing. A repeat
// with another request id within that time would renew again, for the same key only.
const maxProofAge = 5 * lifecycle.Minute

// RenewalStatement is what the proof signs: lines that say what they are, so that the
// signature is good for nothing else. The certificate's own hash names the cluster too.
func RenewalStatement(cert []byte, requestID string, at lifecycle.Instant, csr []byte) []byte {
	return fmt.Appendf(nil, "chancery-renewal/1\ncertificate-sha256: %x\nrequest: %s\nat: %s\ncsr-sha256: %x\n",
		sha256.Sum256(cert), requestID, at, sha256.Sum256(csr))
}

// Renew issues the successor of a certificate under the same issuer and profile, with
// the same names.
func (o *Office) Renew(ctx context.Context, r Renewal) (is *Issued, err error) {
	v := o.Ledger.View()
	old, cert, err := o.renewable(v, &r)
	if err != nil {
		return nil, err
	}
	defer func() { o.count(string(old.Issuer), old.Profile, is, err) }()
	order := Order{Caller: authority.Caller{Principal: old.Requester, Remote: r.Remote}, RequestID: r.RequestID, ReceivedAt: r.ReceivedAt,
		Issuer: string(old.Issuer), Profile: old.Profile, CSR: r.CSR, TTL: r.TTL, Replaces: &r.Serial}
	digest := order.digest()
	if done, err := o.replay(&order, digest); done != nil || err != nil {
		return done, err
	}
	req, err := pki.ParseCSR(r.CSR)
	if err != nil {
		return nil, refuse("invalid", "chancery cert renew makes one", "%v", err)
	}
	names := pki.Names{DNS: old.DNS, IPs: old.IPs, URIs: old.URIs, Emails: old.Emails}
	req.Names, req.CommonName = names, cert.Subject.CommonName
	return o.overtaking(&order, digest, func(version uint64) (*Issued, error) {
		if version == 0 {
			return nil, refuse(string(state.NoActiveVersion), "chancery key show "+string(old.Issuer), "issuer %s signs nothing now", old.Issuer)
		}
		return o.issue(ctx, &job{Order: order, request: req, digest: digest[:], verb: "cert.renew", byCertificate: true, version: version})
	})
}

// renewable finds the certificate and checks that its key asks.
func (o *Office) renewable(v *state.View, r *Renewal) (*lifecycle.Certificate, *x509.Certificate, error) {
	old, err := v.Certificate(r.Serial)
	if err != nil {
		return nil, nil, err
	}
	der, err := v.CertificateDER(r.Serial)
	if err != nil {
		return nil, nil, err
	}
	if old == nil || der == nil || old.Profile == lifecycle.ProfileCA || old.Profile == lifecycle.ProfileOCSP {
		return nil, nil, refuse(string(state.CertificateNotFound), "chancery cert list", "no certificate with serial %s can be renewed", r.Serial)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("read certificate %s: %w", r.Serial, err)
	}
	now := o.now()
	if skew := r.At - now; skew > lifecycle.Instant(maxProofAge) || -skew > lifecycle.Instant(maxProofAge) {
		return nil, nil, &authority.Denied{Why: fmt.Sprintf("the proof is of %s and it is %s: set the clock, or make a new proof", r.At, now)}
	}
	if err := provenBy(cert, RenewalStatement(der, r.RequestID, r.At, r.CSR), r.Proof); err != nil {
		return nil, nil, &authority.Denied{Why: "the proof was not made with the key of certificate " + r.Serial.String()}
	}
	switch {
	case old.Revocation != nil:
		return nil, nil, refuse(string(state.CertificateRevoked), "chancery cert issue", "certificate %s was revoked at %s (%s)", r.Serial, old.Revocation.At, old.Revocation.Reason)
	case now > old.NotAfter:
		return nil, nil, refuse(string(state.CertificateExpired), "chancery cert issue", "certificate %s ended at %s: it can no longer ask for itself", r.Serial, old.NotAfter)
	}
	return old, cert, nil
}

// provenBy verifies a signature over a message with a certificate's key.
func provenBy(cert *x509.Certificate, message, signature []byte) error {
	alg := lifecycle.ES256
	switch kind, err := pki.KeyType(cert.PublicKey); {
	case err != nil:
		return err
	case kind == pki.KeyP384:
		alg = lifecycle.ES384
	case kind == pki.KeyEd25519:
		alg = lifecycle.EdDSA
	case kind != pki.KeyP256:
		alg = lifecycle.RS256
	}
	return hsm.VerifySignature(alg, cert.RawSubjectPublicKeyInfo, signing.Digest(alg, message), signature)
}
