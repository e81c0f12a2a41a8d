package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// general is one GeneralName as it stands in a request, however odd.
type general struct {
	tag   uint8
	value string
}

const (
	asEmail, asDNS, asURI, asIP = 1, 2, 6, 7
)

// sanOf is a subjectAltName of any names.
func sanOf(t *testing.T, names ...general) pkix.Extension {
	t.Helper()
	value, err := cryptobyteBytes(func(b *cryptobyte.Builder) {
		b.AddASN1(cbasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, n := range names {
				b.AddASN1(cbasn1.Tag(n.tag).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.value)) })
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oidSubjectAltName, Value: value}
}

// TestNamesOfRequests: what a request asks for in the oddest encodings becomes a name of
// its one form, or none.
func TestNamesOfRequests(t *testing.T) {
	ca, key := newRoot(t, "ES256").issuing(t, "ES256", nil), keyOf(t, KeyP256)
	many := make([]general, 1000)
	for i := range many {
		many[i] = general{asDNS, fmt.Sprintf("a%d.test", i)}
	}
	v4in6 := string(append(bytes.Repeat([]byte{0}, 10), 0xff, 0xff, 10, 1, 2, 3))
	for name, c := range map[string]struct {
		san  []pkix.Extension
		want string // the certificate's names; "" = it is refused
	}{
		"upper case":              {[]pkix.Extension{sanOf(t, general{asDNS, "WEB.A.Test"})}, "[web.a.test] [] [] []"},
		"twice":                   {[]pkix.Extension{sanOf(t, general{asDNS, "a.test"}, general{asDNS, "A.TEST"})}, "[a.test] [] [] []"},
		"A-label":                 {[]pkix.Extension{sanOf(t, general{asDNS, "xn--mller-kva.test"})}, "[xn--mller-kva.test] [] [] []"},
		"A-label of nothing":      {[]pkix.Extension{sanOf(t, general{asDNS, "xn--zzzzzzzz.test"})}, ""},
		"UTF-8 host":              {[]pkix.Extension{sanOf(t, general{asDNS, "müller.test"})}, ""},
		"trailing dot":            {[]pkix.Extension{sanOf(t, general{asDNS, "a.test."})}, ""},
		"leading dot":             {[]pkix.Extension{sanOf(t, general{asDNS, ".a.test"})}, ""},
		"empty name":              {[]pkix.Extension{sanOf(t, general{asDNS, ""})}, ""},
		"blank name":              {[]pkix.Extension{sanOf(t, general{asDNS, " "})}, ""},
		"NUL":                     {[]pkix.Extension{sanOf(t, general{asDNS, "a.test\x00.evil.test"})}, ""},
		"line break":              {[]pkix.Extension{sanOf(t, general{asDNS, "a.test\nb.test"})}, ""},
		"wildcard":                {[]pkix.Extension{sanOf(t, general{asDNS, "*.a.test"})}, ""}, // no rule of the profile has it
		"wildcard inside":         {[]pkix.Extension{sanOf(t, general{asDNS, "w*.a.test"})}, ""},
		"address as a host":       {[]pkix.Extension{sanOf(t, general{asDNS, "10.1.2.3"})}, ""},
		"IPv4":                    {[]pkix.Extension{sanOf(t, general{asIP, "\x0a\x01\x02\x03"})}, "[] [10.1.2.3] [] []"},
		"IPv4 in IPv6":            {[]pkix.Extension{sanOf(t, general{asIP, v4in6})}, "[] [10.1.2.3] [] []"},
		"IPv4 in both":            {[]pkix.Extension{sanOf(t, general{asIP, v4in6}, general{asIP, "\x0a\x01\x02\x03"})}, "[] [10.1.2.3] [] []"},
		"address of five":         {[]pkix.Extension{sanOf(t, general{asIP, "\x0a\x01\x02\x03\x04"})}, ""},
		"range":                   {[]pkix.Extension{sanOf(t, general{asIP, "\x0a\x00\x00\x00\xff\x00\x00\x00"})}, ""},
		"email":                   {[]pkix.Extension{sanOf(t, general{asEmail, "Ann@A.Test"})}, "[] [] [] [Ann@a.test]"},
		"UTF-8 email":             {[]pkix.Extension{sanOf(t, general{asEmail, "jürgen@a.test"})}, ""},
		"email with a name":       {[]pkix.Extension{sanOf(t, general{asEmail, "Ann <ann@a.test>"})}, ""},
		"UTF-8 URI":               {[]pkix.Extension{sanOf(t, general{asURI, "https://a.test/ü"})}, ""},
		"URI without a host":      {[]pkix.Extension{sanOf(t, general{asURI, "urn:uuid:1"})}, ""},
		"another kind of name":    {[]pkix.Extension{sanOf(t, general{asDNS, "a.test"}, general{8, "\x2a\x03"})}, ""},
		"no names":                {[]pkix.Extension{sanOf(t)}, ""},
		"a thousand":              {[]pkix.Extension{sanOf(t, many...)}, ""},
		"sixty-four":              {[]pkix.Extension{sanOf(t, many[:64]...)}, "64"},
		"two extensions":          {[]pkix.Extension{sanOf(t, general{asDNS, "a.test"}), sanOf(t, general{asDNS, "b.test"})}, ""},
		"no DER":                  {[]pkix.Extension{{Id: oidSubjectAltName, Value: []byte{0x30, 0x7f, 1}}}, ""},
		"bytes behind":            {[]pkix.Extension{{Id: oidSubjectAltName, Value: append(sanOf(t, general{asDNS, "a.test"}).Value, 0)}}, ""},
		"critical, and a CA's":    {[]pkix.Extension{{Id: oidSubjectAltName, Critical: true, Value: sanOf(t, general{asDNS, "a.test"}).Value}, {Id: []int{2, 5, 29, 30}, Critical: true, Value: []byte{0x30, 0}}}, "[a.test] [] [] []"},
		"an extension unheard of": {[]pkix.Extension{sanOf(t, general{asDNS, "a.test"}), {Id: []int{1, 2, 3, 4}, Critical: true, Value: []byte("x")}}, "[a.test] [] [] []"},
	} {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{ExtraExtensions: c.san}, key)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := ParseCSR(der)
		var d *Draft
		if err == nil {
			d, err = ca.Draft(Order{Request: r, Requester: operator, Profile: Builtin("server"), Serial: serial(t), Now: now})
		}
		if err != nil {
			if c.want != "" {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		cert := ca.sign(t, d)
		got := fmt.Sprint(cert.DNSNames, cert.IPAddresses, cert.URIs, cert.EmailAddresses)
		if c.want == "64" && len(cert.DNSNames) == 64 {
			got = "64"
		}
		if got != c.want || len(cert.UnhandledCriticalExtensions) > 0 || cert.IsCA || cert.PermittedDNSDomainsCritical || len(cert.Extensions) > 12 {
			t.Errorf("%s: %s, want %q; extensions %v", name, got, c.want, cert.Extensions)
		}
	}
}
