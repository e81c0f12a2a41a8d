package state_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"math/big"

	"github.com/chancery-project/chancery/fsm/command"
)

// sshKey signs approvals like ssh-keygen does.
type sshKey struct {
	kind    string
	blob    []byte
	private crypto.Signer
	twin    bool // of an ECDSA signature (r, s) give (r, n-s)
}

// ed25519Key is made from a name, always the same.
func ed25519Key(name string) *sshKey {
	seed := sha256.Sum256([]byte("approver " + name))
	private := ed25519.NewKeyFromSeed(seed[:])
	k := &sshKey{kind: "ssh-ed25519", private: private}
	k.blob = wire([]byte(k.kind), private.Public().(ed25519.PublicKey))
	return k
}

func ecdsaKey(w *world) *sshKey {
	w.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	point, err := private.PublicKey.Bytes()
	if err != nil {
		w.Fatal(err)
	}
	k := &sshKey{kind: "ecdsa-sha2-nistp256", private: private}
	k.blob = wire([]byte(k.kind), []byte("nistp256"), point)
	return k
}

func (k *sshKey) line() string {
	return k.kind + " " + base64.StdEncoding.EncodeToString(k.blob) + " a comment"
}

func wire(fields ...[]byte) (out []byte) {
	for _, f := range fields {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(f))), f...)
	}
	return out
}

func (k *sshKey) sign(message []byte) []byte { return k.signFor(command.ApprovalNamespace, message) }

func (k *sshKey) signFor(namespace string, message []byte) []byte {
	digest := sha512.Sum512(message)
	tail := wire([]byte(namespace), nil, []byte("sha512"))
	data := append(append([]byte("SSHSIG"), tail...), wire(digest[:])...)
	var raw []byte
	switch private := k.private.(type) {
	case ed25519.PrivateKey:
		raw = ed25519.Sign(private, data)
	case *ecdsa.PrivateKey:
		sum := sha256.Sum256(data)
		r, s, err := ecdsa.Sign(rand.Reader, private, sum[:])
		if err != nil {
			panic(err)
		}
		if k.twin {
			s = new(big.Int).Sub(elliptic.P256().Params().N, s)
		}
		raw = wire(mpint(r), mpint(s))
	}
	blob := append([]byte("SSHSIG\x00\x00\x00\x01"), wire(k.blob)...)
	blob = append(append(blob, tail...), wire(wire([]byte(k.kind), raw))...)
	text := base64.StdEncoding.EncodeToString(blob)
	var b bytes.Buffer
	b.WriteString("-----BEGIN SSH SIGNATURE-----\n")
	for ; len(text) > 70; text = text[70:] {
		b.WriteString(text[:70] + "\n")
	}
	b.WriteString(text + "\n-----END SSH SIGNATURE-----\n")
	return b.Bytes()
}

func mpint(n *big.Int) []byte {
	b := n.Bytes()
	if b[0] >= 0x80 {
		b = append([]byte{0}, b...)
	}
	return b
}
