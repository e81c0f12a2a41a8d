package public

import (
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

var (
	ocspResponseType = []string{wire.TypeOCSPResponse}
	getHeadPost      = []string{"GET, HEAD, POST"}
)

// serveOCSP answers POST /ocsp and GET /ocsp/{base64}. What is wrong with the HTTP
// request is an HTTP error; what is wrong with the OCSP request, or with this node, is an
// OCSP response, because that is what clients of it understand.
func (p *Public) serveOCSP(w http.ResponseWriter, r *http.Request) {
	c := &call{Public: p, w: w, r: r, metrics: p.ocsp, name: wire.PathOCSP, began: time.Now(), status: http.StatusOK}
	defer c.recover()
	if err := c.answerOCSP(); err != nil {
		c.fail(err)
	}
	c.metrics.Observe(c.status, time.Since(c.began))
}

func (c *call) answerOCSP() error {
	if err := transport.CheckHeader(c.r); err != nil {
		return err
	}
	if err := c.addresses.Take(transport.AddressOf(c.r.RemoteAddr)); err != nil {
		return err
	}
	rest, ok := strings.CutPrefix(c.r.URL.Path, wire.PathOCSP)
	if !ok || rest != "" && rest[0] != '/' {
		return wire.Errorf(wire.NotFound, "there is no path %.100q", c.r.URL.Path)
	}
	var der []byte
	var err error
	switch c.r.Method {
	case http.MethodGet, http.MethodHead:
		if der, err = ocsp.DecodePath(rest); err != nil {
			return c.writeOCSP(c.OCSP.Malformed())
		}
	case http.MethodPost:
		if der, err = c.ocspBody(rest); err != nil {
			return err
		}
	default:
		c.w.Header()["Allow"] = getHeadPost
		return wire.Errorf(wire.MethodNotAllowed, "%s takes GET, HEAD and POST", wire.PathOCSP)
	}
	return c.writeOCSP(c.OCSP.Respond(c.r.Context(), der))
}

// ocspBody reads the request of a POST, one byte more than is allowed: the parser
// refuses it for its size.
func (c *call) ocspBody(rest string) ([]byte, error) {
	if strings.Trim(rest, "/") != "" {
		return nil, wire.Errorf(wire.NotFound, "POST goes to %s", wire.PathOCSP)
	}
	if t := c.r.Header["Content-Type"]; len(t) != 1 || t[0] != wire.TypeOCSPRequest && !isOCSPRequest(t[0]) {
		return nil, wire.Errorf(wire.UnsupportedMedia, "%s takes Content-Type: %s", wire.PathOCSP, wire.TypeOCSPRequest)
	}
	size := c.r.ContentLength
	if size > ocsp.MaxRequestBytes {
		return nil, wire.Errorf(wire.TooLarge, "%d bytes, at most %d are read", size, ocsp.MaxRequestBytes)
	}
	var der []byte
	var err error
	if size >= 0 {
		der = make([]byte, size)
		_, err = io.ReadFull(c.r.Body, der)
	} else {
		der, err = io.ReadAll(io.LimitReader(c.r.Body, ocsp.MaxRequestBytes+1))
	}
	if err != nil {
		if e := transport.Failure(err); e.Code == wire.BodyTimedOut {
			return nil, e
		}
		return nil, wire.Errorf(wire.Malformed, "the body ended early")
	}
	return der, nil
}

// isOCSPRequest reads a media type as RFC 9110 section 8.3.1 has it: in any case, with
// parameters that say nothing here.
func isOCSPRequest(contentType string) bool {
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == wire.TypeOCSPRequest
}

// writeOCSP sends an answer with the headers of RFC 5019 section 6.2, so that caches on
// the way keep it exactly as long as it is valid.
func (c *call) writeOCSP(a *ocsp.Answer) error {
	h := c.w.Header()
	h["Content-Type"] = ocspResponseType
	left := int64(a.NextUpdate.Sub(c.Clock()) / time.Second)
	if !a.Cacheable || left <= 0 {
		h["Cache-Control"] = noStore
	} else {
		h["Cache-Control"] = []string{"max-age=" + strconv.FormatInt(left, 10) + ", public, no-transform, must-revalidate"}
		h["Etag"], h["Last-Modified"], h["Expires"] = a.ETag, a.LastModified, a.Expires
		if c.r.Method != http.MethodPost && matches(c.r.Header["If-None-Match"], a.ETag[0]) {
			c.status = http.StatusNotModified
			c.w.WriteHeader(c.status)
			return nil
		}
	}
	// A failed write is the asker's: it went away.
	_, _ = c.w.Write(a.Body)
	return nil
}
