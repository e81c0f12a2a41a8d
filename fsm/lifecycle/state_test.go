package lifecycle

import "testing"

// legal is the table as SP 800-57 Part 1 Rev. 5, section 7 and DESIGN.md describe
// it, written down a second time and in another shape: one line per legal pair.
// What is not in it must be refused.
var legal = map[[2]string]string{
	{"pre-activation", "activate"}:   "active",
	{"pre-activation", "suspend"}:    "suspended",
	{"pre-activation", "retire"}:     "deactivated",
	{"pre-activation", "compromise"}: "compromised",

	{"active", "suspend"}:    "suspended",
	{"active", "deactivate"}: "deactivated",
	{"active", "retire"}:     "deactivated",
	{"active", "compromise"}: "compromised",

	{"suspended", "resume"}:     "as before",
	{"suspended", "deactivate"}: "deactivated",
	{"suspended", "retire"}:     "deactivated",
	{"suspended", "compromise"}: "compromised",

	{"deactivated", "suspend"}:    "suspended",
	{"deactivated", "retire"}:     "deactivated",
	{"deactivated", "compromise"}: "compromised",
	{"deactivated", "destroy"}:    "destroyed",

	{"compromised", "compromise"}: "compromised",
	{"compromised", "destroy"}:    "compromised",
}

func TestEveryStateTimesEveryVerb(t *testing.T) {
	seen := 0
	for _, s := range append([]State{0, 7, 255}, States...) {
		for _, v := range append([]Verb{0, 8, 255}, Verbs...) {
			want, ok := legal[[2]string{s.String(), v.String()}]
			if ok {
				seen++
			}
			for _, from := range []State{0, PreActivation, Active, Suspended, Deactivated, Compromised, Destroyed, 9, 255} {
				wantState, wantOK := want, ok
				if want == "as before" {
					wantState = from.String()
					wantOK = from == PreActivation || from == Active || from == Deactivated
				}
				got, gotOK := Next(s, v, from)
				if gotOK != wantOK || gotOK && got.String() != wantState {
					t.Errorf("%s + %s (from %s) = %s, %t; want %s, %t", s, v, from, got, gotOK, wantState, wantOK)
				}
				if gotOK && !got.Valid() {
					t.Errorf("%s + %s leads to the invalid state %d", s, v, got)
				}
			}
		}
	}
	if seen != len(legal) {
		t.Errorf("the expectation has %d pairs, %d were met: a state or verb is missing from States or Verbs", len(legal), seen)
	}
}

// TestNothingComesBack: what is compromised or destroyed stays out whatever verbs
// follow, and what is deactivated never signs again.
func TestNothingComesBack(t *testing.T) {
	type at struct{ s, from State }
	reach := func(start State) map[State]bool {
		seen, todo, out := map[at]bool{}, []at{{s: start}}, map[State]bool{}
		for len(todo) > 0 {
			a := todo[0]
			todo = todo[1:]
			if seen[a] {
				continue
			}
			seen[a], out[a.s] = true, true
			for _, v := range Verbs {
				if next, ok := Next(a.s, v, a.from); ok {
					b := at{s: next}
					if next == Suspended {
						b.from = a.s
					}
					todo = append(todo, b)
				}
			}
		}
		return out
	}
	for _, s := range States {
		r := reach(s)
		if s.Terminal() != (len(r) == 1) {
			t.Errorf("%s: terminal is %t, but it reaches %v", s, s.Terminal(), r)
		}
		for end := range r {
			if s.Terminal() && end.MaySign() {
				t.Errorf("%s can become %s", s, end)
			}
		}
		if s == Deactivated && (r[Active] || r[PreActivation]) {
			t.Error("a deactivated version can sign again")
		}
	}
}

func TestOnlyActiveSigns(t *testing.T) {
	for _, s := range append(States, 0, 7) {
		if s.MaySign() != (s == Active) {
			t.Errorf("%s: MaySign is %t", s, s.MaySign())
		}
	}
}

func TestStateText(t *testing.T) {
	for _, s := range States {
		b, err := s.MarshalText()
		var back State
		if err != nil || back.UnmarshalText(b) != nil || back != s {
			t.Errorf("%s: text %q (%v) comes back as %s", s, b, err, back)
		}
	}
	for _, c := range Conditions {
		b, err := c.MarshalText()
		var back Condition
		if err != nil || back.UnmarshalText(b) != nil || back != c {
			t.Errorf("%s: text %q (%v) comes back as %s", c, b, err, back)
		}
	}
	for _, s := range []State{0, 7, 255} {
		if _, err := s.MarshalText(); err == nil || s.Valid() || s.String() != "invalid" {
			t.Errorf("state %d has a text", s)
		}
	}
	for _, c := range []Condition{0, 6, 255} {
		if _, err := c.MarshalText(); err == nil || c.String() != "invalid" {
			t.Errorf("condition %d has a text", c)
		}
	}
	for _, v := range []Verb{0, 8, 255} {
		if v.String() != "invalid" {
			t.Errorf("verb %d is called %s", v, v)
		}
	}
	for _, text := range []string{"", "invalid", "Active", "active ", "preactivation", "as before"} {
		var s State
		var c Condition
		if s.UnmarshalText([]byte(text)) == nil || c.UnmarshalText([]byte(text)) == nil {
			t.Errorf("%q is taken for a state or a condition", text)
		}
	}
}

func TestReasons(t *testing.T) {
	// RFC 5280 section 5.3.1 without removeFromCRL, and DESIGN.md for the verbs.
	want := map[Reason]Verb{"keyCompromise": Compromise, "cACompromise": Compromise, "aACompromise": Compromise,
		"superseded": Retire, "cessationOfOperation": Retire, "affiliationChanged": Retire, "privilegeWithdrawn": Retire,
		"unspecified": Retire, "certificateHold": Suspend}
	if len(Reasons) != len(want) {
		t.Errorf("%d reasons, want %d", len(Reasons), len(want))
	}
	for _, r := range Reasons {
		if r.Verb() != want[r] || r.IsCompromise() != (want[r] == Compromise) {
			t.Errorf("%s: verb %s, compromise %t; want %s", r, r.Verb(), r.IsCompromise(), want[r])
		}
		if got, err := ParseReason(string(r)); err != nil || got != r {
			t.Errorf("ParseReason(%s) = %s, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "removeFromCRL", "KeyCompromise", "keycompromise", "superseded "} {
		if _, err := ParseReason(s); err == nil {
			t.Errorf("%q is taken for a reason", s)
		}
	}
}
