package public

import (
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

// millionList is a signed list of corp's first instance with n entries.
func millionList(q *quarter, n int) []byte {
	q.t.Helper()
	ca, now := q.Corp[0], q.Ledger.Clock().At()
	list := &crl.List{Issuer: crl.Issuer{Subject: ca.Cert.RawSubject, KeyID: ca.Cert.SubjectKeyId, Alg: lifecycle.ES256},
		Number: 7, ThisUpdate: now.Add(-lifecycle.Minute), NextUpdate: now.Add(3 * lifecycle.Day)}
	d, err := list.Draft(0, func(yield func([]byte, error) bool) {
		var random [13]byte
		for i := range n {
			binary.BigEndian.PutUint64(random[5:], uint64(i))
			if !yield(lifecycle.EncodeCRLEntry(lifecycle.NewSerial(now, random), now, lifecycle.Superseded, 0), nil) {
				return
			}
		}
	})
	if err != nil {
		q.t.Fatal(err)
	}
	return d.Finish(ca.SignMessage(q.t, d.TBS()))
}

// TestMillionServed fetches a list of a million entries over HTTP: it arrives whole,
// openssl reads it and verifies it, who has it gets no second copy, and serving it takes
// no memory of its size, because it comes from the disk.
func TestMillionServed(t *testing.T) {
	const n = 1_000_000
	q := settle(t)
	der := millionList(q, n)
	facts, err := crl.Read(der)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.config.CRLs.Put(q.Corp[0].KID, 0, facts, der); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(q.public)
	defer server.Close()
	url := server.URL + crl.Path(pkitest.CorpName, q.Corp[0].KID, 0)
	file := filepath.Join(t.TempDir(), "list.crl")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	resp, size := fetchTo(t, file, url, "")
	runtime.ReadMemStats(&after)
	if resp.StatusCode != http.StatusOK || size != int64(len(der)) || resp.ContentLength != size {
		t.Fatalf("%s: %d bytes of %d", resp.Status, size, len(der))
	}
	if allocated := after.TotalAlloc - before.TotalAlloc; allocated > uint64(len(der))/10 {
		t.Errorf("%d bytes allocated to serve a list of %d", allocated, len(der))
	}
	ca := filepath.Join(t.TempDir(), "ca.der")
	if err := os.WriteFile(ca, q.Corp[0].Cert.Raw, 0o600); err != nil {
		t.Fatal(err)
	}
	pem := ca + ".pem"
	for _, args := range [][]string{{"x509", "-inform", "DER", "-in", ca, "-out", pem}, {"crl", "-inform", "DER", "-in", file, "-noout", "-crlnumber", "-CAfile", pem}} {
		out, err := exec.Command("openssl", args...).CombinedOutput()
		if err != nil || args[0] == "crl" && (!strings.Contains(string(out), "verify OK") || !strings.Contains(string(out), "crlNumber=0x07")) {
			t.Errorf("openssl %s: %v: %s", args[0], err, out)
		}
	}
	again, size := fetchTo(t, file, url, resp.Header.Get("Etag"))
	if again.StatusCode != http.StatusNotModified || size != 0 {
		t.Errorf("who has it: %s, %d bytes", again.Status, size)
	}
}

// fetchTo writes a body to a file.
func fetchTo(t *testing.T, file, url, have string) (*http.Response, int64) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if have != "" {
		req.Header.Set("If-None-Match", have)
	}
	resp, err := (&http.Client{Timeout: time.Minute}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	size, err := io.Copy(f, resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return resp, size
}
