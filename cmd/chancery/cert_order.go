package main

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/chancery-project/chancery/authority/pki"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// issueCert makes a key pair and has it certified. The key is written first: a key
// without a certificate costs nothing, a certificate without its key is of no use. It is
// removed again only when the cluster refused for good. While nobody knows what became of
// the request the file is all that can repeat it: the request is made from the key alone,
// so with the same request id it is the same request.
func issueCert(s *session) error {
	file := s.String("key-out")
	if file == "" || s.String("out") == "" {
		return usagef("chancery cert issue needs --out and --key-out")
	}
	for _, out := range []string{"out", "root-out"} {
		if filepath.Clean(file) == filepath.Clean(s.String(out)) {
			return usagef("--%s and --key-out name the same file", out)
		}
	}
	ttl, err := s.orderTTL()
	if err != nil {
		return err
	}
	if _, err := s.client(); err != nil {
		return err
	}
	key, made, err := s.keyToCertify(file)
	if err != nil {
		return err
	}
	csr, err := requestFor(key, s.String("cn"))
	if err != nil {
		return err
	}
	id := firstOf(s.givenRequestID(), client.NewRequestID())
	err = s.order(csr, ttl, id)
	switch {
	case err == nil || file == "-":
		return err
	case made && refusedForGood(err):
		if rm := os.Remove(file); rm != nil {
			return errors.Join(err, fmt.Errorf("remove the key that nothing was certified for: %w", rm))
		}
		return err
	}
	return &keptKey{err, file, id}
}

// keyToCertify makes a key and writes it into a new file. Where there is a file the key
// in it is taken, but only for a request that is repeated.
func (s *session) keyToCertify(file string) (key crypto.Signer, made bool, err error) {
	if _, err := os.Lstat(file); file != "-" && !errors.Is(err, fs.ErrNotExist) {
		if err != nil {
			return nil, false, fmt.Errorf("look for the key file: %w", err)
		}
		key, err := s.keptKey(file)
		return key, false, err
	}
	if key, err = newKey(s.String("key-type")); err != nil {
		return nil, false, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, false, fmt.Errorf("encode the private key: %w", err)
	}
	return key, true, s.write(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), secretMode)
}

func (s *session) keptKey(file string) (crypto.Signer, error) {
	if s.givenRequestID() == "" {
		return nil, &wire.Error{Code: "key_exists", Message: file + " is there already: it is not written over, and nothing was asked",
			Hint: "to repeat the request it was made for: --request-id with that request's id; for a new key name another file"}
	}
	key, err := s.privateKey(file)
	if err != nil {
		return nil, err
	}
	if kind, err := pki.KeyType(key.Public()); err != nil || s.IsSet("key-type") && kind != s.String("key-type") {
		return nil, usagef("%s holds a key of another kind than --key-type %s", file, s.String("key-type"))
	}
	return key, nil
}

// keptKey is a failed request whose key is still there.
type keptKey struct {
	error
	file, requestID string
}

func (e *keptKey) Unwrap() error { return e.error }

// hint says how to go on.
func (e *keptKey) hint() string {
	repeat := fmt.Sprintf("the key is kept in %s: repeat the command with --request-id %s, which certifies that key and no second one", e.file, e.requestID)
	var unwritten *unwrittenCertificate
	if errors.As(e.error, &unwritten) {
		return repeat + "; " + unwritten.hint()
	}
	return repeat
}

// unwrittenCertificate is one that was issued and whose file could not be written.
type unwrittenCertificate struct {
	error
	serial string
}

func (e *unwrittenCertificate) Unwrap() error { return e.error }

func (e *unwrittenCertificate) hint() string {
	return "the certificate is issued: chancery cert show " + e.serial + " -o json"
}

// refusedForGood reports whether the cluster said no, so that no certificate exists or
// will exist for the request.
func refusedForGood(err error) bool {
	e := describe(err)
	var refused *wire.Error
	return errors.As(err, &refused) && e.Exit == exitRefused && !e.Retryable && refused.Code != wire.Internal
}

func signCSR(s *session) error {
	if s.String("csr") == "" {
		return usagef("chancery cert sign needs --csr FILE")
	}
	if s.String("out") == "" && (s.format == formatTable || s.format == formatWide) {
		return usagef("chancery cert sign needs --out FILE, - for stdout; -o json shows the certificate too")
	}
	csr, err := s.read(s.String("csr"), pki.MaxCSRBytes)
	if err != nil {
		return err
	}
	if len(csr) > 0 && csr[0] == 0x30 {
		csr = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})
	}
	ttl, err := s.orderTTL()
	if err != nil {
		return err
	}
	return s.order(csr, ttl, firstOf(s.givenRequestID(), client.NewRequestID()))
}

func (s *session) orderTTL() (lifecycle.Milliseconds, error) {
	if s.String("issuer") == "" {
		return 0, usagef("--issuer is missing: chancery issuer list")
	}
	if err := s.sparesKeys(s.String("out"), s.String("root-out")); err != nil {
		return 0, err
	}
	return s.length("ttl")
}

func (s *session) order(csr []byte, ttl lifecycle.Milliseconds, id string) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	out, err := c.IssueCertificate(s.ctx, s.String("issuer"), wire.IssueCertificate{Profile: s.String("profile"), CSR: string(csr), TTL: ttl,
		DNS: s.StringSlice("dns"), IPs: s.StringSlice("ip"), URIs: s.StringSlice("uri"), Emails: s.StringSlice("email")}, s.changes(client.WithRequestID(id))...)
	if err != nil {
		return err
	}
	return s.keepCertificate(out)
}

// keepCertificate writes what was issued where it is wanted, and says what it is.
func (s *session) keepCertificate(c *wire.IssuedCertificate) error {
	if err := s.writeIssued(s.String("out"), c); err != nil {
		return err
	}
	if err := s.show(issuedView(c)); err != nil {
		return err
	}
	return s.rootless(c)
}

// rootless says that --root-out was not written: nobody is to load an empty file.
func (s *session) rootless(c *wire.IssuedCertificate) error {
	if s.String("root-out") == "" || c.RootPEM != "" {
		return nil
	}
	return fmt.Errorf("the certificate is issued, and --root-out is not written: the root above %s is elsewhere: chancery issuer show %s --roots FILE says where", c.Issuer, c.Issuer)
}

// writeIssued writes the certificate with its chain into out, "" for nowhere, and the
// root where --root-out says.
func (s *session) writeIssued(out string, c *wire.IssuedCertificate) error {
	for _, f := range []struct{ name, text string }{{s.String("root-out"), c.RootPEM}, {out, c.PEM + c.ChainPEM}} {
		if f.name == "" || f.text == "" {
			continue
		}
		if err := s.replace(f.name, []byte(f.text)); err != nil {
			return &unwrittenCertificate{err, c.Serial}
		}
	}
	return nil
}

func issuedView(c *wire.IssuedCertificate) view {
	v := view{value: c, names: []string{c.Serial}}
	v.pair("serial", c.Serial)
	v.pair("issuer", c.Issuer+", instance of "+c.Node)
	v.pair("profile", c.Profile)
	v.pair("valid", when(c.NotBefore)+" to "+when(c.NotAfter))
	v.pair("renew after", when(c.RenewAfter))
	return v
}

// replace puts a new text into a file that everybody may read, in one step: a server
// that loads it meanwhile sees the old one or the new one. Stdout, pipes and devices are
// written into.
func (s *session) replace(name string, b []byte) error {
	if at, err := os.Stat(name); name == "-" || err == nil && !at.Mode().IsRegular() {
		return s.write(name, b, 0o644)
	}
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target // the link stays one
	}
	return replacePublic(name, b)
}
