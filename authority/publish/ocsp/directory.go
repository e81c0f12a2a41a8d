package ocsp

import (
	"crypto/sha1" //nolint:gosec // RFC 6960 names issuers by it; see Hash
	"crypto/sha256"
	"crypto/x509"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Directory finds issuing instances by the hashes in CertIDs. It is immutable: whoever
// learns of another CA certificate makes a new one.
type Directory struct {
	found map[issuerHash]string
}

// issuerHash is both hashes, padded to the longer ones.
type issuerHash struct {
	hash      Hash
	name, key [32]byte
}

// Issuer is an instance that certificates were signed with.
type Issuer struct {
	KID         string
	Certificate []byte // DER of its CA certificate
}

// NewDirectory lists issuers. Several certificates of one instance are fine.
func NewDirectory(issuers []Issuer) (*Directory, error) {
	d := &Directory{found: make(map[issuerHash]string, 2*len(issuers))}
	for _, i := range issuers {
		ca, err := x509.ParseCertificate(i.Certificate)
		if err != nil {
			return nil, fmt.Errorf("read the CA certificate of %s: %w", i.KID, err)
		}
		key, err := publicKeyBits(ca.RawSubjectPublicKeyInfo)
		if err != nil {
			return nil, fmt.Errorf("read the CA certificate of %s: %w", i.KID, err)
		}
		long := issuerHash{hash: SHA256, name: sha256.Sum256(ca.RawSubject), key: sha256.Sum256(key)}
		short := issuerHash{hash: SHA1}
		name, bits := sha1.Sum(ca.RawSubject), sha1.Sum(key) //nolint:gosec // see Hash
		copy(short.name[:], name[:])
		copy(short.key[:], bits[:])
		d.found[long], d.found[short] = i.KID, i.KID
	}
	return d, nil
}

// Find is the kid of the instance that a CertID names; false when it is none of ours.
func (d *Directory) Find(id *CertID) (kid string, ok bool) {
	if d == nil || id.Hash == OtherHash {
		return "", false
	}
	h := issuerHash{hash: id.Hash}
	copy(h.name[:], id.NameHash)
	copy(h.key[:], id.KeyHash)
	kid, ok = d.found[h]
	return kid, ok
}

// publicKeyBits is the content of subjectPublicKey, without the octet that counts
// unused bits: what CertIDs and responder ids hash.
func publicKeyBits(spki []byte) ([]byte, error) {
	in := cryptobyte.String(spki)
	var info, algorithm cryptobyte.String
	var bits []byte
	if !in.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1(&algorithm, asn1.SEQUENCE) || !info.ReadASN1BitStringAsBytes(&bits) {
		return nil, fmt.Errorf("no SubjectPublicKeyInfo")
	}
	return bits, nil
}
