package api

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/hsm"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestKeyLife(t *testing.T) {
	n := start(t)
	r := n.ask("admin", "POST", wire.PathKeys, createCI)
	op := get[wire.Operation](t, r)
	if op.Verb != "create" || op.Key != "ci" || op.Reached != wire.Committed || op.Complete || len(op.Versions) != 1 || op.Committed.Index == 0 {
		t.Errorf("create = %s", r.body)
	}
	if len(op.Next) != 1 || !strings.HasPrefix(op.Next[0], "chancery wait "+op.RequestID) || len(op.WaitsFor) == 0 {
		t.Errorf("an unfinished create says nothing about what comes: %s", r.body)
	}
	n.bind("ci", 1)
	n.ledger.Must(t, &command.ActivateVersion{Key: "ci", Version: 1})
	op = get[wire.Operation](t, n.ask("admin", "GET", wire.Path(wire.PathOperation, op.RequestID), nil))
	if op.Reached != wire.Activated || !op.Complete || op.Active.At == 0 || op.Published.At == 0 || op.Prepared.At == 0 || op.Verb != "create" {
		t.Errorf("after activation: %+v", op)
	}

	r = n.ask("signer", "GET", wire.Path(wire.PathKey, "ci"), nil)
	k := get[wire.Key](t, r)
	if k.ActiveVersion != 1 || k.Owner != "rel@example.com" || len(k.Versions) != 1 || len(k.Versions[0].Instances) != 2 || k.Freshness != wire.Bounded || k.AsOf == 0 ||
		k.Position.Index != n.ledger.View().Position().Index || !strings.HasPrefix(k.TrustSet.Digest, "sha256:") || k.Rotation.Phase != "idle" {
		t.Errorf("key show = %s", r.body)
	}
	if r.header.Get(wire.HeaderNode) != "n1" || r.header.Get(wire.HeaderIndex) == "" || r.header.Get(wire.HeaderAsOf) == "" || r.header.Get(wire.HeaderFreshness) != wire.Bounded {
		t.Errorf("headers = %v", r.header)
	}

	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRotate, "ci"), wire.Rotate{}))
	if op.Verb != "rotate" || op.Versions[0] != 2 {
		t.Errorf("rotate = %+v", op)
	}
	n.bind("ci", 2)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathActivate, "ci"), wire.VersionVerb{}), wire.NotPublished)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathActivate, "ci"), wire.VersionVerb{Early: true}), wire.Invalid)
	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathActivate, "ci"), wire.VersionVerb{Early: true, Comment: "drill"}))
	if op.Verb != "activate" || !op.Complete {
		t.Errorf("activate = %+v", op)
	}
	for _, verb := range []string{wire.PathSuspend, wire.PathResume, wire.PathDeactivate} {
		get[wire.Operation](t, n.ask("admin", "POST", wire.Path(verb, "ci"), wire.VersionVerb{Version: 2}))
	}
	r = n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.KeyCompromise, Comment: "INC-1", Versions: []uint64{2}})
	op = get[wire.Operation](t, r)
	if op.Reached != wire.Settled || !op.Complete || op.Reason != lifecycle.KeyCompromise || op.Published.CachesExpireBy["jwks"] == 0 || len(op.Nodes) != 2 || op.Nodes[0].Outcome != wire.Acked {
		t.Errorf("revoke = %s", r.body)
	}
	op = get[wire.Operation](t, n.ask("auditor", "GET", wire.Path(wire.PathOperation, op.RequestID), nil))
	if op.Reason != lifecycle.KeyCompromise || op.Comment != "INC-1" || op.Actor != "admin" {
		t.Errorf("the revocation as remembered = %+v", op)
	}
	refused(t, n.ask("signer", "GET", wire.Path(wire.PathOperation, op.RequestID), nil), wire.OperationNotFound)

	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathDestroy, "ci"), wire.Destroy{Version: 1}))
	if op.Complete || op.Destroyed == nil || op.Destroyed.By == 0 {
		t.Errorf("destroy = %+v", op)
	}
	op = get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathDestroy, "ci"), wire.Destroy{Version: 1, Cancel: true}))
	if !op.Complete {
		t.Errorf("destroy cancel = %+v", op)
	}
	h := get[wire.List[wire.Event]](t, n.ask("signer", "GET", wire.Path(wire.PathHistory, "ci"), nil))
	if len(h.Items) < 8 || h.Items[0].Kind != "key.created" || h.Items[len(h.Items)-1].Kind != "key.destroy_cancelled" {
		t.Errorf("history = %+v", h.Items)
	}
}

func TestListsAndFilters(t *testing.T) {
	n := start(t)
	for _, name := range []string{"ci-a", "ci-b", "ci-c", "other"} {
		k := createCI
		k.Name, k.Labels = name, map[string]string{"team": name[:2], "tier": "1"}
		get[wire.Operation](t, n.ask("admin", "POST", wire.PathKeys, k))
	}
	names := func(as, query string) (out []string) {
		for cursor := ""; ; {
			l := get[wire.List[wire.KeySummary]](t, n.ask(as, "GET", wire.PathKeys+"?limit=2&cursor="+cursor+query, nil))
			for _, k := range l.Items {
				out = append(out, k.Name)
			}
			if cursor = string(l.Next); cursor == "" {
				return out
			}
		}
	}
	for _, c := range []struct{ as, query, want string }{
		{"admin", "", "ci-a ci-b ci-c other"}, {"signer", "", "ci-a ci-b ci-c"}, {"nobody", "", ""},
		{"admin", "&selector=team%3Dot", "other"}, {"admin", "&selector=tier,team!%3Dci", "other"}, {"admin", "&selector=nix", ""},
		{"admin", "&purpose=token", ""}, {"admin", "&state=pre-activation", "ci-a ci-b ci-c other"}, {"admin", "&owner=x", ""},
	} {
		if got := strings.Join(names(c.as, c.query), " "); got != c.want {
			t.Errorf("%s %s = %q, want %q", c.as, c.query, got, c.want)
		}
	}
	for _, bad := range []string{"?limit=0", "?limit=1001", "?limit=x", "?state=alive", "?purpose=fun", "?selector=,", "?pln=true", "?limit=1&limit=2"} {
		refused(t, n.ask("admin", "GET", wire.PathKeys+bad, nil), wire.Invalid)
	}
}

func TestSign(t *testing.T) {
	n := start(t)
	n.create(createCI)
	message := []byte("hello")
	digest := sha256.Sum256(message)
	i := n.ledger.View().Instance("ci", 1, n.ledger.NodeID())
	path := wire.Path(wire.PathSign, "ci")

	s := get[wire.Signature](t, n.ask("signer", "POST", path, wire.SignRequest{Message: message}))
	if s.KID != i.KID || s.Format != wire.FormatDER || s.Input != "message" || s.Node != "n1" || s.Version != 1 || s.RequestID == "" || s.Position.Index == 0 || s.Hash != "SHA-256" {
		t.Errorf("sign = %+v", s)
	}
	if err := hsm.VerifySignature(lifecycle.ES256, i.SPKI, digest[:], s.Signature); err != nil {
		t.Error(err)
	}
	s = get[wire.Signature](t, n.ask("signer", "POST", path, wire.SignRequest{Digest: digest[:], Format: "raw"}))
	if len(s.Signature) != 64 || s.Input != "digest" {
		t.Errorf("raw = %+v", s)
	}
	v := get[wire.Verification](t, n.ask("signer", "POST", wire.Path(wire.PathVerify, "ci"), wire.VerifyRequest{Message: message, Signature: s.Signature, Format: "raw", KID: i.KID[:8]}))
	if !v.Valid || v.Status != wire.Good || v.KID != wire.Text(i.KID) {
		t.Errorf("verify = %+v", v)
	}
	v = get[wire.Verification](t, n.ask("signer", "POST", wire.Path(wire.PathVerify, "ci"), wire.VerifyRequest{Message: []byte("other"), Signature: s.Signature, Format: "raw"}))
	if v.Valid || v.Why == "" {
		t.Errorf("verify of another message = %+v", v)
	}
	batch := get[wire.Signatures](t, n.ask("signer", "POST", path, wire.SignRequest{Items: []wire.SignItem{{Message: message}, {Digest: []byte{1}}, {Digest: digest[:]}}}))
	if len(batch.Results) != 3 || batch.Results[0].Signature == nil || batch.Results[1].Error == nil || batch.Results[1].Error.Code != wire.BadDigest || batch.Results[2].Signature == nil {
		t.Errorf("batch = %+v", batch)
	}
	count := uint64(0)
	for end := time.Now().Add(10 * time.Second); count != 4 && time.Now().Before(end); time.Sleep(time.Millisecond) {
		n.clock.Advance(time.Second) // the answer is remembered for a second
		k := get[wire.Key](t, n.ask("signer", "GET", wire.Path(wire.PathKey, "ci"), nil))
		count = k.Versions[0].Instances[0].Signatures + k.Versions[0].Instances[1].Signatures
	}
	if count != 4 {
		t.Errorf("%d signatures are counted", count)
	}

	for _, bad := range []struct {
		as   string
		body any
		code wire.Code
	}{
		{"admin", wire.SignRequest{Message: message}, wire.Denied},
		{"nobody", wire.SignRequest{Message: message}, wire.Denied},
		{"signer", wire.SignRequest{}, wire.Invalid},
		{"signer", wire.SignRequest{Message: message, Digest: digest[:]}, wire.Invalid},
		{"signer", wire.SignRequest{Digest: digest[:31]}, wire.BadDigest},
		{"signer", wire.SignRequest{Digest: digest[:], Hash: lifecycle.SHA384}, wire.BadDigest},
		{"signer", wire.SignRequest{Message: message, Format: "pgp"}, wire.Invalid},
		{"signer", wire.SignRequest{Message: message, KID: "somebody-else"}, wire.InstanceNotHere},
		{"signer", wire.SignRequest{Message: message, Format: "jws"}, wire.InputRefused},
		{"signer", wire.SignRequest{Items: []wire.SignItem{{Message: message}}, Message: message}, wire.Invalid},
		{"signer", `{"items":[]}`, wire.Invalid},
		{"signer", `{"message":"aGVsbG8=","hurry":true}`, wire.Malformed},
		{"signer", `{"message":"not base64!"}`, wire.Malformed},
	} {
		refused(t, n.ask(bad.as, "POST", path, bad.body), bad.code)
	}
	refused(t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci-none"), wire.SignRequest{Message: message}), wire.KeyNotFound)
	refused(t, n.ask("signer", "POST", wire.Path(wire.PathSign, "secret"), wire.SignRequest{Message: message}), wire.Denied)
	refused(t, n.ask("signer", "POST", wire.Path(wire.PathJWT, "ci"), wire.JWTRequest{Claims: json.RawMessage(`{}`)}), wire.WrongPurpose)

	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevoke, "ci"), wire.Revoke{Reason: lifecycle.KeyCompromise}))
	e := refused(t, n.ask("signer", "POST", path, wire.SignRequest{Message: message}), wire.KeyRevoked)
	if e.Hint == "" || e.RequestID == "" {
		t.Errorf("refusal = %+v", e)
	}
	v = get[wire.Verification](t, n.ask("signer", "POST", wire.Path(wire.PathVerify, "ci"), wire.VerifyRequest{Message: message, Signature: s.Signature, Format: "raw"}))
	if v.Valid || v.Status != wire.Revoked {
		t.Errorf("verify after revocation = %+v", v)
	}
}

func TestJWSAndJWT(t *testing.T) {
	n := start(t)
	k := createCI
	k.Policy = json.RawMessage(`{"inputs":["message","jws"]}`)
	n.create(k)
	s := get[wire.Signature](t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci"), wire.SignRequest{Message: []byte("payload"), Format: "jws"}))
	if s.Input != "jws" || strings.Count(s.JWS, ".") != 2 || !strings.Contains(s.JWS, "..") {
		t.Errorf("jws = %+v", s)
	}
	v := get[wire.Verification](t, n.ask("signer", "POST", wire.Path(wire.PathVerify, "ci"), wire.VerifyRequest{Token: s.JWS, Message: []byte("payload")}))
	if !v.Valid {
		t.Errorf("verify jws = %+v", v)
	}

	tok := createCI
	tok.Name, tok.Purpose = "ci-tokens", lifecycle.ForToken
	n.create(tok)
	path, verify := wire.Path(wire.PathJWT, "ci-tokens"), wire.Path(wire.PathVerify, "ci-tokens")
	j := get[wire.JWT](t, n.ask("signer", "POST", path, wire.JWTRequest{Claims: json.RawMessage(`{"sub":"build-7"}`), TTL: lifecycle.Minute}))
	if j.Type != "JWT" || j.ExpiresAt == 0 || j.Alg != lifecycle.ES256 {
		t.Errorf("jwt = %+v", j)
	}
	v = get[wire.Verification](t, n.ask("signer", "POST", verify, wire.VerifyRequest{Token: j.Token}))
	if !v.Valid || !strings.Contains(string(v.Claims), "build-7") {
		t.Errorf("verify jwt = %+v", v)
	}
	n.clock.Advance(2 * 60e9)
	if v = get[wire.Verification](t, n.ask("signer", "POST", verify, wire.VerifyRequest{Token: j.Token})); v.Valid || v.Why != "it has expired" {
		t.Errorf("an expired token = %+v", v)
	}
	for _, bad := range []string{"", "x", "a.b.c", strings.Replace(j.Token, ".", "..", 1), base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + ".e30."} {
		if bad == "" {
			refused(t, n.ask("signer", "POST", verify, wire.VerifyRequest{}), wire.Invalid)
			continue
		}
		if v := get[wire.Verification](t, n.ask("signer", "POST", verify, wire.VerifyRequest{Token: bad})); v.Valid || v.Why == "" {
			t.Errorf("%q = %+v", bad, v)
		}
	}
	refused(t, n.ask("signer", "POST", wire.Path(wire.PathSign, "ci-tokens"), wire.SignRequest{Message: []byte("x")}), wire.WrongPurpose)
	refused(t, n.ask("signer", "POST", path, wire.JWTRequest{Claims: json.RawMessage(`{"exp":1}`)}), wire.ClaimsRefused)
	refused(t, n.ask("signer", "POST", path, `{}`), wire.Invalid)
	refused(t, n.ask("signer", "POST", path, wire.JWTRequest{Claims: json.RawMessage(`{}`), Type: "evil"}), wire.ClaimsRefused)
}

// TestEveryListHasAPosition: profiles and operations page by page, and each page says of
// which state it is.
func TestEveryListHasAPosition(t *testing.T) {
	n := start(t)
	for _, name := range []string{"ci-a", "ci-b", "ci-c"} {
		k := createCI
		k.Name = name
		get[wire.Operation](t, n.ask("admin", "POST", wire.PathKeys, k))
	}
	type item = map[string]any
	ids := func(items []item) (out []string) {
		for _, it := range items {
			out = append(out, fmt.Sprint(it["name"], it["request_id"]))
		}
		return out
	}
	for _, path := range []string{wire.PathProfiles, wire.PathOperations, wire.PathNodes, wire.PathKeys, wire.PathPrincipals} {
		whole := get[wire.List[item]](t, n.ask("admin", "GET", path, nil))
		var paged []item
		for cursor := ""; ; {
			l := get[wire.List[item]](t, n.ask("admin", "GET", path+"?limit=1&cursor="+cursor, nil))
			if len(l.Items) > 1 || l.Position == nil || l.Position.Index == 0 || l.AsOf == 0 {
				t.Fatalf("%s: a page of %d at %v as of %v", path, len(l.Items), l.Position, l.AsOf)
			}
			paged = append(paged, l.Items...)
			if cursor = string(l.Next); cursor == "" {
				break
			}
		}
		if !slices.Equal(ids(paged), ids(whole.Items)) || len(paged) == 0 {
			t.Errorf("%s: page by page %v, at once %v", path, ids(paged), ids(whole.Items))
		}
	}
}
