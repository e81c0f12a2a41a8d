package pki

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Requester is who a certificate is for.
type Requester struct {
	Name  string // of the principal
	Roles []lifecycle.Role
}

// rolePrefix marks a rule for whoever has a role.
const rolePrefix = "role:"

// ruleFor is the first rule of the profile that is about the requester, nil when none
// is.
func ruleFor(rules []lifecycle.NameRule, r Requester) *lifecycle.NameRule {
	for i := range rules {
		who := rules[i].Requester
		if role, ok := strings.CutPrefix(who, rolePrefix); ok {
			for _, have := range r.Roles {
				if string(have) == role {
					return &rules[i]
				}
			}
			continue
		}
		if glob(who, r.Name, "") {
			return &rules[i]
		}
	}
	return nil
}

// allow says which name the requester may not have, nil when all are allowed.
func allow(profile string, rules []lifecycle.NameRule, r Requester, n *Names) error {
	if n.Empty() {
		return nil
	}
	rule := ruleFor(rules, r)
	if rule == nil {
		return fmt.Errorf("%w: profile %s has no rule that gives %s any name: add one with chancery profile set %s", ErrName, profile, r.Name, profile)
	}
	for _, l := range []struct {
		kind    string
		names   []string
		allowed []string
		matches func(pattern, name string) bool
	}{{"DNS name", n.DNS, rule.DNS, matchDNS}, {"IP address", n.IPs, rule.IPs, matchIP},
		{"URI", n.URIs, rule.URIs, matchURI}, {"email address", n.Emails, rule.Emails, matchEmail}} {
		for _, name := range l.names {
			ok := false
			for _, p := range l.allowed {
				ok = ok || l.matches(p, name)
			}
			if !ok && strings.HasPrefix(name, "*") {
				return fmt.Errorf("%w: profile %s does not give %s the %s %s: only a rule with %q does, no pattern gives a wildcard", ErrName, profile, r.Name, l.kind, name, exactly+name)
			}
			if !ok {
				return fmt.Errorf("%w: profile %s does not give %s the %s %s: its rule for %q allows %s", ErrName, profile, r.Name, l.kind, name, rule.Requester, either(l.allowed))
			}
		}
	}
	return nil
}

func either(allowed []string) string {
	if len(allowed) == 0 {
		return "none of this kind"
	}
	return strings.Join(allowed, ", ")
}

// exactly marks a pattern without wildcards: the only kind that allows a wildcard name.
const exactly = "="

// matchDNS compares label by label: "*" stands for one, "**" in front for any number.
func matchDNS(pattern, name string) bool {
	if exact, ok := strings.CutPrefix(pattern, exactly); ok {
		return exact == name
	}
	if strings.HasPrefix(name, "*") {
		return false // to speak for names nobody has listed takes a rule that says so
	}
	p, n := strings.Split(pattern, "."), strings.Split(name, ".")
	if p[0] == "**" {
		tail := len(p) - 1
		if len(n) <= tail {
			return false
		}
		p, n = p[1:], n[len(n)-tail:]
	}
	if len(p) != len(n) {
		return false
	}
	for i := range p {
		if !glob(p[i], n[i], "") {
			return false
		}
	}
	return true
}

func matchIP(pattern, name string) bool {
	prefix, err := netip.ParsePrefix(pattern)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(name)
	return err == nil && prefix.Contains(addr)
}

// matchURI lets "*" stand for a run without a slash and "**" for any run. The scheme
// stands in the pattern as it is.
func matchURI(pattern, name string) bool {
	scheme, _, _ := strings.Cut(pattern, "://")
	return strings.HasPrefix(name, scheme+"://") && glob(pattern, name, "/")
}

// matchEmail lets "*" stand for a run without an at sign.
func matchEmail(pattern, name string) bool { return glob(pattern, name, "@") }

// glob matches "*" with any run that has no byte of stop, and "**" with any run. It
// takes time proportional to the product of the lengths, which are bounded.
func glob(pattern, s, stop string) bool {
	reach := make([]bool, len(s)+1) // reach[i]: what was read of the pattern matches s[:i]
	reach[0] = true
	for p := 0; p < len(pattern); p++ {
		next := make([]bool, len(s)+1)
		if pattern[p] != '*' {
			for i := 0; i < len(s); i++ {
				next[i+1] = reach[i] && s[i] == pattern[p]
			}
			reach = next
			continue
		}
		limit := stop
		if p+1 < len(pattern) && pattern[p+1] == '*' {
			limit, p = "", p+1
		}
		open := false
		for i := 0; i <= len(s); i++ {
			if i > 0 && strings.IndexByte(limit, s[i-1]) >= 0 {
				open = false
			}
			open = open || reach[i]
			next[i] = open
		}
		reach = next
	}
	return reach[len(s)]
}

// checkRule validates the patterns of a rule; the error says what to change.
func checkRule(r *lifecycle.NameRule) error {
	if role, ok := strings.CutPrefix(r.Requester, rolePrefix); ok {
		if _, err := lifecycle.ParseGrant(role); err != nil {
			return err
		}
	}
	for _, p := range r.DNS {
		if err := checkDNSPattern(p); err != nil {
			return err
		}
	}
	for _, p := range r.IPs {
		if prefix, err := netip.ParsePrefix(p); err != nil || prefix != prefix.Masked() {
			return fmt.Errorf("ip range %q: write an address range, as in 10.0.0.0/8", p)
		}
	}
	for _, p := range r.URIs {
		scheme, rest, ok := strings.Cut(p, "://")
		if !ok || scheme == "" || strings.Contains(scheme, "*") || rest == "" {
			return fmt.Errorf("uri pattern %q: begin with a scheme, as in spiffe://example.org/*", p)
		}
	}
	for _, p := range r.Emails {
		if strings.Count(p, "@") != 1 {
			return fmt.Errorf("email pattern %q: write *@example.org", p)
		}
	}
	return nil
}

func checkDNSPattern(p string) error {
	if exact, ok := strings.CutPrefix(p, exactly); ok {
		if n, err := normalDNS(exact); err != nil || n != exact {
			return fmt.Errorf("dns pattern %q: after '=' stands one name, as in =*.web.example.org", p)
		}
		return nil
	}
	for i, l := range strings.Split(p, ".") {
		if l == "**" && i == 0 {
			continue
		}
		if strings.Contains(l, "**") || !isLabel(strings.ReplaceAll(l, "*", "x")) {
			return fmt.Errorf("dns pattern %q: write labels in which '*' stands for letters, and ** in front for any number of labels, as in **.example.org", p)
		}
	}
	return nil
}
