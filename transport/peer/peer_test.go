package peer

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/transport/tlsmux"
)

// certify makes an identity; only its key counts, the dates are handed on.
func certify(t *testing.T, lifetime time.Duration) (*tls.Certificate, lifecycle.NodeID) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(lifetime)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(leaf.RawSubjectPublicKeyInfo)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, lifecycle.NodeID(hex.EncodeToString(sum[:]))
}

type question struct {
	Text string `json:"text"`
}

type answer struct {
	From    lifecycle.NodeID `json:"from"`
	Text    string           `json:"text"`
	Expired bool             `json:"expired"`
}

// pair is a server with verbs and a client whose certificate lives so long.
func pair(t *testing.T, lifetime time.Duration) (c *Client, server, caller lifecycle.NodeID) {
	t.Helper()
	serverCert, server := certify(t, time.Hour)
	callerCert, caller := certify(t, lifetime)
	member := func(id lifecycle.NodeID) bool { return id == server || id == caller }
	quiet := slog.New(slog.DiscardHandler)
	there, here := tlsmux.New(tlsmux.Config{Member: member, Logger: quiet}), tlsmux.New(tlsmux.Config{Member: member, Logger: quiet})
	there.SetCertificate(serverCert)
	here.SetCertificate(callerCert)
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := there.Start(port); err != nil {
		t.Fatal(err)
	}
	s := NewServer(quiet)
	Handle(s, "echo", func(_ context.Context, from From, q question) (answer, error) {
		return answer{from.Node, q.Text, from.Expired}, nil
	})
	for code, err := range sentinels {
		Handle(s, "fail-"+code, func(context.Context, From, question) (answer, error) {
			return answer{}, fmt.Errorf("on purpose: %w", err)
		})
	}
	Handle(s, "fail", func(context.Context, From, question) (answer, error) { return answer{}, errors.New("just so") })
	served := make(chan error, 1)
	go func() { served <- s.Serve(there.Listener(tlsmux.Peer)) }()
	c = NewClient(here, func(id lifecycle.NodeID) (string, error) {
		if id != server {
			return "", fmt.Errorf("no address of %s", id.Short())
		}
		return port.Addr().String(), nil
	})
	t.Cleanup(func() {
		c.Close()
		if err := errors.Join(s.Close(), there.Close(), here.Close(), <-served); err != nil {
			t.Error(err)
		}
	})
	return c, server, caller
}

func ask(t *testing.T, c *Client, node lifecycle.NodeID, verb, text string) (answer, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return Call[question, answer](ctx, c, node, verb, question{text})
}

func TestCallerIsWhoItsKeySays(t *testing.T) {
	c, server, caller := pair(t, time.Hour)
	got, err := ask(t, c, server, "echo", "hello")
	if err != nil || got != (answer{caller, "hello", false}) {
		t.Errorf("echo = %+v, %v", got, err)
	}
	c, server, caller = pair(t, -time.Hour)
	if got, err := ask(t, c, server, "echo", "late"); err != nil || got != (answer{caller, "late", true}) {
		t.Errorf("with an expired certificate: %+v, %v", got, err)
	}
}

func TestRefusalsKeepTheirMeaning(t *testing.T) {
	c, server, _ := pair(t, time.Hour)
	for code, want := range sentinels {
		_, err := ask(t, c, server, "fail-"+code, "")
		if !errors.Is(err, want) || !strings.Contains(err.Error(), "on purpose") {
			t.Errorf("%s arrives as %v", code, err)
		}
	}
	var e *Error
	if _, err := ask(t, c, server, "fail", ""); !errors.As(err, &e) || e.Unwrap() != nil || e.Node != server || e.Verb != "fail" {
		t.Errorf("a plain refusal arrives as %v", err)
	}
	if _, err := ask(t, c, server, "unheard-of", ""); err == nil {
		t.Error("an unknown verb is answered")
	}
	if _, err := ask(t, c, lifecycle.NodeID(strings.Repeat("0", 64)), "echo", ""); err == nil {
		t.Error("a node without an address is called")
	}
}

func TestLimits(t *testing.T) {
	c, server, _ := pair(t, time.Hour)
	if _, err := ask(t, c, server, "echo", strings.Repeat("x", maxBodyBytes)); err == nil {
		t.Error("an oversize message is read")
	}
	for name, body := range map[string]string{
		"unknown field": `{"text":"a","more":1}`, "wrong type": `{"text":1}`, "trailing": `{"text":"a"}{}`, "not JSON": `hello`, "empty": ``,
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+string(server)+pathPrefix+"echo", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.http.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil || resp.StatusCode == http.StatusOK {
			t.Errorf("%s is answered with %s %s (%v)", name, resp.Status, text, err)
		}
	}
}

// TestNoIdentityNoAnswer calls the handler as if it had been reached past tlsmux.
func TestNoIdentityNoAnswer(t *testing.T) {
	s := NewServer(slog.New(slog.DiscardHandler))
	Handle(s, "echo", func(context.Context, From, question) (answer, error) {
		t.Error("the verb ran without an identity")
		return answer{}, nil
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	resp, err := http.Post("http://"+l.Addr().String()+pathPrefix+"echo", "application/json", strings.NewReader(`{"text":"a"}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := resp.Body.Close(); err != nil || resp.StatusCode == http.StatusOK {
		t.Errorf("answered with %s (%v)", resp.Status, err)
	}
	if err := errors.Join(s.Close(), <-served); err != nil {
		t.Error(err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(`{"text":"a"}`)
	f.Add(`{"text":"a"} x`)
	f.Fuzz(func(t *testing.T, s string) {
		var q question
		if err := decode(strings.NewReader(s), &q); err == nil && len(s) > maxBodyBytes {
			t.Error("an oversize message was decoded")
		}
	})
}
