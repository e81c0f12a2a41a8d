package public

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/chancery-project/chancery/authority/publish"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

var (
	certType = []string{wire.TypeCertificate}
	crlType  = []string{wire.TypeCRL}
	// briefly is for what changes seldom and should be seen soon when it does: asking
	// again costs a conditional request.
	briefly = []string{"public, max-age=60"}
)

// issuerFile serves the CA certificate of one instance, {kid}.crt, which is where AIA
// points, and chain.pem, those of all instances. CA certificates are signed objects: a
// verifier that has the root needs no TLS to get them. A root is none, it is trusted for
// where it came from.
func (c *call) issuerFile() error {
	snap, err := c.read()
	if err != nil {
		return err
	}
	name, file := lifecycle.KeyID(c.r.PathValue("name")), c.r.PathValue("file")
	is := snap.Issuer(name)
	if is == nil {
		return wire.Errorf(wire.NotFound, "there is no issuer %.63q", string(name))
	}
	if is.Kind == lifecycle.RootIssuer {
		if err := c.anchorsAllowed(snap); err != nil {
			return err
		}
	}
	if file == "chain.pem" {
		return c.certificates(snap, publish.Chain(snap.View, name, instant(c.Clock())))
	}
	kid, ok := strings.CutSuffix(file, ".crt")
	ca := snap.CACertByKID(kid)
	if !ok || ca == nil || ca.Issuer != name {
		return wire.Errorf(wire.NotFound, "there is no path %.100q", c.r.URL.Path)
	}
	c.stamper.Snapshot(c.w.Header(), snap)
	c.w.Header()["Cache-Control"] = briefly
	c.body(certType, ca.DER)
	return nil
}

// roots serves the certificates of the cluster's roots: trust anchors.
func (c *call) roots() error {
	snap, err := c.read()
	if err != nil {
		return err
	}
	if err := c.anchorsAllowed(snap); err != nil {
		return err
	}
	return c.certificates(snap, publish.Roots(snap.View, instant(c.Clock())))
}

func (c *call) certificates(snap ledger.Snapshot, ders [][]byte) error {
	if len(ders) == 0 {
		return wire.Errorf(wire.NotFound, "there is no CA certificate to give out")
	}
	var text []byte
	for _, der := range ders {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	c.stamper.Snapshot(c.w.Header(), snap)
	c.w.Header()["Cache-Control"] = briefly
	c.body(pemType, text)
	return nil
}

// list serves a CRL, from this node's disk and whole, in parts, or not at all when the
// caller has it. It carries its own dates, so it is served however old the state is.
func (c *call) list() error {
	kid, shard, ok := crl.ParseFile(c.r.PathValue("file"))
	ca := c.Ledger.View().CACertByKID(kid)
	if c.CRLs == nil || !ok || ca == nil || string(ca.Issuer) != c.r.PathValue("name") {
		return wire.Errorf(wire.NotFound, "there is no path %.100q", c.r.URL.Path)
	}
	p, f, err := c.CRLs.Open(kid, shard)
	if err != nil {
		return fmt.Errorf("serve a CRL: %w", err)
	}
	if p == nil {
		return wire.Errorf(wire.NotFound, "this node has no CRL of %s yet", kid)
	}
	defer func() { _ = f.Close() }() // it was only read
	h := c.w.Header()
	h["Content-Type"], h["X-Content-Type-Options"], h["Etag"] = crlType, nosniff, []string{p.ETag}
	h["Cache-Control"], h["Expires"] = noStore, []string{p.NextUpdate.UTC().Format(http.TimeFormat)}
	if left := int(p.NextUpdate.Sub(c.Clock()) / time.Second); left > 0 {
		h["Cache-Control"] = []string{"public, max-age=" + strconv.Itoa(min(left, 60)) + ", must-revalidate"}
	}
	if matches(c.r.Header["If-None-Match"], p.ETag) {
		c.status = http.StatusNotModified
		c.w.WriteHeader(c.status)
		return nil
	}
	c.status = http.StatusOK
	http.ServeContent(c.w, c.r, "", p.ThisUpdate, f)
	return nil
}

// certStatus says how a certificate stands.
func (c *call) certStatus() error {
	serial, err := lifecycle.ParseSerial(c.r.PathValue("serial"))
	if err != nil {
		return wire.Errorf(wire.Invalid, "%v", err)
	}
	snap, f, err := c.readAny()
	if err != nil {
		return err
	}
	s, err := c.begin(snap, f)
	if err != nil {
		return err
	}
	subject := wire.CertificateSubject(serial.String())
	a, err := c.answers.get(subject, s, func() (*answer, error) {
		status, err := publish.CertificateStatus(snap.View, serial, instant(s.now), snap.Fresh)
		if err != nil {
			return nil, err
		}
		return s.certificate(subject, status)
	})
	if err != nil {
		return err
	}
	s.write(jsonType, a)
	return nil
}

// certificate finishes a status answer about a certificate: dates, signature.
func (s *statement) certificate(subject string, status publish.Certificate) (*answer, error) {
	expires := s.expires(status.Answer)
	out := &wire.CertificateAnswer{CertificateStatus: certificateView(status), Position: transport.Position(s.snap.Position()), AsOf: wire.AsTime(s.snap.AsOf), Freshness: transport.FreshnessOf(s.snap)}
	if left := expires.Sub(s.now); left > 0 && (s.snap.Fresh || status.Answer == publish.Revoked) {
		out.MaxAgeSeconds = int64(left / time.Second)
	}
	jws, err := s.sign(wire.TypCertificate, func(notAfter time.Time, node string) any {
		return &wire.CertificateClaims{Statement: s.about(subject, expires, notAfter, node), CertificateStatus: out.CertificateStatus}
	})
	if err != nil && !unsigned(err) {
		return nil, err
	}
	out.Signed, out.JWS = err == nil, jws
	body, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode the answer: %w", err)
	}
	return &answer{control: s.control(s.expires(publish.Good)), body: append(body, '\n')}, nil
}

// certificateView leaves out who asked for it and who revoked it.
func certificateView(c publish.Certificate) wire.CertificateStatus {
	out := wire.CertificateStatus{Serial: c.Serial.String(), Status: string(c.Answer), Issuer: wire.Text(c.Issuer), IssuerKID: wire.Text(c.IssuerKID),
		NotBefore: wire.Time(c.NotBefore), NotAfter: wire.Time(c.NotAfter)}
	if c.Answer == publish.OnHold {
		out.Status = wire.CertificateOnHold
	}
	if r := c.Revocation; r != nil && (c.Answer == publish.Revoked || c.Answer == publish.OnHold) {
		out.Revocation = &wire.CertificateRevocation{At: wire.Time(r.At), Reason: r.Reason, InvalidityAt: wire.Time(r.InvalidityAt)}
	}
	return out
}
