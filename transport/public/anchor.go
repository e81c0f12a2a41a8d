package public

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// wellKnown serves the token keys whose policy opts in.
func (c *call) wellKnown() error {
	snap, err := c.read()
	if err != nil {
		return err
	}
	if err := c.anchorsAllowed(snap); err != nil {
		return err
	}
	set, err := c.Sets.WellKnown(snap.View)
	if err != nil {
		return err
	}
	c.set(snap, set)
	return nil
}

// keySet serves the trust set of one key.
func (c *call) keySet() error {
	snap, err := c.read()
	if err != nil {
		return err
	}
	if err := c.anchorsAllowed(snap); err != nil {
		return err
	}
	set, err := c.Sets.Set(snap.View, lifecycle.KeyID(c.r.PathValue("name")))
	if err != nil {
		return err
	}
	c.set(snap, set)
	return nil
}

var (
	jwksType = []string{wire.TypeJWKS}
	nosniff  = []string{"nosniff"}
	anyone   = []string{"*"} // browsers may read public keys from anywhere
	noStore  = []string{"no-store"}
)

func (c *call) set(snap ledger.Snapshot, set *publish.TrustSet) {
	h := c.w.Header()
	h["Etag"] = []string{set.ETag}
	h["Access-Control-Allow-Origin"] = anyone
	c.stamper.Snapshot(h, snap)
	if snap.Fresh {
		age := set.MaxAge(lifecycle.Instant(c.Clock().UnixMilli()))
		h["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(int(age.Seconds()))}
	} else {
		h["Cache-Control"] = noStore
	}
	unchanged := matches(c.r.Header["If-None-Match"], set.ETag)
	c.fetched(snap, set, unchanged)
	if unchanged {
		c.status = http.StatusNotModified
		c.w.WriteHeader(c.status)
		return
	}
	c.body(jwksType, set.JWKS)
}

// fetched tells who keeps an eye on consumers. A caller need not say who it is; one that
// shows its token is known by it, and gets nothing else for it here.
func (c *call) fetched(snap ledger.Snapshot, set *publish.TrustSet, unchanged bool) {
	if c.Fetched == nil {
		return
	}
	v := consumer.Visit{Set: set, Unchanged: unchanged, Remote: c.r.RemoteAddr, Agent: c.r.UserAgent()}
	if a := c.r.Header["Authorization"]; len(a) == 1 {
		if token, ok := strings.CutPrefix(a[0], wire.BearerScheme); ok {
			v.Token = token
		}
	}
	c.Fetched(snap.View, v)
}

// matches compares entity tags as RFC 9110 section 13.1.2 does for If-None-Match:
// weakly, any of a list, or "*".
func matches(header []string, etag string) bool {
	for _, line := range header {
		for _, tag := range strings.Split(line, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" || strings.TrimPrefix(tag, "W/") == etag {
				return true
			}
		}
	}
	return false
}

// body writes a success; the parts follow each other.
func (c *call) body(contentType []string, parts ...[]byte) {
	n := 0
	for _, b := range parts {
		n += len(b)
	}
	h := c.w.Header()
	h["Content-Type"] = contentType
	h["X-Content-Type-Options"] = nosniff
	h["Content-Length"] = []string{strconv.Itoa(n)}
	c.status = http.StatusOK
	c.w.WriteHeader(c.status)
	if c.r.Method == http.MethodHead {
		return
	}
	for _, b := range parts {
		_, _ = c.w.Write(b) // the caller has gone: nobody is left to tell
	}
}

var pemType = []string{wire.TypePEM}

// keyFile serves one public key of the trust set, {kid}.pem.
func (c *call) keyFile() error {
	snap, err := c.read()
	if err != nil {
		return err
	}
	if err := c.anchorsAllowed(snap); err != nil {
		return err
	}
	kid, ok := strings.CutSuffix(c.r.PathValue("file"), ".pem")
	if !ok || len(kid) < publish.MinKIDPrefix {
		return wire.Errorf(wire.NotFound, "there is no path %.100q", c.r.URL.Path)
	}
	key := lifecycle.KeyID(c.r.PathValue("name"))
	found, err := publish.Select(snap.View, key, publish.Selection{KID: kid})
	if err != nil {
		return err
	}
	if len(found) > 1 {
		return publish.ErrSeveral
	}
	set, err := c.Sets.Set(snap.View, key)
	if err != nil {
		return err
	}
	h := c.w.Header()
	c.stamper.Snapshot(h, snap)
	h["Cache-Control"] = noStore
	if snap.Fresh {
		age := set.MaxAge(lifecycle.Instant(c.Clock().UnixMilli()))
		h["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(int(age.Seconds()))}
	}
	c.body(pemType, publish.EncodePEM(found[0].SPKI))
	return nil
}
