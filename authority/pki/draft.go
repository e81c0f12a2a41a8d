package pki

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// ShortLife is how long a certificate may live and still need no revocation: the
// lifetime is over before most would have asked (RFC 9608).
const ShortLife = lifecycle.Day

// Draft is a certificate before its CA has signed it.
type Draft struct {
	TBS       []byte            // what the CA signs
	TBSHash   [sha256.Size]byte // names it in the log
	SPKIHash  [sha256.Size]byte
	Serial    lifecycle.Serial
	Subject   string // common name, "" = none
	Names     Names
	NotBefore lifecycle.Instant
	NotAfter  lifecycle.Instant

	algorithm []byte // AlgorithmIdentifier of the signature, DER
}

// Order is what somebody asks for, with what the issuing node adds.
type Order struct {
	Request   *Request
	Requester Requester
	Profile   *Profile
	Serial    lifecycle.Serial
	Now       lifecycle.Instant
	TTL       lifecycle.Milliseconds // 0 = the profile's default
}

// ErrOrder is what every refusal of an order wraps that is not about its names or its
// request.
var ErrOrder = errors.New("certificate")

// Draft makes the to-be-signed bytes of an order and has a verifier look at them. What
// it returns may be signed.
func (ca *CA) Draft(o Order) (*Draft, error) {
	template, names, err := ca.leaf(o)
	if err != nil {
		return nil, err
	}
	trial, err := ca.tryLeaf(template, o.Request.Key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOrder, err)
	}
	if err := ca.lint(trial, o.Profile, &names); err != nil {
		return nil, fmt.Errorf("%w: no verifier would accept it: %w", ErrOrder, err)
	}
	d := draftOf(trial, o.Serial)
	d.Names, d.SPKIHash = names, sha256.Sum256(o.Request.SPKI)
	return d, nil
}

// leaf turns an order into a template.
func (ca *CA) leaf(o Order) (*x509.Certificate, Names, error) {
	names, err := o.Request.Names.Normalize()
	if err != nil {
		return nil, names, err
	}
	p := &o.Profile.Terms
	if !slices.Contains(p.Keys, o.Request.KeyType) {
		return nil, names, fmt.Errorf("%w: profile %s certifies no %s keys: choose from %v", ErrOrder, o.Profile.Name, o.Request.KeyType, p.Keys)
	}
	subject, err := commonName(o, &names)
	if err != nil {
		return nil, names, err
	}
	if names.Empty() && !p.NamesOptional {
		return nil, names, fmt.Errorf("%w: profile %s needs at least one name: give --dns, --ip, --uri or --email", ErrOrder, o.Profile.Name)
	}
	if err := allow(o.Profile.Name, p.Names, o.Requester, &names); err != nil {
		return nil, names, err
	}
	t := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(o.Serial[:]), BasicConstraintsValid: true, SubjectKeyId: keyID(o.Request.SPKI),
		DNSNames: names.DNS, EmailAddresses: names.Emails}
	if subject != "" {
		t.Subject = pkix.Name{CommonName: subject}
	}
	for _, s := range names.IPs {
		ip := net.ParseIP(s)
		if v4 := ip.To4(); v4 != nil {
			ip = v4
		}
		t.IPAddresses = append(t.IPAddresses, ip)
	}
	for _, s := range names.URIs {
		u, err := url.Parse(s)
		if err != nil {
			return nil, names, fmt.Errorf("%w: %q: %w", ErrName, s, err)
		}
		t.URIs = append(t.URIs, u)
	}
	if err := ca.period(t, o); err != nil {
		return nil, names, err
	}
	setUsage(t, p, o.Request.KeyType)
	ca.setRevocation(t, p)
	return t, names, nil
}

// commonName is what the subject says, by the profile. In a certificate with names it
// is one of them: some verifiers look at it still.
func commonName(o Order, names *Names) (string, error) {
	asked := o.Request.CommonName
	switch o.Profile.Terms.CommonName {
	case "first":
		if len(names.DNS) > 0 && len(names.DNS[0]) <= lifecycle.MaxSubjectBytes {
			return names.DNS[0], nil
		}
		return "", nil
	case "request":
		if asked == "" {
			asked = o.Requester.Name
		}
		if len(asked) > lifecycle.MaxSubjectBytes || !lifecycle.Printable(asked) {
			return "", fmt.Errorf("%w: a common name of %d bytes or with control characters: at most %d bytes are allowed", ErrName, len(asked), lifecycle.MaxSubjectBytes)
		}
		if asked != o.Requester.Name && !slices.Contains(names.DNS, asked) && !slices.Contains(names.Emails, asked) && !governs(o.Requester) {
			return "", fmt.Errorf("%w: the common name %q is neither the requester's name nor one of the names asked for", ErrName, asked)
		}
		return asked, nil
	}
	return "", nil
}

// governs reports whether the requester runs the cluster and may call others what it
// likes.
func governs(r Requester) bool {
	return slices.Contains(r.Roles, lifecycle.Admin) || slices.Contains(r.Roles, lifecycle.Operator)
}

// period sets the validity: whole seconds, no longer than the profile allows and never
// longer than the CA.
func (ca *CA) period(t *x509.Certificate, o Order) error {
	p := &o.Profile.Terms
	ttl := o.TTL
	if ttl == 0 {
		ttl = p.DefaultValidity
	}
	if ttl < lifecycle.Minute || ttl > p.MaxValidity {
		return fmt.Errorf("%w: a lifetime of %s: profile %s allows %s to %s", ErrOrder, ttl, o.Profile.Name, lifecycle.Milliseconds(lifecycle.Minute), p.MaxValidity)
	}
	t.NotBefore = seconds(o.Now.Add(-p.Backdate))
	t.NotAfter = seconds(o.Now.Add(ttl))
	if o.Now > lifecycle.Instant(ca.Cert.NotAfter.UnixMilli()) {
		return fmt.Errorf("%w: the CA certificate %q expired at %s: the issuer needs a new one", ErrOrder, ca.Cert.Subject.CommonName, ca.Cert.NotAfter.UTC().Format(time.RFC3339))
	}
	if t.NotBefore.Before(ca.Cert.NotBefore) {
		t.NotBefore = ca.Cert.NotBefore // the CA is younger than the back-dating
	}
	if t.NotAfter.After(ca.Cert.NotAfter) {
		if o.TTL != 0 {
			return fmt.Errorf("%w: it would outlive its CA, which ends at %s: ask for less, or rotate the issuer", ErrOrder, ca.Cert.NotAfter.UTC().Format(time.RFC3339))
		}
		t.NotAfter = ca.Cert.NotAfter
	}
	return nil
}

func timeOf(at lifecycle.Instant) time.Time { return time.UnixMilli(int64(at)).UTC() }

func seconds(at lifecycle.Instant) time.Time { return timeOf(at).Truncate(time.Second) }

func setUsage(t *x509.Certificate, p *lifecycle.ProfileTerms, keyType string) {
	for _, u := range p.Usage {
		t.KeyUsage |= usages[u]
	}
	switch keyType {
	case KeyRSA2048, KeyRSA3072, KeyRSA4096:
	default:
		t.KeyUsage &^= x509.KeyUsageKeyEncipherment | x509.KeyUsageDataEncipherment // only RSA keys encipher
	}
	for _, name := range p.ExtendedUsage {
		if u, err := extendedUsage(name); err == nil && u.named { // a checked profile has no others
			t.ExtKeyUsage = append(t.ExtKeyUsage, u.known)
		} else if err == nil {
			t.UnknownExtKeyUsage = append(t.UnknownExtKeyUsage, u.oid)
		}
	}
}

// Extensions that crypto/x509 does not write.
var (
	oidNoRevAvail  = asn1.ObjectIdentifier{2, 5, 29, 56}                  // RFC 9608
	oidOCSPNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5} // RFC 6960 section 4.2.2.2.1
	derNull        = []byte{5, 0}
)

// setRevocation says where to ask whether the certificate is revoked, or that there is
// nothing to ask.
func (ca *CA) setRevocation(t *x509.Certificate, p *lifecycle.ProfileTerms) {
	if ca.Links.CA != "" {
		t.IssuingCertificateURL = []string{ca.Links.CA}
	}
	short := t.NotAfter.Sub(t.NotBefore) <= time.Duration(ShortLife+p.Backdate)*time.Millisecond
	switch {
	case p.OCSPNoCheck:
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidOCSPNoCheck, Value: derNull})
	case p.NoRevocation || short:
		t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: oidNoRevAvail, Value: derNull})
	default:
		if ca.Links.CRL != "" {
			t.CRLDistributionPoints = []string{ca.Links.CRL}
		}
		if ca.Links.OCSP != "" {
			t.OCSPServer = []string{ca.Links.OCSP}
		}
	}
}

// keyID is the subject key identifier: the leftmost 160 bits of the SHA-256 of the
// public key (RFC 7093 section 2, method 1).
func keyID(spki []byte) []byte {
	var in, key cryptobyte.String = spki, nil
	var seq, alg cryptobyte.String
	var unused uint8
	if !in.ReadASN1(&seq, asn1Sequence) || !seq.ReadASN1(&alg, asn1Sequence) || !seq.ReadASN1(&key, asn1BitString) || !key.ReadUint8(&unused) {
		return nil // what is checked before has this form
	}
	sum := sha256.Sum256(key)
	return sum[:20]
}

// draftOf takes what is to be signed out of a certificate that a throwaway key signed.
func draftOf(trial *x509.Certificate, serial lifecycle.Serial) *Draft {
	return &Draft{TBS: trial.RawTBSCertificate, TBSHash: sha256.Sum256(trial.RawTBSCertificate), Serial: serial,
		SPKIHash: sha256.Sum256(trial.RawSubjectPublicKeyInfo), Subject: trial.Subject.CommonName,
		NotBefore: lifecycle.Instant(trial.NotBefore.UnixMilli()), NotAfter: lifecycle.Instant(trial.NotAfter.UnixMilli()),
		algorithm: signatureAlgorithm(trial.Raw)}
}

// signatureAlgorithm is the second element of a certificate.
func signatureAlgorithm(cert []byte) []byte {
	in := cryptobyte.String(cert)
	var seq, tbs, alg cryptobyte.String
	if !in.ReadASN1(&seq, asn1Sequence) || !seq.ReadASN1Element(&tbs, asn1Sequence) || !seq.ReadASN1Element(&alg, asn1Sequence) {
		return nil // crypto/x509 made it
	}
	return alg
}

// Assemble puts the CA's signature behind what it signed. The signature has been
// verified by whoever made it.
func (d *Draft) Assemble(signature []byte) ([]byte, error) {
	der, err := signed(d.TBS, d.algorithm, signature)
	if err != nil {
		return nil, fmt.Errorf("%w: put it together: %w", ErrOrder, err)
	}
	if cert, err := x509.ParseCertificate(der); err != nil || !bytes.Equal(cert.RawTBSCertificate, d.TBS) {
		return nil, fmt.Errorf("%w: put together it is none: %w", ErrOrder, err)
	}
	return der, nil
}
