package fsmtest

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Issuer of the scripts with certificates: a CA that was signed elsewhere, with one
// instance.
const Issuer lifecycle.KeyID = "corp"

// Requesters is how many principals ask for certificates.
const Requesters = 16

// certBytes is what a server certificate for a P-256 key with the usual extensions has.
const certBytes = 760

var issuerSPKI = sequence([]byte("the public key of corp's one instance"))

// IssuerKID of the issuer's instance.
var IssuerKID = func() string {
	sum := sha256.Sum256(issuerSPKI)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}()

func sequence(content []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(content) })
	return b.BytesOrPanic()
}

// Certificate has the form of one and its usual length, and no signature that verifies.
func Certificate(serial lifecycle.Serial, spki []byte, from, to lifecycle.Instant) (der, tbs []byte) {
	at := func(i lifecycle.Instant) time.Time { return time.UnixMilli(int64(i)).UTC() }
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.INTEGER, func(b *cryptobyte.Builder) { b.AddBytes(serial[:]) })
		b.AddBytes(sequence(nil))
		b.AddBytes(sequence([]byte("corp CA")))
		b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1GeneralizedTime(at(from))
			b.AddASN1GeneralizedTime(at(to))
		})
		b.AddBytes(sequence([]byte("a subject")))
		b.AddBytes(spki)
		b.AddASN1(asn1.OCTET_STRING, func(b *cryptobyte.Builder) {
			for i := uint64(0); i < (certBytes-280)/8; i++ {
				b.AddUint64(binary.BigEndian.Uint64(serial[12:]) * (2*i + 1)) // no two alike
			}
		})
	})
	tbs = b.BytesOrPanic()
	sum := sha256.Sum256(tbs)
	return sequence(bytes.Join([][]byte{tbs, sequence(nil), append([]byte{3, 72}, bytes.Repeat(sum[:], 3)[:72]...)}, nil)), tbs
}

// PKI are the entries after genesis that make the issuer and who may ask it.
func PKI() (out [][]byte) {
	add := func(body command.Body) { out = append(out, Encode(len(out)+1, body)) }
	for i := range Requesters {
		add(&command.AddPrincipal{Principal: command.PrincipalRecord{Name: requester(i), Kind: lifecycle.Service, Grants: []lifecycle.Grant{{Role: lifecycle.Signer, Keys: string(Issuer)}}}})
	}
	in := command.Intent{Node: NodeID, CKAID: lifecycle.CKAID{1}}
	add(&command.CreateIssuer{Of: lifecycle.ExternalIssuer, Terms: lifecycle.DefaultIssuerTerms(lifecycle.ExternalIssuer, "corp CA"), Key: command.CreateKey{
		Name: Issuer, Purpose: lifecycle.ForCertificate, Alg: lifecycle.ES256, Custody: lifecycle.Distributed, Owner: "platform", Reason: "certificates",
		Policy: lifecycle.DefaultPolicy(lifecycle.ForCertificate, lifecycle.ES256), Instances: []command.Intent{in}}})
	add(&command.BindInstance{Key: Issuer, Version: 1, Node: NodeID, CKAID: in.CKAID, SPKI: issuerSPKI, KID: IssuerKID, Driver: "soft"})
	add(&command.PublishVersion{Key: Issuer, Version: 1})
	add(&command.ActivateVersion{Key: Issuer, Version: 1})
	der, _ := Certificate(lifecycle.NewSerial(Start, [13]byte{}), issuerSPKI, Start, Start.Add(1000*lifecycle.Day))
	add(&command.BindCACert{Issuer: Issuer, Version: 1, Node: NodeID, DER: der, Subject: "corp CA"})
	return out
}

func requester(n int) string { return fmt.Sprintf("svc-%02d", n%Requesters) }

// CertAt is when certificate n of a script with so many in an entry is announced.
func CertAt(n, batch int) lifecycle.Instant {
	return Start.Add(lifecycle.Hour + lifecycle.Milliseconds(n/batch)*lifecycle.Second)
}

// CertSerial is the serial of certificate n.
func CertSerial(n, batch int) lifecycle.Serial {
	sum := sha256.Sum256(fmt.Appendf(nil, "certificate %d", n))
	return lifecycle.NewSerial(CertAt(n, batch).Add(lifecycle.Milliseconds(n%batch)), [13]byte(sum[:13]))
}

// CertName is the DNS name of certificate n.
func CertName(n int) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "name %d", n))
	return fmt.Sprintf("h%x.corp.test", sum[:5])
}

// Issue are the two entries that announce certificates first to first + batch - 1 and
// record them.
func Issue(first, batch int) (intents, record []byte) {
	at := CertAt(first, batch)
	announce, entered := &command.IssueIntents{Node: NodeID}, &command.RecordIssued{Node: NodeID}
	hash := func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	for n := first; n < first+batch; n++ {
		serial, spki := CertSerial(n, batch), sequence(fmt.Appendf(nil, "the public key of certificate %d, as long as one of P-256 is, with its OIDs and all, 91 bytes", n))
		der, tbs := Certificate(serial, spki, at, at.Add(90*lifecycle.Day))
		ms := fmt.Sprintf("%012x", int64(at))
		announce.Items = append(announce.Items, command.IssueItem{Serial: serial, Issuer: Issuer, Version: 1, KID: IssuerKID, Profile: "server",
			ProfileHash: hash([]byte("server")), TBSHash: hash(tbs), SPKIHash: hash(spki), Subject: CertName(n), DNS: []string{CertName(n)},
			NotBefore: at, NotAfter: at.Add(90 * lifecycle.Day), DeadlineAt: at.Add(lifecycle.Minute), Requester: requester(n),
			RequestID: fmt.Sprintf("%s-%s-7000-8000-%012x", ms[:8], ms[8:], n), RequestDigest: hash([]byte("request"))})
		entered.Items = append(entered.Items, command.IssuedItem{Serial: serial, DER: der})
	}
	return node(at, announce), node(at, entered)
}

// Revoke is the entry that revokes certificates first to first + n - 1 of those that
// came batch to an entry, all at an instant.
func Revoke(first, n, batch int, at lifecycle.Instant) []byte {
	c := &command.RevokeCertificates{}
	for i := first; i < first+n; i++ {
		c.Items = append(c.Items, command.RevokeItem{Serial: CertSerial(i, batch), Reason: lifecycle.Superseded})
	}
	return node(at, c)
}

// Gathered is the entry of as many requests as Revoke revokes certificates.
func Gathered(first, n, batch int, at lifecycle.Instant) []byte {
	c := &command.GatherRevocations{}
	for i := first; i < first+n; i++ {
		ms, digest := fmt.Sprintf("%012x", int64(at)), sha256.Sum256([]byte("request"))
		c.Requests = append(c.Requests, command.RevocationRequest{Actor: requester(i), RequestID: fmt.Sprintf("%s-%s-7000-8000-%012x", ms[:8], ms[8:], i),
			RequestDigest: digest[:], Item: command.RevokeItem{Serial: CertSerial(i, batch), Reason: lifecycle.Superseded}})
	}
	b, err := (&command.Command{Header: command.Header{At: at, Actor: "system", Node: NodeID}, Body: c}).Encode()
	if err != nil {
		panic(err) // a script is constant
	}
	return b
}

// RaiseFormat is the entry that lets in what the newest Format does.
func RaiseFormat(n int) []byte { return Encode(n, &command.RaiseFormat{Format: command.MaxFormat}) }

// node makes the entry of a node's verb: it has no request id.
func node(at lifecycle.Instant, body command.Body) []byte {
	b, err := (&command.Command{Header: command.Header{At: at, Actor: "node:n1", Node: NodeID}, Body: body}).Encode()
	if err != nil {
		panic(err) // a script is constant
	}
	return b
}

// Record is the entry that records so many signatures of one request.
func Record(n int, at lifecycle.Instant) []byte {
	g := command.SignatureGroup{Key: Issuer, Version: 1, KID: IssuerKID, Principal: requester(0)}
	for i := range n {
		tbs, sig := sha256.Sum256(fmt.Appendf(nil, "tbs %d", i)), sha256.Sum256(fmt.Appendf(nil, "signature %d", i))
		g.Items = append(g.Items, command.SignatureItem{TBS: tbs[:], Sig: sig[:]})
	}
	return node(at, &command.RecordSignatures{Node: NodeID, Groups: []command.SignatureGroup{g}})
}
