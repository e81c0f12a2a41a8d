package crl_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/chancery-project/chancery/authority/audit"
	"github.com/chancery-project/chancery/authority/pki/pkitest"
	"github.com/chancery-project/chancery/authority/publish/crl"
	"github.com/chancery-project/chancery/authority/signing"
	"github.com/chancery-project/chancery/fsm/command"
	"github.com/chancery-project/chancery/fsm/lifecycle"
	"github.com/chancery-project/chancery/fsm/state"
)

// journal takes everything.
type journal struct{}

func (journal) AppendBatch(context.Context, []audit.Record) (uint64, error) { return 1, nil }
func (journal) AppendAsync(audit.Record) error                              { return nil }

// office is the first node of a town, which signs lists and fetches those of the second.
type office struct {
	*pkitest.Town
	t         *testing.T
	store     *crl.Store
	dir       string
	maker     *crl.Maker
	remote    []byte // what the second node answers; nil = nothing
	asked     int    // how often it was asked
	allocated int
	lose      bool // the next number is given out, and nobody hears of it
}

func buildOffice(t *testing.T) *office {
	w := &office{Town: pkitest.NewTown(t, 2), t: t, dir: t.TempDir()}
	w.open()
	return w
}

var errLost = errors.New("the answer was lost")

// open starts the node's part, as after a restart.
func (w *office) open() {
	w.t.Helper()
	var err error
	if w.store, err = crl.OpenStore(w.dir, func(path string, b []byte) error { return os.WriteFile(path, b, 0o600) }); err != nil {
		w.t.Fatal(err)
	}
	start := time.Now()
	elapsed := func() time.Duration { return time.Since(start) }
	signer := signing.New(signing.Config{Ledger: w.Ledger, Lease: w.Ledger, Store: w.Store, Audit: journal{}, Clock: w.Ledger.Clock().Now, Elapsed: elapsed, MaxAge: time.Minute,
		Record: func(context.Context, []command.SignatureGroup) (state.Outcome, error) {
			return state.Outcome{}, errors.New("a CRL is no strict signature")
		}})
	allocate := func(ctx context.Context, c *command.AllocateCRL) (state.Outcome, error) {
		w.allocated++
		o, err := w.Ledger.Propose(ctx, w.Ledger.Command(c))
		if w.lose {
			w.lose, err = false, errLost
		}
		return o, err //nolint:wrapcheck // as the ledger says it
	}
	w.maker = crl.NewMaker(crl.Config{Ledger: w.Ledger, Store: w.store, Clock: w.Ledger.Clock().Now, Logger: slog.New(slog.DiscardHandler),
		Sign: crl.Upheld(signer, "n1", elapsed, allocate),
		Fetch: func(_ context.Context, node lifecycle.NodeID, _ string, _ uint64) ([]byte, error) {
			w.asked++
			if node != w.Nodes[1] || w.remote == nil {
				return nil, errors.New("unreachable")
			}
			return w.remote, nil
		}})
}

// list is what the node serves for an instance.
func (w *office) list(kid string) *x509.RevocationList { return w.shard(kid, 0) }

func (w *office) shard(kid string, n uint64) *x509.RevocationList {
	w.t.Helper()
	p, f, err := w.store.Open(kid, n)
	if err != nil {
		w.t.Fatal(err)
	}
	if p == nil {
		return nil
	}
	der, err := io.ReadAll(f)
	if err = errors.Join(err, f.Close()); err != nil {
		w.t.Fatal(err)
	}
	l, err := x509.ParseRevocationList(der)
	if err != nil {
		w.t.Fatal(err)
	}
	if p.Number != l.Number.Uint64() || !p.NextUpdate.Equal(l.NextUpdate) || p.SizeBytes != int64(len(der)) {
		w.t.Errorf("kept as %+v, is %+v", p, l)
	}
	return l
}

// tend passes time and looks; the list of the own instance then has this number and
// these entries.
func (w *office) tend(pass time.Duration, number int64, serials ...lifecycle.Serial) time.Duration {
	w.t.Helper()
	w.Ledger.Pass(w.t, pass)
	wait := w.maker.Tend(context.Background())
	l := w.list(w.Corp[0].KID)
	if l == nil {
		w.t.Fatal("no list")
	}
	if err := l.CheckSignatureFrom(w.Corp[0].Cert); err != nil {
		w.t.Error(err)
	}
	var got []lifecycle.Serial
	for _, e := range l.RevokedCertificateEntries {
		s, _ := lifecycle.SerialOf(e.SerialNumber.Bytes())
		got = append(got, s)
	}
	if l.Number.Int64() != number || !slices.Equal(got, serials) || l.NextUpdate.Sub(l.ThisUpdate) != 72*time.Hour {
		w.t.Errorf("list %d of %d entries, %s to %s; want number %d of %d", l.Number, len(got), l.ThisUpdate, l.NextUpdate, number, len(serials))
	}
	return wait
}

func TestMaker(t *testing.T) {
	w := buildOffice(t)
	one, two := w.Issue(0, "a.test"), w.Issue(0, "b.test")
	w.tend(0, 1)
	if l := w.list(w.Root.KID); l == nil || len(l.RevokedCertificateEntries) != 0 {
		t.Error("the root has no list")
	}
	if wait := w.tend(30*time.Minute, 1); wait > 30*time.Second || wait <= 0 {
		t.Errorf("looks again in %s", wait)
	}
	w.Revoke(one.Serial(), lifecycle.CertificateHold)
	w.tend(0, 2, one.Serial())
	w.Revoke(two.Serial(), lifecycle.KeyCompromise)
	if wait := w.tend(0, 2, one.Serial()); wait > time.Second { // shares the next with whatever comes within a second
		t.Errorf("looks again in %s", wait)
	}
	w.tend(2*time.Second, 3, one.Serial(), two.Serial())
	w.Ledger.Must(t, &command.ReleaseCertificates{Serials: []lifecycle.Serial{one.Serial()}})
	w.tend(2*time.Second, 4, two.Serial())
	w.tend(59*time.Minute, 4, two.Serial())
	w.tend(time.Minute, 5, two.Serial()) // on schedule
	other := w.Issue(1, "c.test")
	w.Revoke(other.Serial(), lifecycle.KeyCompromise)
	w.tend(2*time.Second, 5, two.Serial()) // of another instance's certificates it knows nothing
}

// A number is given out once for one list, whatever dies when.
func TestMakerRestarts(t *testing.T) {
	w := buildOffice(t)
	w.tend(0, 1)
	w.open()
	before := w.allocated
	w.tend(time.Minute, 1)
	if w.allocated != before {
		t.Error("a list that was there was made again")
	}
	// The number stands in the log, and the node dies before it signs.
	l := w.Issue(0, "a.test")
	w.Revoke(l.Serial(), lifecycle.KeyCompromise)
	w.lose = true
	w.tend(time.Minute, 1)
	if row := w.Ledger.View().CRLState(w.Corp[0].KID, 0); row.Number != 2 {
		t.Fatalf("number %d", row.Number)
	}
	w.open()
	w.tend(time.Minute, 3, l.Serial())
	// The file is lost.
	if err := os.Remove(filepath.Join(w.dir, w.Corp[0].KID+".crl")); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.tend(time.Minute, 4, l.Serial())
	// The file is damaged.
	if err := os.WriteFile(filepath.Join(w.dir, w.Corp[0].KID+".crl"), []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := crl.OpenStore(w.dir, nil); !errors.Is(err, crl.ErrList) {
		t.Errorf("a damaged file: %v", err)
	}
}

// listOfOther is a list that the second node signs.
func (w *office) listOfOther(number uint64, entries ...revoked) []byte {
	l := listOf(w.Corp[1], number)
	at := w.Ledger.Clock().At() / 1000 * 1000
	l.ThisUpdate, l.NextUpdate = at, at.Add(72*lifecycle.Hour)
	return sign(w.t, w.Corp[1], l, encode(entries))
}

// allocateOther gives out its number.
func (w *office) allocateOther(der []byte) {
	w.t.Helper()
	f, err := crl.Read(der)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Ledger.Must(w.t, &command.AllocateCRL{Node: w.Nodes[1], KID: w.Corp[1].KID, Number: f.Number, TBSHash: f.TBSHash[:], ThisUpdate: instant(f.ThisUpdate), NextUpdate: instant(f.NextUpdate),
		AtIndex: w.Ledger.View().Position().Index})
}

// A list of another node is kept when it is the one that the log knows.
func TestMakerFetches(t *testing.T) {
	w := buildOffice(t)
	ca := w.Corp[1]
	far := w.listOfOther
	allocate := func(der []byte) {
		w.allocateOther(der)
		w.asked = 0
		if wait := w.maker.Tend(t.Context()); w.asked != 0 || wait <= 0 || wait > time.Second {
			t.Errorf("asked %d times for a list that cannot be signed yet, looks again in %s", w.asked, wait)
		}
		w.Ledger.Clock().Advance(time.Second)
	}
	w.remote = far(1)
	w.maker.Tend(t.Context())
	if w.list(ca.KID) != nil {
		t.Error("a list without a number in the log was kept")
	}
	allocate(w.remote)
	good := w.remote
	broken := bytes.Clone(good)
	broken[len(broken)-5] ^= 1
	for name, der := range map[string][]byte{"another list of that number": far(1, revoked{serialOf(1), 1_700_000_000_000, lifecycle.KeyCompromise, 0}), "a broken signature": broken, "rubbish": []byte("x"), "nothing": nil, "a newer one": far(2)} {
		w.remote = der
		w.maker.Tend(t.Context())
		if w.list(ca.KID) != nil {
			t.Errorf("%s was kept", name)
		}
	}
	w.remote = good
	w.maker.Tend(t.Context())
	if l := w.list(ca.KID); l == nil || l.Number.Int64() != 1 {
		t.Fatal("the right list was not kept")
	}
	w.remote = nil // the node is gone: what is here is served on
	w.Ledger.Pass(t, time.Hour)
	w.maker.Tend(t.Context())
	if w.list(ca.KID) == nil {
		t.Error("the list was dropped")
	}
}

// A compromised instance signs nothing more, and a suspended node's list stays.
func TestMakerStops(t *testing.T) {
	w := buildOffice(t)
	w.tend(0, 1)
	w.Ledger.Must(t, &command.Revoke{Key: pkitest.CorpName, Node: w.Nodes[0], Reason: lifecycle.KeyCompromise})
	w.tend(2*time.Hour, 1)
	w.Ledger.TakeLease("cut off")
	w.maker.Tend(t.Context())
	if l := w.list(w.Root.KID); l == nil || l.Number.Int64() != 2 {
		t.Errorf("the root's list: %+v", l)
	}
}

// A clock that was ahead and is set right again holds up neither a revocation nor the
// list of another node.
func TestMakerAfterClockSetBack(t *testing.T) {
	w := buildOffice(t)
	one, two := w.Issue(0, "a.test"), w.Issue(0, "b.test")
	w.Ledger.Pass(t, time.Hour)
	w.tend(0, 1)
	w.remote = w.listOfOther(1)
	w.allocateOther(w.remote)
	w.Ledger.Clock().Advance(-time.Hour)
	w.Revoke(one.Serial(), lifecycle.KeyCompromise)
	w.tend(0, 2, one.Serial())
	if l := w.list(w.Corp[1].KID); l == nil {
		t.Error("the list of the other node was not fetched")
	}
	w.Revoke(two.Serial(), lifecycle.KeyCompromise)
	if wait := w.tend(0, 2, one.Serial()); wait > time.Second { // it waits for others as ever
		t.Errorf("looks again in %s", wait)
	}
	w.tend(2*time.Second, 3, one.Serial(), two.Serial())
}

// Shards stand beside the full list.
func TestMakerShards(t *testing.T) {
	w := buildOffice(t)
	terms := w.Ledger.View().Issuer(pkitest.CorpName).IssuerTerms
	terms.ShardCRL = true
	w.Ledger.Must(t, &command.SetIssuer{Issuer: pkitest.CorpName, Terms: terms})
	settings := w.Ledger.View().Cluster().Settings
	settings.PublicURL = "http://pki.test/"
	w.Ledger.Must(t, &command.SetSettings{Settings: settings})
	l := w.Issue(0, "a.test")
	w.Revoke(l.Serial(), lifecycle.KeyCompromise)
	w.tend(0, 1, l.Serial())
	for n := uint64(1); n <= crl.Shards; n++ {
		p := w.store.Get(w.Corp[0].KID, n)
		if p == nil {
			t.Fatalf("no shard %d", n)
		}
		if got := len(w.shard(p.KID, n).RevokedCertificateEntries); (got == 1) != (n == crl.ShardOf(l.Serial())) {
			t.Errorf("shard %d has %d entries", n, got)
		}
		kid, shard, ok := crl.ParseFile(filepath.Base(crl.Path(pkitest.CorpName, p.KID, n)))
		if !ok || kid != p.KID || shard != n {
			t.Errorf("the path of shard %d is read as %s, %d, %t", n, kid, shard, ok)
		}
	}
	if _, err := crl.OpenStore(w.dir, nil); err != nil {
		t.Error(err)
	}
}
