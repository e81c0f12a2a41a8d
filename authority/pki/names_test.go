package pki

import (
	"reflect"
	"strings"
	"testing"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct {
		kind, in, want string // want "" = refused
	}{
		{"dns", "A.Test", "a.test"}, {"dns", "müller.example", "xn--mller-kva.example"}, {"dns", "*.a.test", "*.a.test"}, {"dns", "localhost", "localhost"},
		{"dns", "a..test", ""}, {"dns", "-a.test", ""}, {"dns", "a_b.test", ""}, {"dns", "*", ""}, {"dns", "*.test", ""}, {"dns", "a.*.test", ""},
		{"dns", "10.1.2.3", ""}, {"dns", "a.test.", ""}, {"dns", "a b", ""}, {"dns", strings.Repeat("a", 64) + ".test", ""}, {"dns", "", ""},
		{"dns", strings.Repeat("abcdefg.", 40) + "test", ""}, {"dns", "a.test\x00.evil", ""},
		{"ip", "10.1.2.3", "10.1.2.3"}, {"ip", "::ffff:10.1.2.3", "10.1.2.3"}, {"ip", "FD00:0::1", "fd00::1"},
		{"ip", "10.1.2", ""}, {"ip", "fe80::1%eth0", ""}, {"ip", "0.0.0.0", ""}, {"ip", "224.0.0.1", ""}, {"ip", "10.0.0.0/8", ""},
		{"uri", "spiffe://Corp.test/a/b", "spiffe://corp.test/a/b"}, {"uri", "HTTPS://A.test/x?y=z", "https://a.test/x?y=z"},
		{"uri", "spiffe://corp.test/a//b", ""}, {"uri", "spiffe://corp.test/../b", ""}, {"uri", "spiffe://corp.test:443/a", ""}, {"uri", "spiffe://corp.test/a?x", ""},
		{"uri", "spiffe://corp.test/%61", ""}, {"uri", "spiffe://u@corp.test/a", ""}, {"uri", "mailto:a@b.test", ""}, {"uri", "/a/b", ""}, {"uri", "https://a.test/ü", ""},
		{"email", "Ann@Example.Org", "Ann@example.org"}, {"email", "a.b+c@x.test", "a.b+c@x.test"},
		{"email", "a@", ""}, {"email", "@x.test", ""}, {"email", "a@b@c.test", ""}, {"email", "a..b@x.test", ""}, {"email", "\"a b\"@x.test", ""}, {"email", "a@*.x.test", ""},
	} {
		n := namesOf(c.kind, c.in)
		got, err := n.Normalize()
		want := namesOf(c.kind, c.want)
		switch {
		case c.want == "" && err == nil:
			t.Errorf("%s %q was allowed as %+v", c.kind, c.in, got)
		case c.want != "" && (err != nil || !reflect.DeepEqual(got, want)):
			t.Errorf("%s %q became %+v, %v; want %q", c.kind, c.in, got, err, c.want)
		}
	}
	if _, err := (Names{URIs: []string{"spiffe://a/x", "spiffe://b/y"}}).Normalize(); err == nil {
		t.Error("two SPIFFE ids in one certificate")
	}
	if n, err := (Names{DNS: []string{"A.test", "a.test"}}).Normalize(); err != nil || len(n.DNS) != 1 {
		t.Errorf("a name twice: %+v, %v", n, err)
	}
	if _, err := (Names{DNS: make([]string, 65)}).Normalize(); err == nil || !strings.Contains(err.Error(), "at most 64") {
		t.Errorf("65 names: %v", err)
	}
}

func namesOf(kind, s string) (n Names) {
	switch kind {
	case "dns":
		n.DNS = []string{s}
	case "ip":
		n.IPs = []string{s}
	case "uri":
		n.URIs = []string{s}
	case "email":
		n.Emails = []string{s}
	}
	return n
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		match         func(pattern, name string) bool
		pattern, name string
		want          bool
	}{
		{matchDNS, "*.a.test", "x.a.test", true}, {matchDNS, "*.a.test", "x.y.a.test", false}, {matchDNS, "*.a.test", "a.test", false},
		{matchDNS, "**.a.test", "x.y.a.test", true}, {matchDNS, "**.a.test", "a.test", false}, {matchDNS, "**", "a", true},
		{matchDNS, "web-*.a.test", "web-01.a.test", true}, {matchDNS, "web-*.a.test", "db-01.a.test", false},
		{matchDNS, "**", "*.a.test", false}, {matchDNS, "*.a.test", "*.a.test", false}, {matchDNS, "=*.a.test", "*.a.test", true}, {matchDNS, "=a.test", "b.test", false},
		{matchDNS, "**.a.test", "evila.test", false},
		{matchIP, "10.0.0.0/8", "10.200.0.1", true}, {matchIP, "10.0.0.0/8", "11.0.0.1", false}, {matchIP, "fd00::/8", "fd12::1", true}, {matchIP, "::/0", "10.0.0.1", false},
		{matchURI, "spiffe://a/*", "spiffe://a/x", true}, {matchURI, "spiffe://a/*", "spiffe://a/x/y", false}, {matchURI, "spiffe://a/**", "spiffe://a/x/y", true},
		{matchURI, "https://**", "spiffe://a/x", false}, {matchURI, "spiffe://a*/x", "spiffe://ab/x", true},
		{matchEmail, "*@a.test", "x@a.test", true}, {matchEmail, "*@a.test", "x@b.test", false}, {matchEmail, "*@*", "x@b.test", true},
	} {
		if got := c.match(c.pattern, c.name); got != c.want {
			t.Errorf("%q matches %q: %t", c.pattern, c.name, got)
		}
	}
}

// FuzzGlob compares with the obvious recursion.
func FuzzGlob(f *testing.F) {
	f.Add("a*b**c", "axxb/yc", "/")
	f.Fuzz(func(t *testing.T, pattern, s, stop string) {
		if len(pattern) > 12 || len(s) > 16 {
			return
		}
		if got, want := glob(pattern, s, stop), slowGlob(pattern, s, stop); got != want {
			t.Errorf("glob(%q, %q, %q) = %t", pattern, s, stop, got)
		}
	})
}

func slowGlob(p, s, stop string) bool {
	switch {
	case p == "":
		return s == ""
	case strings.HasPrefix(p, "**"):
		return slowGlob(p[2:], s, stop) || s != "" && slowGlob(p, s[1:], stop)
	case p[0] == '*':
		return slowGlob(p[1:], s, stop) || s != "" && strings.IndexByte(stop, s[0]) < 0 && slowGlob(p, s[1:], stop)
	}
	return s != "" && s[0] == p[0] && slowGlob(p[1:], s[1:], stop)
}
