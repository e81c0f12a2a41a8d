package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// Follower keeps one instance of a registered consumer at a key's trust set, and tells
// the cluster so: a rotation goes on only once every required consumer has said that it
// can verify what comes next.
//
//	f := client.Follower{Client: c, Consumer: "deploy-eu", Key: "ci", Instance: "web-01",
//		Install: func(_ context.Context, set *client.KeySet, _ []byte) error { keys.Store(set); return nil }}
//	err := f.Run(ctx)
//
// It polls, because a verifier that misses an event must notice as well. Nodes that are
// away are passed over. It is for one goroutine.
type Follower struct {
	Client   *Client // with the consumer's own token, and the cluster's CA
	Consumer string
	Key      string
	Instance string // label: host, pod

	// Install puts a verified trust set into use; jwks is its text, and what the digest
	// is over. Nothing is confirmed until it has returned nil; with an error it is called
	// again at the next look.
	Install func(ctx context.Context, set *KeySet, jwks []byte) error

	// Loaded reads back what is in use, before each confirmation; nil = what was
	// installed. With a file between the two, the file is what counts.
	Loaded func() (jwks []byte, err error)

	Every time.Duration // between two looks; 0 = 10 s
	Log   *slog.Logger  // nil = silent

	digest string    // of what was installed; "" = nothing yet
	jwks   []byte    // likewise
	next   time.Time // when to confirm again
}

const (
	defaultLook = 10 * time.Second
	renewAfter  = 0.6 // of a confirmation's life: before half of it is over, the cluster has no use for another
)

// Run follows until ctx ends, and returns nil then. What fails is logged and tried again.
func (f *Follower) Run(ctx context.Context) error {
	for {
		if _, err := f.Step(ctx); err != nil && ctx.Err() == nil {
			f.log().Warn("follow the trust set; it is tried again", "key", f.Key, "consumer", f.Consumer, "err", err)
		}
		every := f.Every
		if every <= 0 {
			every = defaultLook
		}
		timer := time.NewTimer(every - rand.N(every/8+1)) // not all instances at once
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// Step looks once: it installs the trust set when that is another one, and confirms when
// there is something to confirm. The answer is nil when there was not.
func (f *Follower) Step(ctx context.Context) (*wire.Confirmed, error) {
	_, claims, err := f.Client.TrustSet(ctx, f.Key)
	if err != nil {
		return nil, fmt.Errorf("look at the trust set: %w", err)
	}
	if claims.Digest != f.digest {
		if err := f.install(ctx, claims); err != nil {
			return nil, err
		}
	}
	if time.Now().Before(f.next) {
		return nil, nil
	}
	jwks := f.jwks
	if f.Loaded != nil {
		if jwks, err = f.Loaded(); err != nil {
			f.digest = "" // whatever is in use now, it is not what was installed
			return nil, fmt.Errorf("read the keys in use: %w", err)
		}
		if !bytes.Equal(jwks, f.jwks) {
			f.digest = ""
			return nil, errors.New("the keys in use are not those that were installed: somebody else writes there")
		}
	}
	done, err := f.Client.Confirm(ctx, f.Consumer, f.Key, f.Instance, jwks)
	if err != nil {
		return nil, err
	}
	f.schedule(done)
	return done, nil
}

func (f *Follower) install(ctx context.Context, claims *wire.TrustSetClaims) error {
	set, err := ParseKeySet(claims.JWKS)
	if err != nil {
		return err
	}
	if f.Install != nil {
		if err := f.Install(ctx, set, claims.JWKS); err != nil {
			return fmt.Errorf("install the trust set %s: %w", claims.Digest, err)
		}
	}
	f.digest, f.jwks, f.next = claims.Digest, slices.Clone(claims.JWKS), time.Time{}
	f.log().Info("the trust set is in use", "key", f.Key, "digest", claims.Digest, "kids", set.KIDs())
	return nil
}

// schedule says when to confirm again: at the next look while a proof is missing, else
// well before the confirmation lapses.
func (f *Follower) schedule(c *wire.Confirmed) {
	f.log().Info("confirmed", "key", f.Key, "digest", c.Digest, "proven", c.Proven, "unproven", c.Unproven, "expires_at", c.ExpiresAt.String())
	if len(c.Unproven) > 0 || !c.Current {
		f.next = time.Time{}
		return
	}
	life := float64(time.Until(c.ExpiresAt.Time()))
	f.next = time.Now().Add(time.Duration(life * renewAfter * (0.9 + 0.2*rand.Float64())))
}

func (f *Follower) log() *slog.Logger {
	if f.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return f.Log
}

// Confirm tells the cluster that an instance of a consumer has loaded a trust set, with
// a proof: it verifies canaries with the keys in jwks, which is the text as it was
// fetched, to the byte.
func (c *Client) Confirm(ctx context.Context, consumer, key, instance string, jwks []byte) (*wire.Confirmed, error) {
	set, err := ParseKeySet(jwks)
	if err != nil {
		return nil, err
	}
	ch, err := c.CanaryChallenge(ctx, consumer, key, instance)
	if err != nil {
		return nil, fmt.Errorf("ask for canaries: %w", err)
	}
	s := wire.ConfirmTrustSet{Key: key, Instance: instance, Digest: fmt.Sprintf("sha256:%x", sha256.Sum256(jwks)), KIDs: set.KIDs(), Challenge: ch.Challenge}
	slices.Sort(s.KIDs)
	s.Empty = len(s.KIDs) == 0
	s.Verified = set.canaries(ch)
	if len(s.Verified) == 0 {
		s.Challenge = "" // nothing to prove, or nothing that this set could
	}
	done, err := c.ConfirmTrustSet(ctx, consumer, s)
	if err != nil {
		return nil, fmt.Errorf("confirm: %w", err)
	}
	return done, nil
}

// canaries tells good ones from broken ones, by the keys of this set. Kids that the set
// does not have are left out: whoever has not loaded a key cannot prove it.
func (ks *KeySet) canaries(ch *wire.CanaryChallenge) map[string][]int {
	out := map[string][]int{}
	for _, k := range ch.KIDs {
		if !slices.Contains(ks.KIDs(), k.KID) {
			continue
		}
		good := []int{}
		for _, i := range k.Items {
			if _, err := ks.Verify(bytes.NewReader(i.Message), i.Signature, canaryFormat(k.Alg, ch.Format), k.KID); err == nil {
				good = append(good, i.Item)
			}
		}
		out[k.KID] = good
	}
	return out
}

// canaryFormat is the form of a signature: only ECDSA has two.
func canaryFormat(alg lifecycle.Algorithm, asked string) string {
	if alg == lifecycle.ES256 || alg == lifecycle.ES384 {
		return asked
	}
	return wire.FormatRaw
}
