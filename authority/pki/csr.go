package pki

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxCSRBytes is the longest certificate request that is read: one with an RSA-4096 key
// and a hundred names has 6 KiB.
const MaxCSRBytes = 16 << 10

// Request is what counts of a certificate request: a public key whose private half the
// requester has shown to hold, and names.
type Request struct {
	Key        crypto.PublicKey
	KeyType    string // one of KeyTypes
	SPKI       []byte // DER SubjectPublicKeyInfo
	CommonName string
	Names      Names
}

// ErrRequest is what every refusal of a certificate request wraps.
var ErrRequest = errors.New("certificate request")

// ParseCSR reads a PKCS#10 request (RFC 2986), DER or PEM, and checks its proof of
// possession. Whatever it carries beyond key, common name and subjectAltName is ignored.
func ParseCSR(b []byte) (*Request, error) {
	r, err := parseCSR(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return r, nil
}

func parseCSR(b []byte) (*Request, error) {
	if len(b) == 0 || len(b) > MaxCSRBytes {
		return nil, fmt.Errorf("%d bytes: allowed are 1 to %d", len(b), MaxCSRBytes)
	}
	der, err := requestDER(b)
	if err != nil {
		return nil, err
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("not a PKCS#10 request: %w", err)
	}
	switch csr.SignatureAlgorithm {
	case x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519, x509.SHA256WithRSA, x509.SHA384WithRSA,
		x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS:
	default:
		return nil, fmt.Errorf("signed with %s: use SHA-256 or better", csr.SignatureAlgorithm)
	}
	r := &Request{Key: csr.PublicKey, SPKI: csr.RawSubjectPublicKeyInfo, CommonName: csr.Subject.CommonName}
	if r.KeyType, err = KeyType(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := canonicalKey(r); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("its signature does not verify with its own public key: whoever made it does not hold the private key")
	}
	for _, e := range csr.Extensions {
		if e.Id.Equal(oidSubjectAltName) {
			if err := onlyKnownNames(e.Value); err != nil {
				return nil, err
			}
		}
	}
	r.Names = Names{DNS: csr.DNSNames, Emails: csr.EmailAddresses}
	for _, ip := range csr.IPAddresses {
		r.Names.IPs = append(r.Names.IPs, ip.String())
	}
	for _, u := range csr.URIs {
		r.Names.URIs = append(r.Names.URIs, u.String())
	}
	return r, nil
}

// requestDER takes PEM armour off. Nothing may stand around the one block.
func requestDER(b []byte) ([]byte, error) {
	if b[0] == 0x30 {
		return b, nil
	}
	block, rest := pem.Decode(b)
	switch {
	case block == nil:
		return nil, errors.New("neither DER nor PEM: make one with openssl req -new")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, fmt.Errorf("a PEM block of type %.40q: a CERTIFICATE REQUEST is needed", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something follows the PEM block: send one request")
	}
	return block.Bytes, nil
}

// canonicalKey refuses a public key in another encoding than the usual one: its hash
// would tell the same key apart from itself.
func canonicalKey(r *Request) error {
	spki, err := x509.MarshalPKIXPublicKey(r.Key)
	if err != nil {
		return fmt.Errorf("encode its public key: %w", err)
	}
	if !bytes.Equal(spki, r.SPKI) {
		return errors.New("its public key has an unusual encoding (compressed point, or odd parameters)")
	}
	return nil
}

var oidSubjectAltName = asn1.ObjectIdentifier{2, 5, 29, 17}

// onlyKnownNames refuses names of kinds that would not be in the certificate: to leave
// them out silently is to give another certificate than was asked for.
func onlyKnownNames(san []byte) error {
	in := cryptobyte.String(san)
	var list cryptobyte.String
	if !in.ReadASN1(&list, cbasn1.SEQUENCE) || !in.Empty() {
		return errors.New("its subjectAltName is not DER")
	}
	for !list.Empty() {
		var name cryptobyte.String
		var tag cbasn1.Tag
		if !list.ReadAnyASN1(&name, &tag) {
			return errors.New("its subjectAltName is not DER")
		}
		switch tag {
		case cbasn1.Tag(1).ContextSpecific(), cbasn1.Tag(2).ContextSpecific(), cbasn1.Tag(6).ContextSpecific(), cbasn1.Tag(7).ContextSpecific():
		default:
			return errors.New("its subjectAltName has a name that is no DNS name, IP address, URI or email address: leave it out")
		}
	}
	return nil
}
