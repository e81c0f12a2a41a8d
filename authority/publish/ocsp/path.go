package ocsp

import (
	"encoding/base64"
	"strings"
)

// DecodePath reads a request out of the path of a GET: the base64 of its DER (RFC 6960
// appendix A.1), which is what follows the responder's own path after percent escapes
// were resolved once. '/' and '+' are digits of base64, so the path must not have been
// cleaned on its way: "//" may be part of a hash.
//
// Clients differ: one joins a base URL that ends in '/' with another '/', one leaves the
// padding away. Neither changes what is meant; everything else is ErrMalformed.
func DecodePath(path string) ([]byte, error) {
	text := strings.TrimLeft(path, "/") // DER begins with 0x30, so base64 with 'M'
	if len(text) > base64.StdEncoding.EncodedLen(MaxRequestBytes) {
		return nil, malformed("a path of %d characters", len(path))
	}
	if strings.ContainsAny(text, "\r\n") { // package base64 would pass over them
		return nil, malformed("the path is not base64")
	}
	encoding := base64.RawStdEncoding.Strict()
	if strings.HasSuffix(text, "=") {
		encoding = base64.StdEncoding.Strict()
	}
	der, err := encoding.DecodeString(text)
	if err != nil || len(der) == 0 {
		return nil, malformed("the path is not base64")
	}
	return der, nil
}
