package client

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Signer is a crypto.Signer over one Instance of a Key.
//
// A Key of Chancery has as many public keys as it has instances, but a
// crypto.Signer has one. So a Signer is pinned: to one version and to one node's
// instance of it, chosen when it is made. It asks for exactly that kid, goes from
// node to node until it finds the one that holds it, and fails while that node
// cannot sign or once the version is no longer active. A node without a lease is
// waited for as long as Config.Timeout allows. For availability take a RoamingSigner,
// or Client.Sign, which name the kid that signed, and let verifiers use the trust set. Use a Signer where an API demands a crypto.Signer, and make a new one when
// it starts to fail.
type Signer struct {
	client *Client
	ctx    context.Context
	key    string
	alg    lifecycle.Algorithm
	kid    string
	node   string
	public crypto.PublicKey

	mu   sync.Mutex
	addr string // where the instance was found, "" = not yet
}

// Signer pins an instance of the key's active version: the one on node, or with ""
// the first that may sign. ctx is used for every later signature too, because
// crypto.Signer has no place for one.
func (c *Client) Signer(ctx context.Context, key, node string) (*Signer, error) {
	k, err := c.Key(ctx, key)
	if err != nil {
		return nil, err
	}
	for _, v := range k.Versions {
		if v.Version != k.ActiveVersion {
			continue
		}
		for _, i := range v.Instances {
			if !i.MaySign || node != "" && i.Node != node {
				continue
			}
			public, err := parsePEM(i.PEM)
			if err != nil {
				return nil, fmt.Errorf("read the public key of %s on %s: %w", key, i.Node, err)
			}
			return &Signer{client: c, ctx: ctx, key: key, alg: k.Alg, kid: string(i.KID), node: i.Node, public: public}, nil
		}
	}
	where := "on any node"
	if node != "" {
		where = "on " + node
	}
	return nil, fmt.Errorf("key %s has no instance %s that may sign: see chancery key show %s", key, where, key)
}

func parsePEM(text string) (crypto.PublicKey, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("the server sent no PEM public key")
	}
	return x509.ParsePKIXPublicKey(block.Bytes)
}

// Public is the public key of the pinned instance.
func (s *Signer) Public() crypto.PublicKey { return s.public }

// KID of the pinned instance; Node is where it lives.
func (s *Signer) KID() string  { return s.kid }
func (s *Signer) Node() string { return s.node }

// Sign implements crypto.Signer: digest is hashed with opts.HashFunc(), or is the
// message itself for Ed25519. rand is not used. ECDSA signatures are ASN.1 DER.
func (s *Signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if err := checkInput(s.key, s.alg, digest, opts); err != nil {
		return nil, err
	}
	sig, err := s.SignDetailed(digest)
	if err != nil {
		return nil, err
	}
	return sig.Signature, nil
}

// SignDetailed signs a digest (for Ed25519 a message) and says with what.
func (s *Signer) SignDetailed(digest []byte) (*wire.Signature, error) {
	sig, err := s.locate(signRequest(s.alg, digest, s.kid))
	if err != nil {
		return nil, err
	}
	if sig.KID != s.kid {
		return nil, fmt.Errorf("sign with %s: the server used instance %s instead of %s; the signature was discarded", s.key, sig.KID, s.kid)
	}
	return sig, nil
}

// signRequest asks for one signature over a digest, for Ed25519 over a message.
func signRequest(alg lifecycle.Algorithm, digest []byte, kid string) wire.SignRequest {
	if alg == lifecycle.EdDSA {
		return wire.SignRequest{Message: digest, Hash: alg.Hash(), KID: kid}
	}
	return wire.SignRequest{Digest: digest, Hash: alg.Hash(), KID: kid}
}

// locate signs where the instance was found before, or looks for it when it is
// not there or was never found: a node may have moved to another address.
func (s *Signer) locate(req wire.SignRequest) (*wire.Signature, error) {
	s.mu.Lock()
	addr := s.addr
	s.mu.Unlock()
	if addr != "" {
		sig, err := s.client.Sign(s.ctx, s.key, req, At(addr))
		if wire.CodeOf(err) != wire.InstanceNotHere {
			return sig, err
		}
	}
	return s.client.Sign(s.ctx, s.key, req, OnAnswer(func(addr string, _ http.Header) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.addr = addr
	}))
}

// checkInput refuses what the key's algorithm does not sign, before anything is sent.
func checkInput(key string, alg lifecycle.Algorithm, digest []byte, opts crypto.SignerOpts) error {
	var want crypto.Hash
	switch alg {
	case lifecycle.ES256, lifecycle.RS256, lifecycle.PS256:
		want = crypto.SHA256
	case lifecycle.ES384:
		want = crypto.SHA384
	}
	if opts.HashFunc() != want {
		return fmt.Errorf("sign with %s: %s signs %v, not %v", key, alg, want, opts.HashFunc())
	}
	if want != 0 && len(digest) != want.Size() {
		return fmt.Errorf("sign with %s: a digest of %d bytes, not %d", key, len(digest), want.Size())
	}
	pss, isPSS := opts.(*rsa.PSSOptions)
	if isPSS != (alg == lifecycle.PS256) {
		return fmt.Errorf("sign with %s: the key's algorithm is %s; PSS options go with PS256 only", key, alg)
	}
	if isPSS && pss.SaltLength != rsa.PSSSaltLengthEqualsHash && pss.SaltLength != want.Size() {
		return fmt.Errorf("sign with %s: PS256 has a salt as long as its hash", key)
	}
	return nil
}
