package lifecycle

// OIDs of CRL entry extensions, RFC 5280 section 5.3.
var (
	oidReasonCode     = [3]byte{0x55, 0x1d, 0x15} // 2.5.29.21
	oidInvalidityDate = [3]byte{0x55, 0x1d, 0x18} // 2.5.29.24
)

// EncodeCRLEntry makes the element of revokedCertificates (RFC 5280 section 5.1.2.6) for
// one certificate. It is made once, when the certificate is revoked: a CRL then costs
// little more than copying. invalidity 0 = none. The reason unspecified is left out, as
// section 5.3.1 asks.
func EncodeCRLEntry(serial Serial, at Instant, reason Reason, invalidity Instant) []byte {
	var extensions, entry []byte
	if code := reason.Code(); code != 0 {
		extensions = appendExtension(extensions, oidReasonCode, appendElement(nil, derEnumerated, []byte{byte(code)}))
	}
	if invalidity != 0 {
		extensions = appendExtension(extensions, oidInvalidityDate, appendTime(nil, invalidity, true))
	}
	entry = appendElement(entry, derInteger, serial[:])
	entry = appendTime(entry, at, false)
	if len(extensions) > 0 {
		entry = appendElement(entry, derSequence, extensions)
	}
	return appendElement(make([]byte, 0, len(entry)+4), derSequence, entry)
}

// appendExtension writes an Extension that is not critical.
func appendExtension(b []byte, oid [3]byte, value []byte) []byte {
	return appendElement(b, derSequence, appendElement(appendElement(nil, derOID, oid[:]), derOctetString, value))
}
