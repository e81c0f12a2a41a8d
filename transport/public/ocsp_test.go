package public

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/authority/publish/ocsp/ocsptest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// registry is a public listener on loopback that answers for two issuing instances.
type registry struct {
	*site
	*httptest.Server
	root, a, b     *pkitest.CA
	good, bad, far *pkitest.Leaf // of a: good, revoked, unknown
	held           *pkitest.Leaf // of b, on hold
	source         *ocsptest.Source
}

func serveOCSP(t testing.TB) *registry {
	r := &registry{root: pkitest.Root(t, "root")}
	r.a, r.b = r.root.Issuing(t, "issuing a"), r.root.Issuing(t, "issuing b")
	r.source = ocsptest.New(t, pkitest.Key(t), nil, r.root, r.a, r.b)
	r.good, r.bad, r.far, r.held = r.a.Issue(t, "good.test", nil), r.a.Issue(t, "bad.test", nil), r.a.Issue(t, "far.test", nil), r.b.Issue(t, "held.test", nil)
	at := lifecycle.Instant(time.Now().Add(-time.Minute).UnixMilli())
	r.source.Set(r.good.Serial(), ocsp.Standing{Status: ocsp.Good})
	r.source.Set(r.bad.Serial(), ocsp.Standing{Status: ocsp.Revoked, RevokedAt: at, Reason: lifecycle.KeyCompromise})
	r.source.Set(r.held.Serial(), ocsp.Standing{Status: ocsp.Revoked, RevokedAt: at, Reason: lifecycle.CertificateHold})
	r.site = start(t, func(c *Config) {
		c.Clock = time.Now // tools have no other clock
		c.OCSP = ocsp.NewResponder(ocsp.Config{Source: r.source})
	})
	r.Server = httptest.NewServer(r.public)
	t.Cleanup(r.Close)
	return r
}

func (r *registry) request(l *pkitest.Leaf) []byte {
	r.t.Helper()
	der, err := xocsp.CreateRequest(l.Cert, l.Issuer.Cert, &xocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		r.t.Fatal(err)
	}
	return der
}

func (r *registry) post(der []byte) *httptest.ResponseRecorder {
	q := httptest.NewRequest(http.MethodPost, wire.PathOCSP, bytes.NewReader(der))
	q.Header.Set("Content-Type", wire.TypeOCSPRequest)
	return r.serve(q)
}

func TestOCSPOverHTTP(t *testing.T) {
	r := serveOCSP(t)
	der := r.request(r.good)
	text := base64.StdEncoding.EncodeToString(der)
	var last http.Header
	for _, path := range []string{"/" + text, "//" + text, "/" + url.PathEscape(text), "/" + url.QueryEscape(text), "/" + strings.TrimRight(text, "=")} {
		answer, err := http.Get(r.URL + wire.PathOCSP + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close() // read to its end
		if err != nil || answer.StatusCode != http.StatusOK || answer.Header.Get("Content-Type") != wire.TypeOCSPResponse {
			t.Fatalf("%s: %d %v", path, answer.StatusCode, err)
		}
		if got, err := xocsp.ParseResponseForCert(body, r.good.Cert, r.a.Cert); err != nil || got.Status != xocsp.Good {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
		last = answer.Header
	}
	for _, name := range []string{"Etag", "Last-Modified", "Expires", "Date"} {
		if last.Get(name) == "" {
			t.Errorf("no %s: %v", name, last)
		}
	}
	var age int
	if _, err := fmt.Sscanf(last.Get("Cache-Control"), "max-age=%d, public, no-transform, must-revalidate", &age); err != nil || age <= 0 || age > 3600 {
		t.Errorf("Cache-Control: %s", last.Get("Cache-Control"))
	}
	expires, err := http.ParseTime(last.Get("Expires"))
	if err != nil || time.Now().Add(time.Duration(age)*time.Second).After(expires) {
		t.Errorf("kept for %d s, and it expires at %s", age, expires)
	}
	if w := r.ask(http.MethodGet, wire.PathOCSP+"/"+url.PathEscape(text), "If-None-Match", last.Get("Etag")); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
		t.Errorf("conditional: %d", w.Code)
	}
	if w := r.post(der); w.Code != 200 || w.Header().Get("Etag") != last.Get("Etag") {
		t.Errorf("POST: %d %v", w.Code, w.Header())
	}
	for contentType, code := range map[string]int{"Application/OCSP-Request": 200, "application/ocsp-request; charset=binary": 200, "application/ocsp-requests": 415, "text/plain": 415, "": 415} {
		q := httptest.NewRequest(http.MethodPost, wire.PathOCSP, bytes.NewReader(der))
		q.Header.Set("Content-Type", contentType)
		if w := r.serve(q); w.Code != code {
			t.Errorf("%q: %d", contentType, w.Code)
		}
	}
	if w := r.post(r.request(r.far)); w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("unknown: %d %v", w.Code, w.Header())
	}
}

func TestOCSPRefusals(t *testing.T) {
	r := serveOCSP(t)
	for name, w := range map[string]*httptest.ResponseRecorder{
		"rubbish":        r.post([]byte("rubbish")),
		"nothing":        r.post(nil),
		"rubbish by GET": r.ask(http.MethodGet, wire.PathOCSP+"/MAAA"),
		"no base64":      r.ask(http.MethodGet, wire.PathOCSP+"/a_b"),
		"no request":     r.ask(http.MethodGet, wire.PathOCSP),
	} {
		_, err := xocsp.ParseResponse(w.Body.Bytes(), nil)
		if e, ok := err.(xocsp.ResponseError); !ok || e.Status != xocsp.Malformed || w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %x %v", name, w.Code, w.Body, err)
		}
	}
	r.refused(r.post(make([]byte, ocsp.MaxRequestBytes+1)), wire.TooLarge)
	q := httptest.NewRequest(http.MethodPost, wire.PathOCSP, bytes.NewReader(r.request(r.good)))
	r.refused(r.serve(q), wire.UnsupportedMedia)
	q = httptest.NewRequest(http.MethodPost, wire.PathOCSP+"/x", nil)
	r.refused(r.serve(q), wire.NotFound)
	r.refused(r.ask(http.MethodGet, wire.PathOCSP+"x"), wire.NotFound)
	r.refused(r.ask(http.MethodPut, wire.PathOCSP), wire.MethodNotAllowed)
	q = httptest.NewRequest(http.MethodPost, wire.PathOCSP, io.MultiReader(bytes.NewReader(make([]byte, 2*ocsp.MaxRequestBytes))))
	q.ContentLength = -1
	q.Header.Set("Content-Type", wire.TypeOCSPRequest)
	if w := r.serve(q); !bytes.Equal(w.Body.Bytes(), []byte{0x30, 3, 10, 1, 1}) {
		t.Errorf("a long body without a length: %d %x", w.Code, w.Body)
	}
}

// files writes what command line tools take.
func (r *registry) files(dir string) {
	write := func(name string, ders ...[]byte) { pkitest.WritePEM(r.t, dir, name, "CERTIFICATE", ders...) }
	write("root.pem", r.root.Cert.Raw)
	write("a.pem", r.a.Cert.Raw)
	write("b.pem", r.b.Cert.Raw)
	for name, l := range map[string]*pkitest.Leaf{"good": r.good, "bad": r.bad, "far": r.far, "held": r.held} {
		write(name+".pem", l.Cert.Raw)
	}
}

// TestOpenSSL asks as administrators do: POST with and without a nonce, several
// certificates in one request, both hashes; and GET with requests that openssl made and
// answers that it verifies.
func TestOpenSSL(t *testing.T) {
	r := serveOCSP(t)
	dir := t.TempDir()
	r.files(dir)
	in := func(name string) string { return filepath.Join(dir, name+".pem") }
	target := []string{"-url", r.URL + wire.PathOCSP}
	for _, c := range []struct {
		name string
		args []string
		want []string
	}{
		{"good", []string{"-issuer", in("a"), "-cert", in("good")}, []string{"Response verify OK", "good.pem: good"}},
		{"good without a nonce", []string{"-issuer", in("a"), "-cert", in("good"), "-no_nonce"}, []string{"Response verify OK", "good.pem: good"}},
		{"SHA-256", []string{"-sha256", "-issuer", in("a"), "-cert", in("good")}, []string{"Response verify OK", "good.pem: good"}},
		{"revoked", []string{"-issuer", in("a"), "-cert", in("bad")}, []string{"Response verify OK", "bad.pem: revoked", "Reason: keyCompromise"}},
		{"on hold", []string{"-issuer", in("b"), "-cert", in("held"), "-no_nonce"}, []string{"Response verify OK", "held.pem: revoked", "Reason: certificateHold"}},
		{"unknown", []string{"-issuer", in("a"), "-cert", in("far")}, []string{"Response verify OK", "far.pem: unknown"}},
		{"several", []string{"-issuer", in("a"), "-cert", in("good"), "-cert", in("bad"), "-sha256", "-cert", in("far")},
			[]string{"Response verify OK", "good.pem: good", "bad.pem: revoked", "far.pem: unknown"}},
		{"several without a nonce", []string{"-issuer", in("a"), "-cert", in("good"), "-cert", in("bad"), "-no_nonce"}, []string{"Response verify OK", "good.pem: good", "bad.pem: revoked"}},
		{"the wrong issuer", []string{"-issuer", in("b"), "-cert", in("good")}, []string{"Responder Error: unauthorized"}},
	} {
		args := append(append([]string{"ocsp", "-CAfile", in("root")}, c.args...), target...)
		if strings.Contains(strings.Join(args, " "), in("a")) {
			args = append(args, "-verify_other", in("a")) // the chain from the delegate to the root
		} else {
			args = append(args, "-verify_other", in("b"))
		}
		out, err := pkitest.Run(t, "openssl", args...)
		if (err == nil) != strings.HasPrefix(c.want[0], "Response verify OK") {
			t.Errorf("%s: %v\n%s", c.name, err, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing in:\n%s", c.name, want, out)
			}
		}
		if strings.Contains(c.name, "without a nonce") != strings.Contains(strings.Join(c.args, " "), "-no_nonce") && c.name != "on hold" {
			t.Errorf("%s says one thing and does another", c.name)
		}
		if strings.Contains(out, "no nonce in response") && !strings.Contains(strings.Join(c.args, " "), "-no_nonce") {
			t.Errorf("%s: the nonce was not echoed:\n%s", c.name, out)
		}
	}
	question, reply := filepath.Join(dir, "question.der"), filepath.Join(dir, "reply.der")
	for _, nonce := range []string{"-nonce", "-no_nonce"} {
		if out, err := pkitest.Run(t, "openssl", "ocsp", nonce, "-issuer", in("a"), "-cert", in("good"), "-cert", in("bad"), "-reqout", question); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		der, err := os.ReadFile(question)
		if err != nil {
			t.Fatal(err)
		}
		w := r.ask(http.MethodGet, wire.PathOCSP+"/"+url.QueryEscape(base64.StdEncoding.EncodeToString(der)))
		if err := os.WriteFile(reply, w.Body.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		// -no_nonce keeps the nonce of the question; else openssl replaces it here.
		out, err := pkitest.Run(t, "openssl", "ocsp", "-no_nonce", "-reqin", question, "-respin", reply, "-CAfile", in("root"), "-verify_other", in("a"), "-issuer", in("a"), "-cert", in("good"), "-cert", in("bad"))
		if err != nil || !strings.Contains(out, "Response verify OK") || !strings.Contains(out, "good.pem: good") || !strings.Contains(out, "bad.pem: revoked") {
			t.Errorf("GET %s: %v\n%s", nonce, err, out)
		}
	}
}

// TestGnuTLS asks with ocsptool, with and without a nonce.
func TestGnuTLS(t *testing.T) {
	r := serveOCSP(t)
	dir := t.TempDir()
	r.files(dir)
	in := func(name string) string { return filepath.Join(dir, name+".pem") }
	for _, c := range []struct{ leaf, issuer, want string }{
		{"good", "a", "Certificate Status: good"},
		{"bad", "a", "Certificate Status: revoked"},
		{"held", "b", "Certificate Status: revoked"},
		{"far", "a", "Certificate Status: unknown"},
	} {
		for _, nonce := range []string{"--nonce", "--no-nonce"} {
			args := []string{"--ask=" + r.URL + wire.PathOCSP, "--load-issuer", in(c.issuer), "--load-cert", in(c.leaf), "--load-trust", in(c.issuer)}
			if nonce == "--nonce" {
				args = append(args, nonce)
			}
			out, err := pkitest.Run(t, "ocsptool", args...)
			if !strings.Contains(out, c.want) || !strings.Contains(out, "Success") || err != nil && c.leaf != "bad" && c.leaf != "held" {
				t.Errorf("%s %s: %v\n%s", c.leaf, nonce, err, out)
			}
			if c.want == "Certificate Status: revoked" && err == nil && !strings.Contains(out, "revoked") {
				t.Errorf("%s was accepted:\n%s", c.leaf, out)
			}
		}
	}
}

// BenchmarkOCSP compares CPU time, client and server together, in rounds that take
// turns: a bare handler that reads the request and writes the same bytes under the same
// headers, the kept answer, and one that is signed for its nonce, beside the signature
// alone.
func BenchmarkOCSP(b *testing.B) {
	r := serveOCSP(b)
	der := r.request(r.good)
	id, err := ocsp.ParseRequest(der)
	if err != nil {
		b.Fatal(err)
	}
	fresh := withNonce(id.IDs[0].DER)
	key, digest := pkitest.Key(b), make([]byte, 32)
	url := r.URL + wire.PathOCSP
	yardstick, signed := bare(b, r.post(der)), bare(b, r.post(fresh))
	const round = 100
	var cpu [5]time.Duration
	for b.Loop() {
		for i, one := range []func(){
			func() { load(b, yardstick, der) }, func() { load(b, url, der) },
			func() { load(b, signed, fresh) }, func() { load(b, url, fresh) },
			func() {
				if _, err := key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
					b.Fatal(err)
				}
			},
		} {
			before := cpuTime(b)
			for range round {
				one()
			}
			cpu[i] += cpuTime(b) - before
		}
	}
	per := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(round*b.N) }
	b.ReportMetric(per(cpu[0]), "bare-us")
	b.ReportMetric(per(cpu[1]), "cached-us")
	b.ReportMetric(100*per(cpu[0])/per(cpu[1]), "cached-%-of-bare")
	b.ReportMetric(per(cpu[3]), "signed-us")
	b.ReportMetric(per(cpu[4]), "signature-us")
	b.ReportMetric(per(cpu[3])/(per(cpu[2])+per(cpu[4])), "signed/(signature+bare)")
}

// bare is a server that gives one answer to everything.
func bare(b *testing.B, answer *httptest.ResponseRecorder) (url string) {
	header, body := answer.Header(), answer.Body.Bytes()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		in := make([]byte, q.ContentLength)
		_, _ = io.ReadFull(q.Body, in) // what it says does not matter
		for name, v := range header {
			w.Header()[name] = v
		}
		_, _ = w.Write(body) // the client would notice
	}))
	b.Cleanup(s.Close)
	return s.URL
}

// cpuTime is what this process has used.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

var client http.Client

func load(b *testing.B, target string, der []byte) {
	answer, err := client.Post(target, wire.TypeOCSPRequest, bytes.NewReader(der))
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, answer.Body); err != nil || n < 100 {
		b.Fatalf("%d bytes, %v", n, err)
	}
	_ = answer.Body.Close() // read to its end
}

// withNonce is a request for one CertID with a nonce of 32 octets.
func withNonce(id []byte) []byte {
	wrap := func(tag byte, parts ...[]byte) []byte {
		content := bytes.Join(parts, nil)
		if len(content) < 128 {
			return append([]byte{tag, byte(len(content))}, content...)
		}
		return append([]byte{tag, 0x81, byte(len(content))}, content...)
	}
	oid := []byte{6, 9, 0x2b, 6, 1, 5, 5, 7, 0x30, 1, 2}
	nonce := wrap(0x30, wrap(0x30, oid, wrap(4, wrap(4, bytes.Repeat([]byte{9}, 32)))))
	return wrap(0x30, wrap(0x30, wrap(0x30, wrap(0x30, id)), wrap(0xa2, nonce)))
}
