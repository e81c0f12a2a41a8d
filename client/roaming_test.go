package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/wire"
)

// signers are nodes n1 and n2 with an instance each, that can be told to
// refuse or to be slow.
type signers struct {
	keys    map[string]*ecdsa.PrivateKey
	without atomic.Value // name of the node that has no lease
	slow    atomic.Value // name of the node that answers too late
	index   atomic.Uint64
}

func newSigners(t *testing.T) *signers {
	s := &signers{keys: map[string]*ecdsa.PrivateKey{"n1": p256(t), "n2": p256(t)}}
	s.without.Store("")
	s.slow.Store("")
	return s
}

func (s *signers) node(t *testing.T, name string) *fakeNode {
	return startNode(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet {
			k := wire.Key{Name: "ci", Alg: lifecycle.ES256, ActiveVersion: 1, Versions: []wire.Version{{Version: 1, State: lifecycle.Active}}}
			for _, n := range []string{"n1", "n2"} {
				der, err := x509.MarshalPKIXPublicKey(s.keys[n].Public())
				if err != nil {
					t.Error(err)
				}
				k.Versions[0].Instances = append(k.Versions[0].Instances, wire.Instance{KID: wire.Text("kid-" + n), Node: n, MaySign: true, Condition: lifecycle.Ready,
					PEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))})
			}
			answer(w, 1, s.index.Load(), k)
			return
		}
		switch name {
		case s.without.Load():
			refuse(w, wire.NoLease)
			return
		case s.slow.Load():
			<-r.Context().Done()
			return
		}
		var req wire.SignRequest
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.KID != "" && req.KID != "kid-"+name {
			refuse(w, wire.InstanceNotHere)
			return
		}
		sig, err := ecdsa.SignASN1(rand.Reader, s.keys[name], req.Digest)
		if err != nil {
			t.Error(err)
		}
		answer(w, 1, s.index.Add(1), wire.Signature{Key: "ci", KID: "kid-" + name, Node: name, Signature: sig})
	})
}

func TestRoamingSigner(t *testing.T) {
	s := newSigners(t)
	n1, n2 := s.node(t, "n1"), s.node(t, "n2")
	c := newClient(t, Config{Addrs: []string{n1.URL, n2.URL}, SignDeadline: 300 * time.Millisecond})
	r, err := c.RoamingSigner(t.Context(), "ci")
	if err != nil {
		t.Fatal(err)
	}
	var _ crypto.Signer = r
	digest := sha256.Sum256([]byte("x"))
	signs := func(what, node string) {
		t.Helper()
		sig, err := r.Sign(nil, digest[:], crypto.SHA256)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		public, ok := r.Public().(*ecdsa.PublicKey)
		if !ok || !public.Equal(s.keys[node].Public()) || !ecdsa.VerifyASN1(public, digest[:], sig) {
			t.Errorf("%s: not signed by %s", what, node)
		}
	}
	signs("both can", "n1")
	s.without.Store("n1")
	signs("n1 has no lease", "n2")
	s.without.Store("")
	s.slow.Store("n2")
	signs("n2 answers too late", "n1")
	s.slow.Store("")
	if _, index := c.Seen(); index != s.index.Load() {
		t.Errorf("seen %d of %d", index, s.index.Load())
	}
	s.without.Store("n1")
	r.keys = map[string]crypto.PublicKey{} // as after a rotation
	signs("a kid it did not know", "n2")

	stolen := p256(t)
	s.keys["n2"], r.keys["kid-n2"] = stolen, p256(t).Public()
	if _, err := r.SignDetailed(digest[:]); err == nil || !strings.Contains(err.Error(), "does not verify") {
		t.Errorf("a signature by another key: %v", err)
	}
	for name, try := range map[string]func() error{
		"SHA-384":      func() error { _, err := r.Sign(nil, digest[:], crypto.SHA384); return err },
		"short digest": func() error { _, err := r.Sign(nil, digest[:20], crypto.SHA256); return err },
	} {
		if try() == nil {
			t.Errorf("%s was signed", name)
		}
	}
}

// TestSignerWaitsForItsLease: a pinned signer cannot go elsewhere, so it comes back.
func TestSignerWaitsForItsLease(t *testing.T) {
	s := newSigners(t)
	n1, n2 := s.node(t, "n1"), s.node(t, "n2")
	c := newClient(t, Config{Addrs: []string{n1.URL, n2.URL}})
	pinned, err := c.Signer(t.Context(), "ci", "n1")
	if err != nil {
		t.Fatal(err)
	}
	s.without.Store("n1")
	done := make(chan error, 1)
	go func() {
		sig, err := pinned.SignDetailed(bytes.Repeat([]byte{1}, 32))
		if err == nil && sig.Node != "n1" {
			t.Errorf("signed by %s", sig.Node)
		}
		done <- err
	}()
	for before := len(n1.requests()); len(n1.requests()) < before+2; { // it has been refused, and asks again
		select {
		case err := <-done:
			t.Fatalf("gave up: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	s.without.Store("")
	if err := <-done; err != nil {
		t.Error(err)
	}
}
