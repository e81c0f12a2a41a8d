package client

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestCertificateStatus: what a node says is believed as far as it is signed.
func TestCertificateStatus(t *testing.T) {
	o := newOfficeAt(t, time.Now(), ourCluster)
	serial := "01" + strings.Repeat("ab", lifecycle.SerialBytes-1)
	typ := func(typ string) map[string]any {
		h := o.header()
		h["typ"] = typ
		return h
	}
	for name, c := range map[string]struct {
		typ    string
		change func(*wire.CertificateClaims)
		want   string
		err    error
	}{
		"good":            {wire.TypCertificate, nil, wire.Good, nil},
		"revoked":         {wire.TypCertificate, func(c *wire.CertificateClaims) { c.CertificateStatus.Status = wire.Revoked }, wire.Revoked, nil},
		"expired":         {wire.TypCertificate, func(c *wire.CertificateClaims) { c.CertificateStatus.Status = wire.CertificateEnded }, wire.CertificateEnded, nil},
		"unknown":         {wire.TypCertificate, func(c *wire.CertificateClaims) { c.CertificateStatus.Status = wire.Unknown }, wire.Unknown, nil},
		"new word":        {wire.TypCertificate, func(c *wire.CertificateClaims) { c.CertificateStatus.Status = "fine" }, "", ErrForged},
		"stale":           {wire.TypCertificate, func(c *wire.CertificateClaims) { c.Freshness = wire.Stale }, "", ErrForged},
		"another serial":  {wire.TypCertificate, func(c *wire.CertificateClaims) { c.Serial = "01" + strings.Repeat("cd", lifecycle.SerialBytes-1) }, "", ErrOtherQuestion},
		"another subject": {wire.TypCertificate, func(c *wire.CertificateClaims) { c.Subject = wire.KeySubject("ci") }, "", ErrOtherQuestion},
		"another kind":    {wire.TypStatus, nil, "", ErrForged},
		"unsigned":        {"", nil, "", ErrUnsigned},
	} {
		n := startNode(t, func(w http.ResponseWriter, r *http.Request) {
			now := time.Now()
			s := wire.CertificateClaims{Statement: claims().Statement, CertificateStatus: wire.CertificateStatus{Serial: serial, Status: wire.Good}}
			s.Subject, s.AsOf, s.ExpiresAt, s.Nonce = wire.CertificateSubject(serial), wire.AsTime(now), wire.AsTime(now.Add(5*time.Second)), r.URL.Query().Get(wire.QueryNonce)
			if c.change != nil {
				c.change(&s)
			}
			out := wire.CertificateAnswer{CertificateStatus: wire.CertificateStatus{Serial: serial, Status: wire.Good}}
			if c.typ != "" {
				out.Signed, out.JWS = true, o.jws(typ(c.typ), s)
			}
			_ = json.NewEncoder(w).Encode(out) // the client will see what arrived
		})
		s, err := statusClient(t, o, n).CertificateStatus(t.Context(), serial)
		if !errors.Is(err, c.err) || c.err == nil && (s == nil || s.CertificateClaims.Status != c.want) || s.Good() != (c.want == wire.Good) {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
		if r := n.requests()[0]; r.URL.Path != "/status/certificates/"+serial {
			t.Errorf("asked for %s", r.URL.Path)
		}
	}
}
