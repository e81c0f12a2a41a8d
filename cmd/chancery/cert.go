package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func certCommand() *cli.Command {
	outs := []cli.Flag{
		&cli.StringFlag{Name: "out", Usage: "write the certificate and its CA certificates below the root (PEM): what servers load"},
		&cli.StringFlag{Name: "root-out", Usage: "write the root (PEM): what verifiers load"},
		durationFlag("ttl", "lifetime"),
	}
	order := slices.Concat([]cli.Flag{
		&cli.StringFlag{Name: "issuer", Usage: "who signs"},
		&cli.StringFlag{Name: "profile", Usage: "what kind of certificate", Value: "server"},
		&cli.StringSliceFlag{Name: "dns", Usage: "host name; may be repeated"},
		&cli.StringSliceFlag{Name: "ip", Usage: "IP address; may be repeated"},
		&cli.StringSliceFlag{Name: "uri", Usage: "URI, as in spiffe://example.org/service; may be repeated"},
		&cli.StringSliceFlag{Name: "email", Usage: "email address; may be repeated"},
	}, outs)
	return group("cert", "certificates",
		changing("issue", "", "make a key pair here and have it certified", issueCert, slices.Concat(order, []cli.Flag{
			&cli.StringFlag{Name: "key-out", Usage: "write the private key (PKCS#8 PEM, mode 0600)"},
			&cli.StringFlag{Name: "key-type", Usage: "P-256, P-384, Ed25519, RSA-2048, RSA-3072 or RSA-4096", Value: pki.KeyP256},
			&cli.StringFlag{Name: "cn", Usage: "common name, where the profile takes it from the request"}})...),
		changing("sign", "", "have a certificate request certified", signCSR, slices.Concat(order, []cli.Flag{
			&cli.StringFlag{Name: "csr", Usage: "the request (PKCS#10, PEM or DER)"}})...),
		changing("renew", "FILE", "renew a certificate; its own key is the credential", renewCert, renewFlags()...),
		looking("list", "", "find certificates", listCerts, append(pageFlags(),
			&cli.StringFlag{Name: "issuer", Usage: "of this issuer"},
			&cli.StringFlag{Name: "name", Usage: "with this name in it; '*' stands for any run of characters"},
			&cli.StringFlag{Name: "requester", Usage: "asked for by this principal"},
			&cli.StringFlag{Name: "node", Usage: "signed by this node"},
			&cli.StringFlag{Name: "profile", Usage: "of this profile"},
			&cli.StringFlag{Name: "status", Usage: "good, revoked, on_hold, expired or announced"},
			&cli.StringFlag{Name: "expires-before", Usage: "RFC 3339 time"})...),
		looking("show", "SERIAL|FILE", "a certificate and what became of it", showCert),
		looking("status", "SERIAL|FILE", "whether a certificate is good: a signed answer, verified; exit 5 when it is not", certStatus, statusFlags()...),
		changing("revoke", "[SERIAL|FILE] ...", "revoke certificates: by serial, by a file of serials, or all that filters find", revokeCerts, append(bulkFlags(),
			&cli.StringFlag{Name: "reason", Usage: fmt.Sprintf("one of %v", lifecycle.Reasons)},
			&cli.StringFlag{Name: "comment", Usage: "for the log"},
			&cli.StringFlag{Name: "invalid-since", Usage: "when the key may have been known first (RFC 3339)"})...),
		changing("release", "SERIAL|FILE...", "end a certificateHold", releaseCerts,
			&cli.StringFlag{Name: "comment", Usage: "for the log"}),
	)
}

// maxCertFile bounds in bytes a file of certificates that is read.
const maxCertFile = 256 << 10

// certificateFile reads the first certificate of a file, PEM or DER.
func (s *session) certificateFile(file string) (*x509.Certificate, error) {
	b, err := s.read(file, maxCertFile)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	cert, err := x509.ParseCertificate(b)
	if err != nil {
		return nil, fmt.Errorf("read a certificate from %s: %w", file, err)
	}
	return cert, nil
}

// serialOf takes a serial in any spelling, or the certificate's file.
func (s *session) serialOf(arg string) (string, error) {
	if serial, err := lifecycle.ParseSerial(arg); err == nil {
		return serial.String(), nil
	}
	if _, err := os.Stat(arg); errors.Is(err, os.ErrNotExist) {
		return "", usagef("%q is neither a serial (40 hex digits that begin with 01) nor a file", arg)
	}
	cert, err := s.certificateFile(arg)
	if err != nil {
		return "", err
	}
	serial, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes())
	if !ok {
		return "", fmt.Errorf("the certificate in %s was not issued by Chancery: its serial is %x", arg, cert.SerialNumber)
	}
	return serial.String(), nil
}

func listCerts(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	var filters []client.Option
	for flag, query := range map[string]string{"issuer": wire.QueryIssuer, "name": wire.QueryName, "requester": wire.QueryActor, "node": wire.QueryNode,
		"profile": wire.QueryProfile, "status": wire.QueryState, "expires-before": wire.QueryExpires} {
		filters = append(filters, client.Query(query, s.String(flag)))
	}
	l, err := pages(s, func(o ...client.Option) (wire.List[wire.Certificate], error) {
		return c.Certificates(s.ctx, append(o, filters...)...)
	})
	if err != nil {
		return err
	}
	return s.showCertificates(l)
}

func (s *session) showCertificates(l wire.List[wire.Certificate]) error {
	v := view{value: l, wide: 6, head: []string{"SERIAL", "NAMES", "STATUS", "UNTIL", "ISSUER", "REQUESTER", "PROFILE", "NODE"}}
	for _, c := range l.Items {
		v.add(c.Serial, c.Serial, s.namesCell(&c), c.Status, when(c.NotAfter), c.Issuer, c.Requester, c.Profile, c.IssuerNode)
	}
	return s.showPage(v, l.Next)
}

func certNames(c *wire.Certificate) string { return strings.Join(namesIn(c), " ") }

func namesIn(c *wire.Certificate) []string {
	names := slices.Concat(c.SAN.DNS, c.SAN.IP, c.SAN.URI, c.SAN.Email)
	if len(names) == 0 {
		return []string{orDash(c.Subject)}
	}
	return names
}

// manyNames is how many names of a certificate a column shows.
const manyNames = 3

// namesCell is certNames, cut where a column of a table would push the others away.
func (s *session) namesCell(c *wire.Certificate) string {
	all := namesIn(c)
	if s.format != formatTable || len(all) <= manyNames {
		return strings.Join(all, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(all[:manyNames], " "), len(all)-manyNames)
}

func (s *session) certificate() (*wire.Certificate, error) {
	serial, err := s.serialOf(s.arg(0))
	if err != nil {
		return nil, err
	}
	c, err := s.client()
	if err != nil {
		return nil, err
	}
	return c.Certificate(s.ctx, serial)
}

func showCert(s *session) error {
	c, err := s.certificate()
	if err != nil {
		return err
	}
	return s.show(certView(c))
}

func certView(c *wire.Certificate) view {
	v := view{value: c, names: []string{c.Serial}}
	v.pair("serial", c.Serial)
	v.pair("status", c.Status)
	v.pair("names", certNames(c))
	v.pair("issuer", c.Issuer+", instance of "+c.IssuerNode)
	v.pair("profile", c.Profile)
	v.pair("requester", c.Requester)
	v.pair("valid", when(c.NotBefore)+" to "+when(c.NotAfter))
	if r := c.Revocation; r != nil {
		v.pair("revoked", fmt.Sprintf("%s by %s (%s) %s", when(r.At), r.By, r.Reason, r.Comment))
	}
	if c.ReplacedBy != "" {
		v.pair("replaced by", string(c.ReplacedBy))
	}
	return v
}
