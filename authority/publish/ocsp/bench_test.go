package ocsp_test

import (
	"crypto"
	"crypto/rand"
	"testing"

	"github.com/chancery-project/chancery/authority/publish/ocsp"
)

// BenchmarkRespond is what an answer costs without HTTP: kept, signed for a nonce, and
// the signature in it alone.
func BenchmarkRespond(b *testing.B) {
	w := build(b)
	der := w.request(w.leaf, crypto.SHA1)
	r, err := ocsp.ParseRequest(der)
	if err != nil {
		b.Fatal(err)
	}
	fresh := question{ids: [][]byte{r.IDs[0].DER}, extensions: nonce(32)}.der()
	for name, der := range map[string][]byte{"kept": der, "nonce": fresh} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w.responder.Respond(ctx, der)
			}
		})
	}
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		digest := make([]byte, 32)
		for b.Loop() {
			if _, err := w.key.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
}
