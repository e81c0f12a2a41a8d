package ocsp_test

import (
	"bytes"
	"crypto"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
)

// question is what an OCSPRequest is made of; other parsers' encoders would not make
// the broken ones.
type question struct {
	ids        [][]byte // CertIDs
	single     []byte   // singleRequestExtensions content, for the first
	extensions []byte   // requestExtensions content
	version    []byte
	name       []byte
	signature  []byte
	tail       []byte // behind everything
}

const (
	seq  = asn1.SEQUENCE
	tag0 = asn1.Tag(0xa0)
	tag1 = asn1.Tag(0xa1)
	tag2 = asn1.Tag(0xa2)
)

func (q question) der() []byte {
	var b cryptobyte.Builder
	optional := func(b *cryptobyte.Builder, tag asn1.Tag, content []byte) {
		if content != nil {
			b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(content) })
		}
	}
	b.AddASN1(seq, func(b *cryptobyte.Builder) {
		b.AddASN1(seq, func(b *cryptobyte.Builder) {
			optional(b, tag0, q.version)
			optional(b, tag1, q.name)
			b.AddASN1(seq, func(b *cryptobyte.Builder) {
				for i, id := range q.ids {
					b.AddASN1(seq, func(b *cryptobyte.Builder) {
						b.AddBytes(id)
						if i == 0 {
							optional(b, tag0, q.single)
						}
					})
				}
			})
			optional(b, tag2, q.extensions)
		})
		optional(b, tag0, q.signature)
	})
	return append(b.BytesOrPanic(), q.tail...)
}

// element is one TLV.
func element(tag asn1.Tag, parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag, func(b *cryptobyte.Builder) { b.AddBytes(bytes.Join(parts, nil)) })
	return b.BytesOrPanic()
}

var (
	oidSHA1  = []byte{0x2b, 0x0e, 0x03, 0x02, 0x1a}
	oidNonce = []byte{0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x02}
	null     = []byte{5, 0}
)

func certID(serial ...byte) []byte {
	return element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, oidSHA1), null),
		element(asn1.OCTET_STRING, make([]byte, 20)), element(asn1.OCTET_STRING, make([]byte, 20)), element(asn1.INTEGER, serial))
}

func nonce(n int) []byte {
	return element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, oidNonce), element(asn1.OCTET_STRING, element(asn1.OCTET_STRING, bytes.Repeat([]byte{7}, n)))))
}

func critical(oid []byte) []byte {
	return element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, oid), element(asn1.BOOLEAN, []byte{0xff}), element(asn1.OCTET_STRING, null)))
}

func TestParseRequest(t *testing.T) {
	id := certID(1)
	other := []byte{0x2a, 0x03}
	for _, c := range []struct {
		name  string
		q     question
		ids   int
		nonce int
	}{
		{"one", question{ids: [][]byte{id}}, 1, 0},
		{"several", question{ids: [][]byte{id, certID(2), certID(0x7f, 0xff)}}, 3, 0},
		{"the most", question{ids: repeat(id, ocsp.MaxCertificates)}, ocsp.MaxCertificates, 0},
		{"a serial that is negative", question{ids: [][]byte{certID(0xfe)}}, 1, 0},
		{"version 1 written out", question{ids: [][]byte{id}, version: element(asn1.INTEGER, []byte{0})}, 1, 0},
		{"signed, with a name", question{ids: [][]byte{id}, name: element(asn1.Tag(0x82), []byte("a.test")), signature: element(seq, null)}, 1, 0},
		{"nonce of 1", question{ids: [][]byte{id}, extensions: nonce(1)}, 1, 1},
		{"nonce of 128", question{ids: [][]byte{id}, extensions: nonce(128)}, 1, 128},
		{"an unknown extension", question{ids: [][]byte{id}, extensions: element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, other), element(asn1.OCTET_STRING)))}, 1, 0},
		{"a nonce in the single request is passed over", question{ids: [][]byte{id}, single: nonce(4)}, 1, 0},
	} {
		r, err := ocsp.ParseRequest(c.q.der())
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(r.IDs) != c.ids || len(r.Nonce) != c.nonce {
			t.Errorf("%s: %d certificates and a nonce of %d", c.name, len(r.IDs), len(r.Nonce))
		}
		for i := range r.IDs {
			if !bytes.Equal(r.IDs[i].DER, c.q.ids[i]) {
				t.Errorf("%s: CertID %d is %x, was %x", c.name, i, r.IDs[i].DER, c.q.ids[i])
			}
		}
	}
	whole := question{ids: [][]byte{id}}.der()
	for _, c := range []struct {
		name string
		der  []byte
	}{
		{"nothing", nil},
		{"no certificate", question{}.der()},
		{"too many", question{ids: repeat(id, ocsp.MaxCertificates+1)}.der()},
		{"too large", question{ids: [][]byte{id}, signature: element(seq, make([]byte, ocsp.MaxRequestBytes))}.der()},
		{"bytes behind", question{ids: [][]byte{id}, tail: []byte{0}}.der()},
		{"version 2", question{ids: [][]byte{id}, version: element(asn1.INTEGER, []byte{1})}.der()},
		{"nonce of 0", question{ids: [][]byte{id}, extensions: nonce(0)}.der()},
		{"nonce of 129", question{ids: [][]byte{id}, extensions: nonce(129)}.der()},
		{"two nonces", question{ids: [][]byte{id}, extensions: element(seq, inside(nonce(4)), inside(nonce(5)))}.der()},
		{"a bare nonce", question{ids: [][]byte{id}, extensions: element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, oidNonce), element(asn1.OCTET_STRING, []byte{1, 2, 3, 4})))}.der()},
		{"no extension", question{ids: [][]byte{id}, extensions: element(seq)}.der()},
		{"a critical extension", question{ids: [][]byte{id}, extensions: critical(other)}.der()},
		{"a critical extension of one", question{ids: [][]byte{id}, single: critical(other)}.der()},
		{"a serial with a zero in front", question{ids: [][]byte{certID(0, 1)}}.der()},
		{"a serial without a byte", question{ids: [][]byte{certID()}}.der()},
		{"a serial of 33 bytes", question{ids: [][]byte{certID(bytes.Repeat([]byte{1}, 33)...)}}.der()},
		{"SHA-1 of 19 bytes", question{ids: [][]byte{bytes.Replace(id, element(asn1.OCTET_STRING, make([]byte, 20)), element(asn1.OCTET_STRING, make([]byte, 19)), 1)}}.der()},
		{"not DER: a long length", append([]byte{0x30, 0x81, whole[1]}, whole[2:]...)},
	} {
		if _, err := ocsp.ParseRequest(c.der); !errors.Is(err, ocsp.ErrMalformed) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	for i := range whole {
		if _, err := ocsp.ParseRequest(whole[:i]); !errors.Is(err, ocsp.ErrMalformed) {
			t.Errorf("the first %d bytes: %v", i, err)
		}
	}
}

func repeat(id []byte, n int) (out [][]byte) {
	for range n {
		out = append(out, id)
	}
	return out
}

// inside is the content of a SEQUENCE shorter than 128 bytes.
func inside(der []byte) []byte { return der[2:] }

func TestDecodePath(t *testing.T) {
	der := question{ids: [][]byte{element(seq, element(seq, element(asn1.OBJECT_IDENTIFIER, oidSHA1), null), // hashes full of '/' and '+'
		element(asn1.OCTET_STRING, bytes.Repeat([]byte{0xff, 0xef, 0xbe}, 7)[:20]), element(asn1.OCTET_STRING, bytes.Repeat([]byte{0xff}, 20)), element(asn1.INTEGER, []byte{1}))}}.der()
	text := base64.StdEncoding.EncodeToString(der)
	if !strings.Contains(text, "//") || !strings.Contains(text, "+") || !strings.HasSuffix(text, "=") {
		t.Fatalf("%s shows nothing", text)
	}
	for _, path := range []string{"/" + text, "//" + text, text, "/" + strings.TrimRight(text, "=")} {
		if got, err := ocsp.DecodePath(path); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: %x, %v", path, got, err)
		}
	}
	for _, path := range []string{"", "/", "/" + text + "/x", "/" + text + "=", "/ " + text, "/" + text[:8] + "\n" + text[8:], "/" + strings.ReplaceAll(text, "/", "_"),
		"/" + strings.Repeat("MAAA", ocsp.MaxRequestBytes/3+2), "/MB", "/%4d" + text[1:]} {
		if _, err := ocsp.DecodePath(path); !errors.Is(err, ocsp.ErrMalformed) {
			t.Errorf("%.100q: %v", path, err)
		}
	}
}

// FuzzRequest reads anything in both forms: no panic, and what is accepted is DER of a
// request within its bounds that an independent parser understands alike.
func FuzzRequest(f *testing.F) {
	ca := pkitest.Root(f, "r")
	leaf := ca.Issue(f, "a.test", nil)
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		der, err := xocsp.CreateRequest(leaf.Cert, ca.Cert, &xocsp.RequestOptions{Hash: hash})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
	}
	f.Add(question{ids: [][]byte{certID(1), certID(2)}, extensions: nonce(16), version: element(asn1.INTEGER, []byte{0})}.der())
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ocsp.ParseRequest(der)
		path := "/" + base64.StdEncoding.EncodeToString(der)
		if got, pathErr := ocsp.DecodePath(path); len(der) > 0 && len(der) <= ocsp.MaxRequestBytes && (pathErr != nil || !bytes.Equal(got, der)) {
			// A request begins with 0x30; other bytes can look like more slashes.
			if der[0] == 0x30 {
				t.Fatalf("%x through a path: %x, %v", der, got, pathErr)
			}
		}
		_, _ = ocsp.DecodePath(string(der)) // no panic
		if err != nil {
			if !errors.Is(err, ocsp.ErrMalformed) {
				t.Fatal(err)
			}
			return
		}
		if len(r.IDs) == 0 || len(r.IDs) > ocsp.MaxCertificates || len(r.Nonce) > 128 || len(der) > ocsp.MaxRequestBytes {
			t.Fatalf("out of bounds: %d certificates, nonce of %d", len(r.IDs), len(r.Nonce))
		}
		other, err := xocsp.ParseRequest(der)
		if err != nil || r.IDs[0].Hash == ocsp.OtherHash {
			return // it knows fewer forms
		}
		if !bytes.Equal(other.IssuerNameHash, r.IDs[0].NameHash) || !bytes.Equal(other.IssuerKeyHash, r.IDs[0].KeyHash) {
			t.Fatalf("read differently: %+v and %+v", other, r.IDs[0])
		}
	})
}
