package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

const cluster = "00112233445566778899aabbccddeeff"

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

type fixture struct {
	key    *Key
	ca     *Authority
	bundle *Bundle
}

func newFixture(t *testing.T) fixture {
	t.Helper()
	key := must(NewKey())
	ca := must(NewAuthority(cluster, key.NodeID(), now))
	return fixture{key, ca, must(NewBundle(ca.Certificate()))}
}

func TestSubjects(t *testing.T) {
	id := strings.Repeat("ab", 32)
	for _, s := range []Subject{{cluster, Node, id}, {cluster, Principal, "ci-bot"}} {
		if got, err := ParseSubject(s.String()); err != nil || got != s {
			t.Errorf("ParseSubject(%s) = %v, %v", s, got, err)
		}
		if s.uri().String() != s.String() {
			t.Errorf("the certificate would say %s for %s", s.uri(), s)
		}
	}
	bad := []string{
		"", "chancery://", "https://" + cluster + "/node/" + id, "CHANCERY://" + cluster + "/node/" + id,
		"chancery://" + cluster + "/node/", "chancery://" + cluster + "/node/" + id + "/", "chancery://" + cluster + "//" + id,
		"chancery://" + cluster + "/node/" + strings.ToUpper(id), "chancery://" + cluster + "/node/" + id[1:],
		"chancery://" + cluster + "/principal/Alice", "chancery://" + cluster + "/principal/../node/" + id,
		"chancery://" + cluster + "/principal/a%2Fb", "chancery://" + cluster + "/principal/a?x", "chancery://" + cluster + "/principal/a#x",
		"chancery://" + cluster + ":80/principal/a", "chancery://u@" + cluster + "/principal/a", "chancery://" + cluster + "/service/a",
		"chancery://" + cluster[1:] + "/principal/a", "chancery:/" + cluster + "/principal/a", "chancery://" + cluster + "/principal/" + strings.Repeat("a", 64),
	}
	for _, uri := range bad {
		if s, err := ParseSubject(uri); !errors.Is(err, ErrSubject) {
			t.Errorf("ParseSubject(%q) = %v, %v", uri, s, err)
		}
	}
}

func TestIssueNode(t *testing.T) {
	f := newFixture(t)
	leaf, err := f.ca.IssueNode(f.key.Public(), []string{"node1.example:7602", "127.0.0.1:7602", "[::1]:7602", "node1.example-2"}, now)
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.bundle.VerifyNode([]*x509.Certificate{leaf}, cluster, now)
	if err != nil || id != f.key.NodeID() || SPKIHashOf(leaf) != string(id) {
		t.Fatalf("VerifyNode = %s, %v", id, err)
	}
	if len(leaf.DNSNames) != 2 || len(leaf.IPAddresses) != 2 || !leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("SANs %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if life := leaf.NotAfter.Sub(now); life != LeafLifetime {
		t.Errorf("lifetime %s", life)
	}
	if leaf.IsCA || leaf.SerialNumber.BitLen() != 153 || leaf.KeyUsage != x509.KeyUsageDigitalSignature {
		t.Errorf("profile: ca=%v serial bits=%d usage=%x", leaf.IsCA, leaf.SerialNumber.BitLen(), leaf.KeyUsage)
	}
	if _, _, err := f.bundle.VerifyPrincipal([]*x509.Certificate{leaf}, cluster, now); !errors.Is(err, ErrSubject) {
		t.Errorf("a node passed for a principal: %v", err)
	}
	for _, host := range []string{"", "*.example", "a b", "-a.example", "a-.example", "a..b", "a.", strings.Repeat("a", 64) + ".x", "exämple"} {
		if _, err := f.ca.IssueNode(f.key.Public(), []string{host}, now); err == nil {
			t.Errorf("host %q was certified", host)
		}
	}
}

func TestIssuePrincipal(t *testing.T) {
	f, caller := newFixture(t), must(NewKey())
	leaf := must(f.ca.IssuePrincipal("ci-bot", caller.Public(), time.Hour, now))
	name, spki, err := f.bundle.VerifyPrincipal([]*x509.Certificate{leaf}, cluster, now)
	if err != nil || name != "ci-bot" || spki != string(caller.NodeID()) {
		t.Fatalf("VerifyPrincipal = %s %s %v", name, spki, err)
	}
	if _, err := f.bundle.VerifyNode([]*x509.Certificate{leaf}, cluster, now); !errors.Is(err, ErrUntrusted) {
		t.Errorf("a principal served as a node: %v", err)
	}
	long := must(f.ca.IssuePrincipal("a", caller.Public(), 2*AuthorityLifetime, now))
	if long.NotAfter.After(f.ca.Certificate().NotAfter) {
		t.Error("a leaf outlives its CA")
	}
	for _, c := range []struct {
		name     string
		lifetime time.Duration
		at       time.Time
	}{{"A", time.Hour, now}, {"", time.Hour, now}, {"a/b", time.Hour, now}, {"a", 0, now}, {"a", time.Hour, now.Add(AuthorityLifetime + time.Hour)}, {"a", time.Hour, now.Add(-time.Hour)}} {
		if _, err := f.ca.IssuePrincipal(c.name, caller.Public(), c.lifetime, c.at); err == nil {
			t.Errorf("issued for %+v", c)
		}
	}
}

func TestVerifyRefusals(t *testing.T) {
	f, other := newFixture(t), newFixture(t)
	good := must(f.ca.IssueNode(f.key.Public(), nil, now))
	elsewhere := must(NewAuthority(strings.Repeat("f", 32), f.key.NodeID(), now))
	both := must(f.bundle.With(elsewhere.Certificate()))

	// A CA that signs a node URI over a key that is not the node's.
	template := *good
	template.URIs = []*url.URL{Subject{cluster, Node, strings.Repeat("0", 64)}.uri()}
	lying := signed(t, f, &template)
	template.URIs = append(template.URIs, Subject{cluster, Node, string(f.key.NodeID())}.uri())
	double := signed(t, f, &template)
	template.URIs = nil
	none := signed(t, f, &template)

	cases := map[string]struct {
		bundle  *Bundle
		cert    *x509.Certificate
		cluster string
		at      time.Time
		want    error
	}{
		"good":             {f.bundle, good, cluster, now, nil},
		"cluster unknown":  {f.bundle, good, "", now, nil},
		"expired":          {f.bundle, good, cluster, now.Add(LeafLifetime + time.Second), ErrExpired},
		"not yet valid":    {f.bundle, good, cluster, now.Add(-time.Hour), ErrExpired},
		"other bundle":     {other.bundle, good, cluster, now, ErrUntrusted},
		"other cluster":    {both, must(elsewhere.IssueNode(f.key.Public(), nil, now)), cluster, now, ErrUntrusted},
		"other key's URI":  {f.bundle, lying, cluster, now, ErrMismatch},
		"two URIs":         {f.bundle, double, cluster, now, ErrSubject},
		"no URI":           {f.bundle, none, cluster, now, ErrSubject},
		"the CA itself":    {f.bundle, f.ca.Certificate(), cluster, now, ErrSubject},
		"other CA's leaf":  {f.bundle, must(other.ca.IssueNode(f.key.Public(), nil, now)), cluster, now, ErrUntrusted},
		"a CA's other CA":  {f.bundle, other.ca.Certificate(), cluster, now, ErrUntrusted},
		"expired and lone": {other.bundle, good, cluster, now.Add(LeafLifetime + time.Second), ErrExpired},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := c.bundle.VerifyNode([]*x509.Certificate{c.cert}, c.cluster, c.at)
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
	if _, err := f.bundle.VerifyNode(nil, cluster, now); !errors.Is(err, ErrUntrusted) {
		t.Errorf("no certificate: %v", err)
	}
}

func signed(t *testing.T, f fixture, template *x509.Certificate) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(nil, template, f.ca.cert, f.key.Public(), f.ca.private)
	if err != nil {
		t.Fatal(err)
	}
	return must(x509.ParseCertificate(der))
}

func TestRenewal(t *testing.T) {
	f := newFixture(t)
	leaf := must(f.ca.IssueNode(f.key.Public(), nil, now))
	half := RenewAt(leaf.NotBefore, leaf.NotAfter)
	for _, c := range []struct {
		at   time.Time
		want bool
	}{{now, false}, {half.Add(-time.Second), false}, {half, true}, {leaf.NotAfter.Add(time.Hour), true}, {leaf.NotBefore.Add(-time.Second), true}} {
		if got := RenewalDue(leaf, c.at); got != c.want {
			t.Errorf("RenewalDue at %s = %v", c.at, got)
		}
	}
	if d := half.Sub(now); d < 3*24*time.Hour || d > 4*24*time.Hour {
		t.Errorf("renewed after %s", d)
	}
}

func TestBundle(t *testing.T) {
	f, g := newFixture(t), newFixture(t)
	b := must(f.bundle.With(g.ca.Certificate(), f.ca.Certificate()))
	again := must(ParseBundle(must(g.bundle.With(f.ca.Certificate())).PEM()))
	if len(b.Certificates()) != 2 || string(again.PEM()) != string(b.PEM()) {
		t.Fatal("equal sets encode differently")
	}
	leaf := must(f.ca.IssueNode(f.key.Public(), nil, now))
	if _, err := f.bundle.With(leaf); err == nil {
		t.Error("a leaf became a trust anchor")
	}
	for _, text := range []string{"", "hello", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", string(b.PEM()) + "trailing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"} {
		if _, err := ParseBundle([]byte(text)); err == nil {
			t.Errorf("bundle %.40q was accepted", text)
		}
	}
	if a, b := f.ca.Certificate().Subject.String(), must(NewAuthority(cluster, f.key.NodeID(), now)).Certificate().Subject.String(); a == b {
		t.Error("two CA instances share a subject DN")
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	s := NewStore(dir)
	if _, err := s.LoadKey(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no key yet: %v", err)
	}
	key := must(s.LoadOrCreateKey())
	if again := must(s.LoadOrCreateKey()); again.NodeID() != key.NodeID() || must(s.LoadKey()).NodeID() != key.NodeID() {
		t.Fatal("the identity changed over a restart")
	}
	ca := must(NewAuthority(cluster, key.NodeID(), now))
	if err := s.CreateAuthority(ca); err != nil {
		t.Fatal(err)
	}
	if err := s.CreateAuthority(must(NewAuthority(cluster, key.NodeID(), now))); !errors.Is(err, ErrExists) {
		t.Fatalf("a CA key was overwritten: %v", err)
	}
	if got := must(s.LoadAuthority(cluster)); !got.Certificate().Equal(ca.Certificate()) {
		t.Fatal("another CA came back")
	}
	if _, err := s.LoadAuthority(strings.Repeat("e", 32)); !errors.Is(err, ErrUntrusted) {
		t.Fatalf("CA of another cluster: %v", err)
	}
	leaf := must(ca.IssueNode(key.Public(), nil, now))
	if err := s.SaveLeaf(must(NewKey()), leaf); !errors.Is(err, ErrMismatch) {
		t.Fatalf("foreign leaf saved: %v", err)
	}
	if err := s.SaveLeaf(key, leaf); err != nil {
		t.Fatal(err)
	}
	if got := must(s.LoadLeaf(key)); !got.Leaf.Equal(leaf) {
		t.Fatal("another leaf came back")
	}
	if _, err := s.LoadLeaf(must(NewKey())); !errors.Is(err, ErrMismatch) {
		t.Fatalf("leaf for another key: %v", err)
	}
	bundle := must(NewBundle(ca.Certificate()))
	if err := s.SaveBundle(bundle); err != nil {
		t.Fatal(err)
	}
	if got := must(s.LoadBundle()); string(got.PEM()) != string(bundle.PEM()) {
		t.Fatal("another bundle came back")
	}
	for _, e := range must(os.ReadDir(dir)) {
		if info := must(e.Info()); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", e.Name(), info.Mode().Perm())
		}
	}
}

func TestStoreRefusals(t *testing.T) {
	dir := t.TempDir()
	s, path := NewStore(dir), filepath.Join(dir, keyFile)
	key := must(s.LoadOrCreateKey())
	good := must(os.ReadFile(path))
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		os.Chmod(path, mode)
		if _, err := s.LoadOrCreateKey(); !errors.Is(err, ErrPermissions) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	os.Chmod(path, 0o600)
	for name, content := range map[string][]byte{"empty": {}, "cut": good[:len(good)/2], "doubled": append(append([]byte{}, good...), good...), "garbage": []byte("secret-bytes")} {
		os.WriteFile(path, content, 0o600)
		_, err := s.LoadOrCreateKey()
		if err == nil {
			t.Errorf("%s: a new node was made in place of a damaged key", name)
		} else if strings.Contains(err.Error(), "secret-bytes") {
			t.Errorf("%s: the error shows the file", name)
		}
	}
	if _, err := NewAuthority("x", key.NodeID(), now); err == nil {
		t.Error("CA for a malformed cluster id")
	}
	if _, err := NewAuthority(cluster, lifecycle.NodeID("x"), now); err == nil {
		t.Error("CA for a malformed node id")
	}
}

// TestClientTLS shakes hands for real: by IP, with a certificate that names no host.
func TestClientTLS(t *testing.T) {
	f, stranger := newFixture(t), newFixture(t)
	for name, c := range map[string]struct {
		server fixture
		at     time.Time
		want   error
	}{"good": {f, now, nil}, "stranger": {stranger, now, ErrUntrusted}, "expired": {f, now.Add(LeafLifetime + time.Hour), ErrExpired}} {
		t.Run(name, func(t *testing.T) {
			leaf := must(c.server.ca.IssueNode(c.server.key.Public(), nil, now))
			cert := must(c.server.key.TLS(leaf))
			a, b := net.Pipe()
			defer a.Close()
			go func() {
				server := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13})
				server.Handshake() // the client's verdict is what is tested
				b.Close()
			}()
			err := tls.Client(a, f.bundle.ClientTLS(cluster, nil, func() time.Time { return c.at })).Handshake()
			if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestOpenSSL asks an independent verifier.
func TestOpenSSL(t *testing.T) {
	f, dir := newFixture(t), t.TempDir()
	real := time.Now()
	ca := must(NewAuthority(cluster, f.key.NodeID(), real))
	leaf := must(ca.IssueNode(f.key.Public(), []string{"node1.example", "127.0.0.1"}, real))
	caPath, leafPath := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "leaf.pem")
	os.WriteFile(caPath, must(NewBundle(ca.Certificate())).PEM(), 0o600)
	os.WriteFile(leafPath, encodeCertificates(leaf), 0o600)
	for _, purpose := range []string{"sslserver", "sslclient"} {
		out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", purpose, "-verify_hostname", "node1.example", "-CAfile", caPath, leafPath).CombinedOutput()
		if err != nil {
			t.Errorf("openssl verify %s: %v\n%s", purpose, err, out)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	f.Add("chancery://" + cluster + "/principal/a")
	f.Add("chancery://" + cluster + "/node/" + strings.Repeat("ab", 32))
	f.Fuzz(func(t *testing.T, uri string) {
		if s, err := ParseSubject(uri); err == nil && (s.String() != uri || s.uri().String() != uri) {
			t.Errorf("%q parsed to %q", uri, s)
		}
	})
}
