package consumer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// askTimeout is how long another node has to sign its canaries. A node that is down
// must not keep the others' from being answered.
const askTimeout = 3 * time.Second

// canaries are the items of one kid: a random half signed by the instance, wherever it
// is, the other half by a stranger.
func (d *Desk) canaries(ctx context.Context, v *state.View, con *lifecycle.Consumer, key *lifecycle.Key, i *lifecycle.Instance, label string) (*CanaryKID, uint16, error) {
	nonce, err := d.drawHex(16)
	if err != nil {
		return nil, 0, err
	}
	c := signing.Canary{Consumer: con.Name, Instance: label, Key: key.ID, KID: i.KID, Nonce: nonce}
	half, good, err := d.half()
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var sigs [][]byte
	if i.Node == d.Ledger.NodeID() {
		sigs, err = d.Signer.Canaries(ctx, c, half)
	} else {
		sigs, err = d.Peers.SignCanaries(ctx, i.Node, c, half)
	}
	if err != nil {
		return nil, 0, err
	}
	if len(sigs) != len(half) {
		return nil, 0, fmt.Errorf("%d canaries were asked for and %d came", len(half), len(sigs))
	}
	out := &CanaryKID{KID: i.KID, Version: i.Version, Alg: key.Alg, Node: i.Node, Messages: make([][]byte, signing.CanaryItems), Sigs: make([][]byte, signing.CanaryItems)}
	for n, item := range half {
		out.Sigs[item] = sigs[n]
	}
	s, err := newStranger(key.Alg, i.SPKI)
	if err != nil {
		return nil, 0, err
	}
	return out, good, d.complete(out, c, v.Cluster().ID, i.SPKI, good, s)
}

// complete fills in the other half, and looks at all: what another node sent is not
// believed to be good, nor a stranger's to be broken.
func (d *Desk) complete(out *CanaryKID, c signing.Canary, cluster string, spki []byte, good uint16, s stranger) (err error) {
	for n := range out.Messages {
		out.Messages[n] = c.Message(cluster, n)
		tbs := signing.Digest(out.Alg, out.Messages[n])
		isGood := good&(1<<n) != 0
		if !isGood {
			if out.Sigs[n], err = s(tbs); err != nil {
				return fmt.Errorf("make a broken canary: %w", err)
			}
		}
		if verifies := hsm.VerifySignature(out.Alg, spki, tbs, out.Sigs[n]) == nil; verifies != isGood {
			return fmt.Errorf("canary %d of kid %s came out wrong", n, out.KID)
		}
	}
	return nil
}

// half draws which items are good: the first of a shuffled deck.
func (d *Desk) half() (items []int, good uint16, err error) {
	deck := make([]int, signing.CanaryItems)
	for n := range deck {
		deck[n] = n
	}
	for n := len(deck) - 1; n > 0; n-- {
		m, err := d.below(n + 1)
		if err != nil {
			return nil, 0, err
		}
		deck[n], deck[m] = deck[m], deck[n]
	}
	for _, n := range deck[:goodItems] {
		good |= 1 << n
	}
	return deck[:goodItems], good, nil
}

// below draws a number from 0 to n-1, n at most 256, without favour.
func (d *Desk) below(n int) (int, error) {
	var b [1]byte
	for {
		if err := d.draw(b[:]); err != nil {
			return 0, err
		}
		if limit := 256 - 256%n; int(b[0]) < limit {
			return int(b[0]) % n, nil
		}
	}
}

func (d *Desk) draw(b []byte) error {
	if _, err := io.ReadFull(d.Rand, b); err != nil {
		return fmt.Errorf("draw random bytes: %w", err)
	}
	return nil
}

// stranger signs with a key that nobody trusts, or makes what cannot be told from such
// a signature without the public key it would have to verify with.
type stranger func(tbs []byte) ([]byte, error)

var errNoStranger = errors.New("no canaries are made for this algorithm")

func newStranger(alg lifecycle.Algorithm, spki []byte) (stranger, error) {
	pub, err := hsm.ParseSPKI(spki)
	if err != nil {
		return nil, err
	}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		return strangeECDSA(k.Curve)
	case ed25519.PublicKey:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return func(tbs []byte) ([]byte, error) { return ed25519.Sign(private, tbs), nil }, err
	case *rsa.PublicKey:
		// A new RSA key takes a second to make. Any number below the modulus looks like a
		// signature to who does not have the key.
		return func([]byte) ([]byte, error) {
			n, err := rand.Int(rand.Reader, k.N)
			if err != nil {
				return nil, err
			}
			return n.FillBytes(make([]byte, k.Size())), nil
		}, nil
	}
	return nil, fmt.Errorf("%w: %s", errNoStranger, alg)
}

func strangeECDSA(curve elliptic.Curve) (stranger, error) {
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a throw-away key: %w", err)
	}
	return func(tbs []byte) ([]byte, error) { return private.Sign(rand.Reader, tbs, crypto.Hash(0)) }, nil
}
