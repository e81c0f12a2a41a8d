package pki

import (
	"crypto/x509"
	"net"
	"net/netip"
	"strings"
)

// Which names a name constraint stands for depends on their form (RFC 5280 section
// 4.2.1.10). Where verifiers read one differently, covers says no: it is asked by who
// must not allow more than was agreed.

// coversDomain: a domain stands for itself and everything under it; with a leading dot,
// as some write it, only for what is under it.
func coversDomain(wide, narrow string) bool {
	return narrow == wide || strings.HasSuffix(narrow, "."+strings.TrimPrefix(wide, "."))
}

// coversHost: the host of a URI is that host alone; with a leading dot it is every host
// under the domain.
func coversHost(wide, narrow string) bool {
	return narrow == wide || strings.HasPrefix(wide, ".") && strings.HasSuffix(narrow, wide)
}

// coversEmail: a mailbox, all mailboxes of a host, or with a leading dot those of all
// hosts under a domain. Case counts in the part before the @.
func coversEmail(wide, narrow string) bool {
	if narrow == wide {
		return true
	}
	host := strings.ToLower(narrow[strings.LastIndexByte(narrow, '@')+1:])
	return !strings.Contains(wide, "@") && coversHost(strings.ToLower(wide), host)
}

// coversRange: an address range has every address of a smaller one.
func coversRange(wide, narrow string) bool {
	w, err := netip.ParsePrefix(wide)
	if err != nil {
		return false
	}
	n, err := netip.ParsePrefix(narrow)
	return err == nil && w.Bits() <= n.Bits() && w.Contains(n.Addr())
}

// constrained reports whether a CA certificate constrains names.
func constrained(c *x509.Certificate) bool {
	return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+
		len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0
}

func lower(list []string) (out []string) {
	for _, s := range list {
		out = append(out, strings.ToLower(s))
	}
	return out
}

func texts(list []*net.IPNet) (out []string) {
	for _, n := range list {
		out = append(out, n.String())
	}
	return out
}
