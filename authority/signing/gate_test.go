package signing_test

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/authority/hsm/hsmtest"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var hello = signing.Input{Message: []byte("hello")}

// TestGate changes something while the HSM is at work: whatever was admitted, no
// signature leaves.
func TestGate(t *testing.T) {
	for name, c := range map[string]struct {
		change func(w *world)
		want   string // code, or "" for is
		is     error
	}{
		"key revoked":         {change: func(w *world) { w.ledger.Must(w.t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise}) }, want: "key_revoked"},
		"key superseded":      {change: func(w *world) { w.ledger.Must(w.t, &command.Revoke{Key: "ci", Reason: lifecycle.Superseded}) }, want: "key_revoked"},
		"key suspended":       {change: func(w *world) { w.ledger.Must(w.t, &command.SuspendVersion{Key: "ci", Version: 1}) }, want: "key_suspended"},
		"version deactivated": {change: func(w *world) { w.ledger.Must(w.t, &command.DeactivateVersion{Key: "ci", Version: 1}) }, want: "no_active_version"},
		"instance revoked": {change: func(w *world) {
			w.ledger.Must(w.t, &command.Revoke{Key: "ci", Node: w.ledger.NodeID(), Reason: lifecycle.KeyCompromise})
		}, want: "instance_not_here"},
		"instance lost": {change: func(w *world) {
			w.ledger.Must(w.t, &command.ReportCondition{Key: "ci", Version: 1, Node: w.ledger.NodeID(), Condition: lifecycle.Lost})
		}, want: "instance_not_here"},
		"node quarantined": {change: func(w *world) {
			w.ledger.Must(w.t, &command.SetNodeStatus{ID: w.ledger.NodeID(), Status: lifecycle.Quarantined})
		}, want: "instance_not_here"},
		"caller revoked": {change: func(w *world) { w.ledger.Must(w.t, &command.RevokePrincipal{Name: "robot"}) }, want: "denied"},
		"role narrowed": {change: func(w *world) {
			w.ledger.Must(w.t, &command.AddPrincipal{Replace: true, Principal: command.PrincipalRecord{Name: "robot", Kind: lifecycle.Service}})
		}, want: "denied"},
		"token revoked":           {change: func(w *world) { w.ledger.Must(w.t, &command.RevokeToken{ID: "token-robot"}) }, want: "denied"},
		"sealed here":             {change: func(w *world) { w.seal.Store(&lifecycle.Seal{ID: "1", By: "uid 0"}) }, want: "sealed"},
		"sealed here for the key": {change: func(w *world) { w.seal.Store(&lifecycle.Seal{ID: "1", Key: "ci", By: "uid 0"}) }, want: "sealed"},
		"sealed, as the cluster remembers": {change: func(w *world) {
			w.ledger.Must(w.t, &command.ReportSeal{Node: w.ledger.NodeID(), ID: "0011223344556677", By: "uid 0", SealedAt: 1})
		}, want: "sealed"},
		"rotated": {change: func(w *world) {
			w.ledger.Must(w.t, &command.PrepareVersion{Key: "ci", Version: 2, Instances: []command.Intent{{Node: w.ledger.NodeID(), CKAID: ledgertest.CKAID("ci2")}}})
			w.activate("ci", 2)
		}, want: "conflict"},
		"replaced": {change: func(w *world) { w.ledger.Must(w.t, replacement(w)) }, want: "being_replaced"},
		"replaced by what is ready": {change: func(w *world) {
			w.ledger.Must(w.t, replacement(w))
			w.bind("ci", 2)
		}, want: "conflict"},
		"lease lost": {change: func(w *world) { w.ledger.TakeLease("test") }, is: ledger.ErrNoLease},
		"policy narrowed": {change: func(w *world) {
			k := w.ledger.View().Key("ci")
			p := k.Policy
			p.Inputs = []string{lifecycle.InputDigest}
			w.ledger.Must(w.t, &command.SetPolicy{Key: "ci", Policy: p})
		}, want: "conflict"},
		"left out of the callers": {change: func(w *world) {
			p := w.ledger.View().Key("ci").Policy
			p.AllowedCallers = []string{"other-*"}
			w.ledger.Must(w.t, &command.SetPolicy{Key: "ci", Policy: p})
		}, want: "denied"},
		"request too old":   {change: func(w *world) { w.elapsed.Store(int64(time.Minute)) }, want: "too_late"},
		"instance unusable": {change: func(w *world) { w.usable = errors.New("spki differs") }, want: "instance_not_here"},
	} {
		t.Run(name, func(t *testing.T) {
			w := build(t)
			type result struct {
				items []signing.Item
				err   error
			}
			release := w.store.Hang(hsmtest.OpSign)
			done := make(chan result, 1)
			go func() {
				items, err := w.sign(hello)
				done <- result{items, err}
			}()
			until(t, "the HSM is asked", func() bool { return w.store.Calls(hsmtest.OpSign) == 1 })
			c.change(w)
			release()
			r := <-done
			if r.items != nil || r.err == nil {
				t.Fatalf("a signature was released: %+v", r.items)
			}
			if c.is != nil {
				if !errors.Is(r.err, c.is) {
					t.Errorf("withheld with %v, want %v", r.err, c.is)
				}
			} else {
				code(t, r.err, c.want)
			}
			if w.audit.count(audit.SignRefused) != 1 || w.audit.count(audit.SignReleased) != 0 || w.signer.Withheld.Load() != 1 || w.signer.Released.Load() != 0 {
				t.Errorf("recorded as %+v", w.audit.records)
			}
		})
	}
}

// TestAdmission refuses before the HSM is asked at all.
func TestAdmission(t *testing.T) {
	w := build(t)
	other := authority.Caller{Principal: ledgertest.Admin}
	for name, try := range map[string]func() (string, error){
		"an admin is no signer": func() (string, error) {
			_, err := w.signer.Sign(ctx, signing.Request{Caller: other, ID: newID(), Key: "ci"}, []signing.Input{hello})
			return "denied", err
		},
		"nobody": func() (string, error) {
			_, err := w.signer.Sign(ctx, signing.Request{ID: newID(), Key: "ci"}, []signing.Input{hello})
			return "denied", err
		},
		"a key out of scope": func() (string, error) {
			_, err := w.signer.Sign(ctx, w.request("other"), []signing.Input{hello})
			return "denied", err
		},
		"a caller whom the policy does not name": func() (string, error) {
			w.create("ci-few", lifecycle.ForArtifact, lifecycle.ES256, func(p *lifecycle.Policy) { p.AllowedCallers = []string{"robot-2", "rob"} })
			_, err := w.signer.Sign(ctx, w.request("ci-few"), []signing.Input{hello})
			return "denied", err
		},
		"no key": func() (string, error) {
			_, err := w.signer.Sign(ctx, w.request("ci-none"), []signing.Input{hello})
			return "key_not_found", err
		},
		"nothing": func() (string, error) { _, err := w.sign(); return "invalid", err },
		"too many": func() (string, error) {
			_, err := w.sign(make([]signing.Input, signing.MaxItems+1)...)
			return "invalid", err
		},
		"neither": func() (string, error) { _, err := w.sign(signing.Input{}); return "invalid", err },
		"both": func() (string, error) {
			_, err := w.sign(signing.Input{Message: []byte("x"), Digest: make([]byte, 32)})
			return "invalid", err
		},
		"short digest": func() (string, error) {
			_, err := w.sign(signing.Input{Digest: make([]byte, 5)})
			return "bad_digest", err
		},
		"empty digest": func() (string, error) { _, err := w.sign(signing.Input{Digest: []byte{}}); return "bad_digest", err },
		"another hash": func() (string, error) {
			_, err := w.sign(signing.Input{Digest: make([]byte, 32), Hash: lifecycle.SHA384})
			return "bad_digest", err
		},
		"a long message": func() (string, error) {
			_, err := w.sign(signing.Input{Message: make([]byte, signing.MaxMessageBytes+1)})
			return "too_large", err
		},
		"a token of a file key": func() (string, error) {
			_, err := w.signer.SignJWT(ctx, w.request("ci"), []byte(`{}`), "", 0)
			return "wrong_purpose", err
		},
		"a JWS by policy": func() (string, error) {
			_, err := w.signer.SignJWS(ctx, w.request("ci"), []signing.Input{hello})
			return "input_refused", err
		},
	} {
		want, err := try()
		t.Run(name, func(t *testing.T) { code(t, err, want) })
	}
	w.ledger.TakeLease("test")
	if _, err := w.sign(hello); !errors.Is(err, ledger.ErrNoLease) {
		t.Errorf("no lease = %v", err)
	}
	w.ledger.GiveLease()
	late := w.request("ci")
	late.ReceivedAt -= time.Minute
	_, err := w.signer.Sign(ctx, late, []signing.Input{hello})
	code(t, err, "too_late")
	w.seal.Store(&lifecycle.Seal{ID: "1", Key: "ci", By: "uid 0"})
	_, err = w.sign(hello)
	code(t, err, "sealed")
	w.seal.Store(&lifecycle.Seal{ID: "1", Key: "other", By: "uid 0"})
	w.audit.failBatch = errDisk
	if _, err := w.sign(hello); !errors.Is(err, authority.ErrAudit) {
		t.Errorf("no journal = %v", err)
	}
	if n := w.store.Calls(hsmtest.OpSign); n != 0 {
		t.Errorf("the key was used %d times", n)
	}
}

func TestIntentBeforeUse(t *testing.T) {
	w := build(t)
	if _, err := w.sign(hello, hello, hello); err != nil {
		t.Fatal(err)
	}
	if len(w.audit.usedAt) != 1 || w.audit.usedAt[0] != 0 || w.audit.count(audit.SignIntent) != 3 || w.audit.count(audit.SignReleased) != 3 {
		t.Errorf("intents were written after %v uses of the key: %+v", w.audit.usedAt, w.audit.records)
	}
	for _, r := range w.audit.records {
		if r.Principal != "robot" || r.Key != "ci" || r.Version != 1 || r.KID == "" || len(r.Digest) != 64 || r.RequestID == "" || r.Remote == "" {
			t.Errorf("record = %+v", r)
		}
	}
	// A release that cannot even be queued for the record is none.
	w.audit.failAsync = errDisk
	if items, err := w.sign(hello); err == nil || items != nil {
		t.Errorf("released without a record: %+v", items)
	}
}

func TestWrongSignatureNeverLeaves(t *testing.T) {
	w := build(t)
	w.store.WrongSignatures(true)
	_, err := w.sign(hello)
	code(t, err, "keystore_unavailable")
	if w.audit.count(audit.SignRefused) != 1 || w.signer.Withheld.Load() != 1 {
		t.Errorf("recorded as %+v", w.audit.records)
	}
	items, err := w.sign(hello, hello)
	if err != nil || items[0].Err == nil || items[1].Err == nil || items[0].Bytes != nil || items[1].Bytes != nil {
		t.Errorf("batch = %+v, %v", items, err)
	}
	w.store.Reset()
	w.create("ci-b", lifecycle.ForArtifact, lifecycle.ES256, nil)
	v := w.ledger.View()
	w.store.SwapKey(hsm.ObjectID(v.Instance("ci", 1, w.ledger.NodeID()).CKAID), hsm.ObjectID(v.Instance("ci-b", 1, w.ledger.NodeID()).CKAID))
	_, err = w.sign(hello) // an old handle that now is another key
	code(t, err, "keystore_unavailable")
}

func TestSampledVerification(t *testing.T) {
	w := build(t)
	w.create("ci-fast", lifecycle.ForArtifact, lifecycle.ES256, func(p *lifecycle.Policy) { p.VerifyOneIn = 4 })
	w.store.WrongSignatures(true)
	caught := 0
	for range 8 {
		if _, err := w.signer.Sign(ctx, w.request("ci-fast"), []signing.Input{hello}); err != nil {
			caught++
		}
	}
	if caught != 2 {
		t.Errorf("one in four is verified, and %d of 8 wrong ones were caught", caught)
	}
}

func TestKeyStoreErrors(t *testing.T) {
	w := build(t)
	for _, err := range []error{hsm.ErrBusy, hsm.ErrUnavailable, hsm.ErrLocked, hsm.ErrMismatch, hsm.ErrNotFound} {
		w.store.Fail(hsmtest.OpSign, err, 1)
		if _, got := w.sign(hello); !errors.Is(got, err) {
			t.Errorf("%v became %v", err, got)
		}
	}
	w.store.Fail(hsmtest.OpSign, hsm.ErrBusy, 1)
	items, err := w.sign(hello, hello, hello)
	bad := 0
	for _, it := range items {
		if it.Err != nil {
			bad++
		}
	}
	if err != nil || bad != 1 {
		t.Errorf("of a batch %d failed, want 1: %v", bad, err)
	}
}

func TestAlgorithms(t *testing.T) {
	w := build(t)
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384, lifecycle.EdDSA} {
		name := lifecycle.KeyID("ci-" + strings.ToLower(string(alg)))
		i := w.create(name, lifecycle.ForArtifact, alg, nil)
		items, err := w.signer.Sign(ctx, w.request(string(name)), []signing.Input{hello})
		if err != nil {
			t.Fatal(err)
		}
		s := items[0]
		if err := hsm.VerifySignature(alg, i.SPKI, signing.Digest(alg, hello.Message), s.Bytes); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
		if s.KID != i.KID || s.Version != 1 || s.Node != w.ledger.NodeID() || s.Kind != lifecycle.InputMessage || s.Hash != alg.Hash() || s.Position.Index == 0 {
			t.Errorf("signature = %+v", s.Signature)
		}
		d, err := signing.Verify(w.ledger.View(), string(name), "", hello, s.Bytes)
		if err != nil || !d.Valid || !d.Trusted || d.KID != i.KID {
			t.Errorf("verdict = %+v, %v", d, err)
		}
	}
	_, err := w.signer.Sign(ctx, w.request("ci-eddsa"), []signing.Input{{Digest: make([]byte, 32)}})
	code(t, err, "input_refused")
}

func TestVerdicts(t *testing.T) {
	w := build(t)
	items, err := w.sign(hello)
	if err != nil {
		t.Fatal(err)
	}
	sig := items[0].Bytes
	verdict := func() signing.Verdict {
		t.Helper()
		d, err := signing.Verify(w.ledger.View(), "ci", items[0].KID, hello, sig)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if d := verdict(); !d.Valid || !d.Trusted {
		t.Errorf("good = %+v", d)
	}
	if d, err := signing.Verify(w.ledger.View(), "ci", "", signing.Input{Message: []byte("other")}, sig); err != nil || d.Valid || d.Why == "" {
		t.Errorf("another message = %+v, %v", d, err)
	}
	if _, err := signing.Verify(w.ledger.View(), "none", "", hello, sig); err == nil {
		t.Error("no key, and a verdict")
	}
	sum := sha256.Sum256(hello.Message)
	if d, err := signing.Verify(w.ledger.View(), "ci", "", signing.Input{Digest: sum[:]}, sig); err != nil || !d.Valid {
		t.Errorf("by digest = %+v, %v", d, err)
	}
	_, err = signing.Verify(w.ledger.View(), "ci", "", signing.Input{Digest: sum[:7]}, sig)
	code(t, err, "bad_digest")
	w.ledger.Must(t, &command.DeactivateVersion{Key: "ci", Version: 1})
	if d := verdict(); !d.Trusted {
		t.Errorf("deactivated, within its verify window = %+v", d)
	}
	w.ledger.Must(t, &command.Revoke{Key: "ci", Reason: lifecycle.KeyCompromise})
	if d := verdict(); !d.Valid || d.Trusted || d.Revocation == nil || d.Why == "" {
		t.Errorf("compromised = %+v", d)
	}
}
