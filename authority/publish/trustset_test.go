package publish

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/lestrrat-go/jwx/v3/jwk"
	"pgregory.net/rapid"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/ledger/ledgertest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// Golden bytes: the digest of a trust set is what consumers confirm, so the
// encoding can never change.
func TestCanonicalBytes(t *testing.T) {
	f := newFixture(t)
	f.create("svc", lifecycle.ForToken, lifecycle.EdDSA, policy(lifecycle.ForToken, lifecycle.EdDSA))
	for n, pub := range []string{ // the public keys of RFC 8032 section 7.1, tests 1 and 2
		"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
		"3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"} {
		f.bindKey("svc", 1, f.nodes[n], fromHex(t, "302a300506032b6570032100"+pub))
	}
	f.Must(t, &command.ActivateVersion{Key: "svc", Version: 1})
	s, err := Set(f.View(), "svc")
	if err != nil {
		t.Fatal(err)
	}
	const want = goldenSet
	if string(s.JWKS) != want {
		t.Errorf("canonical set:\n got %s\nwant %s", s.JWKS, want)
	}
	if s.Digest != digestOf([]byte(want)) || s.ETag != `"`+s.Digest+`"` || s.Key != "svc" {
		t.Errorf("digest %s, etag %s", s.Digest, s.ETag)
	}
}

func TestEmptySet(t *testing.T) {
	f := newFixture(t)
	f.create("svc", lifecycle.ForToken, lifecycle.ES256, policy(lifecycle.ForToken, lifecycle.ES256))
	f.bind("svc", 1, f.nodes[0])
	for name, set := range map[string]func() (*TrustSet, error){
		"key":        func() (*TrustSet, error) { return Set(f.View(), "svc") },
		"well-known": func() (*TrustSet, error) { return WellKnown(f.View()) },
	} {
		s, err := set()
		if err != nil || string(s.JWKS) != `{"keys":[]}` || s.Digest != digestOf([]byte(`{"keys":[]}`)) {
			t.Errorf("%s before publication: %+v, %v", name, s, err)
		}
	}
	if _, err := Set(f.View(), "absent"); !errors.Is(err, ErrNoKey) {
		t.Errorf("no such key: %v", err)
	}
}

func kids(t testing.TB, jwks []byte) (out []string) {
	t.Helper()
	var set struct {
		Keys []struct {
			KID string `json:"kid"`
		} `json:"keys"`
	}
	if err := json.Unmarshal(jwks, &set); err != nil {
		t.Fatal(err)
	}
	for _, k := range set.Keys {
		out = append(out, k.KID)
	}
	return out
}

func TestSetsReadByOthers(t *testing.T) {
	f := newFixture(t)
	want := map[string]bool{}
	for name, alg := range map[string]lifecycle.Algorithm{"a": lifecycle.ES256, "b": lifecycle.ES384, "c": lifecycle.EdDSA, "d": lifecycle.RS256} {
		for _, kid := range f.active(name, lifecycle.ForToken, alg) {
			want[kid] = true
		}
	}
	f.active("code", lifecycle.ForCode, lifecycle.ES256) // never well known
	s, err := WellKnown(f.View())
	if err != nil {
		t.Fatal(err)
	}
	got := kids(t, s.JWKS)
	if !slices.IsSorted(got) || len(got) != len(want) || len(s.Instances) != len(want) {
		t.Errorf("well-known set has %v", got)
	}
	for _, kid := range got {
		if !want[kid] {
			t.Errorf("%s does not belong there", kid)
		}
	}
	var js jose.JSONWebKeySet
	if err := json.Unmarshal(s.JWKS, &js); err != nil || len(js.Keys) != len(want) {
		t.Errorf("go-jose reads %d keys, %v", len(js.Keys), err)
	}
	if xs, err := jwk.Parse(s.JWKS); err != nil || xs.Len() != len(want) {
		t.Errorf("jwx: %v", err)
	}
	if other, err := Set(f.View(), "code"); err != nil || len(kids(t, other.JWKS)) != 3 {
		t.Errorf("code key: %v", err)
	}
}

// Whatever is done in whatever order: a trust set holds what InTrustSet says, never
// what was compromised, distrusted, withdrawn or is pending; and the cache agrees.
func TestSetNeverHoldsTheUntrusted(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := newFixture(t)
		var cache Cache
		f.create("k", lifecycle.ForToken, lifecycle.EdDSA, policy(lifecycle.ForToken, lifecycle.EdDSA))
		for range rapid.IntRange(5, 40).Draw(rt, "steps") {
			f.Clock().Advance(time.Duration(rapid.IntRange(0, 90).Draw(rt, "minutes")) * time.Minute)
			act(rt, f)
			view := f.View()
			s, err := cache.Set(view, "k")
			if err != nil {
				rt.Fatal(err)
			}
			check(rt, f, view, s)
			if fresh, err := Set(view, "k"); err != nil || string(fresh.JWKS) != string(s.JWKS) {
				rt.Fatalf("the cache says %s, the view %s (%v)", s.JWKS, fresh.JWKS, err)
			}
			if known, err := cache.WellKnown(view); err != nil || string(known.JWKS) != string(s.JWKS) {
				rt.Fatalf("well-known %s, of its one key %s (%v)", known.JWKS, s.JWKS, err)
			}
		}
	})
}

// act does something that may be refused.
func act(rt *rapid.T, f *fixture) {
	k := f.View().Key("k")
	v := uint64(rapid.IntRange(1, int(k.Newest)).Draw(rt, "version"))
	node := rapid.SampledFrom(f.nodes).Draw(rt, "node")
	reason := rapid.SampledFrom(lifecycle.Reasons).Draw(rt, "reason")
	switch rapid.IntRange(0, 10).Draw(rt, "act") {
	case 0, 1, 2:
		if i := f.View().Instance("k", v, node); i != nil && i.Condition == lifecycle.Pending {
			f.bind("k", v, node)
		}
	case 3:
		f.Do(f.t, &command.PublishVersion{Key: "k", Version: v})
	case 4, 5:
		f.Do(f.t, &command.ActivateVersion{Key: "k", Version: v, Early: true, Comment: "now"})
	case 6:
		f.Do(f.t, &command.PrepareVersion{Key: "k", Version: k.Newest + 1, Instances: f.intents("k", k.Newest+1, f.nodes...)})
	case 7:
		f.Do(f.t, &command.Revoke{Key: "k", Versions: []uint64{v}, Reason: reason, Distrust: rapid.Bool().Draw(rt, "distrust")})
	case 8:
		if reason != lifecycle.CertificateHold {
			f.Do(f.t, &command.Revoke{Key: "k", Versions: []uint64{v}, Node: node, Reason: reason})
		}
	case 9:
		f.Do(f.t, &command.WithdrawVersion{Key: "k", Version: v})
	case 10:
		f.Do(f.t, &command.ReportCondition{Key: "k", Version: v, Node: node, Condition: lifecycle.Lost, Detail: "gone"})
	}
}

func check(rt *rapid.T, f *fixture, view *state.View, s *TrustSet) {
	inSet := map[string]bool{}
	for _, kid := range kids(f.t, s.JWKS) {
		inSet[kid] = true
	}
	for _, v := range view.Versions("k") {
		for _, i := range view.Instances("k", v.Number) {
			bad := v.State == lifecycle.Compromised || v.State == lifecycle.Destroyed || v.Distrusted || v.Withdrawn || v.PublishedAt == 0 ||
				i.Condition == lifecycle.InstanceBad || i.Condition == lifecycle.Pending || i.PublishedAt == 0
			if inSet[i.KID] == bad {
				rt.Fatalf("kid %q of version %d (%s, %s): in the set %v", i.KID, v.Number, v.State, i.Condition, inSet[i.KID])
			}
			if i.KID != "" {
				checkStatus(rt, view, v, i, inSet[i.KID])
			}
		}
	}
	if len(inSet) != len(s.Instances) {
		rt.Fatalf("%d kids, %d instances", len(inSet), len(s.Instances))
	}
}

// checkStatus: good only in the trust set and only fresh; revoked exactly when
// distrusted, at any age; nothing stale is good or unknown.
func checkStatus(rt *rapid.T, view *state.View, v *lifecycle.Version, i *lifecycle.Instance, inSet bool) {
	fresh, stale := KIDStatus(view, i.KID, true), KIDStatus(view, i.KID, false)
	revoked := v.Distrusts() || i.Condition == lifecycle.InstanceBad
	if (fresh.Answer == Revoked) != revoked || (stale.Answer == Revoked) != revoked {
		rt.Fatalf("version %d is %s, instance %s: %s fresh, %s stale", v.Number, v.State, i.Condition, fresh.Answer, stale.Answer)
	}
	if fresh.Answer == Good && !inSet || stale.Answer != Revoked && stale.Answer != Indeterminate || fresh.Answer == Indeterminate {
		rt.Fatalf("in the set %v: %s fresh, %s stale", inSet, fresh.Answer, stale.Answer)
	}
	if revoked && fresh.SinceAt == 0 {
		rt.Fatalf("revoked since when? %+v", fresh)
	}
}

func TestMaxAge(t *testing.T) {
	f := newFixture(t)
	pol := policy(lifecycle.ForToken, lifecycle.ES256) // lead 1 h, max-age 5 min, verify window 2 h
	f.create("k", lifecycle.ForToken, lifecycle.ES256, pol)
	expect := func(what string, want time.Duration) {
		t.Helper()
		s, err := Set(f.View(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got := s.MaxAge(f.Clock().At()); got != want {
			t.Errorf("%s: max-age %s, want %s", what, got, want)
		}
	}
	expect("version 1 is being made and needs no lead", time.Second)
	f.bind("k", 1, f.nodes[0])
	f.bind("k", 1, f.nodes[1])
	f.Must(t, &command.ActivateVersion{Key: "k", Version: 1})
	expect("n3 is pending and will wait for its lead", 5*time.Minute)
	f.bind("k", 1, f.nodes[2])
	expect("n3 may sign in an hour", 5*time.Minute)
	f.Clock().Advance(50 * time.Minute)
	expect("n3 may sign in ten minutes", 150*time.Second)
	f.Clock().Advance(10*time.Minute - 500*time.Millisecond)
	expect("n3 may sign in half a second", time.Second)
	f.Clock().Advance(time.Second)
	f.Must(t, &command.AdmitInstance{Key: "k", Version: 1, Node: f.nodes[2]})
	expect("nothing is planned", 5*time.Minute)

	f.prepare("k", 2)
	expect("version 2 is being made", 5*time.Minute)
	f.bind("k", 2, f.nodes[0])
	f.Must(t, &command.PublishVersion{Key: "k", Version: 2})
	f.Clock().Advance(52 * time.Minute)
	expect("version 2 may sign in eight minutes", 2*time.Minute)
	f.Clock().Advance(8 * time.Minute)
	f.Must(t, &command.ActivateVersion{Key: "k", Version: 2})
	expect("version 1 is verified for two hours", 5*time.Minute)
	f.Clock().Advance(2*time.Hour - 3*time.Second)
	expect("version 1 is withdrawn in three seconds", 3*time.Second)

	pol.Lead = lifecycle.Minute
	f.Must(t, &command.SetPolicy{Key: "k", Policy: pol})
	f.Clock().Advance(time.Minute)
	expect("the lead is shorter than jwks_max_age", time.Minute)
	pol.Lead = 0
	f.Must(t, &command.SetPolicy{Key: "k", Policy: pol})
	expect("no lead, nothing planned (n2 and n3 are pending)", time.Second)
	f.bind("k", 2, f.nodes[1])
	f.bind("k", 2, f.nodes[2])
	expect("no lead, nothing planned", 5*time.Minute)
	f.prepare("k", 3)
	expect("no lead, a version is being made", time.Second)
}

// A set cached at any moment has expired when a kid it lacks begins to sign, when
// the rotation keeps to its lead.
func TestCachedSetExpiresBeforeAnUnseenKidSigns(t *testing.T) {
	for _, lead := range []lifecycle.Milliseconds{lifecycle.Second, 30 * lifecycle.Second, lifecycle.Hour} {
		f := newFixture(t)
		pol := policy(lifecycle.ForToken, lifecycle.EdDSA)
		pol.Lead = lead
		f.create("k", lifecycle.ForToken, lifecycle.EdDSA, pol)
		f.bind("k", 1, f.nodes[0])
		f.Must(t, &command.ActivateVersion{Key: "k", Version: 1})
		s, err := Set(f.View(), "k") // cached in the very millisecond before the publication
		if err != nil {
			t.Fatal(err)
		}
		expires := f.Clock().Now().Add(s.MaxAge(f.Clock().At()))
		kid := f.bind("k", 1, f.nodes[1]) // published at once
		if slices.Contains(kids(t, s.JWKS), kid) {
			t.Fatal("the cached set knows the kid")
		}
		signsAt := f.View().Instance("k", 1, f.nodes[1]).PublishedAt.Add(lead)
		if lifecycle.Instant(expires.UnixMilli()) > signsAt {
			t.Errorf("lead %s: the cached set lives until %s, the kid signs at %s", lead, expires, signsAt)
		}
	}
}

func TestWellKnownTakesTheShortestMaxAge(t *testing.T) {
	f := newFixture(t)
	f.active("a", lifecycle.ForToken, lifecycle.ES256)
	pol := policy(lifecycle.ForAssertion, lifecycle.ES256)
	pol.JWKSMaxAge = 10 * lifecycle.Second
	f.Must(t, &command.CreateKey{Name: "b", Purpose: lifecycle.ForAssertion, Alg: lifecycle.ES256, Custody: lifecycle.Singleton,
		Node: f.nodes[0], Owner: "o", Reason: "r", Policy: pol, Instances: f.intents("b", 1, f.nodes[0])})
	age := func() time.Duration {
		s, err := WellKnown(f.View())
		if err != nil {
			t.Fatal(err)
		}
		return s.MaxAge(f.Clock().At())
	}
	if got := age(); got != time.Second {
		t.Errorf("while a new key is made: %s", got)
	}
	f.bindKey("b", 1, f.nodes[0], newKey(t, lifecycle.ES256))
	f.Must(t, &command.ActivateVersion{Key: "b", Version: 1})
	if got := age(); got != 10*time.Second {
		t.Errorf("max-age %s, want the shortest", got)
	}
	if empty, err := WellKnown(ledgertest.New(t).View()); err != nil || empty.MaxAge(1) != time.Second {
		t.Errorf("of nothing: %v", err)
	}
}
