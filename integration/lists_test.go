package integration

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/client"
	"github.com/chancery-project/chancery/transport/wire"
)

// listWatch reads the CRLs of every instance from every node, over and over, and keeps
// what it saw.
type listWatch struct {
	c    *lab
	web  *http.Client
	kids map[string]string // issuer by kid

	mu   sync.Mutex
	seen []seenList
}

// seenList is one answer.
type seenList struct {
	node string
	kid  string
	at   time.Time
	list *x509.RevocationList
	hash [32]byte // of the TBS
}

// watchLists begins to read, until the test ends.
func (c *lab) watchLists(issuers ...string) *listWatch {
	c.t.Helper()
	w := &listWatch{c: c, web: &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DialContext: c.outside.Dial}}, kids: map[string]string{}}
	for _, name := range issuers {
		is, err := c.admin.Issuer(ctx(c.t), name)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, i := range is.Instances {
			w.kids[i.KID] = name
		}
	}
	stop, done := make(chan struct{}), make(chan struct{})
	c.t.Cleanup(func() {
		close(stop)
		<-done
		w.web.CloseIdleConnections()
	})
	go func() {
		defer close(done)
		for {
			for _, n := range c.nodes {
				for kid, issuer := range w.kids {
					_, _ = w.fetch(n, issuer, kid) // a node that is down is asked again
				}
			}
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return w
}

// fetch reads a CRL and keeps it.
func (w *listWatch) fetch(n *node, issuer, kid string) (*x509.RevocationList, error) {
	r, err := w.web.Get("http://" + n.public + "/crl/" + issuer + "/" + kid + ".crl")
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	der, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	if r.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %.200s", r.Status, der)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, seenList{n.name, kid, time.Now(), list, sha256.Sum256(list.RawTBSRevocationList)})
	return list, nil
}

// check judges all that was seen: a number stands for one list, wherever it is read; no
// node goes back; and what was acknowledged as revoked is on every list made after that.
func (w *listWatch) check(t *testing.T, revoked map[string]revokedCert) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	meaning, newest := map[string][32]byte{}, map[string]*big.Int{}
	for _, s := range w.seen {
		name := s.kid + " number " + s.list.Number.String()
		if before, ok := meaning[name]; ok && before != s.hash {
			t.Errorf("%s stands for two lists; the second was read from %s", name, s.node)
		}
		meaning[name] = s.hash
		at := s.node + " " + s.kid
		if last := newest[at]; last != nil && s.list.Number.Cmp(last) < 0 {
			t.Errorf("%s served number %s of %s after number %s", s.node, s.list.Number, s.kid, last)
		}
		newest[at] = s.list.Number
		for serial, r := range revoked {
			// thisUpdate is in whole seconds, and a node may be behind the answer by a moment.
			if r.kid == s.kid && s.list.ThisUpdate.After(r.at.Add(2*time.Second)) && !lists(s.list, serial) {
				t.Errorf("number %s of %s, of %s, lacks %s, revoked at %s", s.list.Number, s.kid, s.list.ThisUpdate, serial, r.at)
			}
		}
	}
	t.Logf("%d lists read, %d different ones", len(w.seen), len(meaning))
}

// lists reports whether a serial, in hex, is on a list.
func lists(l *x509.RevocationList, serial string) bool {
	want, ok := new(big.Int).SetString(serial, 16)
	for _, e := range l.RevokedCertificateEntries {
		if ok && e.SerialNumber.Cmp(want) == 0 {
			return true
		}
	}
	return false
}

// ocspStatus asks a node by OCSP about a certificate that was issued.
func (p *pkiLab) ocspStatus(n *node, leafPEM, serial string) string {
	p.t.Helper()
	row, err := p.admin.Certificate(ctx(p.t), serial, client.Consistency(wire.Linearizable))
	if err != nil {
		return err.Error()
	}
	leaf, ca := certOf(p.t, leafPEM), certOf(p.t, row.ChainPEM)
	req, err := ocsp.CreateRequest(leaf, ca, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return err.Error()
	}
	r, err := p.lists.web.Post("http://"+n.public+wire.PathOCSP, "application/ocsp-request", bytes.NewReader(req))
	if err != nil {
		return err.Error()
	}
	defer r.Body.Close()
	der, err := io.ReadAll(r.Body)
	if err != nil {
		return err.Error()
	}
	answer, err := ocsp.ParseResponseForCert(der, leaf, ca)
	if err != nil {
		return err.Error()
	}
	return map[int]string{ocsp.Good: "good", ocsp.Revoked: "revoked", ocsp.Unknown: "unknown"}[answer.Status]
}

// certOf reads the first certificate of a PEM text.
func certOf(t *testing.T, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no certificate in %.100q", text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
