package identity

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chancery-project/chancery/fsm/lifecycle"
)

func TestStatusCertificate(t *testing.T) {
	f := newFixture(t)
	key := must(NewStatusKey())
	public, err := ParseStatusRequest(must(key.Request()))
	if err != nil || !key.private.PublicKey.Equal(public) {
		t.Fatalf("request: %v", err)
	}
	leaf := must(f.ca.IssueStatus(f.key.NodeID(), public, now))
	chain := []*x509.Certificate{leaf}
	if id, err := f.bundle.VerifyStatus(chain, cluster, now); err != nil || id != f.key.NodeID() {
		t.Errorf("VerifyStatus = %s, %v", id, err)
	}
	if uri := leaf.URIs[0].String(); uri != "chancery://"+cluster+"/status/"+string(f.key.NodeID()) {
		t.Errorf("it names %s", uri)
	}
	if leaf.IsCA || leaf.NotAfter.Sub(now) != LeafLifetime {
		t.Errorf("profile: ca=%v until %s", leaf.IsCA, leaf.NotAfter)
	}
	// It is good for nothing else, and nothing else is good for it.
	if _, err := f.bundle.VerifyNode(chain, cluster, now); err == nil {
		t.Error("a status key passed for a node")
	}
	if _, _, err := f.bundle.VerifyPrincipal(chain, cluster, now); err == nil {
		t.Error("a status key passed for a principal")
	}
	lying := *must(f.ca.IssueNode(f.key.Public(), nil, now))
	lying.URIs = leaf.URIs // a certificate for TLS with the name of a status key
	for name, c := range map[string]struct {
		cert    *x509.Certificate
		cluster string
		at      time.Time
		want    error
	}{
		"a node's":      {must(f.ca.IssueNode(f.key.Public(), nil, now)), cluster, now, ErrSubject},
		"a principal's": {must(f.ca.IssuePrincipal("a", public, time.Hour, now)), cluster, now, ErrSubject},
		"of TLS usage":  {signed(t, f, &lying), cluster, now, ErrUntrusted},
		"expired":       {leaf, cluster, now.Add(LeafLifetime + time.Second), ErrExpired},
		"other cluster": {leaf, strings.Repeat("f", 32), now, ErrUntrusted},
		"other CA":      {must(newFixture(t).ca.IssueStatus(f.key.NodeID(), public, now)), cluster, now, ErrUntrusted},
	} {
		if _, err := f.bundle.VerifyStatus([]*x509.Certificate{c.cert}, c.cluster, c.at); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if _, err := f.ca.IssueStatus(lifecycle.NodeID("x"), public, now); err == nil {
		t.Error("issued for a node id that is none")
	}
}

func TestStatusRequestRefusals(t *testing.T) {
	key := must(NewStatusKey())
	good := must(key.Request())
	for i := range good {
		bad := append([]byte(nil), good...)
		bad[i] ^= 1
		if public, err := ParseStatusRequest(bad); err == nil && !key.private.PublicKey.Equal(public) {
			t.Errorf("byte %d: another key was taken", i)
		}
		if _, err := ParseStatusRequest(good[:i]); err == nil {
			t.Errorf("cut at %d: taken", i)
		}
	}
}

func TestStatusStore(t *testing.T) {
	f, dir := newFixture(t), t.TempDir()
	s := NewStore(dir)
	key := must(s.LoadOrCreateStatusKey())
	if again := must(s.LoadOrCreateStatusKey()); !again.private.Equal(key.private) {
		t.Fatal("the status key changed over a restart")
	}
	if _, err := s.LoadStatusLeaf(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no certificate yet: %v", err)
	}
	leaf := must(f.ca.IssueStatus(f.key.NodeID(), key.Public(), now))
	if err := s.SaveStatusLeaf(must(NewStatusKey()), leaf); !errors.Is(err, ErrMismatch) {
		t.Errorf("another key's certificate: %v", err)
	}
	if err := s.SaveStatusLeaf(key, leaf); err != nil {
		t.Fatal(err)
	}
	if got := must(s.LoadStatusLeaf(key)); !got.Equal(leaf) {
		t.Error("another certificate came back")
	}
	if _, err := s.LoadStatusLeaf(must(NewStatusKey())); !errors.Is(err, ErrMismatch) {
		t.Errorf("loaded for another key: %v", err)
	}
	path := filepath.Join(dir, statusKeyFile)
	if info := must(os.Stat(path)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %o", info.Mode().Perm())
	}
	os.Chmod(path, 0o644)
	if _, err := s.LoadOrCreateStatusKey(); !errors.Is(err, ErrPermissions) {
		t.Errorf("a key that others can read: %v", err)
	}
	os.Chmod(path, 0o600)
	text := must(os.ReadFile(path))
	for name, content := range map[string][]byte{"empty": {}, "cut": text[:len(text)/2], "doubled": append(text[:len(text):len(text)], text...), "garbage": []byte("secret-bytes")} {
		os.WriteFile(path, content, 0o600)
		_, err := s.LoadOrCreateStatusKey()
		if err == nil || strings.Contains(err.Error(), "secret-bytes") || !strings.Contains(err.Error(), "remove status.key") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
