package consumer_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/authority/consumer"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// token gives a consumer a bearer token.
func (w *world) token(name string) string {
	w.Helper()
	secret := "chy_" + name
	hash := authority.HashToken(secret)
	w.l.Must(w, &command.AddToken{ID: "token-" + name, Principal: name, Hash: hash[:], ExpiresAt: w.now().Add(lifecycle.Day)})
	return secret
}

// settle waits until weak evidence has reached the log: nobody is told when.
func (w *world) settle(name string, want int) {
	w.Helper()
	for w.l.View(); len(w.l.View().Confirmations(name)) != want; {
		select {
		case <-w.l.Changed(w.l.View().Position().Index):
		case <-w.Context().Done():
			w.Fatalf("%d confirmations, want %d", len(w.l.View().Confirmations(name)), want)
		}
	}
}

func TestFetchIsWeakEvidenceForAdvisers(t *testing.T) {
	w := build(t, lifecycle.ES256)
	w.register("adviser", lifecycle.Advisory, 1)
	visit := consumer.Visit{Set: w.set(), Unchanged: true, Remote: "[::1]:4711", Token: w.token("adviser")}
	w.desks[1].Fetched(w.l.View(), visit) // on any node
	w.desks[1].Keep(ctx)
	w.settle("adviser", 1)
	r := w.l.View().Confirmation("adviser", ci, "0::1")
	if r == nil || !r.Weak || r.Digest != w.set().Digest || len(r.Proven) != 0 {
		t.Fatalf("row %+v", w.l.View().Confirmations("adviser")[0])
	}
	entries := len(w.entries)
	for range 3 {
		w.desks[1].Fetched(w.l.View(), visit) // lately sent
		w.desks[0].Fetched(w.l.View(), visit) // lately recorded
		w.desks[0].Keep(ctx)
		w.desks[1].Keep(ctx)
	}
	if len(w.entries) != entries {
		t.Errorf("repeats cost %d entries", len(w.entries)-entries)
	}
	if n := len(w.desks[1].Shadows()); n != 0 {
		t.Errorf("a registered consumer casts %d shadows", n)
	}
}

// TestFetchThatSaysNothing: of a required consumer, of one without the matching tag, of
// an older set, and after the leader is gone.
func TestFetchThatSaysNothing(t *testing.T) {
	w := build(t, lifecycle.ES256)
	w.register("adviser", lifecycle.Advisory, 1)
	required := consumer.Visit{Set: w.set(), Unchanged: true, Remote: "192.0.2.7:1", Token: w.token(eu)}
	changed := consumer.Visit{Set: w.set(), Remote: "192.0.2.7:1", Token: w.token("adviser")}
	older := changed
	older.Unchanged = true
	entries := len(w.entries)
	w.desks[0].Fetched(w.l.View(), required)
	w.desks[0].Fetched(w.l.View(), changed)
	w.desks[0].Fetched(w.l.View(), older)
	w.published()
	w.desks[0].Keep(ctx)
	if err := w.desks[0].TakeFetches([]consumer.Fetch{{Consumer: eu, Instance: "a", Key: ci, Digest: w.set().Digest}, {Consumer: "adviser", Instance: "a\n", Key: ci, Digest: w.set().Digest},
		{Consumer: "nobody", Instance: "a", Key: ci, Digest: w.set().Digest}, {Consumer: "adviser", Instance: "a", Key: "other", Digest: w.set().Digest}}); err != nil {
		t.Error(err)
	}
	if err := w.desks[1].TakeFetches(nil); err == nil {
		t.Error("a node that does not lead takes fetches in")
	}
	if err := w.desks[0].TakeFetches(make([]consumer.Fetch, 1001)); err == nil {
		t.Error("a thousand and one fetches are taken")
	}
	if n := len(w.entries) - entries; n != 0 {
		t.Errorf("%d entries came of it", n)
	}
}

func TestShadowConsumers(t *testing.T) {
	w := build(t, lifecycle.ES256)
	d := w.desks[0]
	for _, remote := range []string{"192.0.2.7:1", "192.0.2.200:2", "[2001:db8::1]:3", "[2001:db8:0:ff::1]:3", "nonsense", ""} {
		d.Fetched(w.l.View(), consumer.Visit{Set: w.set(), Remote: remote, Agent: "curl/8", Token: "chy_unknown"})
	}
	got := d.Shadows()
	if len(got) != 2 || got[0].Prefix != "192.0.2.0/24" || got[0].Count != 2 || got[1].Prefix != "2001:db8::/56" || got[1].Count != 2 || got[0].Agent != "curl/8" || got[0].Key != ci {
		t.Errorf("shadows %+v", got)
	}
	d.Fetched(w.l.View(), consumer.Visit{Set: w.set(), Remote: "198.51.100.1:1", Agent: "a\x1b[2J" + strings.Repeat("b", 1000)})
	for n := range 1200 { // more than are remembered
		d.Fetched(w.l.View(), consumer.Visit{Set: w.set(), Remote: fmt.Sprintf("10.%d.%d.1:1", n/256, n%256)})
		w.l.Clock().Advance(second)
	}
	got = d.Shadows()
	if len(got) != 1000 {
		t.Errorf("%d shadows are kept", len(got))
	}
	for _, s := range got {
		if len(s.Agent) > 100 || !lifecycle.Printable(s.Agent) || s.Prefix == "192.0.2.0/24" {
			t.Errorf("shadow %+v", s)
		}
	}
}
