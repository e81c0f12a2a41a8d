package lifecycle

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var nameForm = regexp.MustCompile(`\A[a-z0-9][a-z0-9-]{0,62}\z`)

func TestCheckName(t *testing.T) {
	for _, s := range []string{"a", "0", "ci-artifacts", "a--", strings.Repeat("a", 63)} {
		if err := CheckName("key", s); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "-a", "A", "a_b", "a.b", "a/b", "a b", "é", "a\n", "a\x00", strings.Repeat("a", 64)} {
		if err := CheckName("key", s); err == nil {
			t.Errorf("%q passes for a name", s)
		} else if !strings.Contains(err.Error(), "key") {
			t.Errorf("%q: %v does not say which name", s, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.StringOfN(rapid.RuneFrom([]rune("abz019-_A.é\x00 ")), 0, 66, -1).Draw(t, "name")
		if (CheckName("key", s) == nil) != nameForm.MatchString(s) {
			t.Fatalf("%q: CheckName says %v", s, CheckName("key", s))
		}
	})
}

func TestCheckNodeID(t *testing.T) {
	good := NodeID(strings.Repeat("0f", 32))
	if err := CheckNodeID(good); err != nil || good.Short() != "0f0f0f0f" || NodeID("ab").Short() != "ab" {
		t.Errorf("%s: %v", good, err)
	}
	for _, id := range []NodeID{"", good[:63], good + "0", good[:63] + "F", good[:63] + "g", good[:62] + "é"} {
		if CheckNodeID(id) == nil {
			t.Errorf("%q passes for a node id", string(id))
		}
	}
	n := Node{ID: good, Incarnation: "0123456789abcdef"}
	if n.ServerID() != string(good)+".0123456789abcdef" {
		t.Errorf("server id %s", n.ServerID())
	}
}

func TestPrintable(t *testing.T) {
	for _, s := range []string{"", "plain", "Zürich, 東京 🙂", "tab-free"} {
		if !Printable(s) {
			t.Errorf("%q is refused", s)
		}
	}
	for _, s := range []string{"\x00", "a\nb", "\t", "\x1b[31m", "\x7f", "\u0085", "\u2028", "\u202e gnp.exe", "\u2066", "\ufffd", "\xff", "ab\xc3"} {
		if Printable(s) {
			t.Errorf("%q passes", s)
		}
	}
}

func TestCKAIDText(t *testing.T) {
	if got := (CKAID{0xde, 0xad, 15: 0x01}).String(); got != "dead0000000000000000000000000001" {
		t.Errorf("CKA_ID %s", got)
	}
}

// slowMatch is the glob by definition: a star takes nothing, or one more character.
func slowMatch(pattern, s string) bool {
	switch {
	case pattern == "":
		return s == ""
	case pattern[0] == '*':
		return slowMatch(pattern[1:], s) || s != "" && slowMatch(pattern, s[1:])
	default:
		return s != "" && pattern[0] == s[0] && slowMatch(pattern[1:], s[1:])
	}
}

func TestGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := rapid.StringMatching(`[ab*]{0,7}`).Draw(t, "pattern")
		s := rapid.StringMatching(`[ab]{0,9}`).Draw(t, "name")
		if got, want := match(p, s), slowMatch(p, s); got != want {
			t.Fatalf("match(%q, %q) = %t, want %t", p, s, got, want)
		}
	})
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{{"*", "", true}, {"", "", true}, {"", "a", false}, {"ci-*", "ci-", true}, {"ci-*", "ci", false}, {"*-prod", "ci-prod", true},
		{"a*b*c", "aXbXbc", true}, {"a*b*c", "acb", false}, {"ci", "ci-2", false}, {"**", "x", true}} {
		if match(c.pattern, c.name) != c.want {
			t.Errorf("match(%q, %q) is not %t", c.pattern, c.name, c.want)
		}
	}
}

// TestGlobCannotBeMadeSlow: with backtracking over every star this pattern would
// need more steps than the universe has time for.
func TestGlobCannotBeMadeSlow(t *testing.T) {
	pattern := strings.Repeat("*a", 31) + "b"
	if match(pattern, strings.Repeat("a", 1<<16)) {
		t.Error("there is no b in the name")
	}
}

func TestGrants(t *testing.T) {
	for text, want := range map[string]Grant{"auditor": {Auditor, "*"}, "signer:ci-*": {Signer, "ci-*"}, "admin:*": {Admin, "*"}, "consumer:a": {ConsumerRole, "a"}} {
		g, err := ParseGrant(text)
		if err != nil || g != want {
			t.Errorf("ParseGrant(%q) = %v, %v", text, g, err)
		}
	}
	for _, text := range []string{"", ":", "root", "signer:", "signer:CI", "signer:a:b", "Signer:*", "signer:a?", "signer:[a]", "signer:" + strings.Repeat("a", 64)} {
		if g, err := ParseGrant(text); err == nil {
			t.Errorf("%q passes for the grant %s", text, g)
		}
	}
	if !(Grant{Signer, "ci-*"}).Matches("ci-artifacts") || (Grant{Signer, "ci-*"}).Matches("prod") {
		t.Error("the grant covers the wrong keys")
	}
	for _, r := range Roles {
		if g, err := ParseGrant(string(r)); err != nil || g.String() != string(r)+":*" {
			t.Errorf("role %s: %v, %v", r, g, err)
		}
	}
}
