package api

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
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
