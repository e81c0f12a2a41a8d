package ocsp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xocsp "golang.org/x/crypto/ocsp"

	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/ocsp"
	"github.com/chancery-project/chancery/authority/publish/ocsp/ocsptest"
	"github.com/chancery-project/chancery/fsm/lifecycle"
)

var ctx = context.Background()

// world is a root with two issuing instances, and a leaf of each.
type world struct {
	t         testing.TB
	now       atomic.Int64 // ns
	key       *ecdsa.PrivateKey
	root      *pkitest.CA
	a, b      *pkitest.CA
	leaf      *pkitest.Leaf // of a, good
	other     *pkitest.Leaf // of b, good
	source    *ocsptest.Source
	responder *ocsp.Responder
}

func build(t testing.TB) *world {
	w := &world{t: t, key: pkitest.Key(t), root: pkitest.Root(t, "root")}
	w.now.Store(time.Now().UnixNano())
	w.a, w.b = w.root.Issuing(t, "issuing a"), w.root.Issuing(t, "issuing b")
	w.source = ocsptest.New(t, w.key, w.clock, w.root, w.a, w.b)
	w.responder = ocsp.NewResponder(ocsp.Config{Source: w.source, Clock: w.clock})
	w.leaf, w.other = w.a.Issue(t, "a.test", nil), w.b.Issue(t, "b.test", nil)
	w.set(w.leaf, ocsp.Good)
	w.set(w.other, ocsp.Good)
	return w
}

func (w *world) clock() time.Time { return time.Unix(0, w.now.Load()) }

func (w *world) pass(d time.Duration) { w.now.Add(int64(d)) }

func (w *world) set(l *pkitest.Leaf, s ocsp.Status) uint64 {
	standing := ocsp.Standing{Status: s}
	if s == ocsp.Revoked {
		standing.RevokedAt, standing.Reason = lifecycle.Instant(w.clock().UnixMilli()), lifecycle.KeyCompromise
	}
	return w.source.Set(l.Serial(), standing)
}

func (w *world) request(l *pkitest.Leaf, hash crypto.Hash) []byte {
	w.t.Helper()
	der, err := xocsp.CreateRequest(l.Cert, l.Issuer.Cert, &xocsp.RequestOptions{Hash: hash})
	if err != nil {
		w.t.Fatal(err)
	}
	return der
}

// ask gives the answer as an independent parser reads and verifies it.
func (w *world) ask(l *pkitest.Leaf) *xocsp.Response {
	w.t.Helper()
	return w.read(w.responder.Respond(ctx, w.request(l, crypto.SHA1)).Body, l)
}

func (w *world) read(body []byte, l *pkitest.Leaf) *xocsp.Response {
	w.t.Helper()
	r, err := xocsp.ParseResponseForCert(body, l.Cert, l.Issuer.Cert)
	if err != nil {
		w.t.Fatalf("%x: %v", body, err)
	}
	return r
}

func TestRespond(t *testing.T) {
	w := build(t)
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		r := w.read(w.responder.Respond(ctx, w.request(w.leaf, hash)).Body, w.leaf)
		if r.Status != xocsp.Good || r.IssuerHash != hash {
			t.Errorf("%v: %+v", hash, r)
		}
		if got := r.NextUpdate.Sub(r.ThisUpdate); got != time.Hour || r.ThisUpdate.After(w.clock()) {
			t.Errorf("valid for %s, from %s", got, r.ThisUpdate)
		}
	}
	before := w.source.Looks()
	a := w.responder.Respond(ctx, w.request(w.leaf, crypto.SHA1))
	if w.source.Looks() != before || !a.Cacheable || a.ETag == nil || a.LastModified == nil || a.Expires == nil {
		t.Errorf("not from the cache: %+v", a)
	}
	w.set(w.leaf, ocsp.Revoked)
	r := w.ask(w.leaf)
	if r.Status != xocsp.Revoked || r.RevocationReason != xocsp.KeyCompromise || r.RevokedAt.Unix() != w.clock().Unix() {
		t.Errorf("revoked: %+v", r)
	}
	if w.ask(w.other).Status != xocsp.Good {
		t.Error("the other one changed too")
	}
}

// When something else of the issuer was revoked, a kept answer is looked at and stays.
func TestOthersRevoked(t *testing.T) {
	w := build(t)
	second := w.a.Issue(t, "c.test", nil)
	w.set(second, ocsp.Good)
	first := w.responder.Respond(ctx, w.request(w.leaf, crypto.SHA1))
	looks := w.source.Looks()
	w.set(second, ocsp.Revoked)
	for range 3 {
		if got := w.responder.Respond(ctx, w.request(w.leaf, crypto.SHA1)); got != first {
			t.Error("signed again")
		}
	}
	if got := w.source.Looks() - looks; got != 1 {
		t.Errorf("looked %d times", got)
	}
}

func TestUnknownIsNeverGood(t *testing.T) {
	w := build(t)
	stranger := w.a.Issue(t, "c.test", nil) // not in the state: an intent that was never recorded
	a := w.responder.Respond(ctx, w.request(stranger, crypto.SHA1))
	r := w.read(a.Body, stranger)
	if r.Status != xocsp.Unknown || a.Cacheable || r.NextUpdate.Sub(r.ThisUpdate) > time.Minute {
		t.Errorf("%+v", r)
	}
	w.set(stranger, ocsp.Good)
	if w.ask(stranger).Status != xocsp.Good {
		t.Error("the record came, and unknown was remembered")
	}
	short := w.a.Issue(t, "d.test", nil)
	short.Cert.SerialNumber.SetInt64(7)
	if a := w.responder.Respond(ctx, w.request(short, crypto.SHA1)); a.Cacheable {
		t.Error("a serial of another form was remembered")
	} else if r, err := xocsp.ParseResponse(a.Body, w.a.Cert); err != nil || r.Status != xocsp.Unknown || r.SerialNumber.Int64() != 7 {
		t.Errorf("a serial of another form: %+v, %v", r, err)
	}
}

func TestRefusals(t *testing.T) {
	w := build(t)
	foreign := pkitest.Root(t, "root").Issue(t, "a.test", nil) // the same name, another key
	var ids [][]byte
	for _, l := range []*pkitest.Leaf{w.leaf, w.other} {
		r, err := ocsp.ParseRequest(w.request(l, crypto.SHA1))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, bytes.Clone(r.IDs[0].DER))
	}
	for name, c := range map[string]struct {
		der  []byte
		want xocsp.ResponseStatus
	}{
		"rubbish":               {[]byte("rubbish"), xocsp.Malformed},
		"an issuer of others":   {w.request(foreign, crypto.SHA256), xocsp.Unauthorized},
		"an unknown hash":       {w.request(w.leaf, crypto.SHA512), xocsp.Unauthorized},
		"issuers that are two":  {question{ids: ids}.der(), xocsp.Unauthorized},
		"a nonce that is empty": {question{ids: ids[:1], extensions: nonce(0)}.der(), xocsp.Malformed},
	} {
		a := w.responder.Respond(ctx, c.der)
		if a.Cacheable {
			t.Errorf("%s: cacheable", name)
		}
		_, err := xocsp.ParseResponse(a.Body, nil)
		if e, ok := err.(xocsp.ResponseError); !ok || e.Status != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func (w *world) later(l *pkitest.Leaf) bool {
	w.t.Helper()
	_, err := xocsp.ParseResponse(w.responder.Respond(ctx, w.request(l, crypto.SHA1)).Body, nil)
	e, ok := err.(xocsp.ResponseError)
	return ok && e.Status == xocsp.TryLater
}

// A stale node signs nothing new, and serves what it signed until that ends.
func TestStale(t *testing.T) {
	w := build(t)
	first := w.ask(w.leaf)
	w.source.SetStale(true, 0)
	if !w.later(w.other) {
		t.Error("a stale node signed")
	}
	w.pass(59 * time.Minute)
	if got := w.ask(w.leaf); !got.ThisUpdate.Equal(first.ThisUpdate) {
		t.Error("a stale node signed anew")
	}
	w.pass(2 * time.Minute)
	if !w.later(w.leaf) {
		t.Error("an answer was served after its nextUpdate")
	}
	w.source.SetStale(false, 0)
	if got := w.ask(w.leaf); !got.ThisUpdate.After(first.ThisUpdate) {
		t.Error("nothing new after the state was fresh again")
	}
	w.set(w.leaf, ocsp.Revoked)
	w.source.SetStale(true, 0)
	if !w.later(w.leaf) {
		t.Error("good was served after it was revoked")
	}
}

// thisUpdate is how old the state is, whatever the clock says.
func TestAsOf(t *testing.T) {
	w := build(t)
	w.source.SetStale(false, 10*time.Minute)
	r := w.ask(w.leaf)
	if got := w.clock().Sub(r.ThisUpdate); got < 10*time.Minute || r.NextUpdate.Sub(r.ThisUpdate) != time.Hour {
		t.Errorf("as of %s ago: this %s, next %s", got, r.ThisUpdate, r.NextUpdate)
	}
	w.source.SetStale(false, 2*time.Hour)
	if !w.later(w.other) {
		t.Error("signed an answer that had ended already")
	}
}

func TestDelegate(t *testing.T) {
	w := build(t)
	w.source.Delegated(t, w.a, w.key, 20*time.Minute)
	if r := w.ask(w.leaf); r.NextUpdate.After(r.Certificate.NotAfter) {
		t.Errorf("it outlives its certificate: %s, %s", r.NextUpdate, r.Certificate.NotAfter)
	}
	w.pass(21 * time.Minute)
	if !w.later(w.leaf) {
		t.Error("signed under an expired certificate")
	}
	w.source.Undelegated(w.b)
	if !w.later(w.other) {
		t.Error("signed without a certificate")
	}
	if _, err := ocsp.NewDelegate(pkitest.Key(t), w.a.Responder(t, w.key, time.Hour)); err == nil {
		t.Error("took a certificate for another key")
	}
	if _, err := ocsp.NewDelegate(w.leaf.Key, w.leaf.Cert.Raw); err == nil {
		t.Error("took a certificate for a server")
	}
}

// At half its life one asker renews an answer.
func TestRenewal(t *testing.T) {
	w := build(t)
	first := w.ask(w.leaf)
	w.pass(29 * time.Minute)
	if !w.ask(w.leaf).ThisUpdate.Equal(first.ThisUpdate) {
		t.Error("renewed before half its life")
	}
	w.pass(2 * time.Minute)
	if !w.ask(w.leaf).ThisUpdate.After(first.ThisUpdate) {
		t.Error("not renewed after half its life")
	}
}

// A certificate is revoked while its answer is made from the state before.
func TestOvertaken(t *testing.T) {
	w := build(t)
	w.source.OnLook(func() {
		w.set(w.leaf, ocsp.Revoked)
	})
	if w.ask(w.leaf).Status != xocsp.Revoked {
		t.Error("an answer from the state before was given out")
	}
	if w.ask(w.leaf).Status != xocsp.Revoked {
		t.Error("and kept")
	}
	w.set(w.leaf, ocsp.Good) // a hold was lifted
	if w.ask(w.leaf).Status != xocsp.Good {
		t.Error("still revoked after its hold was lifted")
	}
}

// Revoked while many ask: whoever asks after the state shows it is told.
func TestRevokedUnderLoad(t *testing.T) {
	w := build(t)
	leaves := make([]*pkitest.Leaf, 20)
	for i := range leaves {
		leaves[i] = w.a.Issue(t, "x.test", nil)
		w.set(leaves[i], ocsp.Good)
	}
	var revoked [20]atomic.Bool
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		wg.Go(func() {
			for i := 0; ; i = (i + 1) % len(leaves) {
				select {
				case <-stop:
					return
				default:
				}
				was := revoked[i].Load()
				a := w.responder.Respond(ctx, w.request(leaves[i], crypto.SHA1))
				r, err := xocsp.ParseResponse(a.Body, w.a.Cert)
				if err != nil {
					continue // tryLater under load
				}
				if was && r.Status != xocsp.Revoked {
					t.Errorf("leaf %d is %d in the state, and in no answer", i, r.Status)
					return
				}
			}
		})
	}
	for i, l := range leaves {
		w.ask(l)
		w.set(l, ocsp.Revoked)
		revoked[i].Store(true)
	}
	for _, l := range leaves {
		if w.ask(l).Status != xocsp.Revoked {
			t.Error("not revoked at the end")
		}
	}
	close(stop)
	wg.Wait()
}

func TestNonceAndSeveral(t *testing.T) {
	w := build(t)
	second := w.a.Issue(t, "c.test", nil)
	var ids [][]byte
	for _, l := range []*pkitest.Leaf{w.leaf, second} {
		r, err := ocsp.ParseRequest(w.request(l, crypto.SHA256))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, r.IDs[0].DER)
	}
	a := w.responder.Respond(ctx, question{ids: ids, extensions: nonce(32)}.der())
	if a.Cacheable || !bytes.Contains(a.Body, bytes.Repeat([]byte{7}, 32)) {
		t.Error("the nonce is missing, or the answer is for everybody")
	}
	for i, want := range []int{xocsp.Good, xocsp.Unknown} {
		l := []*pkitest.Leaf{w.leaf, second}[i]
		if r, err := xocsp.ParseResponseForCert(a.Body, l.Cert, w.a.Cert); err != nil || r.Status != want {
			t.Errorf("certificate %d: %+v, %v", i, r, err)
		}
	}
	if w.source.Looks() != 1 {
		t.Errorf("%d looks: several certificates must be read from one state", w.source.Looks())
	}
}
