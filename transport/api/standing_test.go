package api

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

var createStrict = wire.CreateKey{Name: "ci-code", Purpose: lifecycle.ForCode, Alg: lifecycle.ES256, Owner: "o", BusinessReason: "r"}

func (n *node) verify(as string, v wire.VerifyRequest, headers ...string) wire.Verification {
	n.t.Helper()
	return get[wire.Verification](n.t, n.ask(as, "POST", wire.Path(wire.PathVerify, "ci-code"), v, headers...))
}

// stolen is a signature that was made behind the cluster's back.
func (n *node) stolen(digest []byte) []byte {
	n.t.Helper()
	i := n.ledger.View().Instance("ci-code", 1, n.ledger.NodeID())
	sig, err := n.store.Sign(hsmtest.Context(n.t), hsm.Ref{ID: hsm.ObjectID(i.CKAID), SPKI: i.SPKI, Alg: lifecycle.ES256}, digest)
	if err != nil {
		n.t.Fatal(err)
	}
	return sig
}

// TestVerifyFindsTheRecord of a strict signature in each of its forms, and says how it
// stands to the compromise.
func TestVerifyFindsTheRecord(t *testing.T) {
	n := start(t)
	n.create(createStrict)
	digest := sha256.Sum256([]byte("release"))
	signed := get[wire.Signature](t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci-code"), wire.SignRequest{Digest: digest[:]}))
	raw, err := hsm.RawECDSA(lifecycle.ES256, signed.Signature)
	if err != nil {
		t.Fatal(err)
	}
	other, err := hsm.OtherECDSA(lifecycle.ES256, signed.Signature)
	if err != nil {
		t.Fatal(err)
	}
	for form, req := range map[string]wire.VerifyRequest{"der": {Digest: digest[:], Signature: signed.Signature}, "raw": {Digest: digest[:], Signature: raw, Format: wire.FormatRaw},
		"rewritten": {Digest: digest[:], Signature: other}} {
		v := n.verify("auditor", req)
		if !v.Valid || v.Suspicious || v.Record == nil || v.Record.State != wire.SignatureRecorded || v.Record.Index != signed.RecordIndex || v.Record.At == 0 ||
			v.Record.By != "signer" || string(v.Record.RequestID) != signed.RequestID || v.Record.Stands != "" || (v.Record.Why != "") != (form == "rewritten") {
			t.Errorf("%s: %+v, %+v", form, v, v.Record)
		}
	}
	if v := n.verify("signer", wire.VerifyRequest{Digest: digest[:], Signature: signed.Signature}); v.Record.By != "" || v.Record.RequestID != "" || v.Record.Index == 0 {
		t.Errorf("who may not read the log is told who signed: %+v", v.Record)
	}
	n.clock.Advance(time.Hour)
	n.ledger.Must(t, &command.Revoke{Key: "ci-code", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise, CompromisedSince: n.clock.At().Add(-lifecycle.Minute)})
	v := n.verify("auditor", wire.VerifyRequest{Digest: digest[:], Signature: signed.Signature})
	if v.Valid || v.Suspicious || v.Record == nil || v.Record.Stands != wire.BeforeCompromise || v.Record.CompromisedSince == 0 {
		t.Errorf("%+v, %+v", v, v.Record)
	}
}

func TestVerifyAfterTheCompromise(t *testing.T) {
	n := start(t)
	n.create(createStrict)
	digest := sha256.Sum256([]byte("release"))
	signed := get[wire.Signature](t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci-code"), wire.SignRequest{Digest: digest[:]}))
	n.ledger.Must(t, &command.Revoke{Key: "ci-code", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise, CompromisedSince: n.clock.At().Add(-lifecycle.Minute)})
	if v := n.verify("auditor", wire.VerifyRequest{Digest: digest[:], Signature: signed.Signature}); v.Valid || v.Record == nil || v.Record.Stands != wire.AfterCompromise {
		t.Errorf("%+v, %+v", v, v.Record)
	}
	// One that nobody asked for is suspicious even of a key that is known to be compromised.
	if v := n.verify("auditor", wire.VerifyRequest{Digest: digest[:], Signature: n.stolen(digest[:])}); v.Valid || !v.Suspicious || v.Record.State != wire.SignatureNotRecorded {
		t.Errorf("%+v, %+v", v, v.Record)
	}
}

// TestVerifyWithoutARecord: a strict key's signature that the log does not know is not
// called valid, unless it may have been made before the key was strict, or the newest
// state cannot be asked.
func TestVerifyWithoutARecord(t *testing.T) {
	n := start(t)
	n.create(createStrict)
	digest := sha256.Sum256([]byte("malware"))
	req := wire.VerifyRequest{Digest: digest[:], Signature: n.stolen(digest[:])}
	v := n.verify("signer", req)
	if v.Valid || !v.Suspicious || v.Status != "good" || v.Record == nil || v.Record.State != wire.SignatureNotRecorded || !strings.Contains(string(v.Why), "key replace ci-code --emergency") {
		t.Errorf("%+v, %+v", v, v.Record)
	}
	n.ledger.SetStale(true)
	v = n.verify("signer", req, wire.HeaderConsistency, wire.Stale)
	if v.Suspicious || v.Record == nil || v.Record.State != wire.SignatureUnknown || !strings.Contains(string(v.Record.Why), "ask again") {
		t.Errorf("cut off: %+v, %+v", v, v.Record)
	}
	n.ledger.SetStale(false)
	strict := func(on bool) {
		n.clock.Advance(time.Minute)
		p := n.ledger.View().Key("ci-code").Policy
		p.Strict = on
		n.ledger.Must(t, &command.SetPolicy{Key: "ci-code", Policy: p})
	}
	strict(false)
	if v = n.verify("signer", req); !v.Valid || v.Suspicious || v.Record != nil {
		t.Errorf("not strict: %+v, %+v", v, v.Record)
	}
	strict(true)
	if v = n.verify("signer", req); !v.Valid || v.Suspicious || v.Record == nil || v.Record.State != wire.SignatureUnknown || !strings.Contains(string(v.Record.Why), "asks for records since") {
		t.Errorf("strict since: %+v, %+v", v, v.Record)
	}
}

// TestVerifyKnowsACanary of a strict key: it is called what it is, whoever made it, and
// nothing else is called that.
func TestVerifyKnowsACanary(t *testing.T) {
	n := consuming(t)
	n.create(createStrict)
	n.ledger.Must(t, &command.RegisterConsumer{Consumer: command.ConsumerRecord{Name: "deploy-eu", Owner: "deploy", Class: lifecycle.Required, Expect: 1,
		Keys: []lifecycle.KeyID{"ci-code"}, Lifetime: lifecycle.Day}, Enrolment: command.Enrolment{Hash: make([]byte, 32), ExpiresAt: n.clock.At().Add(lifecycle.Day)}})
	v := n.ledger.View()
	c := signing.Canary{Consumer: "deploy-eu", Instance: "web-1", Key: "ci-code", KID: v.Instance("ci-code", 1, n.ledger.NodeID()).KID, Nonce: strings.Repeat("0a", 16)}
	sigs, err := n.signer.Canaries(t.Context(), c, []int{3})
	if err != nil {
		t.Fatal(err)
	}
	message := c.Message(v.Cluster().ID, 3)
	got := n.verify("auditor", wire.VerifyRequest{Message: message, Signature: sigs[0]})
	if got.Valid || got.Suspicious || got.Canary == nil || *got.Canary != (wire.SignedCanary{Consumer: "deploy-eu", Instance: "web-1"}) || got.Record.State != wire.SignatureNotRecorded ||
		got.Record.Why == "" || !strings.Contains(string(got.Why), "no statement by the owner") {
		t.Errorf("%+v, %+v", got, got.Record)
	}
	digest := signing.Digest(lifecycle.ES256, message)
	if got = n.verify("auditor", wire.VerifyRequest{Digest: digest, Signature: sigs[0]}); !got.Suspicious || got.Canary != nil || !strings.Contains(string(got.Why), "Send the message") {
		t.Errorf("of a digest nobody knows what it is of: %+v", got)
	}
	with := func(edit func(*signing.Canary)) []byte {
		other := c
		edit(&other)
		return other.Message(v.Cluster().ID, 3)
	}
	text := string(message)
	for name, m := range map[string][]byte{
		"more after it":           append([]byte(text), "#!/bin/sh\n"...),
		"more before it":          append([]byte("#!/bin/sh\n"), text...),
		"a line twice":            []byte(strings.Replace(text, "item: 3\n", "item: 3\nitem: 3\n", 1)),
		"a script as a name":      with(func(c *signing.Canary) { c.Instance = "$(reboot)\n" }),
		"of no such item":         c.Message(v.Cluster().ID, signing.CanaryItems),
		"an item written oddly":   []byte(strings.Replace(text, "item: 3\n", "item: +3\n", 1)),
		"of another cluster":      c.Message(strings.Repeat("0", len(v.Cluster().ID)), 3),
		"of another key":          with(func(c *signing.Canary) { c.Key = "ci" }),
		"of another kid":          with(func(c *signing.Canary) { c.KID = strings.Repeat("A", 43) }),
		"for a stranger":          with(func(c *signing.Canary) { c.Consumer = "nobody" }),
		"a nonce that says a lot": with(func(c *signing.Canary) { c.Nonce = strings.Repeat("yes!", 8) }),
		"cut short":               message[:len(message)-1],
		"the domain alone":        []byte(signing.CanaryDomain),
	} {
		forged := n.stolen(signing.Digest(lifecycle.ES256, m))
		if got := n.verify("auditor", wire.VerifyRequest{Message: m, Signature: forged}); got.Valid || !got.Suspicious || got.Canary != nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// What does not verify with the canary's text is by nobody, whatever stands there.
	if got := n.verify("auditor", wire.VerifyRequest{Message: message, Signature: n.stolen(signing.Digest(lifecycle.ES256, []byte("malware")))}); got.Valid || got.Canary != nil || got.State != "" {
		t.Errorf("%+v", got)
	}
	n.ledger.Must(t, &command.Revoke{Key: "ci-code", Versions: []uint64{1}, Reason: lifecycle.KeyCompromise})
	if got := n.verify("auditor", wire.VerifyRequest{Message: message, Signature: sigs[0]}); got.Valid || got.Suspicious || got.Canary == nil || strings.Contains(string(got.Why), "canary") {
		t.Errorf("a compromised key's canary does not say that it is compromised: %+v", got)
	}
}
