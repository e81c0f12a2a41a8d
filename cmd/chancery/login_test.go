package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/chancery-project/chancery/fsm/sshsig"
	"github.com/chancery-project/chancery/transport/wire"
)

// TestArmoured: what login signs with is what the server's verifier accepts.
func TestArmoured(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, private := range []any{ed, ec} {
		signer, err := ssh.NewSignerFromKey(private)
		if err != nil {
			t.Fatal(err)
		}
		text := []byte(wire.LoginPreamble + "nonce: 1\n")
		armoured, err := (&sshKey{Signer: signer}).armoured(wire.LoginNamespace, text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := sshsig.ParseKey(signer.PublicKey().Marshal())
		if err != nil {
			t.Fatal(err)
		}
		if err := sshsig.Verify(key, wire.LoginNamespace, text, []byte(armoured)); err != nil {
			t.Errorf("%s: %v\n%s", signer.PublicKey().Type(), err, armoured)
		}
		if err := sshsig.Verify(key, "chancery", text, []byte(armoured)); err == nil {
			t.Errorf("%s: a login signature passes as an approval", signer.PublicKey().Type())
		}
	}
}
