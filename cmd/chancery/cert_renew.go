package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/chancery-project/chancery/authority/issuing"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

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
	id := firstOf(s.givenRequestID(), client.NewRequestID())
	at := lifecycle.Instant(time.Now().UnixMilli())
	proof, err := prove(key, issuing.RenewalStatement(cert.Raw, id, at, csr))
	if err != nil {
		return err
	}
	out, err := c.RenewCertificate(s.ctx, serial.String(), wire.RenewCertificate{CSR: string(csr), At: wire.Time(at), Proof: proof, TTL: ttl}, client.WithRequestID(id))
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
