package main

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

const issueID = "01900000-0000-7000-8000-00000000000a"

// desk is a node that keeps what was asked of it and answers as it is told.
type desk struct {
	ids, csrs []string
	answer    func(http.ResponseWriter)
}

func (d *desk) handle(w http.ResponseWriter, r *http.Request) {
	var in wire.IssueCertificate
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		panic(err)
	}
	d.ids, d.csrs = append(d.ids, r.Header.Get(wire.HeaderRequestID)), append(d.csrs, in.CSR)
	d.answer(w)
}

func lose(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func certify(w http.ResponseWriter) {
	respond(w, wire.IssuedCertificate{Serial: "01aa", Issuer: "corp", Node: "n1", PEM: "LEAF\n", ChainPEM: "CA\n"})
}

func refuseAs(code wire.Code) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		e := wire.Errorf(code, "no")
		w.WriteHeader(e.HTTPStatus())
		respond(w, e)
	}
}

func (d *desk) issue(t *testing.T, dir, more string) (outcome, cliError) {
	t.Helper()
	got := against(t, d.handle, "cert issue --issuer corp --dns a.test --timeout 700ms -o json --out "+dir+"/a.pem --key-out "+dir+"/a.key "+more)
	var e cliError
	if got.code != exitDone {
		if err := json.Unmarshal([]byte(got.err), &e); err != nil {
			t.Fatalf("%+v: %v", got, err)
		}
	}
	return got, e
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// TestKeyOfUnknownOutcome: a certificate may exist for it, so the key stays, and the
// same request again carries the same bytes.
func TestKeyOfUnknownOutcome(t *testing.T) {
	for _, kind := range []string{"P-256", "P-384", "Ed25519", "RSA-2048"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			d := &desk{answer: lose}
			got, e := d.issue(t, dir, "--timeout 5s --cn a --key-type "+kind)
			key := fileText(t, dir+"/a.key")
			if got.code != exitUnknown || key == "" || e.RequestID != d.ids[0] || !strings.Contains(e.Hint, "--request-id "+e.RequestID) || !strings.Contains(e.Hint, "a.key") {
				t.Fatalf("%+v, key %q", got, key)
			}
			if got, e = d.issue(t, dir, "--cn a"); got.code != exitRefused || !strings.Contains(e.Message, "a.key") || len(d.ids) != 1 && d.ids[len(d.ids)-1] != d.ids[0] {
				t.Fatalf("without the request id: %+v, asked %v", got, d.ids)
			}
			d.answer = certify
			got, _ = d.issue(t, dir, "--cn a --request-id "+d.ids[0])
			if got.code != exitDone || fileText(t, dir+"/a.pem") != "LEAF\nCA\n" || fileText(t, dir+"/a.key") != key {
				t.Fatalf("the request again: %+v", got)
			}
			for i := range d.csrs {
				if d.csrs[i] != d.csrs[0] || d.ids[i] != d.ids[0] {
					t.Errorf("attempt %d of %s was another request", i, d.ids[i])
				}
			}
		})
	}
}

func TestKeyOfRefusedRequest(t *testing.T) {
	for code, kept := range map[wire.Code]bool{"certificate_refused": false, wire.Denied: false, wire.NotRecorded: true, wire.OutcomeUnknown: true} {
		dir := t.TempDir()
		d := &desk{answer: refuseAs(code)}
		if got, _ := d.issue(t, dir, ""); got.code == exitDone || (fileText(t, dir+"/a.key") != "") != kept {
			t.Errorf("%s: key kept: %t; %+v", code, !kept, got)
		}
	}
}

// TestKeyOfEarlierRequest: what this run did not make it does not remove.
func TestKeyOfEarlierRequest(t *testing.T) {
	dir := t.TempDir()
	d := &desk{answer: lose}
	d.issue(t, dir, "--request-id "+issueID)
	key := fileText(t, dir+"/a.key")
	d.answer = refuseAs(wire.Denied)
	got, e := d.issue(t, dir, "--request-id "+issueID)
	if got.code != exitRefused || key == "" || fileText(t, dir+"/a.key") != key || !strings.Contains(e.Hint, "a.key") {
		t.Errorf("%+v", got)
	}
	if got, _ = d.issue(t, dir, "--key-type P-384 --request-id "+issueID); got.code != exitUsage {
		t.Errorf("a key of another kind: %+v", got)
	}
}

// TestKeyOfUnwrittenCertificate: it was issued, only its file could not be written.
func TestKeyOfUnwrittenCertificate(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "a.pem", "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	d := &desk{answer: certify}
	got, e := d.issue(t, dir, "")
	if got.code != exitRefused || fileText(t, dir+"/a.key") == "" || !strings.Contains(e.Hint, "cert show 01aa") || !strings.Contains(e.Hint, "--request-id "+d.ids[0]) {
		t.Errorf("%+v", got)
	}
}

// TestUnwrittenCertificate: one that was issued and has no file can still be had.
func TestUnwrittenCertificate(t *testing.T) {
	dir := t.TempDir()
	d := &desk{answer: certify}
	if got, _ := d.issue(t, dir, ""); got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	if err := os.WriteFile(dir+"/cert.pem", anyCertificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"cert sign --issuer corp --csr DIR/cert.pem --out DIR/none/b.pem", "cert renew DIR/cert.pem --key-file DIR/a.key --out DIR/none/b.pem"} {
		got := against(t, d.handle, strings.ReplaceAll(line, "DIR", dir))
		if got.code != exitRefused || !strings.Contains(got.err, "chancery cert show 01aa") {
			t.Errorf("%s: %+v", line, got)
		}
	}
	asked := len(d.ids)
	got := against(t, d.handle, "cert sign --issuer corp --csr "+dir+"/cert.pem")
	if got.code != exitUsage || !strings.Contains(got.err, "--out") || len(d.ids) != asked {
		t.Errorf("a certificate that goes nowhere: %+v", got)
	}
	if got = against(t, d.handle, "cert sign --issuer corp -o json --csr "+dir+"/cert.pem"); got.code != exitDone || !strings.Contains(got.out, "LEAF") {
		t.Errorf("as JSON: %+v", got)
	}
}

// TestKeysAreNotWrittenOver: by a certificate or a root, whatever file was named.
func TestKeysAreNotWrittenOver(t *testing.T) {
	dir := t.TempDir()
	d := &desk{answer: func(w http.ResponseWriter) {
		respond(w, wire.IssuedCertificate{Serial: "01aa", Issuer: "corp", Node: "n1", PEM: "LEAF\n", ChainPEM: "CA\n", RootPEM: "ROOT\n"})
	}}
	if got, _ := d.issue(t, dir, ""); got.code != exitDone {
		t.Fatalf("%+v", got)
	}
	key := fileText(t, dir+"/a.key")
	if err := os.WriteFile(dir+"/both.pem", []byte("a certificate stands here\n"+key), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.key", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/cert.pem", anyCertificate(t), 0o600); err != nil {
		t.Fatal(err)
	}
	d.ids = nil
	const issue, sign, renew = "cert issue --issuer corp --dns a.test --out DIR/b.pem --key-out DIR/b.key", "cert sign --issuer corp --csr DIR/cert.pem", "cert renew DIR/cert.pem --key-file DIR/a.key"
	for _, line := range []string{issue + " --out DIR/a.key", issue + " --root-out DIR/a.key", issue + " --root-out DIR/b.key", issue + " --root-out DIR/link", issue + " --out DIR/both.pem",
		sign + " --out DIR/a.key", sign + " --out DIR/c.pem --root-out DIR/a.key",
		renew + " --out DIR/a.key", renew + " --root-out DIR/link", renew + " --daemon --root-out DIR/both.pem"} {
		got := against(t, d.handle, strings.ReplaceAll(line, "DIR", dir)+" --timeout 700ms")
		if got.code != exitRefused && got.code != exitUsage || len(d.ids) != 0 || fileText(t, dir+"/a.key") != key || fileText(t, dir+"/b.key") != "" || !strings.HasSuffix(fileText(t, dir+"/both.pem"), key) {
			t.Errorf("%s: %+v, asked %v", line, got, d.ids)
		}
	}
}

// anyCertificate is a certificate file, of any certificate.
func anyCertificate(t *testing.T) []byte {
	t.Helper()
	key, err := newKey("P-256")
	if err != nil {
		t.Fatal(err)
	}
	serial := lifecycle.NewSerial(lifecycle.Instant(time.Now().UnixMilli()), [13]byte{1})
	template := &x509.Certificate{SerialNumber: new(big.Int).SetBytes(serial[:]), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestUsageOfIssueMakesNoKey(t *testing.T) {
	dir := t.TempDir()
	d := &desk{answer: certify}
	if got, _ := d.issue(t, dir, "--ttl soon"); got.code != exitUsage || fileText(t, dir+"/a.key") != "" || len(d.ids) != 0 {
		t.Errorf("%+v, asked %v", got, d.ids)
	}
}
