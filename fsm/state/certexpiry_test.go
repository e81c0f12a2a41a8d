package state_test

import (
	"fmt"
	"testing"

	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// TestWarnExpiring goes through certificates of 30 days as their end comes near: each
// that nobody replaced or revoked is called expiring once, a week before, in entries of
// bounded size.
func TestWarnExpiring(t *testing.T) {
	p := newPKI(t)
	warn := func() *command.WarnExpiring {
		t.Helper()
		w, err := p.l.View().Warning(p.l.Clock().At())
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	const early = command.MaxWarnItems + 3
	expected := map[lifecycle.Serial]bool{}
	for i := range early {
		expected[p.issued(fmt.Sprintf("h%d.test", i), "web-01").serial] = true
	}
	revoked := p.issued("gone.test", "web-01")
	p.ok(revokeCert(lifecycle.Superseded, revoked.serial))
	if w := warn(); w != nil {
		t.Fatalf("a month before: %+v", w)
	}
	p.pass(23*lifecycle.Day - lifecycle.Hour)
	if w := warn(); w != nil {
		t.Fatalf("a week and an hour before: %+v", w)
	}
	p.pass(2 * lifecycle.Hour)
	first := warn()
	if first == nil || len(first.Serials) != command.MaxWarnItems {
		t.Fatalf("the first entry: %+v", first)
	}
	p.no(state.Invalid, first) // not the cluster's word
	size := p.l.View().Position().LogSize
	for range 3 {
		w := warn()
		if w == nil {
			break
		}
		if o := p.system(w); !o.OK() {
			t.Fatal(o)
		}
	}
	if o := p.system(first); o.Code != state.AlreadyExists {
		t.Errorf("the first again: %+v", o)
	}
	told := map[lifecycle.Serial]int{}
	if err := p.l.View().Leaves(size, func(_ uint64, l *state.Leaf, _ []byte) bool {
		if l.Kind != "cert.expiring" || len(l.Serials) != 1 || l.Key != corp {
			t.Errorf("leaf %+v", l)
			return false
		}
		told[l.Serials[0]]++
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for s := range expected {
		if told[s] != 1 {
			t.Errorf("%s was told %d times", s, told[s])
		}
	}
	if len(told) != len(expected) {
		t.Errorf("%d certificates were told of, want %d", len(told), len(expected))
	}
	far := &command.WarnExpiring{From: *p.l.View().Cluster().Warned, To: lifecycle.CertMark{NotAfter: p.l.Clock().At().Add(8 * lifecycle.Day)}}
	if o := p.system(far); o.Code != state.LeadNotPassed {
		t.Errorf("a week is not over: %+v", o)
	}
}

// TestEnding counts what ends within some time, by instance.
func TestEnding(t *testing.T) {
	p := newPKI(t)
	for i := range 3 {
		p.issued(fmt.Sprintf("h%d.test", i), "web-01")
	}
	now, kid := p.l.Clock().At(), p.kid(corp, 1, 0)
	got, err := p.l.View().Ending(now, now.Add(7*lifecycle.Day), now.Add(31*lifecycle.Day))
	if err != nil || got[kid][0] != 0 || got[kid][1] != 3 {
		t.Errorf("%v, %v", got, err)
	}
}
