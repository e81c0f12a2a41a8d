package public

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// quarter is the public listener of a town's first node, which signs its lists.
type quarter struct {
	*site
	*pkitest.Town
	maker *crl.Maker
}

func settle(t *testing.T) *quarter {
	w := pkitest.NewTown(t, 2)
	store, err := crl.OpenStore(t.TempDir(), func(path string, b []byte) error { return os.WriteFile(path, b, 0o600) })
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]*pkitest.CA{w.Root.KID: w.Root, w.Corp[0].KID: w.Corp[0]}
	maker := crl.NewMaker(crl.Config{Ledger: w.Ledger, Store: store, Clock: w.Ledger.Clock().Now, Logger: slog.New(slog.DiscardHandler),
		Sign: func(ctx context.Context, ca *lifecycle.CACert, c *command.AllocateCRL, tbs []byte) ([]byte, error) {
			if _, err := w.Ledger.Propose(ctx, w.Ledger.Command(c)); err != nil {
				return nil, err
			}
			return keys[ca.KID].SignMessage(t, tbs), nil
		},
		Fetch: func(context.Context, lifecycle.NodeID, string, uint64) ([]byte, error) {
			return nil, errors.New("the other node is not there")
		}})
	maker.Tend(t.Context())
	c := Config{Node: "n1", Ledger: w.Ledger, Clock: w.Ledger.Clock().Now, PublicURL: "https://n1.test:7601", Metrics: prometheus.NewRegistry(), CRLs: store}
	return &quarter{site: &site{t: t, ledger: w.Ledger, config: c, public: New(c)}, Town: w, maker: maker}
}

func TestIssuerFiles(t *testing.T) {
	q := settle(t)
	w := q.ask(http.MethodGet, "/issuers/corp/"+q.Corp[1].KID+".crt")
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), q.Corp[1].Cert.Raw) || w.Header().Get("Content-Type") != wire.TypeCertificate {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	count := func(path string) int {
		return strings.Count(q.ask(http.MethodGet, path).Body.String(), "BEGIN CERTIFICATE")
	}
	if n := count("/issuers/corp/chain.pem"); n != 2 {
		t.Errorf("%d certificates in the chain", n)
	}
	w = q.ask(http.MethodGet, "/roots.pem")
	if block, _ := pem.Decode(w.Body.Bytes()); block == nil || !bytes.Equal(block.Bytes, q.Root.Cert.Raw) {
		t.Errorf("roots: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/issuers/nobody/chain.pem", "/issuers/corp/x.crt", "/issuers/root/" + q.Corp[0].KID + ".crt", "/issuers/corp/" + q.Corp[0].KID} {
		q.refused(q.ask(http.MethodGet, path), wire.NotFound)
	}
	// What a verifier will trust for where it came from needs TLS; what is signed does not.
	plain := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.RemoteAddr = "192.0.2.1:1234"
		return q.serve(r)
	}
	q.refused(plain("/roots.pem"), wire.NeedsTLS)
	q.refused(plain("/issuers/root/chain.pem"), wire.NeedsTLS)
	if w := plain("/issuers/corp/chain.pem"); w.Code != 200 {
		t.Errorf("over plain HTTP: %d", w.Code)
	}
	q.Ledger.Must(t, &command.Revoke{Key: pkitest.CorpName, Node: q.Nodes[1], Reason: lifecycle.KeyCompromise})
	if n := count("/issuers/corp/chain.pem"); n != 1 {
		t.Errorf("%d certificates after one was compromised", n)
	}
}

func TestCRLFiles(t *testing.T) {
	q := settle(t)
	path := crl.Path(pkitest.CorpName, q.Corp[0].KID, 0)
	w := q.ask(http.MethodGet, path)
	list, err := x509.ParseRevocationList(w.Body.Bytes())
	if err != nil || list.CheckSignatureFrom(q.Corp[0].Cert) != nil || w.Code != 200 || w.Header().Get("Content-Type") != wire.TypeCRL {
		t.Fatalf("%d %v %v", w.Code, w.Header(), err)
	}
	tag, since := w.Header().Get("Etag"), w.Header().Get("Last-Modified")
	for name, v := range map[string]string{"If-None-Match": tag, "If-Modified-Since": since} {
		if w := q.ask(http.MethodGet, path, name, v); w.Code != http.StatusNotModified || w.Body.Len() != 0 {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if w := q.ask(http.MethodGet, path, "Range", "bytes=0-9"); w.Code != http.StatusPartialContent || w.Body.Len() != 10 {
		t.Errorf("a part: %d of %d bytes", w.Code, w.Body.Len())
	}
	size := strconv.Itoa(len(list.Raw))
	if w := q.ask(http.MethodHead, path); w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Length") != size || w.Header().Get("Etag") != tag {
		t.Errorf("HEAD: %d of %d bytes, %v", w.Code, w.Body.Len(), w.Header())
	}
	if w := q.ask(http.MethodGet, path, "Range", "bytes=999999-"); w.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a part behind the end: %d", w.Code)
	}
	if w := q.ask(http.MethodGet, path, "Range", "bytes=0-9", "If-Range", `"another"`); w.Code != 200 || strconv.Itoa(w.Body.Len()) != size {
		t.Errorf("a part of another list: %d of %d bytes", w.Code, w.Body.Len())
	}
	leaf := q.Issue(0, "a.test")
	q.Revoke(leaf.Serial(), lifecycle.KeyCompromise)
	q.Ledger.Pass(t, 2*time.Second)
	q.maker.Tend(t.Context())
	w = q.ask(http.MethodGet, path, "If-None-Match", tag)
	if list, err = x509.ParseRevocationList(w.Body.Bytes()); err != nil || len(list.RevokedCertificateEntries) != 1 {
		t.Errorf("the newer list: %d, %v", w.Code, err)
	}
	q.Ledger.SetStale(true)
	if w := q.ask(http.MethodGet, path); w.Code != 200 {
		t.Errorf("a stale node: %d", w.Code)
	}
	for _, path := range []string{crl.Path(pkitest.RootName, q.Corp[0].KID, 0), crl.Path(pkitest.CorpName, q.Corp[1].KID, 0), crl.Path(pkitest.CorpName, q.Corp[0].KID, 1), "/crl/corp/x", "/crl/corp/x.99.crl"} {
		q.refused(q.ask(http.MethodGet, path), wire.NotFound)
	}
}

func TestCertificateStatus(t *testing.T) {
	q := settle(t)
	ask := func(serial string) (out wire.CertificateAnswer) {
		t.Helper()
		w := q.ask(http.MethodGet, "/status/certificates/"+serial)
		d := json.NewDecoder(w.Body)
		d.DisallowUnknownFields()
		if err := d.Decode(&out); err != nil || w.Code != 200 {
			t.Fatalf("%d: %v", w.Code, err)
		}
		return out
	}
	good, bad, held, intent := q.Issue(0, "a.test"), q.Issue(1, "b.test"), q.Issue(0, "c.test"), q.Announce(0, "d.test")
	q.Revoke(bad.Serial(), lifecycle.KeyCompromise)
	q.Revoke(held.Serial(), lifecycle.CertificateHold)
	text := good.Serial().String()
	for _, written := range []string{text, strings.ToUpper(text), "0x" + text, "01:" + text[2:]} {
		if a := ask(written); a.Status != "good" || a.Serial != text || a.Issuer != "corp" || a.IssuerKID != wire.Text(q.Corp[0].KID) || a.Revocation != nil || a.MaxAgeSeconds == 0 {
			t.Errorf("%s: %+v", written, a)
		}
	}
	if a := ask(bad.Serial().String()); a.Status != "revoked" || a.Revocation == nil || a.Revocation.Reason != lifecycle.KeyCompromise {
		t.Errorf("%+v", a)
	}
	if a := ask(held.Serial().String()); a.Status != wire.CertificateOnHold || a.Revocation == nil {
		t.Errorf("%+v", a)
	}
	if a := ask(intent.Serial().String()); a.Status != "unknown" || a.Issuer != "" {
		t.Errorf("announced and not recorded: %+v", a)
	}
	q.Ledger.SetStale(true)
	for serial, want := range map[lifecycle.Serial]string{good.Serial(): "indeterminate", bad.Serial(): "revoked", held.Serial(): "indeterminate", intent.Serial(): "indeterminate"} {
		if a := ask(serial.String()); a.Status != want || (a.Revocation != nil) != (want == "revoked") {
			t.Errorf("out of a stale state: %+v, want %s", a, want)
		}
	}
	q.Ledger.SetStale(false)
	q.Ledger.Pass(t, 13*time.Hour)
	if a := ask(text); a.Status != "expired" {
		t.Errorf("after its end: %+v", a)
	}
	q.refused(q.ask(http.MethodGet, "/status/certificates/xyz"), wire.Invalid)
}
