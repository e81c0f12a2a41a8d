package api

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/chancery-project/chancery/authority"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport"
	"github.com/chancery-project/chancery/transport/wire"
)

func TestPrincipalsAndTokens(t *testing.T) {
	n := start(t)
	op := get[wire.Operation](t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "deploy", Roles: []string{"signer:ci-*", "auditor"}}))
	if op.Verb != "principal add" || op.Subject != "deploy" || !op.Complete {
		t.Errorf("principal add = %+v", op)
	}
	p := get[wire.Principal](t, n.ask("admin", "GET", wire.Path(wire.PathPrincipal, "deploy"), nil))
	if p.Kind != lifecycle.Service || strings.Join(p.Roles, " ") != "signer:ci-* auditor:*" {
		t.Errorf("principal = %+v", p)
	}
	if l := get[wire.List[wire.Principal]](t, n.ask("auditor", "GET", wire.PathPrincipals, nil)); len(l.Items) != 5 {
		t.Errorf("%d principals", len(l.Items))
	}
	refused(t, n.ask("signer", "GET", wire.PathPrincipals, nil), wire.Denied)
	get[wire.Principal](t, n.ask("signer", "GET", wire.Path(wire.PathPrincipal, "signer"), nil))
	refused(t, n.ask("admin", "GET", wire.Path(wire.PathPrincipal, "ghost"), nil), wire.PrincipalNotFound)
	refused(t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "deploy"}), wire.AlreadyExists)
	refused(t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "x", Roles: []string{"king"}}), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "x", SSHKeys: []string{"ssh-dss AAAA"}}), wire.Invalid)
	refused(t, n.ask("signer", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "x"}), wire.Denied)

	id := newID()
	tok := get[wire.CreatedToken](t, n.ask("admin", "POST", wire.PathTokens, wire.CreateToken{Principal: "deploy", Label: "ci"}, wire.HeaderRequestID, id))
	if !strings.HasPrefix(tok.Secret, wire.TokenPrefix) || tok.Principal != "deploy" || tok.Label != "ci" || tok.ExpiresAt == 0 || tok.RequestID != id {
		t.Errorf("token = %+v", tok)
	}
	again := n.ask("admin", "POST", wire.PathTokens, wire.CreateToken{Principal: "deploy", Label: "ci"}, wire.HeaderRequestID, id)
	if rep := get[wire.CreatedToken](t, again); rep.Secret != "" || rep.ID != tok.ID || again.header.Get(wire.HeaderReplayed) != "true" {
		t.Errorf("a repeat gave %+v", rep)
	}
	secrets["deploy"] = tok.Secret
	defer delete(secrets, "deploy")
	who := get[wire.WhoAmI](t, n.ask("deploy", "GET", wire.PathWhoAmI, nil))
	if who.Principal != "deploy" || who.Via != "token" || who.TokenID != wire.Text(tok.ID) || who.ExpiresAt != tok.ExpiresAt || who.Cluster != "test" {
		t.Errorf("whoami = %+v", who)
	}
	if l := get[wire.List[wire.Token]](t, n.ask("deploy", "GET", wire.PathTokens, nil)); len(l.Items) != 1 {
		t.Errorf("deploy sees %d tokens", len(l.Items))
	}
	if l := get[wire.List[wire.Token]](t, n.ask("admin", "GET", wire.PathTokens+"?principal=deploy", nil)); len(l.Items) != 1 {
		t.Errorf("admin sees %d tokens of deploy", len(l.Items))
	}
	get[wire.Token](t, n.ask("deploy", "GET", wire.Path(wire.PathToken, tok.ID), nil))
	refused(t, n.ask("deploy", "GET", wire.Path(wire.PathToken, "token-admin"), nil), wire.TokenNotFound)
	refused(t, n.ask("deploy", "POST", wire.PathTokens, wire.CreateToken{Principal: "admin"}), wire.Denied)
	refused(t, n.ask("admin", "POST", wire.PathTokens, wire.CreateToken{Principal: "ghost"}), wire.PrincipalNotFound)
	refused(t, n.ask("admin", "POST", wire.PathTokens, wire.CreateToken{}), wire.Invalid)
	refused(t, n.ask("deploy", "POST", wire.Path(wire.PathRevokeToken, "token-admin"), struct{}{}), wire.Denied)
	get[wire.Operation](t, n.ask("deploy", "POST", wire.Path(wire.PathRevokeToken, tok.ID), struct{}{}))
	refused(t, n.ask("deploy", "GET", wire.PathWhoAmI, nil), wire.Unauthenticated)
	get[wire.Operation](t, n.ask("admin", "POST", wire.Path(wire.PathRevokePrincipal, "deploy"), struct{}{}))
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevokePrincipal, "deploy"), struct{}{}), wire.IllegalTransition)
	refused(t, n.ask("admin", "POST", wire.Path(wire.PathRevokePrincipal, "admin"), struct{}{}), wire.IllegalTransition)
}

func TestCanI(t *testing.T) {
	n := start(t)
	for _, c := range []struct {
		as, verb, key string
		want          bool
	}{
		{"signer", "sign", "ci", true}, {"signer", "sign", "other", false}, {"admin", "sign", "ci", false}, {"admin", "key revoke", "x", true},
		{"admin", "key.revoke", "x", true}, {"admin", "revoke", "x", true}, {"auditor", "audit list", "", true}, {"nobody", "status", "", false},
		{"admin", "principal add", "", true}, {"signer", "principal add", "", false},
	} {
		d := get[wire.Decision](t, n.ask(c.as, "POST", wire.PathCanI, wire.CanI{Verb: c.verb, Key: c.key}))
		if d.Allowed != c.want || d.Why == "" || (d.Grant == "") == c.want {
			t.Errorf("%s %s %s = %+v", c.as, c.verb, c.key, d)
		}
	}
	refused(t, n.ask("admin", "POST", wire.PathCanI, wire.CanI{Verb: "fly"}), wire.Invalid)
	refused(t, n.ask("admin", "POST", wire.PathCanI, wire.CanI{Verb: "sign", Key: "../x"}), wire.Invalid)
}

func TestCredentials(t *testing.T) {
	n := start(t)
	for _, header := range []string{"", "Basic YTpi", "Bearer", "Bearer ", "Bearer x", "Bearer chy_wrong", "bearer " + secrets["admin"], "Bearer chy_" + strings.Repeat("a", 1000)} {
		var h []string
		if header != "" {
			h = []string{"Authorization", header}
		}
		r := n.ask("", "GET", wire.PathWhoAmI, nil, h...)
		refused(t, r, wire.Unauthenticated)
		if r.header.Get("WWW-Authenticate") == "" {
			t.Error("a 401 without WWW-Authenticate")
		}
		if header != "" && strings.Contains(n.log.String(), "chy_wrong") {
			t.Error("a token stands in the log")
		}
	}
	n.clock.Advance(25 * time.Hour)
	refused(t, n.ask("admin", "GET", wire.PathWhoAmI, nil), wire.Unauthenticated)
}

func certificate(t *testing.T, notBefore, notAfter time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: notBefore, NotAfter: notAfter}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func TestClientCertificates(t *testing.T) {
	n := start(t)
	now := n.clock.Now()
	good, old := certificate(t, now.Add(-time.Hour), now.Add(time.Hour)), certificate(t, now.Add(-2*time.Hour), now.Add(-time.Hour))
	stranger := certificate(t, now.Add(-time.Hour), now.Add(time.Hour))
	n.ledger.Must(t, &command.AddPrincipal{Principal: command.PrincipalRecord{Name: "machine", Kind: lifecycle.Service,
		Grants: []lifecycle.Grant{{Role: lifecycle.Admin, Keys: "*"}},
		Certs:  []string{authority.SPKIHash(good.Leaf.RawSubjectPublicKeyInfo), authority.SPKIHash(old.Leaf.RawSubjectPublicKeyInfo)}}})
	ask := func(c tls.Certificate, method, path string) reply {
		req, err := http.NewRequest(method, n.server.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		return n.do(n.trusted(c), req)
	}
	if who := get[wire.WhoAmI](t, ask(good, "GET", wire.PathWhoAmI)); who.Principal != "machine" || who.Via != "certificate" || who.ExpiresAt != wire.AsTime(good.Leaf.NotAfter) {
		t.Errorf("whoami = %+v", who)
	}
	refused(t, ask(old, "GET", wire.PathWhoAmI), wire.Unauthenticated)
	refused(t, ask(stranger, "GET", wire.PathWhoAmI), wire.Unauthenticated)

	n.ledger.SetLeader(false)
	n.ledger.SetLeader(true)
	n.pretend("node2", "leader.test:7600")
	r := ask(good, "POST", wire.Path(wire.PathRotate, "ci")+"?wait=active")
	if r.status != http.StatusTemporaryRedirect || r.header.Get("Location") != "https://leader.test:7600/v1/keys/ci/rotate?wait=active" {
		t.Errorf("a certificate's write on a follower: %d %v", r.status, r.header)
	}
}

// sshSign signs as `ssh-keygen -Y sign` does (PROTOCOL.sshsig).
func sshSign(t *testing.T, key ed25519.PrivateKey, namespace, text string) (armored, authorized string) {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha512.Sum512([]byte(text))
	frame := ssh.Marshal(struct{ Namespace, Reserved, Hash, Sum string }{namespace, "", "sha512", string(sum[:])})
	sig, err := signer.Sign(rand.Reader, append([]byte("SSHSIG"), frame...))
	if err != nil {
		t.Fatal(err)
	}
	blob := append([]byte("SSHSIG"), ssh.Marshal(struct {
		Version                              uint32
		Key, Namespace, Reserved, Hash, Body string
	}{1, string(signer.PublicKey().Marshal()), namespace, "", "sha512", string(ssh.Marshal(sig))})...)
	armored = string(pem.EncodeToMemory(&pem.Block{Type: "SSH SIGNATURE", Bytes: blob}))
	return armored, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
}

func TestLogin(t *testing.T) {
	n := start(t)
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, line := sshSign(t, key, "x", "x")
	get[wire.Operation](t, n.ask("admin", "POST", wire.PathPrincipals, wire.AddPrincipal{Name: "alice", SSHKeys: []string{line}, Roles: []string{"operator:ci-*"}}))
	challenge := func(r wire.ChallengeRequest) wire.Challenge {
		return get[wire.Challenge](t, n.ask("", "POST", wire.PathChallenge, r))
	}
	ch := challenge(wire.ChallengeRequest{Principal: "alice"})
	if ch.Namespace != wire.LoginNamespace || !strings.HasPrefix(ch.Challenge, wire.LoginPreamble) {
		t.Fatalf("challenge = %+v", ch)
	}
	sig, _ := sshSign(t, key, wire.LoginNamespace, ch.Challenge)
	in := get[wire.Login](t, n.ask("", "POST", wire.PathLogin, wire.LoginRequest{Challenge: ch.Challenge, Signature: sig}))
	if in.Principal != "alice" || !strings.HasPrefix(in.Token, wire.TokenPrefix) || in.ExpiresAt == 0 {
		t.Errorf("login = %+v", in)
	}
	secrets["alice"] = in.Token
	defer delete(secrets, "alice")
	if who := get[wire.WhoAmI](t, n.ask("alice", "GET", wire.PathWhoAmI, nil)); who.Principal != "alice" {
		t.Errorf("whoami = %+v", who)
	}
	refused(t, n.ask("", "POST", wire.PathLogin, wire.LoginRequest{Challenge: ch.Challenge, Signature: sig}), wire.LoginFailed) // once only

	pub, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	ch = challenge(wire.ChallengeRequest{Fingerprint: ssh.FingerprintSHA256(pub)})
	wrong, _ := sshSign(t, key, "chancery", ch.Challenge) // an approval's namespace
	refused(t, n.ask("", "POST", wire.PathLogin, wire.LoginRequest{Challenge: ch.Challenge, Signature: wrong}), wire.LoginFailed)
	challenge(wire.ChallengeRequest{Principal: "whoever"}) // whether a name exists is nobody's business
	refused(t, n.ask("", "POST", wire.PathChallenge, wire.ChallengeRequest{}), wire.Invalid)
	refused(t, n.ask("", "POST", wire.PathChallenge, wire.ChallengeRequest{Fingerprint: "SHA256:none"}), wire.LoginFailed)
	refused(t, n.ask("", "POST", wire.PathLogin, wire.LoginRequest{Challenge: "hello", Signature: "x"}), wire.LoginFailed)
}

func TestFailuresAreSlowed(t *testing.T) {
	n := start(t, func(c *Config) { c.Limits.Failures = transport.Rate{PerSecond: 0.001, Burst: 2} })
	for range 2 {
		refused(t, n.ask("", "GET", wire.PathWhoAmI, nil, "Authorization", "Bearer chy_guess"), wire.Unauthenticated)
	}
	r := n.ask("", "GET", wire.PathWhoAmI, nil, "Authorization", "Bearer chy_guess")
	if refused(t, r, wire.RateLimited); r.header.Get("Retry-After") == "" {
		t.Error("a 429 without Retry-After")
	}
	get[wire.WhoAmI](t, n.ask("admin", "GET", wire.PathWhoAmI, nil)) // whoever shares the address is served
}

func TestPerPrincipalLimit(t *testing.T) {
	n := start(t, func(c *Config) { c.Limits.PerPrincipal = transport.Rate{PerSecond: 0.001, Burst: 1} })
	get[wire.WhoAmI](t, n.ask("admin", "GET", wire.PathWhoAmI, nil))
	refused(t, n.ask("admin", "GET", wire.PathWhoAmI, nil), wire.RateLimited)
	get[wire.WhoAmI](t, n.ask("signer", "GET", wire.PathWhoAmI, nil))
}
