//go:build linux && cgo

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/transport/wire"
)

const ocspCallers = 32

// ocsp measures answers of a node about what another node's instance issued, against a
// handler that sends the same bytes, and, when a nonce has each signed, against that
// handler with a signature of the responder's kind of key before each answer. In one
// process they cost more than apart: the signature finds colder caches there.
func (b *bench) ocsp() error {
	w, err := b.startTown()
	if err != nil {
		return err
	}
	if err := w.stock(b, 1); err != nil {
		return err
	}
	q, err := w.question(b, w.take())
	if err != nil {
		return err
	}
	const node = 2
	pid, err := w.pid(node)
	if err != nil {
		return err
	}
	t, nonce := w.public(node), make([]byte, 32)
	bare, err := b.bareOf(t, q.post(t, nil))
	if err != nil {
		return err
	}
	defer bare.stop() //nolint:errcheck // it has said all it had to say
	signing, err := b.bareOf(t, q.post(t, nonce), "sign")
	if err != nil {
		return err
	}
	defer signing.stop() //nolint:errcheck // like bare
	plain, signs := &target{address: bare.ready}, &target{address: signing.ready}
	same := func(request []byte) func(int, int) []byte { return func(int, int) []byte { return request } }
	barePID := bare.cmd.Process.Pid
	sides := []*side{
		{name: "bare-post", target: plain, callers: ocspCallers, request: same(q.post(plain, nil)), pid: barePID},
		{name: "post", target: t, callers: ocspCallers, request: same(q.post(t, nil)), pid: pid, node: node, of: w.cluster},
		{name: "bare-get", target: plain, callers: ocspCallers, request: same(q.get(plain)), pid: barePID},
		{name: "get", target: t, callers: ocspCallers, request: same(q.get(t)), pid: pid, node: node, of: w.cluster},
		{name: "bare-nonce", target: signs, callers: ocspCallers, request: same(q.post(signs, nonce)), pid: signing.cmd.Process.Pid},
		{name: "nonce", target: t, callers: ocspCallers, request: same(q.post(t, nonce)), pid: pid, node: node, of: w.cluster},
	}
	var signature []float64
	if err := b.alternate(sides, (*load).cpu, func() error {
		us, err := signatureCost(b.each)
		signature = append(signature, us)
		return err
	}); err != nil {
		return err
	}
	cost := func(i int) float64 { return median(sides[i].results) }
	sign := median(signature)
	note := "%.1f us of CPU against %.1f us"
	b.table.atLeast("OCSP by POST, kept answer: bare handler's CPU / ours", cost(0)/cost(1), 0.85, "x", fmt.Sprintf(note, cost(1), cost(0)))
	b.table.atLeast("OCSP by GET, kept answer: bare handler's CPU / ours", cost(2)/cost(3), 0.85, "x", fmt.Sprintf(note, cost(3), cost(2)))
	b.table.atMost("OCSP with a nonce: CPU / signature and bare handler", cost(5)/cost(4), 1.3, "x", fmt.Sprintf(note+"; %.1f us for a signature alone", cost(5), cost(4), sign))
	return nil
}

// bareOf starts a handler that gives the answer which a request has from the target.
func (b *bench) bareOf(t *target, request []byte, mode ...string) (*child, error) {
	one, err := t.dial()
	if err != nil {
		return nil, err
	}
	defer one.conn.Close() // nothing is in flight
	one.keepHead = true
	if err := one.do(request); err != nil {
		return nil, err
	}
	file := filepath.Join(b.dir, "answer"+strings.Join(mode, ""))
	if err := os.WriteFile(file, append(one.head, one.body...), 0o600); err != nil {
		return nil, fmt.Errorf("keep the answer: %w", err)
	}
	return startChild(nil, append([]string{"bare-read", file}, mode...)...)
}

// signatureCost is the CPU of one P-256 signature in microseconds.
func signatureCost(d time.Duration) (float64, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return 0, err
	}
	n, before, digest := 0, selfCPU(), sha256.Sum256(nil)
	for start := time.Now(); time.Since(start) < d; n++ {
		if _, err := ecdsa.SignASN1(rand.Reader, key, digest[:]); err != nil {
			return 0, err
		}
	}
	return float64((selfCPU() - before).Microseconds()) / float64(n), nil
}

// question is what is asked about one certificate by OCSP.
type question struct {
	der    []byte
	issuer *x509.Certificate
}

func (w *town) question(b *bench, serial string) (*question, error) {
	c, err := w.client.Certificate(b.ctx, serial)
	if err != nil {
		return nil, fmt.Errorf("get certificate %s: %w", serial, err)
	}
	leaf, err := parsePEM(c.PEM)
	if err != nil {
		return nil, err
	}
	q := &question{}
	if q.issuer, err = parsePEM(c.ChainPEM); err != nil {
		return nil, err
	}
	if q.der, err = xocsp.CreateRequest(leaf, q.issuer, nil); err != nil {
		return nil, fmt.Errorf("make an OCSP request: %w", err)
	}
	return q, nil
}

func parsePEM(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("no certificate in the answer")
	}
	return x509.ParseCertificate(block.Bytes)
}

// post renders the request with a nonce; nil = without.
func (q *question) post(t *target, nonce []byte) []byte {
	body := q.der
	if nonce != nil {
		body = q.withNonce(nonce)
	}
	var r bytes.Buffer
	fmt.Fprintf(&r, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", wire.PathOCSP, t.address, wire.TypeOCSPRequest, len(body), body)
	return r.Bytes()
}

func (q *question) get(t *target) []byte {
	return t.request("GET", wire.PathOCSP+"/"+base64.StdEncoding.EncodeToString(q.der), "")
}

var oidNonce = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02} // RFC 9654

// withNonce adds requestExtensions, which the encoder used here does not know.
func (q *question) withNonce(nonce []byte) []byte {
	var outer, tbs cryptobyte.String
	in := cryptobyte.String(q.der)
	if !in.ReadASN1(&outer, asn1.SEQUENCE) || !outer.ReadASN1(&tbs, asn1.SEQUENCE) {
		panic("an OCSP request that was just encoded cannot be read")
	}
	tag := func(b *cryptobyte.Builder, t asn1.Tag, f func(*cryptobyte.Builder)) { b.AddASN1(t, f) }
	var b cryptobyte.Builder
	tag(&b, asn1.SEQUENCE, func(b *cryptobyte.Builder) {
		tag(b, asn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddBytes(tbs)
			tag(b, asn1.Tag(2).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
				tag(b, asn1.SEQUENCE, func(b *cryptobyte.Builder) {
					tag(b, asn1.SEQUENCE, func(b *cryptobyte.Builder) {
						tag(b, asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(oidNonce) })
						tag(b, asn1.OCTET_STRING, func(b *cryptobyte.Builder) { b.AddASN1OctetString(nonce) })
					})
				})
			})
		})
	})
	return b.BytesOrPanic()
}

// revoked reports whether an answer says so, and is signed.
func (q *question) revoked(answer []byte) bool {
	r, err := xocsp.ParseResponse(answer, q.issuer)
	return err == nil && r.Status == xocsp.Revoked
}
