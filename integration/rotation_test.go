package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// relyingParty verifies tokens with a JOSE library that is not ours, and keeps the JWK
// Set for as long as Cache-Control says, never longer and never shorter: it does not even
// ask again when it meets a kid that it does not know.
type relyingParty struct {
	web        *http.Client
	url        string
	set        jose.JSONWebKeySet
	freshUntil time.Time
}

func (r *relyingParty) verify(token string) error {
	if time.Now().After(r.freshUntil) {
		if err := r.fetch(); err != nil {
			return err
		}
	}
	sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.PS256, jose.EdDSA})
	if err != nil {
		return fmt.Errorf("parse a token: %w", err)
	}
	kid := sig.Signatures[0].Header.KeyID
	keys := r.set.Key(kid)
	if len(keys) != 1 {
		return fmt.Errorf("kid %s is not in the set of %d keys that is fresh until %s", kid, len(r.set.Keys), r.freshUntil)
	}
	_, err = sig.Verify(keys[0])
	return err
}

func (r *relyingParty) fetch() error {
	asked := time.Now()
	resp, err := r.web.Get(r.url)
	if err != nil {
		return fmt.Errorf("fetch the JWK Set: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the JWK Set: %s %v", resp.Status, err)
	}
	age := -1
	for _, part := range strings.Split(resp.Header.Get("Cache-Control"), ",") {
		if s, ok := strings.CutPrefix(strings.TrimSpace(part), "max-age="); ok {
			if age, err = strconv.Atoi(s); err != nil {
				return fmt.Errorf("fetch the JWK Set: %w", err)
			}
		}
	}
	if age < 0 {
		return fmt.Errorf("fetch the JWK Set: no max-age in %q", resp.Header.Get("Cache-Control"))
	}
	r.freshUntil = asked.Add(time.Duration(age) * time.Second)
	return json.Unmarshal(body, &r.set)
}

// TestRotationUnderTraffic rotates a key of short life again and again, by its policy
// alone, while tokens are signed on every node and verified by relying parties that go by
// Cache-Control: none of them ever meets a token that it cannot verify.
func TestRotationUnderTraffic(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	op, err := c.admin.CreateKey(ctx(t), wire.CreateKey{Name: "jwt", Purpose: lifecycle.ForToken, Alg: lifecycle.ES256, Owner: "lab@example.com", BusinessReason: "integration test",
		Policy: []byte(`{"rotate_every":"8s","lead":"4s","jwks_max_age":"4s","max_ttl":"5s","verify_window":"6s","destroy_wait":"1s"}`)}, client.Wait(wire.Activated, 20*time.Second))
	if err != nil || !op.Has(wire.Activated) {
		t.Fatalf("create: %v", err)
	}
	for _, n := range c.nodes {
		c.waitReady(n, "?for=sign")
	}
	stop := make(chan struct{})
	var verified atomic.Int64
	var parties sync.WaitGroup
	for _, n := range c.nodes {
		k := c.clientWith(func(cfg *client.Config) { cfg.Addrs = append([]string{n.api}, cfg.Addrs...) })
		defer k.Close()
		r := &relyingParty{web: c.web(), url: "http://" + n.public + wire.Path(wire.PathKeyJWKS, "jwt")}
		parties.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(20 * time.Millisecond): // a caller's pace, not a wait for anything
				}
				token, err := k.SignJWT(context.Background(), "jwt", wire.JWTRequest{Claims: []byte(`{"sub":"lab"}`)})
				if err != nil {
					t.Errorf("sign: %v", err)
					continue
				}
				if err := r.verify(token.Token); err != nil {
					t.Errorf("%s: version %d: %v", n.name, token.Version, err)
				}
				verified.Add(1)
			}
		})
	}
	eventually(t, 90*time.Second, "four rotations", func() string {
		k, err := c.admin.Key(ctx(t), "jwt", client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		if k.ActiveVersion < 5 {
			return fmt.Sprintf("version %d is active", k.ActiveVersion)
		}
		return ""
	})
	close(stop)
	parties.Wait()
	if n := verified.Load(); n < 100 {
		t.Errorf("only %d tokens were verified", n)
	}
	t.Logf("%d tokens verified through four rotations", verified.Load())
}
