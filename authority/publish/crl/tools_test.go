package crl_test

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// town is a root with three issuing instances, of which the root has revoked the third;
// each has a good, a revoked and a held leaf; and the lists of all four, loaded together.
type town struct {
	dir    string
	root   *pkitest.CA
	cas    []*pkitest.CA // issuing
	leaves []leaf
	lists  [][]byte
}

type leaf struct {
	*pkitest.Leaf
	name    string
	refused bool
}

// build makes it. shards says that shards under distribution points are loaded too.
func build(t *testing.T, shards bool) *town {
	t.Helper()
	w := &town{dir: t.TempDir(), root: pkitest.Root(t, "corp root")}
	at := instant(time.Now().Add(-time.Minute))
	var gone []revoked
	for i := range 3 {
		ca := w.root.Issuing(t, fmt.Sprintf("corp issuing %d", i))
		w.cas = append(w.cas, ca)
		if i == 2 {
			s, ok := lifecycle.SerialOf(ca.Cert.SerialNumber.Bytes())
			if !ok {
				t.Fatal("the CA certificate's serial is of another form")
			}
			gone = append(gone, revoked{s, at, lifecycle.CACompromise, 0})
		}
		var entries []revoked
		for _, kind := range []string{"good", "revoked", "held"} {
			l := leaf{Leaf: ca.Issue(t, fmt.Sprintf("%s-%d.test", kind, i), nil), name: fmt.Sprintf("%s-%d", kind, i), refused: kind != "good" || i == 2}
			switch kind {
			case "revoked":
				entries = append(entries, revoked{l.Serial(), at, lifecycle.KeyCompromise, at - 60_000})
			case "held":
				entries = append(entries, revoked{l.Serial(), at, lifecycle.CertificateHold, 0})
			}
			w.leaves = append(w.leaves, l)
			pkitest.WritePEM(t, w.dir, l.name+".pem", "CERTIFICATE", l.Cert.Raw)
			pkitest.WritePEM(t, w.dir, l.name+"-chain.pem", "CERTIFICATE", l.Cert.Raw, ca.Cert.Raw, w.root.Cert.Raw)
		}
		w.lists = append(w.lists, sign(t, ca, listOf(ca, 5), encode(entries)))
		for n := uint64(1); shards && n <= crl.Shards; n++ {
			l := listOf(ca, 5)
			l.Shard = fmt.Sprintf("http://crl.test/%d/%d.crl", i, n)
			w.lists = append(w.lists, sign(t, ca, l, encode(slices.DeleteFunc(slices.Clone(entries), func(r revoked) bool { return crl.ShardOf(r.serial) != n }))))
		}
	}
	w.lists = append(w.lists, sign(t, w.root, listOf(w.root, 2), encode(gone)))
	pkitest.WritePEM(t, w.dir, "root.pem", "CERTIFICATE", w.root.Cert.Raw)
	pkitest.WritePEM(t, w.dir, "issuing.pem", "CERTIFICATE", w.cas[0].Cert.Raw, w.cas[1].Cert.Raw, w.cas[2].Cert.Raw)
	pkitest.WritePEM(t, w.dir, "lists.pem", "X509 CRL", w.lists...)
	return w
}

func (w *town) in(name string) string { return filepath.Join(w.dir, name) }

// judge runs a verifier over every leaf: it accepts what is good and names revocation
// where it refuses.
func (w *town) judge(t *testing.T, verify func(l leaf) (output string, accepted bool)) {
	t.Helper()
	for _, l := range w.leaves {
		out, accepted := verify(l)
		if accepted == l.refused || l.refused && !strings.Contains(strings.ToLower(out), "revoked") {
			t.Errorf("%s: accepted %t\n%s", l.name, accepted, out)
		}
	}
}

func TestOpenSSL(t *testing.T) {
	for _, shards := range []bool{false, true} {
		w := build(t, shards)
		w.judge(t, func(l leaf) (string, bool) {
			out, err := pkitest.Run(t, "openssl", "verify", "-crl_check_all", "-extended_crl", "-CAfile", w.in("root.pem"), "-untrusted", w.in("issuing.pem"), "-CRLfile", w.in("lists.pem"), w.in(l.name+".pem"))
			return out, err == nil
		})
	}
}

func TestGnuTLS(t *testing.T) {
	w := build(t, false)
	w.judge(t, func(l leaf) (string, bool) {
		out, err := pkitest.Run(t, "certtool", "--verify", "--load-ca-certificate", w.in("root.pem"), "--load-crl", w.in("lists.pem"), "--infile", w.in(l.name+"-chain.pem"))
		return out, err == nil
	})
	for i, ca := range append(slices.Clone(w.cas), w.root) {
		one := pkitest.WritePEM(t, w.dir, "one.pem", "X509 CRL", w.lists[i])
		by := pkitest.WritePEM(t, w.dir, "by.pem", "CERTIFICATE", ca.Cert.Raw)
		if out, err := pkitest.Run(t, "certtool", "--verify-crl", "--load-ca-certificate", by, "--infile", one); err != nil {
			t.Errorf("list %d: %v\n%s", i, err, out)
		}
	}
}

// TestNSS imports certificates and lists into a database with certutil and crlutil and
// asks vfychain, which then needs every list of the chain.
func TestNSS(t *testing.T) {
	w := build(t, false)
	db := "sql:" + t.TempDir()
	must := func(tool string, args ...string) {
		t.Helper()
		if out, err := pkitest.Run(t, tool, args...); err != nil {
			t.Fatalf("%s %v: %v\n%s", tool, args, err, out)
		}
	}
	must("certutil", "-N", "-d", db, "--empty-password")
	must("certutil", "-A", "-d", db, "-n", "root", "-t", "CT,C,C", "-a", "-i", w.in("root.pem"))
	for i, ca := range w.cas {
		must("certutil", "-A", "-d", db, "-n", fmt.Sprint("issuing-", i), "-t", ",,", "-a", "-i", pkitest.WritePEM(t, w.dir, "ca.pem", "CERTIFICATE", ca.Cert.Raw))
	}
	for i, der := range w.lists {
		must("crlutil", "-I", "-d", db, "-t", "1", "-i", write(t, w.in(fmt.Sprintf("%d.crl", i)), der))
	}
	w.judge(t, func(l leaf) (string, bool) {
		out, err := pkitest.Run(t, "vfychain", "-d", db, "-pp", "-u", "1",
			"-g", "leaf", "-h", "testLocalInfoFirst", "-m", "crl", "-s", "failIfNoInfo",
			"-g", "chain", "-h", "testLocalInfoFirst", "-m", "crl", "-s", "failIfNoInfo", "-a", w.in(l.name+".pem"))
		return out, err == nil && strings.Contains(out, "Chain is good!")
	})
}

// TestGo asks the standard library, which leaves revocation to its caller.
func TestGo(t *testing.T) {
	w := build(t, false)
	w.judge(t, func(l leaf) (string, bool) {
		roots, between := x509.NewCertPool(), x509.NewCertPool()
		roots.AddCert(w.root.Cert)
		for _, ca := range w.cas {
			between.AddCert(ca.Cert)
		}
		chains, err := l.Cert.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
		if err != nil {
			return err.Error(), false
		}
		for i, cert := range chains[0][:len(chains[0])-1] {
			if w.listed(t, cert, chains[0][i+1]) {
				return "revoked", false
			}
		}
		return "", true
	})
}

// listed looks for a certificate on the list of its issuer.
func (w *town) listed(t *testing.T, cert, issuer *x509.Certificate) bool {
	t.Helper()
	for _, der := range w.lists {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if list.CheckSignatureFrom(issuer) != nil {
			continue // of another one
		}
		return slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(cert.SerialNumber) == 0 })
	}
	t.Fatalf("no list of %s", issuer.Subject)
	return false
}

func write(t *testing.T, path string, b []byte) string {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
