package pki

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"strings"
	"testing"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// TestAbove orders what came with a certificate, and refuses what is not above it.
func TestAbove(t *testing.T) {
	made := func(subject string, pathLen int, life lifecycle.Milliseconds, above *x509.Certificate, by crypto.Signer) (*x509.Certificate, crypto.Signer) {
		t.Helper()
		key := keyOf(t, KeyP256)
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(len(subject))), Subject: pkix.Name{CommonName: subject}, BasicConstraintsValid: true, IsCA: true, MaxPathLen: pathLen,
			MaxPathLenZero: pathLen == 0, KeyUsage: usageOfCA, NotBefore: timeOf(now.Add(-lifecycle.Hour)), NotAfter: timeOf(now.Add(life))}
		if above == nil {
			above, by = c, key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, above, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert, key
	}
	group, groupKey := made("group", 2, lifecycle.Day, nil, nil)
	policy, policyKey := made("policy", 1, lifecycle.Day, group, groupKey)
	ext, _ := made("ext", 0, lifecycle.Day, policy, policyKey)
	forged, _ := made("group", 2, lifecycle.Day, nil, nil)
	short, shortKey := made("short", 0, lifecycle.Day, group, groupKey)
	below, _ := made("below", 0, lifecycle.Day, short, shortKey)
	over, overKey := made("over", 1, -lifecycle.Minute, group, groupKey)
	late, _ := made("late", 0, lifecycle.Day, over, overKey)
	for name, c := range map[string]struct {
		cert   *x509.Certificate
		others []*x509.Certificate
		want   string // subjects in order, or a part of the refusal
		fails  bool
	}{
		"none":               {cert: ext},
		"in order":           {cert: ext, others: []*x509.Certificate{policy, group}, want: "policy group"},
		"root first":         {cert: ext, others: []*x509.Certificate{group, policy}, want: "policy group"},
		"without a root":     {cert: ext, others: []*x509.Certificate{policy}, want: "policy"},
		"with a gap":         {cert: ext, others: []*x509.Certificate{group}, want: "CN=group is not above it", fails: true},
		"another's":          {cert: ext, others: []*x509.Certificate{policy, short, group}, want: "CN=short is not above it", fails: true},
		"a forged root":      {cert: ext, others: []*x509.Certificate{policy, forged}, want: "CN=group is not above it", fails: true},
		"too short a path":   {cert: below, others: []*x509.Certificate{short, group}, want: "no verifier would believe", fails: true},
		"one that has ended": {cert: late, others: []*x509.Certificate{over, group}, want: "no verifier would believe", fails: true},
	} {
		above, err := Above(c.cert, c.others, now)
		var got []string
		for _, a := range above {
			got = append(got, a.Subject.CommonName)
		}
		if c.fails && (err == nil || !strings.Contains(err.Error(), c.want)) || !c.fails && (err != nil || strings.Join(got, " ") != c.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}
