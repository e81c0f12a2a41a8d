package lifecycle

import (
	"errors"
	"fmt"
)

// What the state machine reads and writes of DER (X.690) is spelled out here and is not
// left to a library: every binary, in every year, must see the same in the same bytes.

// Identifier octets of the elements that occur.
const (
	derInteger         = 0x02
	derOctetString     = 0x04
	derOID             = 0x06
	derEnumerated      = 0x0a
	derUTCTime         = 0x17
	derGeneralizedTime = 0x18
	derSequence        = 0x30
	derExplicit0       = 0xa0
)

var errDER = errors.New("the bytes are not DER")

// element is one DER element: its identifier octet, its content, and both with the
// length between them.
type element struct {
	tag     byte
	content []byte
	whole   []byte
}

// readElement takes the first element off in. Lengths must be in their shortest form,
// and only identifiers of one octet occur.
func readElement(in []byte) (e element, rest []byte, err error) {
	if len(in) < 2 || in[0]&0x1f == 0x1f {
		return e, nil, errDER
	}
	length, head := int(in[1]), 2
	if length >= 0x80 {
		octets := length & 0x7f
		if octets == 0 || octets > 3 || len(in) < 2+octets || in[2] == 0 {
			return e, nil, errDER
		}
		length = 0
		for _, b := range in[2 : 2+octets] {
			length = length<<8 | int(b)
		}
		if length < 0x80 {
			return e, nil, errDER
		}
		head += octets
	}
	if len(in)-head < length {
		return e, nil, errDER
	}
	return element{tag: in[0], content: in[head : head+length], whole: in[:head+length]}, in[head+length:], nil
}

// readTagged is readElement for an element that must have the tag.
func readTagged(in []byte, tag byte) (e element, rest []byte, err error) {
	if e, rest, err = readElement(in); err == nil && e.tag != tag {
		err = errDER
	}
	return e, rest, err
}

// CertFacts are the parts of a certificate that the state machine compares with what was
// said of it. They point into the bytes that were read.
type CertFacts struct {
	TBS       []byte // the TBSCertificate, as it was signed
	Serial    []byte // content of the INTEGER
	Issuer    []byte // Name, DER
	Subject   []byte // Name, DER
	SPKI      []byte // SubjectPublicKeyInfo, DER
	NotBefore Instant
	NotAfter  Instant
}

// ReadCertificate cuts a Certificate (RFC 5280 section 4.1) into parts. It verifies no
// signature and reads no extension. Nothing may follow the certificate.
func ReadCertificate(der []byte) (c CertFacts, err error) {
	cert, rest, err := readTagged(der, derSequence)
	if err != nil || len(rest) > 0 {
		return c, errors.New("the bytes are not one DER certificate")
	}
	tbs, _, err := readTagged(cert.content, derSequence)
	if err != nil {
		return c, errors.New("the certificate has no TBSCertificate")
	}
	c.TBS = tbs.whole
	if err := c.readTBS(tbs.content); err != nil {
		return c, fmt.Errorf("read the TBSCertificate: %w", err)
	}
	return c, nil
}

func (c *CertFacts) readTBS(in []byte) error {
	e, in, err := readElement(in)
	if err == nil && e.tag == derExplicit0 { // version
		e, in, err = readElement(in)
	}
	if err != nil || e.tag != derInteger {
		return errDER
	}
	c.Serial = e.content
	var parts [5]element // signature, issuer, validity, subject, subjectPublicKeyInfo
	for i := range parts {
		if parts[i], in, err = readTagged(in, derSequence); err != nil {
			return err
		}
	}
	c.Issuer, c.Subject, c.SPKI = parts[1].whole, parts[3].whole, parts[4].whole
	from, rest, err := readElement(parts[2].content)
	if err != nil {
		return err
	}
	to, rest, err := readElement(rest)
	if err != nil || len(rest) > 0 {
		return errDER
	}
	if c.NotBefore, err = readTime(from); err != nil {
		return err
	}
	c.NotAfter, err = readTime(to)
	return err
}

// readTime reads a Time as RFC 5280 section 4.1.2.5 allows it: UTC, with seconds and
// without fractions.
func readTime(e element) (Instant, error) {
	s := e.content
	switch {
	case e.tag == derUTCTime && len(s) == 13:
		century := "20"
		if s[0] >= '5' {
			century = "19"
		}
		s = append([]byte(century), s...)
	case e.tag == derGeneralizedTime && len(s) == 15:
	default:
		return 0, errDER
	}
	var f [6]int64 // year, month, day, hour, minute, second
	for i := range f {
		n := 2
		if i == 0 {
			n = 4
		}
		for _, d := range s[:n] {
			if d < '0' || d > '9' {
				return 0, errDER
			}
			f[i] = f[i]*10 + int64(d-'0')
		}
		s = s[n:]
	}
	day := daysSince1970(f[0], f[1], f[2])
	if y, m, d := civil(day); y != f[0] || m != f[1] || d != f[2] || f[3] > 23 || f[4] > 59 || f[5] > 59 || s[0] != 'Z' {
		return 0, errDER // civil gives a day that does not exist back as another
	}
	return Instant(day*86_400_000 + f[3]*3_600_000 + f[4]*60_000 + f[5]*1000), nil
}

// daysSince1970 is the inverse of civil, for dates that exist.
func daysSince1970(y, m, d int64) int64 {
	if m <= 2 {
		y--
		m += 12
	}
	era := y / 400
	if y < 0 {
		era = (y - 399) / 400
	}
	yoe := y - era*400
	doy := (153*(m-3)+2)/5 + d - 1
	return era*146_097 + yoe*365 + yoe/4 - yoe/100 + doy - 719_468
}

// appendElement writes an element. Contents of our making are shorter than 64 KiB.
func appendElement(b []byte, tag byte, content []byte) []byte {
	b = append(b, tag)
	switch n := len(content); {
	case n < 0x80:
		b = append(b, byte(n))
	case n < 0x100:
		b = append(b, 0x81, byte(n))
	default:
		b = append(b, 0x82, byte(n>>8), byte(n))
	}
	return append(b, content...)
}

// appendTime writes a Time: UTCTime to the end of 2049 and GeneralizedTime after it, or
// GeneralizedTime in any case. Fractions of a second are cut off.
func appendTime(b []byte, at Instant, generalized bool) []byte {
	days, rest := int64(at)/86_400_000, int64(at)%86_400_000
	y, m, d := civil(days)
	var buf [16]byte
	tag, s := byte(derGeneralizedTime), digits(buf[:0], y, 1000)
	if !generalized && y < 2050 {
		tag, s = derUTCTime, digits(buf[:0], y%100, 10)
	}
	for _, n := range []int64{m, d, rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60} {
		s = digits(s, n, 10)
	}
	return appendElement(b, tag, append(s, 'Z'))
}
