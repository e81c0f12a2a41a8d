package lifecycle

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestSerialText: every way tools print a serial leads to the same one.
func TestSerialText(t *testing.T) {
	s := NewSerial(1767355200123, [13]byte{0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0xff})
	if got := s.String(); got != "01019b7e94327bab0102030405060708090a0bff" || s.At() != 1767355200123 || !s.Valid() {
		t.Fatalf("%s of %s", got, s.At())
	}
	for _, text := range []string{"01019b7e94327bab0102030405060708090a0bff", "01019B7E94327BAB0102030405060708090A0BFF", "0x1019b7e94327bab0102030405060708090a0bff",
		"0X01019b7e94327bab0102030405060708090a0bff", "01:01:9b:7e:94:32:7b:ab:01:02:03:04:05:06:07:08:09:0a:0b:ff", " 01 01 9B 7E 94 32 7B AB 01 02 03 04 05 06 07 08 09 0A 0B FF\n",
		"1019b7e94327bab0102030405060708090a0bff", "00:01:01:9b:7e:94:32:7b:ab:01:02:03:04:05:06:07:08:09:0a:0b:ff"} {
		if got, err := ParseSerial(text); err != nil || got != s {
			t.Errorf("%q is read as %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "01", "x", "02019b7e94327bab0102030405060708090a0bff", "01019b7e94327bab0102030405060708090a0bf", "01019b7e94327bab0102030405060708090a0bff0",
		"01019b7e94327bab0102030405060708090a0bfg", "-1019b7e94327bab0102030405060708090a0bff", string(make([]byte, 1000))} {
		if got, err := ParseSerial(text); err == nil {
			t.Errorf("%q is read as %s", text, got)
		}
	}
	if _, ok := SerialOf(s[:]); !ok {
		t.Error("the serial's own octets are none")
	}
	if _, ok := SerialOf(append([]byte{0}, s[:]...)); ok {
		t.Error("21 octets are a serial")
	}
}

// TestSerialsSortByTime: the tables rely on it.
func TestSerialsSortByTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		draw := func() Serial {
			at := rapid.Int64Range(0, 253402300799999).Draw(t, "at")
			return NewSerial(Instant(at), [13]byte(rapid.SliceOfN(rapid.Byte(), 13, 13).Draw(t, "random")))
		}
		a, b := draw(), draw()
		if a.At() < b.At() && bytes.Compare(a[:], b[:]) >= 0 {
			t.Fatalf("%s is older than %s and sorts after it", a, b)
		}
		if n := new(big.Int).SetBytes(a[:]); n.Sign() <= 0 || len(n.Bytes()) != SerialBytes {
			t.Fatalf("%s is no positive number of 20 octets", a)
		}
		if back, err := ParseSerial(a.String()); err != nil || back != a {
			t.Fatalf("%s is read as %s, %v", a, back, err)
		}
	})
}

// TestCRLEntry compares entries with what the standard library reads and writes.
func TestCRLEntry(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewSerial(Instant(rapid.Int64Range(0, 1<<47).Draw(t, "drawn")), [13]byte(rapid.SliceOfN(rapid.Byte(), 13, 13).Draw(t, "random")))
		at := Instant(rapid.Int64Range(1, 253402300799999).Draw(t, "at"))
		reason := rapid.SampledFrom(Reasons).Draw(t, "reason")
		var invalidity Instant
		if rapid.Bool().Draw(t, "invalidity") {
			invalidity = Instant(rapid.Int64Range(1, 253402300799999).Draw(t, "since"))
		}
		der := EncodeCRLEntry(s, at, reason, invalidity)
		want := pkix.RevokedCertificate{SerialNumber: new(big.Int).SetBytes(s[:]), RevocationTime: second(at)}
		extension := func(last int, value any, params string) {
			b, err := asn1.MarshalWithParams(value, params)
			if err != nil {
				t.Fatal(err)
			}
			want.Extensions = append(want.Extensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, last}, Value: b})
		}
		if reason != Unspecified {
			extension(21, asn1.Enumerated(reason.Code()), "")
		}
		if invalidity != 0 {
			extension(24, second(invalidity), "generalized")
		}
		b, err := asn1.Marshal(want)
		if err != nil || !bytes.Equal(der, b) {
			t.Fatalf("%x\nwant %x (%v)", der, b, err)
		}
	})
}

func second(at Instant) time.Time { return time.UnixMilli(int64(at)).UTC().Truncate(time.Second) }

// TestReasonCodes as RFC 5280 section 5.3.1 has them; removeFromCRL is 8, and 7 is not used.
func TestReasonCodes(t *testing.T) {
	var codes []int
	for _, r := range Reasons {
		codes = append(codes, r.Code())
	}
	slices.Sort(codes)
	if !slices.Equal(codes, []int{0, 1, 2, 3, 4, 5, 6, 9, 10}) || KeyCompromise.Code() != 1 || CertificateHold.Code() != 6 || Superseded.Code() != 4 {
		t.Errorf("codes %v", codes)
	}
}

func selfSigned(t testing.TB, from, to time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := NewSerial(Instant(from.UnixMilli()), [13]byte{1})
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: new(big.Int).SetBytes(s[:]), NotBefore: from, NotAfter: to,
		Subject: pkix.Name{CommonName: "corp issuing"}, DNSNames: []string{"a.test"}}, &x509.Certificate{Subject: pkix.Name{CommonName: "corp root"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestReadCertificate(t *testing.T) {
	for _, c := range [][2]time.Time{
		{time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2049, 12, 31, 23, 59, 59, 0, time.UTC)},
		{time.Date(2000, 2, 29, 1, 2, 3, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
		{time.Date(2050, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2100, 2, 28, 12, 0, 0, 0, time.UTC)},
	} {
		der := selfSigned(t, c[0], c[1])
		want, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ReadCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.TBS, want.RawTBSCertificate) || !bytes.Equal(got.Issuer, want.RawIssuer) || !bytes.Equal(got.Subject, want.RawSubject) ||
			!bytes.Equal(got.SPKI, want.RawSubjectPublicKeyInfo) || new(big.Int).SetBytes(got.Serial).Cmp(want.SerialNumber) != 0 ||
			got.NotBefore != Instant(c[0].UnixMilli()) || got.NotAfter != Instant(c[1].UnixMilli()) {
			t.Errorf("%+v of a certificate from %s to %s", got, c[0], c[1])
		}
		for n := range der {
			if _, err := ReadCertificate(der[:n]); err == nil {
				t.Fatalf("a certificate of %d bytes is read from %d", len(der), n)
			}
		}
		if _, err := ReadCertificate(append(bytes.Clone(der), 0)); err == nil {
			t.Error("bytes after the certificate are read over")
		}
	}
}

// FuzzReadCertificate: no panic, and what the standard library reads is read the same.
func FuzzReadCertificate(f *testing.F) {
	f.Add(selfSigned(f, time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC), time.Date(2051, 1, 2, 12, 0, 0, 0, time.UTC)))
	f.Add([]byte{0x30, 0x82, 0x01, 0x00})
	f.Fuzz(func(t *testing.T, der []byte) {
		got, err := ReadCertificate(der)
		want, werr := x509.ParseCertificate(der)
		if werr != nil {
			return // this reader looks at less and may accept more
		}
		if err != nil {
			if y := want.NotBefore.Year(); y < 1 || len(der) > 1<<24 {
				return
			}
			t.Fatalf("x509 reads it, and here: %v", err)
		}
		if !bytes.Equal(got.TBS, want.RawTBSCertificate) || !bytes.Equal(got.SPKI, want.RawSubjectPublicKeyInfo) ||
			got.NotBefore != Instant(want.NotBefore.UnixMilli()) || got.NotAfter != Instant(want.NotAfter.UnixMilli()) {
			t.Fatalf("%+v, x509 reads serial %s, %s to %s", got, want.SerialNumber, want.NotBefore, want.NotAfter)
		}
	})
}
