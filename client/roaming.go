package client

import (
	"context"
	"crypto"
	"fmt"
	"io"
	"sync"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// RoamingSigner is a crypto.Signer over a Key rather than over one Instance of it:
// each signature is made by whichever node can sign, and a node without a lease, or
// that is too slow, is passed over for the next. It goes on through rotations.
//
// The price: its public key changes. Public is that of the instance that signed last,
// so it suits whoever names the kid beside the signature and lets verifiers use the
// trust set, and suits nothing that fixes the public key beforehand, such as a
// certificate request; take Client.Signer there. Use SignDetailed to learn the kid.
//
// A signature is handed out only if it verifies with the public key of its kid. Any
// number of goroutines may sign.
type RoamingSigner struct {
	client *Client
	ctx    context.Context
	key    string

	mu     sync.Mutex // guards the rest
	alg    lifecycle.Algorithm
	keys   map[string]crypto.PublicKey // by kid
	latest string                      // kid
}

// RoamingSigner makes one. ctx is used for every later signature too, because
// crypto.Signer has no place for one.
func (c *Client) RoamingSigner(ctx context.Context, key string) (*RoamingSigner, error) {
	s := &RoamingSigner{client: c, ctx: ctx, key: key}
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.latest == "" {
		return nil, fmt.Errorf("key %s has no instance that may sign: see chancery key show %s", key, key)
	}
	return s, nil
}

// load learns the public keys of the versions that verifiers trust.
func (s *RoamingSigner) load() error {
	k, err := s.client.Key(s.ctx, s.key)
	if err != nil {
		return err
	}
	keys, first := map[string]crypto.PublicKey{}, ""
	for _, v := range k.Versions {
		for _, i := range v.Instances {
			if i.KID == "" || i.PEM == "" {
				continue
			}
			public, err := parsePEM(i.PEM)
			if err != nil {
				return fmt.Errorf("read the public key of %s on %s: %w", s.key, i.Node, err)
			}
			keys[string(i.KID)] = public
			if first == "" && v.Version == k.ActiveVersion && i.MaySign {
				first = string(i.KID)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alg, s.keys = k.Alg, keys
	if s.latest == "" {
		s.latest = first
	}
	return nil
}

// Public is the public key of the instance that signed last, before the first
// signature that of one which may.
func (s *RoamingSigner) Public() crypto.PublicKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[s.latest]
}

// Sign implements crypto.Signer; see Signer.Sign.
func (s *RoamingSigner) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s.mu.Lock()
	alg := s.alg
	s.mu.Unlock()
	if err := checkInput(s.key, alg, digest, opts); err != nil {
		return nil, err
	}
	sig, err := s.SignDetailed(digest)
	if err != nil {
		return nil, err
	}
	return sig.Signature, nil
}

// SignDetailed signs a digest (for Ed25519 a message) and says with what.
func (s *RoamingSigner) SignDetailed(digest []byte) (*wire.Signature, error) {
	s.mu.Lock()
	alg := s.alg
	s.mu.Unlock()
	sig, err := s.client.Sign(s.ctx, s.key, signRequest(alg, digest, ""))
	if err != nil {
		return nil, err
	}
	public, err := s.publicOf(sig.KID)
	if err != nil {
		return nil, err
	}
	if !(trusted{kid: sig.KID, alg: alg, public: public}).verify(digest, sig.Signature, wire.FormatDER) {
		return nil, fmt.Errorf("sign with %s: the signature of instance %s does not verify; it was discarded", s.key, sig.KID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latest = sig.KID
	return sig, nil
}

// publicOf looks a kid up, and once more after asking for the key as it is now: it
// may have been rotated.
func (s *RoamingSigner) publicOf(kid string) (crypto.PublicKey, error) {
	for _, again := range []bool{false, true} {
		if again {
			if err := s.load(); err != nil {
				return nil, fmt.Errorf("find the public key of instance %s: %w", kid, err)
			}
		}
		s.mu.Lock()
		public := s.keys[kid]
		s.mu.Unlock()
		if public != nil {
			return public, nil
		}
	}
	return nil, fmt.Errorf("sign with %s: the server used instance %s, which the key does not have; the signature was discarded", s.key, kid)
}
