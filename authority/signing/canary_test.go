package signing_test

import (
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// canary of ci's active instance, for a consumer that is registered.
func (w *world) canary() signing.Canary {
	w.t.Helper()
	if w.ledger.View().Consumer("deploy-eu") == nil {
		w.ledger.Must(w.t, &command.RegisterConsumer{Consumer: command.ConsumerRecord{Name: "deploy-eu", Owner: "deploy", Class: lifecycle.Required, Expect: 1,
			Keys: []lifecycle.KeyID{"ci"}, Lifetime: lifecycle.Day}, Enrolment: command.Enrolment{Hash: make([]byte, 32), ExpiresAt: w.ledger.Clock().At().Add(lifecycle.Day)}})
	}
	return signing.Canary{Consumer: "deploy-eu", Instance: "web-1", Key: "ci", KID: w.ledger.View().Instance("ci", 1, w.ledger.NodeID()).KID, Nonce: strings.Repeat("0", 32)}
}

func TestCanaries(t *testing.T) {
	w := build(t)
	c := w.canary()
	sigs, err := w.signer.Canaries(ctx, c, []int{0, 15})
	if err != nil || len(sigs) != 2 {
		t.Fatal(sigs, err)
	}
	i := w.ledger.View().Instance("ci", 1, w.ledger.NodeID())
	for n, item := range []int{0, 15} {
		if err := hsm.VerifySignature(lifecycle.ES256, i.SPKI, signing.Digest(lifecycle.ES256, c.Message(w.ledger.View().Cluster().ID, item)), sigs[n]); err != nil {
			t.Errorf("item %d: %v", item, err)
		}
	}
	if got := w.audit.count(audit.SignIntent); got != 2 {
		t.Errorf("%d intents on record before the key was used", got)
	}
	if got := w.audit.count(audit.SignReleased); got != 2 {
		t.Errorf("%d releases on record", got)
	}
}

// TestCanaryRefusals: no lease, no canary; and none for whom or of what it is not.
func TestCanaryRefusals(t *testing.T) {
	w := build(t)
	good := w.canary()
	w.create("ci-other", lifecycle.ForArtifact, lifecycle.ES256, nil)
	for _, bad := range []struct {
		code string
		edit func(*signing.Canary)
	}{
		{"invalid", func(c *signing.Canary) { c.Instance = "a\nb" }},
		{"invalid", func(c *signing.Canary) { c.Nonce = "short" }},
		{"invalid", func(c *signing.Canary) { c.KID = "x" }},
		{"denied", func(c *signing.Canary) { c.Consumer = "nobody" }},
		{"denied", func(c *signing.Canary) { c.Key = "ci-other" }},
		{"unknown_kid", func(c *signing.Canary) { c.KID = strings.Repeat("A", 43) }},
		{"unknown_kid", func(c *signing.Canary) { c.KID = w.ledger.View().Instance("ci-other", 1, w.ledger.NodeID()).KID }},
	} {
		c := good
		bad.edit(&c)
		_, err := w.signer.Canaries(ctx, c, []int{0})
		code(t, err, bad.code)
	}
	for _, item := range []int{-1, signing.CanaryItems} {
		_, err := w.signer.Canaries(ctx, good, []int{item})
		code(t, err, "invalid")
	}
	w.seal.Store(&lifecycle.Seal{Reason: "drill", By: "root", At: 1})
	_, err := w.signer.Canaries(ctx, good, []int{0})
	code(t, err, "sealed")
	w.seal.Store(nil)
	w.ledger.Must(t, &command.Revoke{Key: "ci", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	_, err = w.signer.Canaries(ctx, good, []int{0})
	code(t, err, "instance_not_here")
	if got := w.audit.count(audit.SignReleased); got != 0 {
		t.Errorf("%d canaries were released", got)
	}
}

// TestCanaryPassesTheGate: what is revoked while the HSM works does not leave, and
// neither does what took too long.
func TestCanaryPassesTheGate(t *testing.T) {
	w := build(t)
	c := w.canary()
	looks := 0
	w.lease.hook = func() {
		if looks++; looks == 1 { // the first look admits, by a state from before it
			w.ledger.Must(t, &command.Revoke{Key: "ci", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
		}
	}
	if sigs, err := w.signer.Canaries(ctx, c, []int{0}); err == nil {
		t.Errorf("released %x", sigs)
	}
	w.lease.hook = nil

	w = build(t)
	c = w.canary()
	looks = 0
	w.lease.hook = func() {
		if looks++; looks == 2 {
			w.elapsed.Store(int64(2 * time.Minute))
		}
	}
	_, err := w.signer.Canaries(ctx, c, []int{0})
	code(t, err, "too_late")
	if got := w.audit.count(audit.SignReleased); got != 0 {
		t.Errorf("%d canaries were released", got)
	}
}
