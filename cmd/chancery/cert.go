package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/urfave/cli/v2"

	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/authority/signing"
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
		changing("renew", "FILE", "renew a certificate; its own key is the credential", renewCert, slices.Concat(outs, []cli.Flag{
			&cli.StringFlag{Name: "key-file", Usage: "its private key (PEM)"}})...),
		looking("list", "", "find certificates", listCerts, append(pageFlags(),
			&cli.StringFlag{Name: "issuer", Usage: "of this issuer"},
			&cli.StringFlag{Name: "name", Usage: "with this name in it; '*' stands for any run of characters"},
			&cli.StringFlag{Name: "requester", Usage: "asked for by this principal"},
			&cli.StringFlag{Name: "node", Usage: "signed by this node"},
			&cli.StringFlag{Name: "profile", Usage: "of this profile"},
			&cli.StringFlag{Name: "status", Usage: "good, revoked, on_hold or announced"},
			&cli.StringFlag{Name: "expires-before", Usage: "RFC 3339 time"})...),
		looking("show", "SERIAL|FILE", "a certificate and what became of it", showCert),
		looking("status", "SERIAL|FILE", "whether a certificate is good; exit 5 when it is not", certStatus),
		changing("revoke", "SERIAL|FILE...", "revoke certificates", revokeCerts,
			&cli.StringFlag{Name: "reason", Usage: fmt.Sprintf("one of %v", lifecycle.Reasons)},
			&cli.StringFlag{Name: "comment", Usage: "for the log"},
			&cli.StringFlag{Name: "invalid-since", Usage: "when the key may have been known first (RFC 3339)"}),
		changing("release", "SERIAL|FILE...", "end a certificateHold", releaseCerts,
			&cli.StringFlag{Name: "comment", Usage: "for the log"}),
	)
}

// newKey makes a key pair of a kind.
func newKey(kind string) (key crypto.Signer, err error) {
	switch kind {
	case pki.KeyP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case pki.KeyP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case pki.KeyEd25519:
		_, key, err = ed25519.GenerateKey(rand.Reader)
		return key, err
	case pki.KeyRSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case pki.KeyRSA3072:
		return rsa.GenerateKey(rand.Reader, 3072)
	case pki.KeyRSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, usagef("--key-type %q: choose one of %v", kind, pki.KeyTypes)
}

func issueCert(s *session) error {
	if s.String("key-out") == "" || s.String("out") == "" {
		return usagef("chancery cert issue needs --out and --key-out")
	}
	key, err := newKey(s.String("key-type"))
	if err != nil {
		return err
	}
	csr, err := requestFor(key, s.String("cn"))
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("encode the private key: %w", err)
	}
	// First the key: a certificate without one is of no use, the other way round costs nothing.
	if err := s.write(s.String("key-out"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), secretMode); err != nil {
		return err
	}
	err = s.order(csr)
	if err != nil {
		_ = os.Remove(s.String("key-out")) // nothing was certified for it, and the error says why
	}
	return err
}

func requestFor(key crypto.Signer, cn string) ([]byte, error) {
	template := new(x509.CertificateRequest)
	template.Subject.CommonName = cn
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

func signCSR(s *session) error {
	if s.String("csr") == "" {
		return usagef("chancery cert sign needs --csr FILE")
	}
	csr, err := s.read(s.String("csr"), pki.MaxCSRBytes)
	if err != nil {
		return err
	}
	if len(csr) > 0 && csr[0] == 0x30 {
		csr = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
	}
	return s.order(csr)
}

func (s *session) order(csr []byte) error {
	if s.String("issuer") == "" {
		return usagef("--issuer is missing: chancery issuer list")
	}
	ttl, err := s.length("ttl")
	if err != nil {
		return err
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	out, err := c.IssueCertificate(s.ctx, s.String("issuer"), wire.IssueCertificate{Profile: s.String("profile"), CSR: string(csr), TTL: ttl,
		DNS: s.StringSlice("dns"), IPs: s.StringSlice("ip"), URIs: s.StringSlice("uri"), Emails: s.StringSlice("email")}, s.changes()...)
	if err != nil {
		return err
	}
	return s.keepCertificate(out)
}

// keepCertificate writes what was issued where it is wanted, and says what it is.
func (s *session) keepCertificate(c *wire.IssuedCertificate) error {
	if f := s.String("out"); f != "" {
		if err := s.write(f, []byte(c.PEM+c.ChainPEM), 0o644); err != nil {
			return err
		}
	}
	if f := s.String("root-out"); f != "" {
		if err := s.write(f, []byte(c.RootPEM), 0o644); err != nil {
			return err
		}
	}
	v := view{value: c, names: []string{c.Serial}}
	v.pair("serial", c.Serial)
	v.pair("issuer", c.Issuer+", instance of "+c.Node)
	v.pair("profile", c.Profile)
	v.pair("valid", when(c.NotBefore)+" to "+when(c.NotAfter))
	v.pair("renew after", when(c.RenewAfter))
	return s.show(v)
}

func renewCert(s *session) error {
	if s.String("key-file") == "" {
		return usagef("chancery cert renew needs --key-file FILE")
	}
	cert, err := s.certificateFile(s.arg(0))
	if err != nil {
		return err
	}
	key, err := s.privateKey(s.String("key-file"))
	if err != nil {
		return err
	}
	ttl, err := s.length("ttl")
	if err != nil {
		return err
	}
	csr, err := requestFor(key, "")
	if err != nil {
		return err
	}
	serial, ok := lifecycle.SerialOf(cert.SerialNumber.Bytes())
	if !ok {
		return fmt.Errorf("certificate %x was not issued by Chancery", cert.SerialNumber)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("draw a request id: %w", err)
	}
	at := lifecycle.Instant(time.Now().UnixMilli())
	proof, err := prove(key, issuing.RenewalStatement(cert.Raw, id.String(), at, csr))
	if err != nil {
		return err
	}
	out, err := c.RenewCertificate(s.ctx, serial.String(), wire.RenewCertificate{CSR: string(csr), At: wire.Time(at), Proof: proof, TTL: ttl}, client.WithRequestID(id.String()))
	if err != nil {
		return err
	}
	return s.keepCertificate(out)
}

// prove signs a statement with a private key, as the algorithm's usual form has it.
func prove(key crypto.Signer, statement []byte) ([]byte, error) {
	opts, in := crypto.SignerOpts(crypto.SHA256), signing.Digest(lifecycle.ES256, statement)
	switch k := key.Public().(type) {
	case ed25519.PublicKey:
		opts, in = crypto.Hash(0), statement
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P384() {
			opts, in = crypto.SHA384, signing.Digest(lifecycle.ES384, statement)
		}
	}
	sig, err := key.Sign(rand.Reader, in, opts)
	if err != nil {
		return nil, fmt.Errorf("prove possession of the key: %w", err)
	}
	return sig, nil
}

func (s *session) privateKey(file string) (crypto.Signer, error) {
	b, err := s.read(file, 64<<10)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		if parsed, err = x509.ParseECPrivateKey(block.Bytes); err != nil {
			if parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes); err != nil {
				return nil, fmt.Errorf("%s holds no private key in PKCS#8, SEC 1 or PKCS#1 form", file)
			}
		}
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%s holds no key that signs", file)
	}
	return key, nil
}

// certificateFile reads the first certificate of a file, PEM or DER.
func (s *session) certificateFile(file string) (*x509.Certificate, error) {
	b, err := s.read(file, 256<<10)
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
		v.add(c.Serial, c.Serial, certNames(&c), c.Status, when(c.NotAfter), c.Issuer, c.Requester, c.Profile, c.IssuerNode)
	}
	return s.showPage(v, l.Next)
}

func certNames(c *wire.Certificate) string {
	var names []string
	for _, l := range [][]string{c.SAN.DNS, c.SAN.IP, c.SAN.URI, c.SAN.Email} {
		names = append(names, l...)
	}
	if len(names) == 0 {
		return orDash(c.Subject)
	}
	return strings.Join(names, " ")
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
		v.pair("replaced by", c.ReplacedBy)
	}
	return v
}

// certStatus checks: anything but good is exit 5.
func certStatus(s *session) error {
	c, err := s.certificate()
	if err != nil {
		return err
	}
	if err := s.show(certView(c)); err != nil {
		return err
	}
	if c.Status != "good" {
		return failedf("certificate %s is %s", c.Serial, c.Status)
	}
	return nil
}

// oneIssuer finds the serials of arguments, and the issuer that all of them have.
func (s *session) oneIssuer(c *client.Client) (issuer string, serials []string, err error) {
	for _, arg := range s.Args().Slice() {
		serial, err := s.serialOf(arg)
		if err != nil {
			return "", nil, err
		}
		row, err := c.Certificate(s.ctx, serial)
		if err != nil {
			return "", nil, err
		}
		if issuer != "" && issuer != row.Issuer {
			return "", nil, usagef("certificates of %s and of %s: revoke them issuer by issuer", issuer, row.Issuer)
		}
		issuer, serials = row.Issuer, append(serials, serial)
	}
	if len(serials) == 0 {
		return "", nil, usagef("name at least one certificate, by serial or file")
	}
	return issuer, serials, nil
}

func revokeCerts(s *session) error {
	reason, err := lifecycle.ParseReason(s.String("reason"))
	if err != nil {
		return usagef("--reason: %v", err)
	}
	in := wire.RevokeCertificates{Reason: reason, Comment: s.String("comment")}
	if text := s.String("invalid-since"); text != "" {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return usagef("--invalid-since: %v", err)
		}
		in.InvalidityAt = wire.AsTime(at)
	}
	c, err := s.client()
	if err != nil {
		return err
	}
	if in.Issuer, in.Serials, err = s.oneIssuer(c); err != nil {
		return err
	}
	op, err := c.RevokeCertificates(s.ctx, in, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}

func releaseCerts(s *session) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	in := wire.ReleaseCertificates{Comment: s.String("comment")}
	if in.Issuer, in.Serials, err = s.oneIssuer(c); err != nil {
		return err
	}
	op, err := c.ReleaseCertificates(s.ctx, in, s.waits(wire.Committed)...)
	return s.finish(op, err, wire.Committed)
}
