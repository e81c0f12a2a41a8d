package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

func statusFlags() []cli.Flag {
	return []cli.Flag{
		&cli.DurationFlag{Name: "max-age", Usage: "the oldest state that may call it good", DefaultText: "5s"},
		&cli.StringSliceFlag{Name: "crl", Usage: "ask no node: look into this CRL, `FILE` or http URL; may be repeated"},
		&cli.StringFlag{Name: "ocsp-response", Usage: "ask no node: read this OCSP response (DER), as a server staples it"},
		&cli.StringSliceFlag{Name: "issuer-cert", Usage: "with --crl and --ocsp-response: CA certificates (PEM) that you trust, one of them the issuer's"},
		publicFlag(),
	}
}

// certStatus checks: anything but good is exit 5.
func certStatus(s *session) error {
	if len(s.StringSlice("crl")) > 0 || s.String("ocsp-response") != "" {
		return offlineStatus(s)
	}
	if len(s.StringSlice("issuer-cert")) > 0 {
		return usagef("--issuer-cert goes with --crl or --ocsp-response")
	}
	if s.profile.CA == "" {
		return usagef("a status is verified with the cluster's CA bundle: name it with --ca or CHANCERY_CA")
	}
	serial, err := s.serialOf(s.arg(0))
	if err != nil {
		return err
	}
	var opts []client.Option
	if s.IsSet("max-age") {
		opts = append(opts, client.Consistency(wire.BoundedBy(s.Duration("max-age"))))
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	answer, err := c.CertificateStatus(s.ctx, serial, opts...)
	if err != nil {
		return unverified(err)
	}
	if err := s.show(certStatusView(answer)); err != nil || answer.Good() {
		return err
	}
	return failedf("certificate %s is %s", serial, answer.CertificateClaims.Status)
}

// verifiedCertificate is the JSON form: the signed claims, the proof, and that the proof
// was checked here.
type verifiedCertificate struct {
	*client.CertificateStatus
	Verified bool `json:"verified"`
}

func certStatusView(a *client.CertificateStatus) view {
	v := view{value: verifiedCertificate{a, true}, names: []string{a.Serial}}
	v.pair("serial", a.Serial)
	v.pair("status", a.CertificateClaims.Status)
	if a.CertificateClaims.Issuer != "" {
		v.pair("issuer", string(a.CertificateClaims.Issuer))
		v.pair("valid", when(a.NotBefore)+" to "+when(a.NotAfter))
	}
	if r := a.Revocation; r != nil {
		v.pair("revoked", fmt.Sprintf("%s (%s)", when(r.At), r.Reason))
	}
	v.pair("signature", fmt.Sprintf("verified, by %s of cluster %s", a.Node, a.Cluster))
	v.pair("as of", fmt.Sprintf("%s (%s), entry %d of epoch %d", orDash(a.AsOf.String()), a.Freshness, a.Position.Index, a.Position.Epoch))
	v.pair("expires", a.ExpiresAt.String())
	return v
}

// offlineStatus judges a certificate by what was published, without any cluster. All
// that was given must call it good.
func offlineStatus(s *session) error {
	if len(s.StringSlice("issuer-cert")) == 0 {
		return usagef("a CRL and an OCSP response are verified with the issuer's CA certificate: --issuer-cert FILE")
	}
	found, err := s.standings(time.Now())
	if err != nil {
		return failedf("nothing is known about the certificate: %v", err)
	}
	v := view{value: found, names: []string{s.arg(0)}}
	var bad error
	for _, st := range found {
		v.pair("status", st.Status)
		v.pair("source", strings.TrimSpace(st.Source+" "+st.Number))
		if st.RevokedAt != 0 {
			v.pair("revoked", fmt.Sprintf("%s (reason code %d)", when(st.RevokedAt), st.ReasonCode))
		}
		v.pair("as of", when(st.ThisUpdate))
		v.pair("next update", when(st.NextUpdate))
		if !st.Good() && bad == nil {
			bad = failedf("the certificate is %s", st.Status)
		}
	}
	return errors.Join(s.show(v), bad)
}

func (s *session) standings(now time.Time) (found []*client.Standing, err error) {
	cert, err := s.certificateFile(s.arg(0))
	if err != nil {
		return nil, err
	}
	issuer, err := s.issuerOf(cert)
	if err != nil {
		return nil, err
	}
	var lists [][]byte
	for _, from := range s.StringSlice("crl") {
		der, err := s.fetchCRL(from)
		if err != nil {
			return nil, err
		}
		lists = append(lists, der)
	}
	if len(lists) > 0 {
		st, err := client.StandingByCRL(cert, issuer, now, lists...)
		if err != nil {
			return nil, err
		}
		found = append(found, st)
	}
	if file := s.String("ocsp-response"); file != "" {
		b, err := s.read(file, maxOCSPFile)
		if err != nil {
			return nil, err
		}
		st, err := client.StandingByOCSP(cert, issuer, now, b)
		if err != nil {
			return nil, err
		}
		found = append(found, st)
	}
	return found, nil
}

// issuerOf finds the CA certificate that signed cert among those that the caller trusts.
func (s *session) issuerOf(cert *x509.Certificate) (*x509.Certificate, error) {
	for _, file := range s.StringSlice("issuer-cert") {
		rest, err := s.read(file, maxCertFile)
		if err != nil {
			return nil, err
		}
		for block, rest := pem.Decode(rest); block != nil; block, rest = pem.Decode(rest) {
			ca, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, fmt.Errorf("read a CA certificate from %s: %w", file, err)
			}
			if cert.CheckSignatureFrom(ca) == nil {
				return ca, nil
			}
		}
	}
	return nil, errors.New("no certificate of --issuer-cert signed it: an issuer has a CA certificate per instance, see chancery issuer show")
}

const (
	maxCRLBytes = 256 << 20 // a million entries are 40 MB
	maxOCSPFile = 64 << 10
)

// fetchCRL reads a CRL, PEM or DER, from a file or over http, where it needs no TLS: it
// is signed.
func (s *session) fetchCRL(from string) ([]byte, error) {
	var b []byte
	var err error
	if strings.HasPrefix(from, "http://") || strings.HasPrefix(from, "https://") {
		b, err = s.download(from)
	} else {
		b, err = s.read(from, maxCRLBytes)
	}
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil && block.Type == "X509 CRL" {
		b = block.Bytes
	}
	return b, nil
}

func (s *session) download(url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, fmt.Errorf("fetch the CRL: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch the CRL: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch the CRL: %s answered %s", url, resp.Status)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxCRLBytes+1))
	if err != nil {
		return nil, fmt.Errorf("fetch the CRL: %w", err)
	}
	if len(b) > maxCRLBytes {
		return nil, fmt.Errorf("fetch the CRL: %s has more than %d bytes", url, maxCRLBytes)
	}
	return b, nil
}
