package integration

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// verifier is a consumer as somebody would write it who has no SDK: HTTP, JSON and the
// public keys of the trust set.
type verifier struct {
	c     *lab
	web   *http.Client
	name  string
	token string
}

// verifierOf registers a consumer by the admin and enrols it at a node.
func (c *lab) verifierOf(name string, class lifecycle.ConsumerClass, expect int, at *node) *verifier {
	c.t.Helper()
	v := &verifier{c: c, name: name, web: c.bare()}
	var reg wire.ConsumerRegistration
	c.asAdmin(v.web, c.leader(), "POST", wire.PathConsumers, wire.RegisterConsumer{Name: name, Owner: "deploy@example.com", Class: class, Expect: expect, Keys: []string{"ci"}}, &reg)
	var e wire.Enrolled
	if err := exchange(v.web, at, "", "POST", wire.Path(wire.PathEnrolConsumer, name), wire.Enrol{EnrolmentToken: reg.EnrolmentToken}, &e); err != nil {
		c.t.Fatalf("enrol %s: %v", name, err)
	}
	v.token = e.Token
	return v
}

// bare is an HTTP client with the cluster's CA and no identity.
func (c *lab) bare() *http.Client {
	c.t.Helper()
	ca, err := os.ReadFile(c.path("ca.pem"))
	if err != nil {
		c.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	web := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	c.t.Cleanup(web.CloseIdleConnections)
	return web
}

// asAdmin sends a request with a fresh token of the first admin.
func (c *lab) asAdmin(web *http.Client, at *node, method, path string, in, out any) {
	c.t.Helper()
	who, err := c.admin.WhoAmI(ctx(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	token, err := c.admin.CreateToken(ctx(c.t), wire.CreateToken{Principal: who.Principal, TTL: lifecycle.Hour})
	if err != nil {
		c.t.Fatal(err)
	}
	if err := exchange(web, at, token.Secret, method, path, in, out); err != nil {
		c.t.Fatalf("%s %s at %s: %v", method, path, at.name, err)
	}
}

// exchange is one request to a node's API; a refusal is a *wire.Error.
func exchange(web *http.Client, at *node, token, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "https://"+at.api+path, body)
	if err != nil {
		return err
	}
	if in != nil {
		req.Header.Set("Content-Type", wire.TypeJSON)
	}
	if token != "" {
		req.Header.Set("Authorization", wire.BearerScheme+token)
	}
	resp, err := web.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return wire.ReadError(resp.StatusCode, resp.Body)
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// challenge asks a node for canaries, until each kid of the newest trust set has some.
func (v *verifier) challenge(at *node, instance string) (c wire.CanaryChallenge) {
	v.c.t.Helper()
	eventually(v.c.t, 20*time.Second, v.name+" has canaries", func() string {
		if err := exchange(v.web, at, v.token, "GET", wire.Path(wire.PathCanaryChallenge, v.name)+"?key=ci&instance="+instance, nil, &c); err != nil {
			return err.Error()
		}
		if len(c.Missing) > 0 {
			return fmt.Sprint(c.Missing)
		}
		k, err := v.c.admin.Key(ctx(v.c.t), "ci", client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		if c.Digest != k.TrustSet.Digest {
			return "the node has an older trust set" // a bounded read may be of a moment ago
		}
		return ""
	})
	return c
}

// answer verifies the canaries with the keys that a node's public listener has.
func (v *verifier) answer(at *node, c wire.CanaryChallenge) wire.ConfirmTrustSet {
	v.c.t.Helper()
	in := wire.ConfirmTrustSet{Key: "ci", Instance: c.Instance, Digest: c.Digest, Challenge: c.Challenge, Verified: map[string][]int{}}
	for _, k := range c.KIDs {
		key := v.publicKey(at, k.KID)
		for _, it := range k.Items {
			if sum := sha256.Sum256(it.Message); ecdsa.VerifyASN1(key, sum[:], it.Signature) {
				in.Verified[k.KID] = append(in.Verified[k.KID], it.Item)
			}
		}
	}
	return in
}

func (v *verifier) publicKey(at *node, kid string) *ecdsa.PublicKey {
	v.c.t.Helper()
	r, err := v.c.web().Get("http://" + at.public + "/keys/ci/" + kid + ".pem")
	if err != nil {
		v.c.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		v.c.t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		v.c.t.Fatalf("the public key of %s: %s", kid, text)
	}
	key, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		v.c.t.Fatal(err)
	}
	return key.(*ecdsa.PublicKey)
}

func (v *verifier) confirm(at *node, in wire.ConfirmTrustSet) (out wire.Confirmed, err error) {
	return out, exchange(v.web, at, v.token, "POST", wire.Path(wire.PathConfirmations, v.name), in, &out)
}

func (v *verifier) mustConfirm(at *node, in wire.ConfirmTrustSet) wire.Confirmed {
	v.c.t.Helper()
	out, err := v.confirm(at, in)
	if err != nil {
		v.c.t.Fatalf("%s confirms at %s: %v", v.name, at.name, err)
	}
	return out
}

// rotate prepares the next version of ci and waits until verifiers are shown it.
func (c *lab) rotate(version uint64) {
	c.t.Helper()
	if _, err := c.admin.Rotate(ctx(c.t), "ci", wire.Rotate{}); err != nil {
		c.t.Fatal(err)
	}
	eventually(c.t, 20*time.Second, "a published version", func() string {
		k, err := c.admin.Key(ctx(c.t), "ci", client.Consistency(wire.Linearizable))
		switch {
		case err != nil:
			return err.Error()
		case k.Versions[0].Version != version || !k.Versions[0].InTrustSet || len(k.Versions[0].Instances) != len(c.nodes):
			return fmt.Sprintf("version %d, published: %t", k.Versions[0].Version, k.Versions[0].InTrustSet)
		}
		for _, i := range k.Versions[0].Instances {
			if i.PublishedAt == 0 {
				return "an instance is not published"
			}
		}
		return ""
	})
}

// active waits for a version of ci to sign.
func (c *lab) active(version uint64) {
	c.t.Helper()
	eventually(c.t, 20*time.Second, "an active version", func() string {
		k, err := c.admin.Key(ctx(c.t), "ci", client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		if k.ActiveVersion != version {
			return fmt.Sprintf("version %d is active; the rotation waits for %+v", k.ActiveVersion, k.Rotation.WaitsFor)
		}
		return ""
	})
}

// TestRotationWaitsForConsumers: on three nodes, through every one of them, with the
// leader killed in between.
func TestRotationWaitsForConsumers(t *testing.T) {
	t.Parallel()
	c := startCluster(t, 3)
	c.createKey("ci", `{"rotate_every":"30d","lead":"0s","verify_window":"0s"}`)
	leader := c.leader()
	far := c.others(leader)
	eu := c.verifierOf("deploy-eu", lifecycle.Required, 2, far[0])
	c.rotate(2)

	// Nobody has confirmed: the plan names who is waited for, and whom to ask.
	eventually(t, 20*time.Second, "the plan names the consumer", func() string {
		k, err := c.admin.Key(ctx(t), "ci", client.Consistency(wire.Linearizable))
		if err != nil {
			return err.Error()
		}
		for _, w := range k.Rotation.WaitsFor {
			if w.Kind == "consumer" && w.Name == "deploy-eu" && w.Owner == "deploy@example.com" {
				return ""
			}
		}
		return fmt.Sprintf("it waits for %+v", k.Rotation.WaitsFor)
	})

	// One instance is challenged by one follower and confirms at the other; neither leads.
	first := eu.answer(far[1], eu.challenge(far[0], "web-1"))
	if len(first.Verified) != 6 {
		t.Fatalf("canaries of %d kids, want those of two versions on three nodes", len(first.Verified))
	}
	if got := eu.mustConfirm(far[1], first); got.Confirmed != 1 || got.Expect != 2 || len(got.Proven) != 6 || len(got.Unproven) != 0 {
		t.Errorf("confirmed %+v", got)
	}
	for _, n := range c.nodes {
		if _, err := eu.confirm(n, first); wire.CodeOf(err) != wire.ChallengeUnknown {
			t.Errorf("a replay at %s: %v", n.name, err)
		}
	}

	// The leader dies with a challenge in its memory. What was confirmed stands.
	lost := eu.answer(leader, eu.challenge(leader, "web-2"))
	leader.kill()
	eventually(t, 20*time.Second, "the challenge is lost", func() string {
		if _, err := eu.confirm(far[0], lost); wire.CodeOf(err) != wire.ChallengeUnknown {
			return fmt.Sprint(err)
		}
		return ""
	})
	leader.start(t)
	c.waitReady(leader, "?for=sign")
	eu.mustConfirm(leader, eu.answer(leader, eu.challenge(far[1], "web-2")))
	c.active(2)

	// The next rotation waits again; a waiver lets it pass.
	c.rotate(3)
	var op wire.Operation
	c.asAdmin(eu.web, c.leader(), "POST", wire.Path(wire.PathWaiveConsumer, "deploy-eu"), wire.WaiveConsumer{Key: "ci", Version: 3, Gate: lifecycle.GateActivate, Comment: "the region is down"}, &op)
	c.active(3)

	// An adviser that only fetches is seen, weakly.
	us := c.verifierOf("deploy-us", lifecycle.Advisory, 1, far[1])
	eventually(t, 20*time.Second, "weak evidence", func() string {
		if err := us.fetch(far[0]); err != nil {
			return err.Error()
		}
		var shown wire.ConsumerView
		if err := exchange(us.web, far[0], us.token, "GET", wire.Path(wire.PathConsumer, "deploy-us"), nil, &shown); err != nil {
			return err.Error()
		}
		if len(shown.Keys) != 1 || shown.Keys[0].Confirmed != 1 || !shown.Keys[0].Instances[0].Weak {
			return fmt.Sprintf("%+v", shown.Keys)
		}
		return ""
	})
	checkAgreement(t, c)
}

// fetch gets the trust set conditionally, with the token, as a cache does that has it.
func (v *verifier) fetch(at *node) error {
	url := "http://" + at.public + wire.Path(wire.PathKeyJWKS, "ci")
	r, err := v.c.web().Get(url)
	if err != nil {
		return err
	}
	r.Body.Close()
	req, err := http.NewRequest("GET", url, nil)
	if err != nil {
		return err
	}
	req.Header.Set("If-None-Match", r.Header.Get("Etag"))
	req.Header.Set("Authorization", wire.BearerScheme+v.token)
	if r, err = v.c.web().Do(req); err != nil {
		return err
	}
	r.Body.Close()
	if r.StatusCode != http.StatusNotModified || !strings.HasPrefix(r.Header.Get("Etag"), `"sha256:`) {
		return fmt.Errorf("a conditional fetch: %s, tag %s", r.Status, r.Header.Get("Etag"))
	}
	return nil
}
