package consumer_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestProofOpensTheGate is the whole way, with every algorithm and with instances on
// both nodes.
func TestProofOpensTheGate(t *testing.T) {
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384, lifecycle.EdDSA, lifecycle.PS256} { // RS256 differs from PS256 in the HSM alone
		t.Run(string(alg), func(t *testing.T) {
			w := build(t, alg).published()
			for n, instance := range []string{"web-1", "web-2"} {
				c := w.challenge(n, eu, instance) // the second on a node that does not lead
				if len(c.KIDs) != 4 || len(c.Missing) != 0 || len(c.Proven) != 0 || !strings.HasPrefix(c.ID, string(w.seats[n].id)+".") {
					t.Fatalf("challenge %+v", c)
				}
				for kid, good := range w.verified(c) {
					if len(good) != signing.CanaryItems/2 {
						t.Errorf("kid %s: %d of %d canaries verify", kid, len(good), signing.CanaryItems)
					}
				}
				r := w.confirm(w.statement(eu, instance, c))
				if !r.Recorded || !r.Current || len(r.Proven) != 4 || len(r.Unproven) != 0 || r.Have != n+1 || r.Expect != 2 || r.ExpiresAt != w.now().Add(lifecycle.Day) {
					t.Errorf("receipt %+v", r)
				}
				if open := w.holdouts(lifecycle.GateActivate, 2) == 0; open != (n == 1) {
					t.Errorf("after %d instances the gate is open: %t", n+1, open)
				}
			}
			if c := w.challenge(0, eu, "web-1"); c.ID != "" || len(c.Proven) != 4 {
				t.Errorf("what is proven is asked again: %+v", c)
			}
		})
	}
}

// TestCanaryIsNothingElse: a signature over a canary must not be of use as anything a
// verifier accepts.
func TestCanaryIsNothingElse(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	seen := map[string]bool{}
	for _, k := range w.challenge(0, eu, "web-1").KIDs {
		for n, m := range k.Messages {
			for _, part := range []string{signing.CanaryDomain, "\ncluster: " + w.l.View().Cluster().ID, "\nkey: ci\n", "\nkid: " + k.KID, "\nconsumer: " + eu, "\ninstance: web-1\n", fmt.Sprintf("\nitem: %d\n", n)} {
				if !bytes.Contains(append([]byte("\n"), m...), []byte(part)) {
					t.Errorf("canary %q lacks %q", m, part)
				}
			}
			if len(m) >= signing.MaxCanaryBytes || !bytes.HasPrefix(m, []byte(signing.CanaryDomain)) || m[0] == 0x30 || !lifecycle.Printable(strings.ReplaceAll(string(m), "\n", "")) || seen[string(m)] {
				t.Errorf("canary %q", m)
			}
			seen[string(m)] = true
		}
	}
	longest := signing.Canary{Consumer: strings.Repeat("c", 63), Instance: strings.Repeat("i", 63), Key: lifecycle.KeyID(strings.Repeat("k", 63)), KID: strings.Repeat("d", 43), Nonce: strings.Repeat("e", 32)}
	if err := longest.Check(); err != nil || len(longest.Message(strings.Repeat("f", 32), 15)) >= signing.MaxCanaryBytes {
		t.Errorf("the longest canary has %d bytes, %v", len(longest.Message(strings.Repeat("f", 32), 15)), err)
	}
}

// TestChallengeIsSingleUseAndBound: replayed, expired, somebody else's, made up.
func TestChallengeIsSingleUseAndBound(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	w.register("other", lifecycle.Required, 1)
	c := w.challenge(1, eu, "web-1")
	good := w.statement(eu, "web-1", c)

	other := good
	other.Instance = "web-2"
	w.no("challenge_of_another", other)
	other = good
	other.Consumer, other.Caller.Principal = "other", "other"
	w.no("challenge_of_another", other)
	for _, id := range []string{"x", "", strings.Repeat("f", 97), string(w.seats[0].id) + "." + strings.Repeat("0", 32), string(w.seats[1].id) + "."} {
		other = good
		if other.Challenge = id; id == "" {
			w.no("invalid", other)
		} else {
			w.no("challenge_unknown", other)
		}
	}
	w.confirm(good) // the attempts of others did not spend it
	w.l.Pass(t, 13*hour)
	w.no("challenge_unknown", good) // it did

	late := w.challenge(1, "other", "web-1")
	w.l.Pass(t, 5*minute)
	w.no("challenge_unknown", w.statement("other", "web-1", late))

	first, second := w.challenge(0, "other", "web-1"), w.challenge(0, "other", "web-1")
	w.no("challenge_unknown", w.statement("other", "web-1", first)) // the second took its place
	w.confirm(w.statement("other", "web-1", second))
}

// TestWrongAnswers: one wrong kid spoils the whole statement, and the challenge.
func TestWrongAnswers(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	for name, spoil := range map[string]func(map[string][]int, string){
		"canary_failed: one is missing": func(v map[string][]int, kid string) { v[kid] = v[kid][1:] },
		"canary_failed: none is good":   func(v map[string][]int, kid string) { v[kid] = nil },
		"canary_failed: all are good": func(v map[string][]int, kid string) {
			v[kid] = []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
		},
		"canary_failed: the other half":     func(v map[string][]int, kid string) { v[kid] = others(v[kid]) },
		"invalid: one too many":             func(v map[string][]int, kid string) { v[kid] = append(others(nil), 0) },
		"invalid: one twice":                func(v map[string][]int, kid string) { v[kid] = append(v[kid][1:], v[kid][1]) },
		"invalid: one that is not there":    func(v map[string][]int, kid string) { v[kid][0] = 16 },
		"invalid: one below":                func(v map[string][]int, kid string) { v[kid][0] = -1 },
		"unknown_kid: another's":            func(v map[string][]int, kid string) { v[strings.Repeat("A", 43)] = v[kid] },
		"unknown_kid: of no form":           func(v map[string][]int, kid string) { v["\n"] = v[kid] },
		"invalid: more than could be asked": func(v map[string][]int, _ string) { maps.Copy(v, many()) },
	} {
		code, _, _ := strings.Cut(name, ":")
		s := w.statement(eu, "web-1", w.challenge(0, eu, "web-1"))
		kid := slices.Sorted(maps.Keys(s.Verified))[0]
		spoil(s.Verified, kid)
		if code == "invalid" && len(s.Verified) > 64 {
			code = "unknown_kid" // seen before it is counted
		}
		t.Run(name, func(*testing.T) { w.no(code, s) })
	}
	if n := len(w.l.View().Confirmations(eu)); n != 0 {
		t.Errorf("%d confirmations came of wrong answers", n)
	}
	for _, r := range w.audit.records {
		if r.Verb == "consumer.confirm" && (r.Allowed || r.Detail == "") {
			t.Errorf("audit: %+v", r)
		}
	}
}

// others are the items that are not in a list.
func others(list []int) (out []int) {
	for n := range signing.CanaryItems {
		if !slices.Contains(list, n) {
			out = append(out, n)
		}
	}
	return out
}

func many() map[string][]int {
	out := map[string][]int{}
	for n := range 65 {
		out[fmt.Sprint(n)] = nil
	}
	return out
}

// TestNodeThatIsDown: its kid is missing and the others can be proven.
func TestNodeThatIsDown(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	w.peers.down[w.seats[1].id] = true
	c := w.challenge(0, eu, "web-1")
	if len(c.KIDs) != 2 || len(c.Missing) != 2 || c.Missing[0].Node != w.seats[1].id || c.Missing[0].Why == "" {
		t.Fatalf("challenge %+v", c)
	}
	r := w.confirm(w.statement(eu, "web-1", c))
	if len(r.Proven) != 2 || len(r.Unproven) != 2 {
		t.Errorf("receipt %+v", r)
	}
	w.peers.down[w.seats[1].id] = false
	c = w.challenge(1, eu, "web-1")
	w.peers.down[w.seats[1].id] = true // it dies with the challenge
	w.no("challenge_unknown", w.statement(eu, "web-1", c))
}

// TestQuarantinedNodeSignsNoCanary, and nobody is asked for its kids any more.
func TestQuarantinedNodeSignsNoCanary(t *testing.T) {
	w := build(t, lifecycle.ES256).published()
	kid := w.l.View().Instance(ci, 2, w.seats[1].id).KID
	canary := signing.Canary{Consumer: eu, Instance: "web-1", Key: ci, KID: kid, Nonce: strings.Repeat("0", 32)}
	if _, err := w.desks[1].Signer.Canaries(ctx, canary, []int{0}); err != nil {
		t.Fatal(err)
	}
	w.l.Must(t, &command.SetNodeStatus{ID: w.seats[1].id, Status: lifecycle.Quarantined})
	if _, err := w.desks[1].Signer.Canaries(ctx, canary, []int{0}); err == nil {
		t.Error("a node in quarantine signs")
	}
	if c := w.challenge(0, eu, "web-1"); len(c.KIDs) != 2 || len(c.Missing) != 0 {
		t.Errorf("challenge %+v", c)
	}
}

// TestMemoryOfChallengesIsBounded: one consumer under ever new names forgets its own.
func TestMemoryOfChallengesIsBounded(t *testing.T) {
	w := build(t, lifecycle.EdDSA)
	w.register("other", lifecycle.Required, 1)
	kept := w.challenge(0, "other", "web-1")
	first := w.challenge(0, eu, "pod-0")
	for n := range w.l.View().Consumer(eu).MaxInstances() {
		w.l.Pass(t, second)
		w.challenge(0, eu, fmt.Sprintf("pod-%d", n+1))
	}
	w.no("challenge_unknown", w.statement(eu, "pod-0", first))
	w.confirm(w.statement("other", "web-1", kept))
}

// FuzzJudge: whatever comes as an answer, it proves nothing but what is so.
func FuzzJudge(f *testing.F) {
	w := build(f, lifecycle.EdDSA)
	f.Add("", 0, 0)
	f.Add("kid", 3, 17)
	f.Fuzz(func(t *testing.T, text string, a, b int) {
		w.TB = t
		c := w.challenge(0, eu, "web-1")
		real := w.verified(c)
		kid := c.KIDs[0].KID
		for _, answer := range []consumer.Answer{
			{Challenge: text, Consumer: eu, Instance: "web-1", Key: ci, Verified: real},
			{Challenge: c.ID, Consumer: text, Instance: "web-1", Key: ci, Verified: real},
			{Challenge: c.ID, Consumer: eu, Instance: text, Key: ci, Verified: real},
			{Challenge: c.ID, Consumer: eu, Instance: "web-1", Key: lifecycle.KeyID(text), Verified: real},
			{Challenge: c.ID, Consumer: eu, Instance: "web-1", Key: ci, Verified: map[string][]int{text: {a, b}, kid: {b, a}}},
		} {
			if v := w.desks[0].Judge(answer); len(v.Proven) != 0 || v.Code == "" || v.Why == "" {
				t.Errorf("%+v proves %+v", answer, v)
			}
		}
	})
}
