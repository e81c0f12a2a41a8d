package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// foreignTLS is a server certificate for 127.0.0.1 by nobody in particular.
func foreignTLS(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"example.com"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

func TestSignDiscardsLateAnswers(t *testing.T) {
	slow := startNode(t, func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	good := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 1, 1, wire.Signature{KID: "k"}) })
	c := newClient(t, Config{Addrs: []string{slow.URL, good.URL}, SignDeadline: 60 * time.Millisecond})
	s, err := c.Sign(t.Context(), "ci", wire.SignRequest{Message: []byte("x")})
	if err != nil || s.KID != "k" {
		t.Fatalf("another node was not asked: %+v, %v", s, err)
	}
	c = newClient(t, Config{Addrs: []string{slow.URL}, SignDeadline: 20 * time.Millisecond, Timeout: 200 * time.Millisecond})
	var unknown *OutcomeUnknown
	if _, err := c.Sign(t.Context(), "ci", wire.SignRequest{Message: []byte("x")}); !errors.Is(err, ErrLate) || errors.As(err, &unknown) {
		t.Errorf("only late answers: %v", err)
	}
}

func TestElapsedCountsSleep(t *testing.T) {
	from := time.Now()
	slept := from.Round(0).Add(time.Hour) // no monotonic reading: as after a suspend
	if got := elapsed(from, slept); got < 59*time.Minute {
		t.Errorf("elapsed = %s", got)
	}
	if got := elapsed(from, from.Add(time.Second)); got != time.Second {
		t.Errorf("elapsed = %s", got)
	}
}

// signingNode holds one instance and refuses any other kid.
func signingNode(t *testing.T, name string, key *ecdsa.PrivateKey, others ...*ecdsa.PrivateKey) *fakeNode {
	show := wire.Key{Name: "ci", Alg: lifecycle.ES256, ActiveVersion: 2, Versions: []wire.Version{{Version: 2, State: lifecycle.Active}}}
	for i, k := range append([]*ecdsa.PrivateKey{key}, others...) {
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		node := []string{name, "other"}[i]
		show.Versions[0].Instances = append(show.Versions[0].Instances, wire.Instance{KID: wire.Text("kid-" + node), Node: node, MaySign: true, Condition: lifecycle.Ready,
			PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
	}
	return startNode(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			answer(w, 1, 1, show)
			return
		}
		var req wire.SignRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.KID != "kid-"+name {
			refuse(w, wire.InstanceNotHere)
			return
		}
		sig, err := ecdsa.SignASN1(rand.Reader, key, req.Digest)
		if err != nil {
			t.Error(err)
		}
		answer(w, 1, 1, wire.Signature{Key: "ci", KID: req.KID, Node: name, Signature: sig})
	})
}

func TestSigner(t *testing.T) {
	mine, other := newKey(t), newKey(t)
	n1, n2 := signingNode(t, "n1", mine, other), signingNode(t, "other", other)
	c := newClient(t, Config{Addrs: []string{n1.URL, n2.URL}})
	s, err := c.Signer(t.Context(), "ci", "other")
	if err != nil {
		t.Fatal(err)
	}
	if !other.PublicKey.Equal(s.Public()) || s.KID() != "kid-other" {
		t.Fatal("pinned to another instance than asked for")
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "x"}}, s)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil {
		t.Errorf("the request does not verify: %v, %v", err, csr.CheckSignature())
	}
	before := len(n1.requests())
	digest := sha256.Sum256([]byte("x"))
	if d, err := s.SignDetailed(digest[:]); err != nil || d.Node != "other" {
		t.Errorf("detailed = %+v, %v", d, err)
	}
	if len(n1.requests()) != before {
		t.Error("the node without the instance was asked again")
	}
	if _, err := s.Sign(nil, digest[:], crypto.SHA384); err == nil {
		t.Error("SHA-384 was accepted by an ES256 key")
	}
	if _, err := s.Sign(nil, digest[:20], crypto.SHA256); err == nil {
		t.Error("a short digest was accepted")
	}
	if _, err := s.Sign(nil, digest[:], &rsa.PSSOptions{Hash: crypto.SHA256}); err == nil {
		t.Error("PSS was accepted by an ES256 key")
	}
	if _, err := c.Signer(t.Context(), "ci", "n7"); err == nil || !strings.Contains(err.Error(), "on n7") {
		t.Errorf("a node without an instance: %v", err)
	}
}

// TestSignerFindsTheMovedInstance: the node went to another address.
func TestSignerFindsTheMovedInstance(t *testing.T) {
	key := newKey(t)
	n1 := signingNode(t, "n1", key)
	c := newClient(t, Config{Addrs: []string{n1.URL, startNode(t, refusing(wire.InstanceNotHere)).URL}})
	s, err := c.Signer(t.Context(), "ci", "")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = c.Addrs()[1]
	digest := sha256.Sum256([]byte("x"))
	sig, err := s.Sign(nil, digest[:], crypto.SHA256)
	if err != nil || !ecdsa.VerifyASN1(&key.PublicKey, digest[:], sig) {
		t.Errorf("sign = %x, %v", sig, err)
	}
}

func TestSignerRefusesAnotherInstance(t *testing.T) {
	key := newKey(t)
	honest := signingNode(t, "n1", key)
	c := newClient(t, Config{Addrs: []string{honest.URL}})
	s, err := c.Signer(t.Context(), "ci", "")
	if err != nil {
		t.Fatal(err)
	}
	liar := startNode(t, func(w http.ResponseWriter, r *http.Request) { answer(w, 1, 1, wire.Signature{KID: "kid-n2"}) })
	s.client = newClient(t, Config{Addrs: []string{liar.URL}})
	if _, err := s.SignDetailed(bytes.Repeat([]byte{1}, 32)); err == nil || !strings.Contains(err.Error(), "kid-n2") {
		t.Errorf("err = %v", err)
	}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}
