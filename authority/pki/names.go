package pki

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/net/idna"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// Names are what a certificate is for (RFC 5280 section 4.2.1.6).
type Names struct {
	DNS    []string // A-labels, lower case; the first label may be "*"
	IPs    []string
	URIs   []string
	Emails []string
}

// Empty reports whether there is no name.
func (n *Names) Empty() bool { return len(n.DNS)+len(n.IPs)+len(n.URIs)+len(n.Emails) == 0 }

// ErrName is what every refusal of a name wraps.
var ErrName = errors.New("name in the certificate")

// Normalize writes every name in its one form and refuses what is none. Each stands
// once in the result, in the order asked for.
func (n Names) Normalize() (out Names, err error) {
	for _, l := range []struct {
		in   []string
		out  *[]string
		form func(string) (string, error)
	}{{n.DNS, &out.DNS, normalDNS}, {n.IPs, &out.IPs, normalIP}, {n.URIs, &out.URIs, normalURI}, {n.Emails, &out.Emails, normalEmail}} {
		if len(l.in) > lifecycle.MaxNamesInList {
			return out, fmt.Errorf("%w: %d of one kind; at most %d are allowed", ErrName, len(l.in), lifecycle.MaxNamesInList)
		}
		for _, s := range l.in {
			name := "" // a name that is too long is refused before it is looked at
			err := fmt.Errorf("%d bytes; allowed are 1 to %d", len(s), lifecycle.MaxNameTextBytes)
			if s != "" && len(s) <= lifecycle.MaxNameTextBytes {
				name, err = l.form(s)
			}
			if err != nil {
				return out, fmt.Errorf("%w: %.80q: %w", ErrName, s, err)
			}
			if !slices.Contains(*l.out, name) {
				*l.out = append(*l.out, name)
			}
		}
	}
	spiffe := 0
	for _, u := range out.URIs {
		if strings.HasPrefix(u, "spiffe:") {
			spiffe++
		}
	}
	if spiffe > 1 {
		return out, fmt.Errorf("%w: %d SPIFFE ids; a certificate has one at most", ErrName, spiffe)
	}
	return out, nil
}

// normalDNS gives the A-label form in lower case.
func normalDNS(s string) (string, error) {
	host, wild := strings.CutPrefix(s, "*.")
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return "", errors.New("no host name")
	}
	ascii = strings.ToLower(ascii)
	if len(ascii) > 253 {
		return "", errors.New("longer than 253 characters")
	}
	labels := strings.Split(ascii, ".")
	for _, l := range labels {
		if !isLabel(l) {
			return "", errors.New("no host name: labels have 1 to 63 letters, digits and hyphens, and no hyphen at an end; '*' stands alone and first")
		}
	}
	if last := labels[len(labels)-1]; strings.Trim(last, "0123456789") == "" {
		return "", errors.New("ends in a number, as IP addresses do: ask for an IP address")
	}
	if wild {
		if len(labels) < 2 {
			return "", errors.New("a wildcard below a single label covers too much")
		}
		return "*." + ascii, nil
	}
	return ascii, nil
}

func isLabel(l string) bool {
	if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
		return false
	}
	for i := 0; i < len(l); i++ {
		if c := l[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

func normalIP(s string) (string, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return "", errors.New("no IP address")
	}
	if a = a.Unmap(); a.IsUnspecified() || a.IsMulticast() {
		return "", errors.New("no address of one machine")
	}
	return a.String(), nil
}

func normalURI(s string) (string, error) {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return "", errors.New("a URI has visible ASCII characters only: use percent encoding")
		}
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme == "" || u.Host == "" || u.Opaque != "":
		return "", errors.New("no absolute URI with a host, as in spiffe://example.org/service")
	case u.User != nil:
		return "", errors.New("a URI with a user")
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if u.Scheme == "spiffe" {
		return u.String(), checkSPIFFE(u)
	}
	return u.String(), nil
}

// checkSPIFFE holds a URI to the SPIFFE-ID standard, section 2.
func checkSPIFFE(u *url.URL) error {
	for i := 0; i < len(u.Host); i++ {
		if c := u.Host[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_') {
			return errors.New("a SPIFFE trust domain has lower-case letters, digits and . - _")
		}
	}
	if u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return errors.New("a SPIFFE id has no query and no fragment")
	}
	if u.Path == "" {
		return nil
	}
	for _, seg := range strings.Split(u.Path[1:], "/") {
		bad := seg == "" || seg == "." || seg == ".."
		for i := 0; i < len(seg); i++ {
			c := seg[i]
			bad = bad || !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')
		}
		if bad || u.RawPath != "" {
			return errors.New("the path of a SPIFFE id has segments of letters, digits, dots, hyphens and underscores, none of them empty, one dot or two")
		}
	}
	return nil
}

func normalEmail(s string) (string, error) {
	local, domain, ok := strings.Cut(s, "@")
	if !ok || local == "" || len(local) > 64 || strings.HasPrefix(local, ".") || strings.HasSuffix(local, ".") || strings.Contains(local, "..") {
		return "", errors.New("no email address")
	}
	for i := 0; i < len(local); i++ {
		if c := local[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) >= 0) {
			return "", errors.New("no plain ASCII email address")
		}
	}
	host, err := normalDNS(domain)
	if err != nil || strings.HasPrefix(host, "*") {
		return "", errors.New("no email address: its domain is no host name")
	}
	return local + "@" + host, nil
}
