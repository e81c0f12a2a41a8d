package pki

import (
	"crypto"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3"
	"github.com/zmap/zlint/v3/lint"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var (
	zlintRounds = flag.Int("zlint", 200, "random certificates of each profile that zlint looks at")
	zlintSeed   = flag.Uint64("zlint.seed", 0, "seed of the random orders; 0 = draw one")
)

// rulesOfRFC are the lints of the RFCs that hold for every PKI. The CA/Browser Forum's
// and the root stores' are about the public web: an internal PKI has names no public CA
// may certify.
func rulesOfRFC(t *testing.T) lint.Registry {
	t.Helper()
	r, err := lint.GlobalRegistry().Filter(lint.FilterOptions{IncludeSources: lint.SourceList{
		lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962, lint.RFC8813, lint.Community}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestZLint issues random certificates of every profile and has zlint look at each.
func TestZLint(t *testing.T) {
	seed := *zlintSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d (-zlint.seed)", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	rules := rulesOfRFC(t)
	found := map[string]int{}
	look := func(what string, der []byte) {
		cert, err := zx509.ParseCertificate(der)
		if err != nil {
			t.Fatalf("%s: zlint cannot read it: %v", what, err)
		}
		for name, res := range zlint.LintCertificateEx(cert, rules).Results {
			if res.Status >= lint.Error {
				if found[name]++; found[name] == 1 {
					t.Errorf("%s: %s: %s %s", what, name, res.Status, res.Details)
				}
			}
		}
	}
	var cas []*testCA
	for _, alg := range []lifecycle.Algorithm{lifecycle.ES256, lifecycle.ES384, lifecycle.EdDSA, lifecycle.RS256} {
		root := newRoot(t, alg)
		issuing := root.issuing(t, alg, func(terms *lifecycle.IssuerTerms) {
			if r.IntN(2) == 0 {
				terms.Names = lifecycle.NameConstraints{PermittedDNS: []string{"test"}, PermittedIPs: []string{"10.0.0.0/8", "fd00::/8"}}
			}
			terms.Organization = "Corp"
		})
		look("root "+string(alg), root.Cert.Raw)
		look("issuing "+string(alg), issuing.Cert.Raw)
		cas = append(cas, issuing)
	}
	keys := map[string][]crypto.Signer{}
	for _, kind := range KeyTypes {
		for range 3 {
			keys[kind] = append(keys[kind], keyOf(t, kind))
		}
	}
	for _, name := range append(Builtins(), lifecycle.ProfileOCSP) {
		p := Builtin(name)
		for i := range *zlintRounds {
			ca := cas[0]
			if i%4 == 0 {
				ca = cas[r.IntN(len(cas))] // the slow ones less often
			}
			order, text := randomOrder(t, r, p, keys)
			d, err := ca.Draft(order)
			if err != nil {
				t.Fatalf("%s: %s: %v", name, text, err)
			}
			look(name+": "+text, ca.sign(t, d).Raw)
		}
	}
	for name, n := range found {
		t.Errorf("%s: %d times", name, n)
	}
}

// randomOrder asks for something that the profile allows.
func randomOrder(t *testing.T, r *rand.Rand, p *Profile, keys map[string][]crypto.Signer) (Order, string) {
	t.Helper()
	kind := p.Terms.Keys[r.IntN(len(p.Terms.Keys))]
	key := keys[kind][r.IntN(len(keys[kind]))]
	word := func() string { return fmt.Sprintf("%c%x", 'a'+rune(r.IntN(26)), r.Uint64()>>uint(r.IntN(60))) }
	var n Names
	for range 1 + r.IntN(4) {
		n.DNS = append(n.DNS, word()+"."+word()+".test")
	}
	for range r.IntN(3) {
		n.IPs = append(n.IPs, fmt.Sprintf("10.%d.%d.%d", r.IntN(256), r.IntN(256), r.IntN(256)), fmt.Sprintf("fd00::%x", 1+r.IntN(0xffff)))
	}
	if r.IntN(2) == 0 {
		n.URIs = append(n.URIs, "spiffe://corp.test/"+word()+"/"+word())
	}
	for range r.IntN(2) {
		n.Emails = append(n.Emails, word()+"@mail.test")
	}
	if p.Name == lifecycle.ProfileOCSP {
		n = Names{}
	}
	cn := ""
	if len(n.DNS) > 0 && len(n.DNS[0]) <= lifecycle.MaxSubjectBytes {
		cn = n.DNS[0]
	}
	ttl := lifecycle.Minute + lifecycle.Milliseconds(r.Int64N(int64(p.Terms.MaxValidity-lifecycle.Minute)))
	return Order{Request: &Request{Key: key.Public(), KeyType: kind, SPKI: spkiOf(t, key.Public()), CommonName: cn, Names: n}, Requester: operator,
		Profile: p, Serial: serial(t), Now: now, TTL: ttl}, kind + " " + strings.Join(n.DNS, " ") + " for " + ttl.String()
}
