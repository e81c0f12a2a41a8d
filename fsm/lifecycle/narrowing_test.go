package lifecycle

import "testing"

func TestPolicyNarrowing(t *testing.T) {
	base := func() Policy {
		return Policy{MaxTTL: 2 * Hour, Inputs: []string{InputMessage, InputDigest}, Types: []string{"JWT", "at+jwt"},
			Audiences: []string{"a", "b"}, Issuer: "https://a", Lead: Hour, RotateEvery: Day, VerifyOneIn: 2}
	}
	for what, c := range map[string]struct {
		old, now func(*Policy)
		narrower bool
	}{
		"nothing":               {nil, nil, false},
		"an input less":         {nil, func(p *Policy) { p.Inputs = p.Inputs[:1] }, true},
		"an input more":         {nil, func(p *Policy) { p.Inputs = append(p.Inputs, InputJWS) }, false},
		"another input":         {nil, func(p *Policy) { p.Inputs[0] = InputJWS }, true},
		"inputs in turn":        {nil, func(p *Policy) { p.Inputs[0], p.Inputs[1] = p.Inputs[1], p.Inputs[0] }, false},
		"a type less":           {nil, func(p *Policy) { p.Types = p.Types[1:] }, true},
		"a type more":           {nil, func(p *Policy) { p.Types = append(p.Types, "x") }, false},
		"an audience less":      {nil, func(p *Policy) { p.Audiences = p.Audiences[1:] }, true},
		"an audience more":      {nil, func(p *Policy) { p.Audiences = append(p.Audiences, "c") }, false},
		"any audience":          {nil, func(p *Policy) { p.Audiences = nil }, false},
		"audiences first named": {func(p *Policy) { p.Audiences = nil }, nil, true},
		"another issuer":        {nil, func(p *Policy) { p.Issuer = "https://b" }, true},
		"any issuer":            {nil, func(p *Policy) { p.Issuer = "" }, false},
		"issuer first named":    {func(p *Policy) { p.Issuer = "" }, nil, true},
		"a shorter life":        {nil, func(p *Policy) { p.MaxTTL-- }, true},
		"a longer life":         {nil, func(p *Policy) { p.MaxTTL++ }, false},
		"the default life":      {nil, func(p *Policy) { p.MaxTTL = 0 }, true},
		"more than the default": {func(p *Policy) { p.MaxTTL = 0 }, nil, false},
		"less than the default": {func(p *Policy) { p.MaxTTL = 0 }, func(p *Policy) { p.MaxTTL = Minute }, true},
		"strict":                {nil, func(p *Policy) { p.Strict = true }, true},
		"strict no more":        {func(p *Policy) { p.Strict = true }, nil, false},
		"callers first named":   {nil, func(p *Policy) { p.AllowedCallers = []string{"ci-*"} }, true},
		"every caller by name":  {nil, func(p *Policy) { p.AllowedCallers = []string{"a", "*"} }, false},
		"any caller":            {func(p *Policy) { p.AllowedCallers = []string{"ci-*"} }, nil, false},
		"a caller less":         {func(p *Policy) { p.AllowedCallers = []string{"a", "b"} }, func(p *Policy) { p.AllowedCallers = []string{"b"} }, true},
		"a caller more":         {func(p *Policy) { p.AllowedCallers = []string{"a"} }, func(p *Policy) { p.AllowedCallers = []string{"b", "a"} }, false},
		"a wider pattern":       {func(p *Policy) { p.AllowedCallers = []string{"ci-a*"} }, func(p *Policy) { p.AllowedCallers = []string{"ci-*"} }, false},
		"a closer pattern":      {func(p *Policy) { p.AllowedCallers = []string{"ci-*"} }, func(p *Policy) { p.AllowedCallers = []string{"ci-a*"} }, true},
		"a name in the pattern": {func(p *Policy) { p.AllowedCallers = []string{"ci-*"} }, func(p *Policy) { p.AllowedCallers = []string{"ci-a"} }, true},
		"other things":          {nil, func(p *Policy) { p.Lead, p.RotateEvery, p.Publish, p.VerifyOneIn = 0, 2*Day, true, 1 }, false},
	} {
		old, now := base(), base()
		if c.old != nil {
			c.old(&old)
		}
		if c.now != nil {
			c.now(&now)
		}
		if got := now.Narrows(old); got != c.narrower {
			t.Errorf("%s: narrower is %t", what, got)
		}
	}
}

func TestGrantsLost(t *testing.T) {
	grants := func(texts ...string) (out []Grant) {
		for _, s := range texts {
			g, err := ParseGrant(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, g)
		}
		return out
	}
	for _, c := range []struct {
		old, now []string
		lost     bool
	}{
		{nil, nil, false},
		{nil, []string{"signer:a"}, false},
		{[]string{"signer:a"}, nil, true},
		{[]string{"signer:a"}, []string{"signer:a"}, false},
		{[]string{"signer:a"}, []string{"admin:a"}, true},
		{[]string{"signer:a"}, []string{"signer:b", "signer:a*"}, false},
		{[]string{"signer:ci-*"}, []string{"signer:*"}, false},
		{[]string{"signer:ci-*"}, []string{"signer:ci-a*"}, true},
		{[]string{"signer:ci-a*"}, []string{"signer:ci-*"}, false},
		{[]string{"signer:*-ci"}, []string{"signer:ci-*"}, true},
		{[]string{"signer:a*b*c"}, []string{"signer:a*c"}, false},
		{[]string{"signer:a*c"}, []string{"signer:a*b*c"}, true},
		{[]string{"signer:a", "auditor"}, []string{"signer:a"}, true},
	} {
		if got := GrantsLost(grants(c.old...), grants(c.now...)); got != c.lost {
			t.Errorf("%v becomes %v: lost is %t", c.old, c.now, got)
		}
	}
}

// TestCoversIsSound: a pattern that covers another matches every name the other does.
func TestCoversIsSound(t *testing.T) {
	patterns, names := words("ab*", 4), words("ab", 5)
	for _, p := range patterns {
		for _, q := range patterns {
			if !(Grant{Signer, p}).Covers(Grant{Signer, q}) {
				continue
			}
			for _, n := range names {
				if match(q, n) && !match(p, n) {
					t.Fatalf("%q covers %q and does not match %q", p, q, n)
				}
			}
		}
	}
}

// words are all texts of up to n letters.
func words(letters string, n int) (out []string) {
	last := []string{""}
	for range n {
		var next []string
		for _, w := range last {
			for _, l := range letters {
				next = append(next, w+string(l))
			}
		}
		out, last = append(out, next...), next
	}
	return out
}

func TestStrictIsTheDefaultWhereItMatters(t *testing.T) {
	for _, p := range Purposes {
		if got, want := DefaultPolicy(p, ES256).Strict, p == ForCode || p == ForCertificate; got != want {
			t.Errorf("a %s key is strict: %t", p, got)
		}
	}
}

// TestCallersLostIsSound: where no caller counts as lost, everybody who could sign still
// can.
func TestCallersLostIsSound(t *testing.T) {
	patterns, names := words("ab*", 3), words("ab", 4)
	lists := [][]string{nil}
	for i, p := range patterns {
		lists = append(lists, []string{p}, []string{p, patterns[(i+7)%len(patterns)]})
	}
	kept := 0
	for _, old := range lists {
		for _, now := range lists {
			a, b := Policy{AllowedCallers: old}, Policy{AllowedCallers: now}
			if b.Narrows(a) {
				continue
			}
			kept++
			for _, n := range names {
				if a.AllowsCaller(n) && !b.AllowsCaller(n) {
					t.Fatalf("%v becomes %v: %s is lost without a word", old, now, n)
				}
			}
		}
	}
	if kept < len(lists) {
		t.Errorf("only %d of %d changes lose nobody: the test does not test much", kept, len(lists)*len(lists))
	}
}
