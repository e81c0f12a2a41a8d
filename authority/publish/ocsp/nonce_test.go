package ocsp_test

import (
	"crypto"
	"testing"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
)

// Answers to nonces are signed each, and their certificate is read again only when
// something of its issuer moved.
func TestNonceReadsNoRow(t *testing.T) {
	w := build(t)
	asked := func(l *pkitest.Leaf) (status, rows int) {
		t.Helper()
		r, err := ocsp.ParseRequest(w.request(l, crypto.SHA256))
		if err != nil {
			t.Fatal(err)
		}
		before := w.source.Rows()
		a := w.responder.Respond(ctx, question{ids: [][]byte{r.IDs[0].DER}, extensions: nonce(32)}.der())
		if a.Cacheable {
			t.Error("an answer to a nonce is for everybody")
		}
		return w.read(a.Body, l).Status, w.source.Rows() - before
	}
	unknown := w.a.Issue(t, "unknown.test", nil)
	second := w.a.Issue(t, "c.test", nil)
	w.set(second, ocsp.Good)
	for i, step := range []struct {
		do           func()
		leaf         *pkitest.Leaf
		status, rows int
	}{
		{nil, w.leaf, xocsp.Good, 1},
		{nil, w.leaf, xocsp.Good, 0},
		{nil, unknown, xocsp.Unknown, 1},
		{func() { w.set(unknown, ocsp.Good) }, unknown, xocsp.Good, 1},  // its record came: that moves nothing
		{func() { w.set(second, ocsp.Revoked) }, w.leaf, xocsp.Good, 2}, // kept, but older: read before it is signed, and looked at after
		{nil, w.leaf, xocsp.Good, 0},
		{func() { w.set(w.leaf, ocsp.Revoked) }, w.leaf, xocsp.Revoked, 2},
		{func() { w.set(w.leaf, ocsp.Good) }, w.leaf, xocsp.Good, 2},
		{func() { w.source.OnLook(func() { w.set(w.leaf, ocsp.Revoked) }) }, w.leaf, xocsp.Revoked, 2}, // after the Basis was taken
	} {
		if step.do != nil {
			step.do()
		}
		if status, rows := asked(step.leaf); status != step.status || rows > step.rows {
			t.Errorf("step %d: status %d after %d rows", i, status, rows)
		}
	}
	if w.ask(w.leaf).Status != xocsp.Revoked { // SHA-1: a place of its own
		t.Error("not revoked without a nonce")
	}
}
